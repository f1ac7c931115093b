"""The command `leadcast prune`: what has been kept long enough goes, in the store and in Airflow."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import typer

from leadcast.cli.root import app


@app.command()
def prune(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count what would go.")] = False,
) -> None:
    """Erase old leads (keep_leads_days), delete old runs of Leadcast's DAGs (keep_runs_days). Again is harmless."""
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from leadcast.cli import session

    with session.plain_errors():
        session.adopt_stack()
        from leadcast.engine.setup import prune as pruning

        console = Console()
        found = pruning.count()
        done: Mapping[str, int] = {}
        if not dry_run:
            with Progress(console=console, transient=True) as progress:
                task = progress.add_task("Pruning", total=sum(found.values()))
                done = pruning.prune(lambda rows: progress.advance(task, rows))
        table = Table("", "found" if dry_run else "gone", header_style="bold")
        for kind, number in (found if dry_run else done).items():
            table.add_row(kind, str(number))
        console.print(table)
        if days := pruning.kept_for_ever():
            typer.echo(f"Kept for ever, as the settings say: {days}.")
