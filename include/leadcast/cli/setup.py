"""Commands for whoever runs it: make what Leadcast needs, and find out what is misconfigured."""

from __future__ import annotations

from typing import Annotated

import typer

from leadcast.cli.root import EXIT_FAILED, app


@app.command()
def init() -> None:
    """Make what Leadcast needs: the store's tables, Airflow's pools. Again is harmless."""
    from leadcast.cli import session

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.setup.init import initialise

        for line in initialise():
            typer.echo(line)


@app.command()
def upgrade() -> None:
    """After installing a newer version: bring the store's tables up to date, add what is missing in Airflow."""
    from leadcast.cli import session

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.setup.init import upgrade

        for line in upgrade():
            typer.echo(line)


@app.command()
def uninstall(
    store: Annotated[bool, typer.Option("--store", help="Also drop the store: all leads and batches.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask nothing, and do not mind what is still open.")] = False,
) -> None:
    """Take out of Airflow what Leadcast has put there, before `pip uninstall`. Stop Airflow first."""
    from leadcast.cli import session

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.setup import uninstall as removal

        if not yes:
            removal.refuse_while_open()
            if store:
                typer.confirm(f"Drop {removal.store_name()}, with all leads and batches?", abort=True)
        for line in removal.uninstall(drop_store=store, end_tasks=yes):
            typer.echo(line)


@app.command("rotate-keys")
def rotate_keys() -> None:
    """After a change of fernet_key to "new,old", or an upgrade: seal everything anew with the first key, each for its
    place. Again is harmless."""
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from leadcast.cli import session

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.setup import rotate_keys as rotation

        console = Console()
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("Sealing anew", total=rotation.count())
            tallies = rotation.rotate(lambda rows: progress.advance(task, rows))
        table = Table("", "sealed anew", "already", "cannot be opened", header_style="bold")
        for tally in tallies:
            table.add_row(tally.place, str(tally.resealed), str(tally.already), str(tally.lost))
        console.print(table)
        lost = sum(tally.lost for tally in tallies)
        if lost:
            words = (
                f"✗ {lost} cannot be opened with any key of fernet_key, or not where they lie. Put the key that they "
                "were sealed with behind the others and run this again. Without it, what is in them is lost: leads "
                "that have not gone out yet must be sent again with their credentials, and OAuth accounts connected "
                "again."
            )
            console.print(words, style="red", highlight=False, soft_wrap=True)
            raise typer.Exit(EXIT_FAILED)
        if rotation.accepts_unbound():
            typer.echo(
                "All is sealed for its own place now. If every process of Airflow is of this version, set [leadcast] "
                "accept_unbound_seals = False, so that nothing else opens any more."
            )


@app.command()
def doctor(
    lead: Annotated[str, typer.Option(help="Show this lead of your own lead table as it would be sent.")] = "",
) -> None:
    """Look for what is misconfigured, and say the mend. Exit code 1 when something does not work."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from leadcast.cli import session, show

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.settings import config
        from leadcast.engine.setup.doctor import examine

        config.settings()
        findings = examine(lead)
        table = Table("", "finding", "mend", header_style="bold")
        for finding in findings:
            table.add_row(show.coloured(str(finding.level)), escape(finding.what), escape(finding.mend))
        Console().print(table)
        if any(str(finding.level) == "fail" for finding in findings):
            raise typer.Exit(EXIT_FAILED)


@app.command()
def circuits(
    close: Annotated[
        str, typer.Option(help="Let deliveries to this account pass again: its id, or how it begins.")
    ] = "",
) -> None:
    """Show the accounts that are left alone after failures in a row, and how many deliveries wait for them."""
    from rich.console import Console

    from leadcast.cli import session, show

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.core.clock import utc_now
        from leadcast.engine.settings import config
        from leadcast.store.accounts import circuits as kept

        with config.store().begin() as connection:
            closed = kept.close(connection, close.strip().lower(), now=utc_now()) if close.strip() else []
            found = kept.listing(connection)
        for circuit in closed:
            what = "what waits goes out within a minute"
            if circuit.until is None:
                what = "it is sent to again; what has failed meanwhile: leadcast retry BATCH (docs/running.md)"
            typer.echo(f"{circuit.account.type} {circuit.account.label}: closed; {what}.")
        if close and not closed:
            typer.echo(f"No circuit that is open begins with {close[:64]!r}.", err=True)
            raise typer.Exit(EXIT_FAILED)
        if found:
            Console().print(show.circuits(found))
        elif not closed:
            typer.echo("No account is left alone: deliveries to all of them go out.")
