"""Commands for whoever runs it: make what Leadcast needs, and find out what is misconfigured."""

from __future__ import annotations

import typer

from leadcast.cli.root import EXIT_FAILED, app


@app.command()
def init() -> None:
    """Make what Leadcast needs: the store's tables, Airflow's pools. Again is harmless."""
    from leadcast.local import session

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.init import initialise

        for line in initialise():
            typer.echo(line)


@app.command()
def doctor() -> None:
    """Look for what is misconfigured, and say the mend. Exit code 1 when something does not work."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from leadcast.local import session, show

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.doctor import examine

        findings = examine()
        table = Table("", "finding", "mend", header_style="bold")
        for finding in findings:
            table.add_row(show.coloured(str(finding.level)), escape(finding.what), escape(finding.mend))
        Console().print(table)
        if any(str(finding.level) == "fail" for finding in findings):
            raise typer.Exit(EXIT_FAILED)
