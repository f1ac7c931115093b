"""The one table, and the same as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bench.machine import Machine


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table.

    met: whether the target is met; None where there is none.
    """

    what: str
    ours: str
    plain: str = ""
    ratio: float | None = None
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True, kw_only=True)
class Section:
    """Rows that belong together."""

    title: str
    rows: tuple[Row, ...]


def p95(values: Sequence[float]) -> float:
    """The value that 95 % of them do not exceed (nearest rank)."""
    return sorted(values)[math.ceil(0.95 * len(values)) - 1]


def spread(values: Sequence[float], *, unit: str = "s") -> str:
    """Median, and between what and what they lie, for people."""
    scale, digits = (1000, 0) if unit == "ms" else (1, 2)
    low, middle, high = (scale * value for value in (min(values), median(values), max(values)))
    return f"{middle:.{digits}f} {unit} ({low:.{digits}f}-{high:.{digits}f})"


def missed(sections: Sequence[Section]) -> list[Row]:
    """The rows whose target is not met."""
    return [row for section in sections for row in section.rows if row.met is False]


def show(sections: Sequence[Section], *, machine: Machine, console: Console) -> None:
    """Prints the table."""
    table = Table(title="Leadcast, measured", title_justify="left", caption="\n".join(machine.lines()))
    table.caption_justify = "left"
    table.add_column("", min_width=46)
    for heading in ("Leadcast", "plain Airflow", "ratio", "target", ""):
        table.add_column(heading, justify="right" if heading in ("Leadcast", "plain Airflow", "ratio") else "left")
    for section in sections:
        table.add_section()
        table.add_row(f"[bold]{escape(section.title)}[/]")
        for row in section.rows:
            table.add_row(escape(row.what), row.ours, row.plain, _number(row.ratio), row.target, _verdict(row.met))
    console.print(table)
    if machine.is_busy:
        console.print(f"[yellow]The machine was busy (load {machine.load:.2f}): times are worse than they need be.[/]")


def save(
    sections: Sequence[Section], *, machine: Machine, samples: dict[str, Sequence[float]], settings: object, path: Path
) -> None:
    """Writes the table with every single sample."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": machine.as_json(),
        "settings": settings,
        "sections": [asdict(section) for section in sections],
        "samples": {name: list(values) for name, values in samples.items()},
    }
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n")


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _verdict(met: bool | None) -> str:
    return {True: "[green]✓[/]", False: "[red]✗ missed[/]", None: ""}[met]
