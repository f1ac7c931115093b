"""The table of a run, for the eyes and for docs/reliability.md."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from chaos.director import Staged
from chaos.judge import Verdict
from leadcast.local.home import write_private

BEGIN, END = "<!-- chaos: begin -->", "<!-- chaos: end -->"
_SHOWN = 40


@dataclass(frozen=True, kw_only=True)
class Row:
    """All faults of one kill point and one victim."""

    point: str
    who: str
    kinds: str
    afters: str
    faults: int
    hits: int
    worst_s: float | None


def rows(staged: Sequence[Staged]) -> list[Row]:
    """One row for each (point, who), in the order of the way of a lead."""
    groups: dict[tuple[str, str], list[Staged]] = {}
    for item in staged:
        groups.setdefault((item.scenario.words.partition(" ×")[0], str(item.scenario.who)), []).append(item)
    return [_row(point, who, items) for (point, who), items in groups.items()]


def _row(point: str, who: str, items: Sequence[Staged]) -> Row:
    met = [item for item in items if item.fired is not None]
    recovered = [item.recovered_s for item in met if item.recovered_s is not None]
    return Row(
        point=point,
        who=who,
        kinds=", ".join(sorted({item.scenario.kind for item in items})),
        afters=", ".join(sorted({str(item.scenario.after) for item in items})),
        faults=len(met),
        hits=sum(item.times for item in met),
        worst_s=max(recovered) if recovered else None,
    )


def show(console: Console, staged: Sequence[Staged], verdict: Verdict) -> None:
    """Prints the table, then the judgement, then what was not as promised."""
    table = Table(title="Faults", title_justify="left")
    for name in ("Where", "Who dies", "Of what", "Done after"):
        table.add_column(name)
    for name in ("faults", "hits", "worst recovery"):
        table.add_column(name, justify="right")
    for row in rows(staged):
        table.add_row(
            *(row.point, row.who, row.kinds, row.afters, str(row.faults), str(row.hits)), _seconds(row.worst_s)
        )
    console.print(table)
    for item in staged:
        if item.fired is None or item.trouble:
            name = f"{item.scenario.words} · {item.scenario.kind} · {item.scenario.who} · {item.scenario.after}"
            console.print(f"  not met: {name}: {item.trouble or 'nobody passed that point'}", style="yellow")
    for line in judgement(staged, verdict):
        console.print(line, highlight=False)
    for what, items in _broken(verdict).items():
        for text in items[:_SHOWN]:
            console.print(f"  ✗ {what}: {text}", style="red", highlight=False, markup=False)
    if verdict.doubts:
        for text in verdict.doubts[:_SHOWN]:
            console.print(f"  ? doubt: {text}", style="yellow", highlight=False, markup=False)


def judgement(staged: Sequence[Staged], verdict: Verdict) -> list[str]:
    """The figures, a line each."""
    met = [item for item in staged if item.fired is not None]
    different = {(i.scenario.point, i.scenario.who, i.scenario.kind, i.scenario.after) for i in met}
    recovered = [item.recovered_s for item in met if item.recovered_s is not None]
    states = ", ".join(f"{count} {state}" for state, count in verdict.states.most_common())
    told = ", ".join(f"{count} {channel}" for channel, count in verdict.told.most_common())
    return [
        f"{verdict.leads} leads, {verdict.deliveries} deliveries ({states})",
        f"{len(different)} different faults, {sum(item.times for item in met)} hits",
        f"lost: {len(verdict.lost)}",
        f"doubled: {len(verdict.doubled)}",
        f"without a final status: {len(verdict.statusless)}",
        f"notifications not sent: {len(verdict.unheard)} (sent: {told})",
        f"in doubt, shown to people, and there all the same: {len(verdict.doubts)}",
        f"came again under an id that the receiver knows: {verdict.repeats}",
        f"POSTs repeated since no answer came: {verdict.resent_posts}; given up: {len(verdict.refused)}",
        f"worst recovery: {_seconds(max(recovered, default=None))}",
    ]


def _broken(verdict: Verdict) -> dict[str, tuple[str, ...]]:
    return {
        "lost": verdict.lost,
        "doubled": verdict.doubled,
        "without a final status": verdict.statusless,
        "not told": verdict.unheard,
    }


def _seconds(value: float | None) -> str:
    return "–" if value is None else f"{value:.0f} s"


def write(path: Path, staged: Sequence[Staged], verdict: Verdict, *, seed: int) -> None:
    """Every single fault and the judgement, as JSON."""
    found: dict[str, Any] = {
        "seed": seed,
        "at": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "load": os.getloadavg()[2],
        "lines": judgement(staged, verdict),
        "rows": [asdict(row) for row in rows(staged)],
        "faults": [
            {
                **{name: getattr(item.scenario, name) for name in ("id", "point", "who", "kind", "after")},
                "times": item.times,
                "fired": asdict(item.fired) if item.fired else None,
                "recovered_s": item.recovered_s,
                "done": item.after,
                "trouble": item.trouble,
                "leads": [sent.lead_id for sent in item.sent],
            }
            for item in staged
        ],
        "broken": _broken(verdict),
        "doubts": verdict.doubts,
    }
    write_private(path, json.dumps(found, indent=1, ensure_ascii=False))


def write_docs(page: Path, found: dict[str, Any]) -> None:
    """Puts the table of a run, as `write` left it, between the marks of the page."""
    lines = [
        f"Seed {found['seed']}, {found['at']}, load of the machine in the last 15 minutes {found['load']:.1f}:",
        "",
        *(f"- {line}" for line in found["lines"]),
        "",
        "| where | who dies | of what | done after | faults | hits | worst recovery |",
        "|---|---|---|---|---:|---:|---:|",
        *(
            f"| {row['point']} | {row['who']} | {row['kinds']} | {row['afters']} | {row['faults']} | {row['hits']} "
            f"| {_seconds(row['worst_s'])} |"
            for row in found["rows"]
        ),
    ]
    before, _, rest = page.read_text(encoding="utf-8").partition(BEGIN)
    _, _, behind = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{behind}", encoding="utf-8")
