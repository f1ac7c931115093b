"""The ways to reach a person: phone numbers and e-mail addresses in what people type, read alike by all integrations.

A form's field holds what somebody wrote: ten digits, an extension, two numbers, full-width digits, two addresses.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

import idna

from leadcast.integrations.text.addresses import mail_address
from leadcast.integrations.text.phone_division import (
    FEWEST_DIGITS,
    NATIONAL_DIGITS,
    is_counted,
    is_one_digit,
    numbers_in,
)

MAX_WAYS = 3
"""So many phones, and so many addresses, of one lead are looked at."""
_MOST_DIGITS = 20
_LONGEST_TEXT = 1024
_ZEROS = re.compile(r"(?<![^\W\d_])[0-9OoОо]+(?![^\W\d_])")
"""Digits and the letter that looks like one, in no word."""
_BETWEEN = re.compile(r"[,;:<>()\[\]{}\"«»“”„\s]+")
_EITHER = re.compile(r"[/\\|]")
_AROUND = ".!?*`'‘’‚‹›"
"""What people put around an address or behind it. Within one, some of it is part of it."""


def phones_in(text: str, *, region: str) -> list[str]:
    """The phone numbers in a text that can be somebody's, each once: digits, with the country, without an extension.

    `8 (999) 000-00-01 доб. 12` and `9990000001` are 79990000001 in Russia. What can be no number there is read as it
    stands: a customer may well have one that nobody knows.

    Args:
        region: where a number without its country is from, two letters (ISO 3166).
    """
    plain = _digits_in_ascii(_plain(text[:_LONGEST_TEXT]))
    numbers = numbers_in(plain, region=region)
    if numbers:
        return list(dict.fromkeys(number.digits for number in numbers if not number.is_made_up))[:MAX_WAYS]
    digits = re.sub(r"[^0-9]", "", plain)
    is_one = FEWEST_DIGITS <= len(digits) <= _MOST_DIGITS and len(plain) <= 2 * _MOST_DIGITS
    return [digits] if is_one and not is_one_digit(digits[-NATIONAL_DIGITS:]) and not is_counted(digits) else []


def each_phone(text: str, *, region: str) -> list[str]:
    """What to store for a phone field: each number on its own where there are several, else the text as it is."""
    numbers = phones_in(text, region=region)
    return [f"+{number}" for number in numbers] if len(numbers) > 1 else [text]


def is_same_phone(one: str, other: str) -> bool:
    """Whether two numbers of `phones_in` are one. One without its country is compared by its last ten digits."""
    if len(one) < FEWEST_DIGITS:
        return False
    if min(len(one), len(other)) == NATIONAL_DIGITS:
        return one[-NATIONAL_DIGITS:] == other[-NATIONAL_DIGITS:]
    return one == other


def digits_of(text: str) -> str:
    """All digits of a text as 0-9, whatever stands between them."""
    return "".join(str(unicodedata.digit(sign)) for sign in text[:_LONGEST_TEXT] if sign.isdecimal())


def addresses_in(text: str) -> list[str]:
    """The e-mail addresses in a text, each once, their domains in ASCII; none where what stands there is none."""
    found: dict[str, str] = {}
    for address in islice(_addresses(text), MAX_WAYS):
        found.setdefault(address.casefold(), address)
    return list(found.values())


def number_forms(number: str) -> list[str]:
    """A number of `phones_in` in the forms in which a service may hold it."""
    is_russian = len(number) == 11 and number.startswith("7")
    return [f"+{number}", number, *([f"8{number[1:]}"] if is_russian else [])]


def address_forms(text: str) -> list[str]:
    """Each address in a text in the forms in which a service may hold it: the domain in its own letters or not."""
    forms = (form for address in addresses_in(text) for form in (address, address.lower(), _in_own_letters(address)))
    return list(dict.fromkeys(forms))


def _in_own_letters(address: str) -> str:
    local, _, domain = address.rpartition("@")
    try:
        return f"{local}@{idna.decode(domain)}"
    except idna.IDNAError:
        return address


def _plain(text: str) -> str:
    """Full-width signs as common ones, and nothing that cannot be seen."""
    return "".join(sign for sign in unicodedata.normalize("NFKC", text) if unicodedata.category(sign) != "Cf")


def _digits_in_ascii(text: str) -> str:
    digits = "".join(str(unicodedata.decimal(sign)) if sign.isdecimal() else sign for sign in text)
    return _ZEROS.sub(lambda found: re.sub("[OoОо]", "0", found[0]), digits)


def _addresses(text: str) -> Iterator[str]:
    written = (one for part in _BETWEEN.split(_plain(text[:_LONGEST_TEXT])) if part for one in _each(part))
    for one in islice(written, 2 * MAX_WAYS):
        try:
            address = mail_address(one.strip(_AROUND))
        except ValueError:
            continue
        if "." in address.rpartition("@")[2]:
            yield address


def _each(part: str) -> list[str]:
    """A slash may be part of an address, and part two."""
    return _EITHER.split(part) if part.count("@") > 1 else [part]
