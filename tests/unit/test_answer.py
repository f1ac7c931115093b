"""How the answers of services are read."""

from __future__ import annotations

import datetime as dt
import json

import pytest

from leadcast.core.redact import one_line
from leadcast.integrations.http.answer import Answer


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("3", 3.0),
        ("0.5", 0.5),
        ("Thu, 01 Jan 2026 00:00:30 GMT", 30.0),
        ("Wed, 31 Dec 2025 23:59:00 GMT", 0.0),
        ("1e12", 86400.0),
        ("-5", 0.0),
        ("Fri, 31 Dec 9999 23:59:59 -0100", 86400.0),
        ("Fri, 31 Dec 9999 23:59:59 -2359", 86400.0),
        ("Mon, 01 Jan 0001 00:00:00 +0100", 0.0),
        ("Thu, 01 Jan 2026 00:00:30 -0000", 30.0),
        ("Thu, 01 Jan 2026 00:00:30", 30.0),
        ("Fri, 31 Dec 9999 23:59:59 +9999", None),
        ("Fri, 31 Dec 9999 23:59:59 -999999999999999999", None),
        ("Fri, 31 Dec 99999999999999999999 23:59:59 GMT", None),
        ("9" * 5000, 86400.0),
        ("1e999", None),
        ("\ud800", None),
        ("nan", None),
        ("soon", None),
        ("", None),
    ],
)
def test_retry_after_is_a_number_of_seconds_or_a_date(value: str, seconds: float | None) -> None:
    answer = Answer(503, {"Retry-After": value}, b"")

    assert answer.retry_after_s(now=dt.datetime(2026, 1, 1, tzinfo=dt.UTC)) == seconds


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"id": 7, "huge": ' + b"9" * 5000 + b"}", {"id": 7, "huge": None}),
        (b'{"id": 7, "huge": -' + b"9" * 5000 + b"}", {"id": 7, "huge": None}),
        (b'\xef\xbb\xbf{"id": 7}', {"id": 7}),
        (b'\xef\xbb\xbf{"id": 7, "name": "\xff"}', {"id": 7, "name": "\ufffd"}),
    ],
    ids=["many digits", "many digits below zero", "a byte order mark", "such a mark, and a byte that is no UTF-8"],
)
def test_one_odd_thing_in_it_does_not_take_the_rest_of_an_answer_away(body: bytes, said: object) -> None:
    assert Answer(200, {}, body).json() == said


def test_the_words_of_a_service_are_such_as_all_can_hold() -> None:
    body = b'{"a\\ud800": ["\\ud800", "\\u0000\\u0007x", "a\\u202eb\\u2066c", "\xed\xa0\x80"], "text": "a\\tb\\r\\nc"}'

    assert Answer(400, {}, body).json() == {"a\ufffd": ["\ufffd", "\ufffdx", "abc", "\ufffd"], "text": "a\tb\r\nc"}
    assert Answer(400, {}, "до\u202eсвязи\x00".encode()).text == "досвязи\ufffd"


def test_the_numbers_of_a_service_are_such_as_all_can_hold() -> None:
    body = b"[1, -9223372036854775807, 9223372036854775808, 1e999, -1e999, NaN, Infinity, 1.5, true, null]"

    assert Answer(200, {}, body).json() == [1, -9223372036854775807, None, None, None, None, None, 1.5, True, None]


@pytest.mark.parametrize(
    "title", ["Отдел продаж — «Юг»", "👩\u200d👩\u200d👧 семья 🏴\U000e0067\U000e0062", "日本語 עברית", "a\u00a0b"]
)
def test_ordinary_words_stay_as_they_are(title: str) -> None:
    assert Answer(200, {}, json.dumps({"title": title}).encode()).json() == {"title": title}
    assert Answer(200, {}, title.encode()).text == title
    assert one_line(title) == title


def test_words_that_were_cut_within_a_character_are_read() -> None:
    assert Answer(400, {}, b'{"error": "no \xd0"}').json() == {"error": "no \ufffd"}


@pytest.mark.parametrize("body", [b"", b"<html>", b"\xff\xfe", b"[" * 100_000, b"1" * 10_000])
def test_a_body_that_is_no_json_is_none(body: bytes) -> None:
    assert Answer(200, {}, body).json() is None
