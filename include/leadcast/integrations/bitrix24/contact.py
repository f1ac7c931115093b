"""The contact that a lead comes from: one that the portal knows already by phone or e-mail (vendors.md 2.7)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from leadcast.core.errors import CredentialsError, RejectedError
from leadcast.core.model import Lead
from leadcast.integrations.bitrix24.client import Bitrix24Client
from leadcast.integrations.bitrix24.items import id_of
from leadcast.integrations.text.ways import address_forms, number_forms, phones_in

FIND = "crm.duplicate.findbycomm"
NOT_ALLOWED = frozenset({"ACCESS_DENIED", "403"})
"""The portal lets us write and not search: it takes the right to read contacts."""
_LONGEST_TYPED = 40
_REFERENCE = "$result"
"""A batch puts earlier results in its place (vendors.md 2.8); neither a phone nor an address holds it."""


def known_contact(client: Bitrix24Client, lead: Lead, *, region: str) -> int | None:
    """The id of a contact with the lead's phone, or else with its e-mail; None: there is none.

    A family or an office shares a phone: of several contacts one that has the e-mail, too, goes first, then the oldest.

    Args:
        region: where a phone number without its country is from.
    """
    forms = {"PHONE": phone_forms(lead.phone, region=region), "EMAIL": _email_forms(lead.email)}
    searches = {
        kind: {"entity_type": "CONTACT", "type": kind, "values": values} for kind, values in forms.items() if values
    }
    if not searches:
        return None
    known = {kind: _contacts_of(result) for kind, result in client.read_all(FIND, searches).items()}
    by_phone, by_email = known.get("PHONE", set()), known.get("EMAIL", set())
    return min(by_phone & by_email or by_phone or by_email, default=None)


def _contacts_of(result: Mapping[str, Any]) -> set[int]:
    """A list that PHP has taken something out of comes as an object."""
    ids = result.get("CONTACT")
    listed = ids.values() if isinstance(ids, dict) else ids if isinstance(ids, list) else ()
    return {number for one in listed if (number := id_of(one)) is not None}


def is_about_more_than_the_search(error: RejectedError) -> bool:
    """Whether what the portal says to the search it would say to the lead, too: we are refused, or it is elsewhere."""
    if isinstance(error, CredentialsError):
        return error.code not in NOT_ALLOWED
    return error.code.startswith("3")


def phone_forms(phone: str, *, region: str) -> list[str]:
    """Each number in the forms that it may have been stored in; none for what is no phone number, or nobody's.

    The portal compares what it has normalised itself; that it takes 8 for +7 is promised nowhere.
    """
    numbers = phones_in(phone, region=region)
    typed = [phone] if len(numbers) == 1 and len(phone) <= _LONGEST_TYPED and _REFERENCE not in phone else []
    return list(dict.fromkeys([*typed, *(form for number in numbers for form in number_forms(number))]))


def _email_forms(email: str) -> list[str]:
    """An address is compared as it was stored, with the domain in its own letters or not."""
    return [form for form in address_forms(email) if _REFERENCE not in form]
