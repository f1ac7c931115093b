"""Whatever an integration hands over, errors and the ledger's JSON can hold it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import SecretStr

from leadcast.core.errors import DeliveryError, Postponed, RateLimited, TransientError
from leadcast.core.plain import as_json
from leadcast.core.redact import one_line

NAN, INFINITE = float("nan"), float("inf")


@pytest.mark.parametrize(
    ("value", "kept"),
    [
        ({"a": "\ud800", "b\x00": ["\udfff\x00"]}, {"a": "\ufffd", "b\ufffd": ["\ufffd\ufffd"]}),
        ([NAN, INFINITE, -INFINITE, 1.5], [None, None, None, 1.5]),
        ({"at": datetime(2026, 1, 1, tzinfo=UTC), "ids": {1}}, {"at": "<datetime>", "ids": "<set>"}),
        ({"secret": SecretStr("s3cret")}, {"secret": "<SecretStr>"}),
        ({1: "one", None: (1, 2)}, {"1": "one", "None": [1, 2]}),
        ({"phone": 79990000001 * 10**20, "name": "Анна \u202e👩\u200d👧\r\n"},) * 2,
    ],
)
def test_the_ledger_can_hold_whatever_it_is_given_and_changes_no_word(value: Any, kept: Any) -> None:
    assert json.loads(as_json(value)) == kept


def test_what_goes_down_without_end_is_nothing() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert as_json(deep) == "null"


def test_an_error_can_be_written_down_whatever_the_service_said() -> None:
    error = DeliveryError("no \ud800\x00\u202egnp.exe", code="4\ud80000", detail="\x00" * 600)
    assert (error.message, error.code, error.detail) == ("no \ufffd\ufffdgnp.exe", "4\ufffd00", "\ufffd" * 600)
    assert str(error) == error.message


def test_an_error_carries_no_huge_answer_with_it() -> None:
    huge = "x" * 5_000_000
    for error in (DeliveryError(huge, code=huge, detail=huge), RateLimited(huge, retry_after_s=1, code=huge)):
        assert (len(error.message), len(str(error)), len(error.code)) == (10_000, 10_000, 128)
        assert len(error.detail) <= 10_000


@pytest.mark.parametrize(
    ("asked", "taken"), [(NAN, None), (INFINITE, 30 * 86400.0), (-5.0, 0.0), (7.5, 7.5), (None, None)]
)
def test_a_pause_is_a_number_of_seconds_that_ends(asked: float | None, taken: float | None) -> None:
    assert TransientError("later", retry_after_s=asked).retry_after_s == taken
    if asked is not None:
        assert RateLimited("later", retry_after_s=asked).retry_after_s == taken
        assert Postponed("later", wait_s=asked).wait_s == (taken or 0.0)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a\u202ebc\u2066d\u200f", "abcd"),
        ("a\r\nb\x00c\u2028d", "a b c d"),
        ("\ud83d half an emoji", "\ufffd half an emoji"),
        ("👨\u200d👩\u200d👧 ok", "👨\u200d👩\u200d👧 ok"),
    ],
)
def test_one_line_is_one_line_and_reads_in_one_direction(text: str, shown: str) -> None:
    assert one_line(text) == shown
