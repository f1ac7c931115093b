"""Things each of which is to be done whatever becomes of the others, and what went wrong in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import structlog

from leadcast.core.errors import LeadcastError
from leadcast.core.raised import raised_at

log = structlog.get_logger("leadcast.sweep")

SILENT_AFTER = 3
"""Questions in a row that Airflow does not answer: the next sweep asks again."""


class UnsweptError(LeadcastError):
    """Some of it could not be done; the rest was."""


@dataclass
class Trouble:
    """What went wrong in things each of which is to be done whatever becomes of the others."""

    found: list[str] = field(default_factory=list)

    @contextmanager
    def noted(self, what: str, **ids: Any) -> Iterator[None]:
        """Logs an error in there, and goes on after it."""
        try:
            yield
        except Exception as error:
            # the text of an unforeseen error may hold anything
            why = str(error) if isinstance(error, LeadcastError) else ""
            log.error("not swept", step=what, error=type(error).__name__, reason=why, where=raised_at(error), **ids)
            self.found.append(what)
