"""How the answers of services are read."""

from __future__ import annotations

import datetime as dt

import pytest

from leadcast.integrations.answer import Answer


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        ("1e12", 86400.0),
        ("-5", 0.0),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(value: str, seconds: float | None) -> None:
    answer = Answer(503, {"Retry-After": value}, b"")

    assert answer.retry_after_s(now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)) == seconds


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000])
def test_a_body_that_is_no_json_is_none(body: bytes) -> None:
    assert Answer(200, {}, body).json() is None
