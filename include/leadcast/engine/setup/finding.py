"""One thing that `leadcast doctor` has looked at."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad it is. `fail`: leads will not go out."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True)
class Finding:
    """One thing looked at. `mend`: what to do about it; empty where it is well."""

    level: Level
    what: str
    mend: str = ""
