"""How much may be done to check one request: one measure, which all that is checked of it spends from.

Each check has a bound of its own; a request has room for very many of them. What is spent is counted from the request
alone, never from the time it takes or from what is remembered of others, so the same request is always judged alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from leadcast.core.errors import LeadcastError
from leadcast.core.request_errors import InvalidRequest

UNITS = 50_000
"""About half a second of a busy machine's time at most."""
PER_VALUE = 2
PER_EXPRESSION = 20
"""Besides one for each of its characters."""
TOO_MUCH = (
    "There is too much in this request to be checked: its fields, values and expressions together. "
    "Send fewer or shorter ones."
)


class SpentError(LeadcastError):
    """Nothing is left to spend. No ValueError, which pydantic would take for one field's and go on."""


class Budget:
    """What is left for one request.

    Args:
        units: what there is at the start.
    """

    def __init__(self, units: int = UNITS) -> None:
        self._units = units
        self._spent = 0

    @property
    def spent(self) -> int:
        """How much of the work that one request may cost was done so far."""
        return self._spent

    def spend(self, units: int) -> None:
        """Takes so many units for work that is about to be done.

        Raises:
            SpentError: there are not that many left.
        """
        self._spent += units
        if self._spent > self._units:
            raise SpentError(TOO_MUCH)


_current: ContextVar[Budget | None] = ContextVar("leadcast_budget", default=None)


@contextmanager
def measured(budget: Budget | None = None) -> Iterator[Budget]:
    """What is checked within spends from one budget; within another such block, from that block's.

    Args:
        budget: to spend from, in place of a new one.

    Raises:
        InvalidRequest: all of it is spent.
    """
    outer = _current.get()
    if outer is not None:
        yield outer
        return
    budget = budget or Budget()
    token = _current.set(budget)
    try:
        yield budget
    except SpentError as error:
        raise InvalidRequest(str(error)) from None
    finally:
        _current.reset(token)


def spend(units: int) -> None:
    """Takes so many from the budget of the request that is being checked. Where none is, as at filling in, nothing.

    Raises:
        SpentError: there are not that many left.
    """
    budget = _current.get()
    if budget is not None:
        budget.spend(units)


def spend_on_values(data: Any) -> None:
    """Takes what the values of an object or a list cost, and all that lie in them.

    Raises:
        SpentError: there is not that much left.
    """
    within = [data]
    while within:
        value = within.pop()
        if not isinstance(value, (str, int, float, type(None))) and isinstance(value, Mapping | list | tuple):
            # before they are looked at: that costs, too
            spend(PER_VALUE * len(value))
            within.extend(value.values() if isinstance(value, Mapping) else value)
