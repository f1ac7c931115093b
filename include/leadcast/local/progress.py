"""Showing how far a start or a stop is: a spinner for each step on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console


class Progress:
    """Reports steps, one line each."""

    def __init__(self, console: Console) -> None:
        self.console = console

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Shows that this is being done, then that it is done and how long it took."""
        started = time.monotonic()
        try:
            with self.console.status(f"{what} …"):
                yield
        except BaseException:
            self.console.print(f"  [red]✗[/] {what}", highlight=False)
            raise
        self.console.print(f"  [green]✓[/] {what:<46}[dim]{time.monotonic() - started:5.1f} s[/]", highlight=False)

    def say(self, text: str) -> None:
        """One line that is no step."""
        self.console.print(text, highlight=False)
