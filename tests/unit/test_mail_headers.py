"""Headers of an e-mail: whatever is put in comes out, read as RFC 2047 says."""

from __future__ import annotations

from email.header import decode_header, make_header
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from leadcast.integrations.mail_headers import INTACT

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
