"""What is said of an attempt, without what nobody may read in it."""

from __future__ import annotations

from collections.abc import Iterable

from leadcast.core.redact import one_line, scrub
from leadcast.integrations.text.wording import Wording


def fit_to_show(text: str, *, secrets: Iterable[str]) -> str:
    """`text` on one line, cut, and with `***` for every secret that came into it from outside.

    What stands fast in our own sentences stays: nothing of anybody is in there, and a gap in it would rather tell
    which word a password is.
    """
    return one_line(scrub(text, secrets=secrets, ours=Wording.english().fixed_in(text)))
