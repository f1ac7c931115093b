"""What can go wrong with the local stack, each with its mend."""

from __future__ import annotations

from pathlib import Path

from leadcast.core.errors import LeadcastError

_TAIL_LINES = 25
_TAIL_BYTES = 20_000


class StackError(LeadcastError):
    """The stack could not be started, stopped or asked.

    mend: what to do about it, one line, may be empty.
    log: the log to look into. Its last lines are read now, before stopping the stack adds others.
    """

    def __init__(self, message: str, *, mend: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.mend = mend
        self.log = log
        self.log_tail = _tail(log) if log else []


def _tail(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _TAIL_BYTES))
            return file.read().decode(errors="replace").splitlines()[-_TAIL_LINES:]
    except OSError:
        return []
