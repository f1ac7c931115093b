"""Showing how far a start or a stop is: one line that changes for each step on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.markup import escape

_SAID_EVERY_S = 30.0
"""Where lines stay: a step that takes long says what it waits for so often."""


class Step:
    """One step that is being done.

    change: shows other words in its line. Where there is none, a plain line is printed now and then.
    """

    def __init__(
        self, what: str, console: Console, change: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._what = what
        self._console = console
        self._change = change
        self._clock = clock
        self._began_at = self._said_at = clock()

    def waits(self, words: str) -> None:
        """Shows what it waits for."""
        now = self._clock()
        text = f"{self._what} … {now - self._began_at:.0f} s, waits {words}"
        if self._console.is_terminal:
            self._change(escape(text))
        elif now - self._said_at >= _SAID_EVERY_S:
            self._said_at = now
            self._console.print(f"    {escape(text)}", highlight=False, soft_wrap=True)


class Progress:
    """Reports steps, one line each."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, what: str) -> Iterator[Step]:
        """Shows that this is being done, then that it is done and how long it took."""
        started = time.monotonic()
        try:
            with self.console.status(f"{what} …") as status:
                yield Step(what, self.console, status.update)
        except BaseException:
            self.console.print(f"  [red]✗[/] {what}", highlight=False)
            raise
        self.console.print(f"  [green]✓[/] {what:<46}[dim]{time.monotonic() - started:5.1f} s[/]", highlight=False)

    def say(self, text: str) -> None:
        """One line that is no step."""
        self.console.print(text, highlight=False)
