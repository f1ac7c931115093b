"""What the commands of the local stack say in an installation without it: in which distribution they are."""

from __future__ import annotations

import typer

from leadcast.cli.root import EXIT_FAILED, app

COMMANDS = ("up", "down", "status", "token", "sandbox", "airflow")
_ANYTHING = {"ignore_unknown_options": True, "allow_extra_args": True, "help_option_names": []}


def register() -> None:
    """Makes them commands, which `leadcast --help` does not show."""
    for name in COMMANDS:
        app.command(name, hidden=True, context_settings=_ANYTHING)(_say)


def _say(context: typer.Context) -> None:
    typer.echo(
        f"✗ `leadcast {context.info_name}` is part of the local stack: install the wheel leadcast_local, too, which"
        " `uv build --wheel leadcast-local` makes in Leadcast's repository (docs/install.md).",
        err=True,
    )
    raise typer.Exit(EXIT_FAILED)
