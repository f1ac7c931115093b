"""What can go wrong with the local stack, each with its mend."""

from __future__ import annotations

from pathlib import Path

from leadcast.core.errors import LeadcastError


class StackError(LeadcastError):
    """The stack could not be started, stopped or asked.

    mend: what to do about it, one line, may be empty.
    log: the log to look into.
    """

    def __init__(self, message: str, *, mend: str = "", log: Path | None = None) -> None:
        super().__init__(message)
        self.mend = mend
        self.log = log
