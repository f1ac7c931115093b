"""The command `leadcast` itself: what all of its commands hang on, and the exit codes they share."""

from __future__ import annotations

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
