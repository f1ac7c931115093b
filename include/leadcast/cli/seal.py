"""The command that seals a request for Airflow's own doors."""

from __future__ import annotations

from typing import Annotated

import typer

from leadcast.cli.root import EXIT_FAILED, app


@app.command()
def seal(
    file: Annotated[typer.FileBinaryRead, typer.Argument(help="JSON body of send-batch; - reads standard input.")],
    for_: Annotated[
        str, typer.Option("--for", help="User who will start the run, as Airflow calls him. Default: who runs this.")
    ] = "",
) -> None:
    """Print a request as the conf of a run of send_lead, its secrets and the lead sealed. Only runs that this user
    starts open it; it does not expire. Needs the fernet_key of Airflow's processes."""
    import json

    from leadcast.cli import session

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.core.json_body import parse_body
        from leadcast.engine.seal.conf_guard import checked
        from leadcast.engine.seal.sealed_conf import body_of
        from leadcast.engine.seal.shell_user import shell_user
        from leadcast.engine.settings import config

        caller = for_ or shell_user()
        body = parse_body(file.read())
        if not isinstance(body, dict) or body_of(body) is None:
            typer.echo("✗ This is no request: it names neither a lead nor integrations.", err=True)
            raise typer.Exit(EXIT_FAILED)
        typer.echo(json.dumps(checked(body, config.store().sealer, caller=caller)))
        typer.echo(f"Sealed for {caller}: it opens in runs of send_lead that this user starts.", err=True)
