"""How a body becomes JSON: in which encodings, and what stands in a parser's way and in nobody else's."""

from __future__ import annotations

import json
from typing import Any

import pytest

from leadcast.core.json_body import MAX_BODY_BYTES, parse_body
from leadcast.core.request_errors import BodyTooLarge, InvalidRequest
from leadcast.flow.request import fingerprint, lead_of, validate

MINIMAL: dict[str, Any] = {"lead_id": 1, "integrations": [{"type": "telegram"}]}
NO_CHARACTER = "held what is no character: U+FFFD stands for it"
TWICE = "stood there more than once: the last one was kept"


def body_with(lead: bytes) -> bytes:
    return b'{"lead_id": 1, "integrations": [{"type": "telegram"}], "lead": ' + lead + b"}"


def lead_in(body: bytes, *, charset: str = "") -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """What of a lead has come in with a body, and the notes."""
    request = validate(parse_body(body, charset=charset))
    assert request.lead is not None
    notes = [(".".join(map(str, note.loc)), note.msg) for note in request.notes]
    return {name: value for name, value in request.lead.model_dump().items() if value}, notes


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1,]", b'{"a": NaN}', b"\xff\xfe", b"\xef\xbb\xbf", b"nul", b"[" * 100_000, b"9" * 5000, b'"\xff"'],
)
def test_what_is_not_json_or_no_request_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        validate(parse_body(body))


def test_the_encoding_that_a_body_is_not_in_is_named() -> None:
    with pytest.raises(InvalidRequest, match="not UTF-16"):
        parse_body(json.dumps(MINIMAL).encode("utf-16") + b"x")


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le"])
def test_a_byte_order_mark_before_the_body_is_skipped(encoding: str) -> None:
    body = json.dumps({**MINIMAL, "lead": {"name": "Анна"}}, ensure_ascii=False).encode(encoding)
    request = validate(parse_body(body))
    assert request.lead is not None
    assert (request.lead.name, request.notes) == ("Анна", ())


def test_a_key_that_stands_twice_is_refused_by_name() -> None:
    with pytest.raises(InvalidRequest, match="'lead_id' stands twice"):
        parse_body(b'{"lead_id": 1, "integrations": [], "lead_id": 2}')


def test_a_body_over_1_mib_is_refused() -> None:
    with pytest.raises(BodyTooLarge, match=str(MAX_BODY_BYTES)):
        parse_body(b" " * (MAX_BODY_BYTES + 1))


WHOLE = "Анна 🦊".encode()


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        (WHOLE[:1], "\ufffd"),
        (WHOLE[:7], "Анн\ufffd"),
        (WHOLE[:-1], "Анна \ufffd\ufffd\ufffd"),
        (b"\xff" + WHOLE, "\ufffdАнна 🦊"),
        ("José".encode("latin-1"), "Jos\ufffd"),
        ("Анна".encode("cp1251"), "\ufffd" * 4),
    ],
)
def test_a_byte_that_is_no_character_costs_no_lead(name: bytes, kept: str) -> None:
    body = body_with(b'{"name": "' + name + b'", "phone": "+7999"}')
    assert lead_in(body) == ({"name": kept, "phone": "+7999"}, [("lead.name", NO_CHARACTER)])
    assert fingerprint(parse_body(body)) == fingerprint(parse_body(body))


def test_such_a_byte_is_refused_where_it_tells_what_to_do() -> None:
    body = b'{"lead_id": 1, "integrations": [{"type": "telegram", "settings": {"template": "a\xff"}}]}'
    with pytest.raises(InvalidRequest, match="no character") as caught:
        validate(parse_body(body))
    assert caught.value.errors[0].loc == ("integrations", 0, "settings", "template")


def test_halves_of_an_emoji_that_are_written_one_by_one_are_joined() -> None:
    assert lead_in(body_with(b'{"name": "A\xed\xa0\xbd\xed\xb8\x80"}')) == ({"name": "A😀"}, [])


@pytest.mark.parametrize(
    ("charset", "encoding"),
    [
        ("windows-1251", "cp1251"),
        ("Windows-1251", "cp1251"),
        ("CP1251", "cp1251"),
        ("koi8-r", "koi8-r"),
        ("KOI8-U", "koi8-u"),
        ("cp866", "cp866"),
        ("ISO-8859-5", "iso-8859-5"),
        ("gb18030", "gb18030"),
    ],
)
def test_a_body_is_in_the_charset_that_it_is_said_to_be_in(charset: str, encoding: str) -> None:
    body = json.dumps({**MINIMAL, "lead": {"name": "Анна"}}, ensure_ascii=False).encode(encoding)
    assert lead_in(body, charset=charset) == ({"name": "Анна"}, [])


@pytest.mark.parametrize("charset", ["", "utf-8", "windows-1251", "iso-8859-1", "utf-16", "cp037", "none", "\x00"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
def test_what_is_utf_is_no_other_charset_whatever_is_said(charset: str, encoding: str) -> None:
    body = json.dumps({**MINIMAL, "lead": {"name": "Анна"}}, ensure_ascii=False).encode(encoding)
    assert lead_in(body, charset=charset) == ({"name": "Анна"}, [])


@pytest.mark.parametrize(
    "charset",
    [
        "utf-7", "unicode_escape", "raw-unicode-escape", "idna", "punycode", "hz", "cp037", "utf-16", "utf-32",
        "undefined", "base64", "rot13", "zlib", "mbcs", "no-such", "os", "x" * 40, "\u0444",
    ],
)  # fmt: skip
def test_a_charset_that_json_cannot_be_in_is_not_asked(charset: str) -> None:
    assert lead_in(body_with(b'{"name": "+AH-\xff"}'), charset=charset)[0] == {"name": "+AH-\ufffd"}


def test_a_byte_that_the_charset_does_not_have_costs_no_lead() -> None:
    read = lead_in(body_with(b'{"name": "\xc0\x98"}'), charset="windows-1251")
    assert read == ({"name": "А\ufffd"}, [("lead.name", NO_CHARACTER)])
    assert lead_in(body_with(b'{"name": "\x81"}'), charset="shift_jis")[0] == {"name": "\ufffd"}


@pytest.mark.parametrize("before", ["", " ", "\ufeff", "\ufeff\ufeff", "\xa0", "\n\ufeff\n"])
@pytest.mark.parametrize("after", ["", "\r\n", "\x00", "\x00\x00", "\x1a", "\xa0", "\ufeff", " \x00\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_what_stands_around_a_body_is_no_part_of_it(before: str, after: str, encoding: str) -> None:
    body = f"{before}{json.dumps(MINIMAL)}{after}".encode(encoding)
    assert parse_body(body) == MINIMAL


@pytest.mark.parametrize("after", [b";", b"{}", b"x", b"\xff"])
def test_what_else_stands_behind_a_body_is_refused(after: bytes) -> None:
    with pytest.raises(InvalidRequest, match="Extra data"):
        parse_body(json.dumps(MINIMAL).encode() + after)


def test_a_line_may_end_within_a_text() -> None:
    read, notes = lead_in(body_with(b'{"name": "Ann\nSmith", "comment": "a\r\nb\tc", "source": "x\x01\x00y"}'))
    assert read == {"name": "Ann Smith", "comment": "a\nb\tc", "source": "xy"}
    assert notes == [("lead.source", "held control characters: they were taken out")]


@pytest.mark.parametrize(
    ("lead", "kept", "noted"),
    [
        (b'{"name": "A", "name": "B"}', {"name": "B"}, ["lead.name"]),
        (b'{"custom": {"a": 1, "a": 2, "b": 3, "b": 3, "b": 4}}', {"custom": {"a": 2, "b": 4}},
         ["lead.custom.a", "lead.custom.b"]),
        (b'{"utm": {"x": "1", "x": "2"}, "utm": {"y": "3"}}', {"utm": {"y": "3"}}, ["lead.utm"]),
        (b'{"custom": {"a": [{"b": 1, "b": 2}]}}', {"custom": {"a": '[{"b": 2}]'}}, ["lead.custom.a.0.b"]),
    ],
)  # fmt: skip
def test_of_a_name_that_stands_twice_in_a_lead_the_last_one_is_kept(
    lead: bytes, kept: dict[str, Any], noted: list[str]
) -> None:
    read, notes = lead_in(body_with(lead))
    assert read == kept
    assert [where for where, msg in notes if msg == TWICE] == noted
    alone = lead_of(parse_body(lead, lead_at=()))
    assert [".".join(map(str, note.loc)) for note in alone.notes if note.msg == TWICE] == [
        where.removeprefix("lead.") for where in noted
    ]


def test_the_request_is_the_same_with_or_without_a_name_that_stood_twice() -> None:
    once, twice = (parse_body(body_with(lead)) for lead in (b'{"name": "B"}', b'{"name": "A", "name": "B"}'))
    assert fingerprint(once) == fingerprint(twice)


@pytest.mark.parametrize(
    ("body", "way"),
    [
        (b'{"lead_id": 1, "integrations": [], "lead_id": 2}', ("lead_id",)),
        (b'{"lead": {}, "lead": {"a": 1, "a": 2}}', ("lead",)),
        (b'{"integrations": [{"type": "a", "settings": {"b": 1, "b": 2}}]}', ("integrations", 0, "settings", "b")),
        (b'{"credentials": {"lead": {"a": 1, "a": 2}}}', ("credentials", "lead", "a")),
    ],
)
def test_a_name_that_stands_twice_elsewhere_is_refused_with_its_place(body: bytes, way: tuple[str | int, ...]) -> None:
    with pytest.raises(InvalidRequest, match=f"'{way[-1]}' stands twice") as caught:
        parse_body(body)
    assert caught.value.errors[0].loc == way
