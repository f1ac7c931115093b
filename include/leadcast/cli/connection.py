"""The command that tries an account out, without sending anything."""

from __future__ import annotations

from typing import Annotated

import typer

from leadcast.cli.root import EXIT_FAILED, app


@app.command("test-connection")
def try_connection(
    integration: Annotated[str, typer.Argument(metavar="TYPE", help="amocrm, telegram, …, or one of your own.")],
    conn_id: Annotated[str, typer.Option(help="An Airflow connection. Default: the integration's own.")] = "",
) -> None:
    """Ask a service, by a call that changes nothing, whether it takes an account. Exit code 1 when it does not."""
    from rich.console import Console

    from leadcast.cli import session

    with session.plain_errors():
        session.adopt_stack()
        with Console(stderr=True).status(f"Trying {integration} …"):  # Airflow takes seconds to import
            from leadcast.engine.setup import connection_hooks
            from leadcast.integrations import registry

            conn_id = conn_id or registry.get(integration).conn_id()
            tried = connection_hooks.try_out(integration, conn_id)
            may_be_named = connection_hooks.may_be_named(integration, conn_id)
        style = {True: "green", False: "red", None: "yellow"}[tried.works]
        mark = {True: "✓", False: "✗", None: "–"}[tried.works]
        line = f"{mark} {integration}, connection {conn_id!r}: {tried.words}"
        Console(stderr=tried.works is False).print(line, style=style, markup=False, highlight=False, soft_wrap=True)
        if not may_be_named:
            typer.echo(f"Requests may not name {conn_id!r}: see [leadcast] allowed_conn_ids.", err=True)
        if tried.works is False:
            raise typer.Exit(EXIT_FAILED)
