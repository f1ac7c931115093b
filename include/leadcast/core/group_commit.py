"""What several threads ask for at the same time is done at once: a transaction costs the same for one and for many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from threading import Condition
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(eq=False)
class _Waiting(Generic[Asked, Answer]):
    """One who waits. `is_left`: it could not be done together with the others, so he does it himself."""

    asked: Asked
    answers: list[Answer | Exception] = field(default_factory=list)
    is_left: bool = False

    @property
    def is_through(self) -> bool:
        return self.is_left or bool(self.answers)


class GroupCommit(Generic[Asked, Answer]):
    """Does work for many. Who comes while it is being done waits, and one of those who wait does it next, for all of
    them.

    What cannot be done together, each does alone, in his own thread: one who is in the way of something, or whom
    something is in the way of, holds up nobody else.

    Args:
        together: does it for all of these, in one transaction that waits for nobody. Gives the answer of each, or what
            it is to raise.
        alone: does it for one.
        gathers_s: how long one waits before he does it, for others who may come; 0: each does it alone.
    """

    def __init__(
        self,
        together: Callable[[Sequence[Asked]], Sequence[Answer | Exception]],
        alone: Callable[[Asked], Answer | Exception],
        *,
        gathers_s: float,
    ) -> None:
        self._together, self._alone, self._gathers_s = together, alone, gathers_s
        self._waiting: list[_Waiting[Asked, Answer]] = []
        self._is_at_work = False
        self._changed = Condition()

    def ask(self, asked: Asked) -> Answer:
        """The answer to this.

        Raises:
            Exception: what the work says of this one.
        """
        answer = self._asked(asked) if self._gathers_s else self._alone(asked)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def _asked(self, asked: Asked) -> Answer | Exception:
        mine: _Waiting[Asked, Answer] = _Waiting(asked)
        with self._changed:
            self._waiting.append(mine)
            while self._is_at_work and not mine.is_through:
                self._changed.wait()
            leads = not mine.is_through
            self._is_at_work = self._is_at_work or leads
        if leads:
            self._answer_all()
        return self._alone(asked) if mine.is_left else mine.answers[0]

    def _answer_all(self) -> None:
        time.sleep(self._gathers_s)
        with self._changed:
            group, self._waiting = self._waiting, []
        answers: Sequence[Answer | Exception] | None = None
        try:
            with suppress(Exception):
                answers = self._together([each.asked for each in group])
        finally:
            with self._changed:
                for place, each in enumerate(group):
                    if answers is None:
                        each.is_left = True
                    else:
                        each.answers.append(answers[place])
                self._is_at_work = False
                self._changed.notify_all()
