"""The ways to reach a person: phone numbers and e-mail addresses in what people type, read alike by all integrations.

A form's field holds what somebody wrote: ten digits, an extension, two numbers, full-width digits, two addresses.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

import idna
from phonenumbers import (
    Leniency,
    PhoneNumberFormat,
    PhoneNumberMatcher,
    ValidationResult,
    format_number,
    is_possible_number_with_reason,
)

from leadcast.integrations.mail_server import mail_address

FEWEST_DIGITS = 7
"""Fewer are an extension, a short number, or one that other cities have, too."""
MAX_WAYS = 3
"""So many phones, and so many addresses, of one lead are looked at."""
_MOST_DIGITS = 20
_NATIONAL = 10
"""Digits of a number without its country, in Russia and most other countries with long numbers."""
_COUNTED = "01234567890123456789"
_LONGEST_TEXT = 256
_SEP = r"[ .()/\-–]"
_ABROAD = re.compile(rf"(?<!\d)(?<!\d{_SEP})(?<!\d{_SEP}{{2}})(?<!\d{_SEP}{{3}})00(?=[1-9])")
"""How most of the world dials out; what a country itself dials is known to the library. It begins a number: behind a
digit and what parts the groups of a number it is a part of that one, as in 8 999 123 0045."""
_BETWEEN = re.compile(r"[,;<>()\s]+")


def phones_in(text: str, *, region: str) -> list[str]:
    """The phone numbers in a text that can be somebody's, each once: digits, with the country, without an extension.

    `8 (999) 000-00-01 доб. 12` and `9990000001` are 79990000001 in Russia. What can be no number there is read as it
    stands: a customer may well have one that nobody knows.

    Args:
        region: where a number without its country is from, two letters (ISO 3166).
    """
    plain = _ABROAD.sub("+", _plain(text))
    numbers = list(_numbers_in(plain, region)) or list(_numbers_in(plain.replace("+", ""), region))
    if not numbers:
        digits = re.sub(r"[^0-9]", "", plain)
        numbers = [digits] if 0 < len(digits) <= _MOST_DIGITS and len(plain) <= 2 * _MOST_DIGITS else []
    return [number for number in dict.fromkeys(numbers) if _names_somebody(number)]


def each_phone(text: str, *, region: str) -> list[str]:
    """What to store for a phone field: each number on its own where there are several, else the text as it is."""
    numbers = phones_in(text, region=region)
    return [f"+{number}" for number in numbers] if len(numbers) > 1 else [text]


def is_same_phone(one: str, other: str) -> bool:
    """Whether two numbers of `phones_in` are one. One without its country is compared by its last ten digits."""
    if len(one) < FEWEST_DIGITS:
        return False
    if min(len(one), len(other)) == _NATIONAL:
        return one[-_NATIONAL:] == other[-_NATIONAL:]
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


def _names_somebody(number: str) -> bool:
    """Whether a number can be one person's: it is long enough, and neither one digit all over nor counted through
    (0000000000, +7 999 999-99-99, 1234567): what people type to get past a form."""
    own = number[-_NATIONAL:]
    return len(number) >= FEWEST_DIGITS and len(set(own)) > 1 and own not in _COUNTED


def _plain(text: str) -> str:
    """Full-width digits as common ones, and nothing that cannot be seen."""
    shown = unicodedata.normalize("NFKC", text[:_LONGEST_TEXT])
    return "".join(sign for sign in shown if unicodedata.category(sign) != "Cf")


def _numbers_in(text: str, region: str) -> Iterator[str]:
    for found in islice(PhoneNumberMatcher(text, region, leniency=Leniency.POSSIBLE, max_tries=20), MAX_WAYS):
        if is_possible_number_with_reason(found.number) == ValidationResult.IS_POSSIBLE:
            yield format_number(found.number, PhoneNumberFormat.E164).removeprefix("+")


def _addresses(text: str) -> Iterator[str]:
    for part in islice(filter(None, _BETWEEN.split(text[: 4 * _LONGEST_TEXT])), 2 * MAX_WAYS):
        try:
            address = mail_address(part.removeprefix("mailto:"))
        except ValueError:
            continue
        if "." in address.rpartition("@")[2]:
            yield address
