"""The command `leadcast` itself: what all of its commands hang on, and the exit codes they share."""

from __future__ import annotations

from importlib.util import find_spec

import typer

EXIT_FAILED = 1
EXIT_NOT_RUNNING = 3
EXIT_SLOW = 4

app = typer.Typer(
    help="Sends one lead to several integrations at once, on Apache Airflow.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,  # they show source and values
)


def has_local_stack() -> bool:
    """Whether the local stack and the sandbox are here: in a checkout, or with the distribution leadcast-local."""
    found = find_spec("leadcast.local")
    return found is not None and found.origin is not None  # a folder that was left without its files has none
