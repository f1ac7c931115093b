"""A host's name that is long, and made of marks on one letter, is no name before it is put in order."""

from __future__ import annotations

import unicodedata
from types import SimpleNamespace

import pytest

from leadcast.integrations.http import address


def test_marks_on_a_letter_are_counted_before_they_are_put_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    def normalize(form: str, text: str) -> str:
        seen.append(len(text))
        return text

    known = SimpleNamespace(normalize=normalize, category=unicodedata.category)
    monkeypatch.setattr(address, "unicodedata", known)
    with pytest.raises(address.UnfitUrlError, match="host name"):
        address.Target.parsed("https://a" + "\u0315\u0300" * 100_000)
    assert seen == []
