"""What several threads ask for at the same time is done at once: a transaction costs the same for one and for many."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from threading import Condition
from typing import Generic, TypeVar

from leadcast.core.errors import StoreError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


@dataclass(eq=False)
class _Waiting(Generic[Asked, Answer]):
    asked: Asked
    answers: list[Answer | BaseException] = field(default_factory=list)


class GroupCommit(Generic[Asked, Answer]):
    """Does work for many. Who comes while it is being done waits, and one of those who wait does it next, for all of
    them.

    Args:
        work: does it for all of these, in one transaction. Gives the answer of each, or what it is to raise.
        gathers_s: how long one waits before he does it, for others who may come.
    """

    def __init__(
        self, work: Callable[[Sequence[Asked]], Sequence[Answer | Exception]], *, gathers_s: float = 0.0
    ) -> None:
        self._work, self._gathers_s = work, gathers_s
        self._waiting: list[_Waiting[Asked, Answer]] = []
        self._is_at_work = False
        self._changed = Condition()

    def ask(self, asked: Asked) -> Answer:
        """The answer to this.

        Raises:
            StoreError: the work could not be done.
            Exception: what the work says of this one.
        """
        mine: _Waiting[Asked, Answer] = _Waiting(asked)
        with self._changed:
            self._waiting.append(mine)
            while self._is_at_work and not mine.answers:
                self._changed.wait()
            if not mine.answers:
                self._is_at_work = True
        if not mine.answers:
            if self._gathers_s:
                time.sleep(self._gathers_s)
            self._answer(self._gathered())
        (answer,) = mine.answers
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def _gathered(self) -> list[_Waiting[Asked, Answer]]:
        with self._changed:
            group, self._waiting = self._waiting, []
        return group

    def _answer(self, group: Sequence[_Waiting[Asked, Answer]]) -> None:
        answers: Sequence[Answer | BaseException] = ()
        try:
            answers = self._done([each.asked for each in group])
        except BaseException as error:
            answers = [error] * len(group)
        finally:
            with self._changed:
                for each, answer in zip(group, answers, strict=True):
                    each.answers.append(answer)
                self._is_at_work = False
                self._changed.notify_all()

    def _done(self, asked: Sequence[Asked]) -> Sequence[Answer | BaseException]:
        try:
            return self._work(asked)
        except Exception as error:
            if len(asked) == 1 or (isinstance(error, StoreError) and error.is_away):
                raise
        # one of them cannot be written: it keeps none of the others
        return [self._alone(each) for each in asked]

    def _alone(self, asked: Asked) -> Answer | BaseException:
        try:
            (answer,) = self._work([asked])
        except Exception as error:
            return error
        return answer
