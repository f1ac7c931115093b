"""The contact that a lead comes from: one that the portal knows already by phone or e-mail (vendors.md 2.7)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from leadcast.core.errors import CredentialsError, RejectedError
from leadcast.core.model import Lead
from leadcast.integrations.bitrix24_client import Bitrix24Client
from leadcast.integrations.bitrix24_items import id_of
from leadcast.integrations.phones import names_somebody

FIND = "crm.duplicate.findbycomm"
NOT_ALLOWED = frozenset({"ACCESS_DENIED", "403"})
"""The portal lets us write and not search: it takes the right to read contacts."""
MAX_DIGITS = 20
MAX_EMAIL_CHARS = 254
_REFERENCE = "$result"
"""A batch puts earlier results in its place (vendors.md 2.8); neither a phone nor an address holds it."""
_RUSSIAN = re.compile(r"[78](\d{10})")


def known_contact(client: Bitrix24Client, lead: Lead) -> int | None:
    """The id of a contact with the lead's phone, or else with its e-mail; None: there is none.

    A family or an office shares a phone: of several contacts one that has the e-mail, too, goes first, then the oldest.
    """
    forms = {"PHONE": phone_forms(lead.phone), "EMAIL": _email_forms(lead.email)}
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


def phone_forms(phone: str) -> list[str]:
    """One number in the forms that it may have been stored in; none for what is no phone number, or nobody's.

    The portal compares what it has normalised itself; that it takes 8 for +7 is promised nowhere.
    """
    digits = re.sub(r"[^0-9]", "", phone)
    is_short = len(digits) <= MAX_DIGITS and len(phone) <= 2 * MAX_DIGITS
    if not is_short or not names_somebody(digits) or _REFERENCE in phone:
        return []
    forms = [phone, f"+{digits}", digits]
    russian = _RUSSIAN.fullmatch(digits)
    if russian:
        forms += [f"+7{russian[1]}", f"7{russian[1]}", f"8{russian[1]}"]
    return list(dict.fromkeys(forms))


def _email_forms(email: str) -> list[str]:
    if "@" not in email or len(email) > MAX_EMAIL_CHARS or _REFERENCE in email:
        return []
    return list(dict.fromkeys([email, email.lower()]))
