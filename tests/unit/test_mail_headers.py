"""Headers of an e-mail: whatever is put in comes out, read as RFC 2047 says."""

from __future__ import annotations

from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP
from email.utils import getaddresses

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leadcast.integrations.email.headers import INTACT

WORDS = st.lists(
    st.sampled_from(["Заявка", "очень", "длинная", "abc", "«x»", "🚀", "O'Brien", "7781:", "тема,", "(y)", "<z>"]),
    min_size=1,
    max_size=30,
).map(" ".join)
LONG = " ".join(["очень длинная тема"] * 8)
FIELDS = ("Subject", "From", "Reply-To", "To")


def sent(name: str, value: object) -> tuple[str, list[str]]:
    """A header as it goes over the wire: its value unfolded, and its lines."""
    message = EmailMessage(policy=INTACT)
    message[name] = value
    head = message.as_bytes(policy=SMTP).decode("ascii").removesuffix("\r\n\r\n")
    return head.replace("\r\n", "").partition(": ")[2], head.split("\r\n")


@given(text=WORDS)
@example(text=LONG)
def test_a_subject_keeps_every_space(text: str) -> None:
    value, lines = sent("Subject", text)
    assert str(make_header(decode_header(value))) == text
    assert all(len(line) <= 78 for line in lines)


@given(name=WORDS.filter(lambda text: not text.isascii()))
@example(name=LONG)
def test_a_name_keeps_every_space_beside_its_address(name: str) -> None:
    value, lines = sent("Reply-To", Address(display_name=name, addr_spec="anna@example.com"))
    shown, _, address = value.rpartition(" ")
    assert str(make_header(decode_header(shown))) == name
    assert address == "<anna@example.com>"
    assert all(len(line) <= 78 for line in lines)


@pytest.mark.parametrize("name", FIELDS[1:])
def test_an_ascii_name_is_quoted_as_ever(name: str) -> None:
    value, _ = sent(name, Address(display_name='O"Brien, <x>', addr_spec="a@example.com"))
    assert value == '"O\\"Brien, <x>" <a@example.com>'


COMMAS = "a@b.example, John: <c@d.example>; the long name of a stranger (who chose it)"
ENCODED = "=?utf-8?B?0JDQvdC90LA=?="


@pytest.mark.parametrize("name", FIELDS[1:])
@pytest.mark.parametrize(
    "shown", [COMMAS, COMMAS * 2, "x, " * 20 + "y", '"quoted", and \\ more' * 4, ENCODED, f"{ENCODED}, x"]
)
def test_a_name_in_ascii_is_one_persons_however_long_and_whatever_it_looks_like(name: str, shown: str) -> None:
    value, lines = sent(name, Address(display_name=shown, addr_spec="anna@example.com"))
    [person] = getaddresses([value])
    assert person[1] == "anna@example.com"
    assert str(make_header(decode_header(person[0]))) == shown
    assert all(len(line) <= 78 for line in lines)


def test_many_people_with_long_names_stay_as_many() -> None:
    people = [Address(COMMAS, addr_spec="a@example.com"), Address(ENCODED, addr_spec="b@example.com")]
    value, _ = sent("To", people)
    assert [address for _, address in getaddresses([value])] == ["a@example.com", "b@example.com"]


@given(text=st.text(st.characters(min_codepoint=32, max_codepoint=126)).map(str.strip))
@example(text=ENCODED)
@example(text=f"Re: {ENCODED} {ENCODED}")
@example(text="=?utf-8?q?=0D=0ABcc:_x?=")
@example(text="long words in plain ASCII, " * 9)
def test_a_subject_in_ascii_comes_out_as_typed(text: str) -> None:
    value, lines = sent("Subject", text)
    assert str(make_header(decode_header(value))) == text
    assert all(len(line) <= 78 for line in lines)


@pytest.mark.parametrize("text", [ENCODED, f"Re: {ENCODED}", "=?nope", "?="])
def test_a_subject_can_be_read_as_it_was_set(text: str) -> None:
    message = EmailMessage(policy=INTACT)
    message["Subject"] = text
    assert message["Subject"] == text


def test_many_people_stand_in_one_header() -> None:
    people = [Address("Анна Пример", addr_spec="a@example.com"), Address(addr_spec="b@example.com")]
    value, _ = sent("To", people)
    first, second = value.split(", ")
    assert str(make_header(decode_header(first))) == "Анна Пример <a@example.com>"
    assert second == "b@example.com"


@pytest.mark.parametrize("name", FIELDS)
def test_no_header_takes_a_second_line(name: str) -> None:
    with pytest.raises(ValueError, match=r"linefeed|carriage return"):
        sent(name, "Заявка\r\nBcc: x@example.com")
