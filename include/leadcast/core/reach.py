"""How far an erasure reaches: to all that is kept of a lead, or to what one user has of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, kw_only=True)
class Reach:
    """Whose batches, runs and audit rows of a lead an erasure takes.

    only_of: the user whose batches, runs and rows of the audit log it takes, and no others; None: everybody's.
    over_all_at: where it is one user's: when everybody's of this lead was last to be erased; None: never.
    """

    only_of: str | None = None
    over_all_at: datetime | None = None

    def takes(self, user: str | None, made_at: datetime | None) -> bool:
        """Whether it takes what this user has made.

        Args:
            user: None: nobody knows who.
            made_at: when; None: nobody knows.
        """
        if self.only_of is None or user == self.only_of:
            return True
        return self.over_all_at is not None and made_at is not None and made_at < self.over_all_at


EVERYBODYS = Reach()

WasThere = Callable[[str, datetime], bool]
"""Whether a run was there when the erasure was asked for: of its id, and when it was made at the earliest."""


def all_were_there(run_id: str, made_at: datetime) -> bool:
    """While it is being asked for, all that are found were."""
    return True
