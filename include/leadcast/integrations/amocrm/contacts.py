"""Finds a contact again by phone or e-mail, so that it is not doubled. amoCRM's search only proposes: it looks for
parts of words in any field, so what it answers is compared here (vendors.md 1.7)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from itertools import islice
from typing import Any

from leadcast.core.errors import CredentialsError, RejectedError
from leadcast.integrations.amocrm.client import AmoCrmClient
from leadcast.integrations.amocrm.search import embedded, goes_on, mappings
from leadcast.integrations.text.phone_division import FEWEST_DIGITS
from leadcast.integrations.text.ways import MAX_WAYS, addresses_in, digits_of, is_same_phone, phones_in

CONTACTS = "/api/v4/contacts"
PAGE = 250
MAX_PAGES = 2
_NATIONAL = 10
"""Digits of a number without its country: amoCRM's search finds parts, and a stored number may lack the country."""
Contact = dict[str, Any]


def find_contact(client: AmoCrmClient, contact: Mapping[str, Any], *, region: str) -> int | None:
    """The id of a contact that has one of this contact's phones, or else one of its e-mail addresses.

    A family or an office shares a phone: of several contacts, one with the same e-mail address goes first, then one
    with the same name, then the oldest.

    A search that amoCRM refuses finds nothing: a doubled contact is better than a lead that is not filed.

    Args:
        contact: as it would be created.
        region: where a phone number without its country is from.

    Raises:
        TransientError, RateLimited, CredentialsError: amoCRM could not be asked; nothing was sent.
    """
    phones = dict.fromkeys(number for text in values_of(contact, "PHONE") for number in phones_in(text, region=region))
    searches = [
        *((phone[-_NATIONAL:], partial(_has_phone, phone, region)) for phone in islice(phones, MAX_WAYS)),
        *((email, partial(_has_email, email)) for email in islice(_emails(contact), MAX_WAYS)),
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


def _has_phone(phone: str, region: str, contact: Mapping[str, Any]) -> bool:
    # a look is cheap and a reading is not, and there may be hundreds
    texts = (text for text in values_of(contact, "PHONE") if phone[-FEWEST_DIGITS:] in digits_of(text))
    return any(is_same_phone(phone, number) for text in texts for number in phones_in(text, region=region))


def _has_email(email: str, contact: Mapping[str, Any]) -> bool:
    return email in _emails(contact)


def _emails(contact: Mapping[str, Any]) -> dict[str, None]:
    """In the order in which they stand there."""
    texts = values_of(contact, "EMAIL")
    return dict.fromkeys(address.casefold() for text in texts for address in addresses_in(text))
