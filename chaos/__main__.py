"""`make chaos`: stages every death against the real stack, prints the table. Exit code 1: the promise was broken."""

from __future__ import annotations

import argparse
import json
import random
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.machine import this_machine
from rich.console import Console

from chaos import after, judge, matrix, report, signs, soak
from chaos.director import Director, Staged
from chaos.people import People
from chaos.stack import Stage, root, stage
from leadcast.cli import show
from leadcast.client.errors import StackError
from leadcast.local.home import write_private

CALM_TIMEOUT_S = 900.0
RESULT = "chaos.json"
PAGE = Path("docs/reliability.md")
_FILE_WIDTH = 150


def options(words: Sequence[str]) -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(prog="python -m chaos", description=__doc__)
    parser.add_argument("--seed", type=int, default=5, help="which faults, in which order, for which leads")
    parser.add_argument("--leads", type=int, default=500, help="how many leads are sent")
    parser.add_argument("--faults", type=int, default=140, help="how many different faults are staged")
    parser.add_argument("--big", type=int, default=None, help="at most so many that all feel; default: all of them")
    parser.add_argument("--together", action="store_true", help="do not wait for the small ones: quicker, harder")
    parser.add_argument("--only", default="", help="only faults whose 'point kind who after' holds this")
    parser.add_argument("--minutes", type=float, default=75, help="begin no fault after so many")
    parser.add_argument("--keep", action="store_true", help="leave the stack running for looking")
    parser.add_argument("--soak", action="store_true", help="mixed traffic and random faults; watches memory instead")
    parser.add_argument("--soak-minutes", type=float, default=20, help="for how long")
    parser.add_argument("--write-docs", action="store_true", help=f"put the last run's table into {PAGE}, run nothing")
    return parser.parse_args(words)


def main(words: Sequence[str] | None = None) -> int:
    """Runs it; returns the exit code."""
    chosen = options(sys.argv[1:] if words is None else words)
    console = Console()
    if not console.is_terminal:
        console = Console(width=_FILE_WIDTH)
    if chosen.write_docs:
        report.write_docs(PAGE, json.loads((root() / RESULT).read_text()))
        return 0
    try:
        return _run(chosen, console)
    except StackError as error:
        show.trouble(error, console)
        return 1


def _run(chosen: argparse.Namespace, console: Console) -> int:
    def say(text: str) -> None:
        console.print(f"{time.strftime('%H:%M:%S')} {text}", highlight=False, markup=False)

    for line in this_machine().lines():
        console.print(line, highlight=False)
    with stage(console, keep=chosen.keep) as staging:
        if chosen.soak:
            return _soak(chosen, staging, console, say)
        afters, missing = after.available(staging)
        for line in missing:
            say(line)
        scenarios = matrix.chosen(chosen.faults, afters=afters, seed=chosen.seed, big=chosen.big)
        if chosen.only:
            scenarios = [s for s in scenarios if chosen.only in f"{s.point} {s.kind} {s.who} {s.after}"]
        people = People(staging, random.Random(chosen.seed))
        until = time.monotonic() + chosen.minutes * 60
        director = Director(staging, people, leads=chosen.leads, say=say, until=until, together=chosen.together)
        staged = director.run(scenarios)
        staging.world.clear_faults()
        say("all staged; waiting until everything has calmed down")
        judge.await_calm(staging, timeout_s=CALM_TIMEOUT_S, say=say)
        _measure(staging, staged)
        verdict = judge.judge(staging, people.sent)
        report.show(console, staged, verdict)
        report.write(staging.home.root / RESULT, staged, verdict, seed=chosen.seed)
    return 0 if verdict.is_kept else 1


def _soak(chosen: argparse.Namespace, staging: Stage, console: Console, say: Callable[[str], None]) -> int:
    people = People(staging, random.Random(chosen.seed))
    soaking = soak.Soak(staging, people, seed=chosen.seed, say=say)
    say(f"soaking for {chosen.soak_minutes:g} minutes")
    soaking.run(minutes=chosen.soak_minutes)
    say(f"{len(people.sent)} leads, {soaking.faults} faults; waiting until everything has calmed down")
    judge.await_calm(staging, timeout_s=CALM_TIMEOUT_S, say=say)
    memories = list(soaking.memories.values())
    is_flat = soak.show(console, memories)
    verdict = judge.judge(staging, people.sent)
    report.show(console, [], verdict)
    found = json.dumps({"seed": chosen.seed, "memories": soak.samples(memories)})
    write_private(staging.home.root / "soak.json", found)
    return 0 if is_flat and verdict.is_kept else 1


def _measure(staging: Stage, staged: Sequence[Staged]) -> None:
    for item in staged:
        if item.fired is not None:
            item.recovered_s = signs.recovered_after_s(staging, item.fired, batch_ids=item.batch_ids)


if __name__ == "__main__":
    sys.exit(main())
