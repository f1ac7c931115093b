"""Where an error was raised, for a log that must not repeat what it was about."""

from __future__ import annotations


def raised_at(error: BaseException) -> str:
    """`file:line` of the innermost step: enough to mend it, and nothing of its text. Empty: it was never raised."""
    step = error.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    return f"{step.tb_frame.f_code.co_filename}:{step.tb_lineno}" if step else ""
