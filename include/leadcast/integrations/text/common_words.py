"""Words that say nothing of anybody, whoever uses them: a lead may be made of them, and a service's words are."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from leadcast.core.secret_forms import WORD
from leadcast.integrations.text.wording import vocabulary

_LIST = Path(__file__).parents[2] / "templates" / "common_words.txt"


def is_common(word: str) -> bool:
    """Whether a word is one of those that services and we put our sentences into, in whatever case."""
    return word.casefold() in _common()


@cache
def _common() -> frozenset[str]:
    lines = _LIST.read_text(encoding="utf-8").splitlines()
    listed = (word for line in lines if not line.startswith("#") for word in WORD.findall(line))
    return vocabulary() | {word.casefold() for word in listed}
