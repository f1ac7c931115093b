"""`make bench`: measures all of it in one go, prints one table, writes it as JSON. BENCH_QUICK=1: fewer repeats.

Exit code 1: a target is missed, or a lead did not arrive.
"""

from __future__ import annotations

import os
import sys
from dataclasses import asdict, dataclass

import requests
from rich.console import Console

from bench import imports, plain, posting, quiet, report, stack, table
from bench.leads import BenchError
from bench.machine import this_machine
from leadcast.cli import show
from leadcast.client.api import ApiError
from leadcast.client.errors import StackError
from leadcast.local.progress import Progress

_FILE_WIDTH = 130


@dataclass(frozen=True, kw_only=True)
class Repeats:
    """How often each thing is measured."""

    quiet: int = 11
    plain: int = 7
    posts: int = 100
    imports: int = 11

    @classmethod
    def chosen(cls) -> Repeats:
        """Fewer where BENCH_QUICK is set."""
        quick = os.environ.get("BENCH_QUICK", "") not in ("", "0")
        return cls(quiet=3, plain=2, posts=10, imports=3) if quick else cls()


def main() -> int:
    """Runs everything; returns the exit code."""
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)  # in a file or CI the table keeps its shape
    progress = Progress(console)
    try:
        return _measure_all(progress, console)
    except (BenchError, ApiError, requests.RequestException) as error:
        console.print(f"✗ {error}", style="red", markup=False, highlight=False)
    except StackError as error:
        show.trouble(error, console)
    return 1


def _measure_all(progress: Progress, console: Console) -> int:
    repeats, machine, place = Repeats.chosen(), this_machine(), stack.Place.find()
    for line in machine.lines():
        progress.say(line)
    # One stack at a time: the other's loops would take part of the machine.
    with stack.ours(place, progress) as running:
        with progress.step(f"{repeats.quiet} quiet leads"):
            quiet_waves = quiet.measure(running, repeats=repeats.quiet)
        with progress.step(f"{repeats.posts} POSTs, and their delivery"):
            posted = posting.measure(running, repeats=repeats.posts)
    with progress.step("Imports"):
        dag = imports.measure(imports.DAG_FILE, place=place, repeats=repeats.imports)
        plugin = imports.measure(imports.PLUGIN_FILE, place=place, repeats=repeats.imports)
    plain_runs = _measure_plain(place, progress, repeats=repeats.plain, told=frozenset())
    quick_runs = _measure_plain(place, progress, repeats=repeats.plain, told=stack.QUICK)
    measured = table.Measured(
        quiet=quiet_waves, posting=posted, dag=dag, plugin=plugin, plain=plain_runs, plain_quick=quick_runs
    )
    sections = table.sections(measured)
    report.show(sections, machine=machine, console=console)
    path = place.root / "bench-results" / f"{machine.measured_at:%Y%m%dT%H%M%SZ}.json"
    report.save(sections, machine=machine, samples=measured.samples(), settings=asdict(repeats), path=path)
    progress.say(f"Every sample: {path}")
    missed = report.missed(sections)
    for row in missed:
        console.print(f"[red]✗[/] {row.what}: {row.ours}, the target is {row.target}", highlight=False)
    return 1 if missed else 0


def _measure_plain(place: stack.Place, progress: Progress, *, repeats: int, told: frozenset[str]) -> plain.Plain:
    settings = "our settings" if told else "its defaults"
    with (
        stack.plain(place, progress, told=told) as running,
        progress.step(f"{repeats} leads through the plain DAG, {settings}"),
    ):
        return plain.measure(running, repeats=repeats)


if __name__ == "__main__":
    sys.exit(main())
