"""Finds a contact again by phone or e-mail, so that it is not doubled. amoCRM's search only proposes: it looks for
parts of words in any field, so what it answers is compared here (vendors.md 1.7)."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from functools import partial
from typing import Any

from leadcast.core.errors import CredentialsError, RejectedError
from leadcast.integrations.amocrm_client import AmoCrmClient
from leadcast.integrations.amocrm_search import embedded, goes_on, mappings
from leadcast.integrations.phones import FEWEST_DIGITS, names_somebody

CONTACTS = "/api/v4/contacts"
PAGE = 250
MAX_PAGES = 2
MAX_WAYS = 3
"""So many phones, and so many addresses, of one lead are looked for."""
_LONGEST_EMAIL = 254
_LONGEST_TEXT = 256
_NATIONAL = 10
"""Digits of a number without its country, in Russia and most other countries with long numbers."""
Contact = dict[str, Any]
_RUN = re.compile(r"\+?[0-9](?:[\s().\-\u2010-\u2015\u00a0]*[0-9]){4,}")


def find_contact(client: AmoCrmClient, contact: Mapping[str, Any]) -> int | None:
    """The id of a contact that has one of this contact's phones, or else one of its e-mail addresses.

    A family or an office shares a phone: of several contacts, one with the same e-mail address goes first, then one
    with the same name, then the oldest.

    A search that amoCRM refuses finds nothing: a doubled contact is better than a lead that is not filed.

    Args:
        contact: as it would be created.

    Raises:
        TransientError, RateLimited, CredentialsError: amoCRM could not be asked; nothing was sent.
    """
    phones = [number for text in values_of(contact, "PHONE") for number in phones_in(text) if names_somebody(number)]
    emails = _emails(contact)
    searches = [
        *((phone[-_NATIONAL:], partial(_has_phone, phone)) for phone in _first(phones)),
        *((email, partial(_has_email, email)) for email in _first(emails)),
    ]
    for query, is_same in searches:
        found = _those_who(is_same, client, query)
        if found:
            return int(min(found, key=lambda other: _distance(contact, other))["id"])
    return None


def _distance(contact: Mapping[str, Any], other: Mapping[str, Any]) -> tuple[bool, bool, int]:
    return not _emails(contact).keys() & _emails(other).keys(), _name(contact) != _name(other), other["id"]


def _name(contact: Mapping[str, Any]) -> set[str]:
    """Its words, in whatever order they stand."""
    parts = [contact.get("name") or "", contact.get("first_name") or "", contact.get("last_name") or ""]
    return set(" ".join(map(str, parts)).casefold().split())


def phones_in(text: str) -> list[str]:
    """The phone numbers in a text, as digits with the country where it is known: `8 (999) 000-00-01` is 79990000001."""
    numbers = []
    for run in _RUN.findall(text[:_LONGEST_TEXT]):
        digits = re.sub(r"[^0-9]", "", run)
        if run.startswith("+"):
            numbers.append(digits)
        elif digits.startswith("00"):
            numbers.append(digits[2:])
        elif len(digits) == _NATIONAL + 1 and digits.startswith("8"):
            numbers.append(f"7{digits[1:]}")
        else:
            numbers.append(digits)
    return numbers


def is_same_phone(one: str, other: str) -> bool:
    """Whether two numbers of `phones_in` are one. One without its country is compared by its last ten digits."""
    if len(one) < FEWEST_DIGITS:
        return False
    if min(len(one), len(other)) == _NATIONAL:
        return one[-_NATIONAL:] == other[-_NATIONAL:]
    return one == other


def values_of(contact: Mapping[str, Any], code: str) -> list[str]:
    """The texts in a contact's phone or e-mail field."""
    return [
        value["value"]
        for entry in mappings(contact.get("custom_fields_values"))
        if entry.get("field_code") == code
        for value in mappings(entry.get("values"))
        if isinstance(value.get("value"), str)
    ]


def _those_who(is_same: Callable[[Mapping[str, Any]], bool], client: AmoCrmClient, query: str) -> list[Contact]:
    same: list[Contact] = []
    for page in range(1, MAX_PAGES + 1):
        try:
            answer = client.read(CONTACTS, {"query": query, "limit": PAGE, "page": page})
        except CredentialsError:
            raise
        except RejectedError:
            break
        contacts = embedded(answer, "contacts")
        same += [contact for contact in contacts if _is_usable(contact) and is_same(contact)]
        if not goes_on(answer, contacts, limit=PAGE):
            break
    return same


def _is_usable(contact: Mapping[str, Any]) -> bool:
    """Not one of an incoming lead that nobody has accepted: it goes when that is declined."""
    is_passing = contact.get("is_deleted") is True or contact.get("is_unsorted") is True
    return type(contact.get("id")) is int and not is_passing


def _has_phone(phone: str, contact: Mapping[str, Any]) -> bool:
    known = (number for text in values_of(contact, "PHONE") for number in phones_in(text))
    return any(is_same_phone(phone, number) for number in known)


def _has_email(email: str, contact: Mapping[str, Any]) -> bool:
    return email in _emails(contact)


def _emails(contact: Mapping[str, Any]) -> dict[str, None]:
    """In the order in which they stand there."""
    return dict.fromkeys(email for text in values_of(contact, "EMAIL") if (email := _email(text)))


def _email(text: str) -> str:
    email = text.strip().casefold()
    return email if "@" in email and len(email) <= _LONGEST_EMAIL else ""


def _first(ways: Collection[str]) -> list[str]:
    return list(dict.fromkeys(ways))[:MAX_WAYS]
