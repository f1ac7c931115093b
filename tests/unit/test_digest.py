"""core/digest.py: the names that it makes are stored, so they are the same in every version."""

from __future__ import annotations

from leadcast.core.digest import digest
from leadcast.integrations.http.oauth import account_name


def test_a_name_is_the_hash_of_its_parts_a_line_each() -> None:
    assert digest("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert digest("bitrix24", "https://example.bitrix24.ru") == digest("bitrix24\nhttps://example.bitrix24.ru")
    assert digest("имя") == "63565d7f1dcb5d15e258ae47924a1b6a0c2cadb5ee861bb6aef19dfddcf00da5"


def test_a_shorter_one_is_its_beginning() -> None:
    assert digest("a", "b", chars=16) == digest("a", "b")[:16]
    assert account_name("a", "b") == digest("a", "b")[:40]
