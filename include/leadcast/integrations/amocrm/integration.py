"""amoCRM (Kommo): a lead with its contact and company, then a note with the rest (vendors.md 1)."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from leadcast.core.errors import CredentialsError, RejectedError, TransientError
from leadcast.core.limits import Limit
from leadcast.core.model import Lead, Receipt
from leadcast.core.redact import one_line
from leadcast.integrations.amocrm.client import PUBLIC_HOSTS, AmoCrmClient, base_url_of_account
from leadcast.integrations.amocrm.contacts import find_contact
from leadcast.integrations.amocrm.filing import CONTACT_FOUND, file_incoming, file_new, file_with, form_of
from leadcast.integrations.amocrm.items import company_item, contact_item, lead_item
from leadcast.integrations.amocrm.note import note_of, with_note
from leadcast.integrations.amocrm.search import embedded, find_incoming, find_lead
from leadcast.integrations.amocrm.settings import AmoCrmCredentials, AmoCrmSettings
from leadcast.integrations.base import Account, Call, Integration
from leadcast.integrations.connection import ConnectionFields, InConnection
from leadcast.integrations.http.oauth import account_name, expired

_FILED = "filed"
"""In what is kept of a delivery: the receipt of a lead whose note is not written yet."""


class AmoCrm(Integration[AmoCrmSettings, AmoCrmCredentials]):
    """Creates a lead. amoCRM has no idempotency key: the delivery's key is kept on the lead, to be found by."""

    type = "amocrm"
    connection_types = ("amocrm",)
    in_connection = InConnection(
        base_url="address",
        needs="It needs the access token as password, and the account's address as host (https://example.amocrm.ru) or "
        "subdomain in extra.",
    )
    identified_by = ("client_id", "redirect_uri", "client_secret", "access_token", "refresh_token")
    public_hosts = PUBLIC_HOSTS
    can_find = True
    can_probe = True
    # neither a limit of its own nor the lag of its search is published; 504 is what too slow a call ends in
    absent_after_s = 75

    def limits(self, *, settings: AmoCrmSettings, account: Account[AmoCrmCredentials]) -> Sequence[Limit]:
        """7 a second for an integration in an account, more with a paid package (vendors.md 1.3).

        It is shared by those who know the integration's secret, or else the token: who only knows the account's name
        would use up its calls, or have it pause.
        """
        own = account.credentials
        proof = own.client_secret.get_secret_value() or own.access_token.get_secret_value()
        name = f"amocrm {self.label(account)} {own.client_id}".rstrip()
        return (Limit(name=f"{name} #{account_name('amocrm', proof)[:16]}", calls=own.requests_per_second),)

    def address_of(self, account: Account[AmoCrmCredentials]) -> str:
        """The operator's, or the account's own at amoCRM."""
        return base_url_of_account(account)

    def deliver(
        self, lead: Lead, *, settings: AmoCrmSettings, account: Account[AmoCrmCredentials], call: Call
    ) -> Receipt:
        """One lead, then one note. If the lead is filed and the note is not, the next attempt writes only the note."""
        client = AmoCrmClient(account, call=call, lead=lead)
        filed_before = _filed_before(call)
        receipt = filed_before or self._filed(lead, settings=settings, client=client, call=call)
        try:
            return self._with_note(client, lead, receipt, call=call, may_be_there=filed_before is not None)
        except TransientError:
            call.keep({_FILED: asdict(receipt)})
            raise

    def find(
        self, lead: Lead, *, settings: AmoCrmSettings, account: Account[AmoCrmCredentials], call: Call
    ) -> Receipt | None:
        """Looks for the lead that holds the delivery's key, and writes the note that it may lack."""
        client = AmoCrmClient(account, call=call, lead=lead)
        receipt = _filed_before(call) or self._found(settings=settings, client=client, call=call)
        return receipt and self._with_note(client, lead, receipt, call=call, may_be_there=True)

    def _found(self, *, settings: AmoCrmSettings, client: AmoCrmClient, call: Call) -> Receipt | None:
        # incoming ones first: one that is accepted between the two calls is then in both lists, and not in neither
        found = find_incoming(client, key=call.key, not_before=call.accepted_at) if settings.unsorted else None
        if found is None:
            found = find_lead(client, key=call.key, key_field=settings.key_field, not_before=call.accepted_at)
        if found is None:
            return None
        contact_id = next((contact.get("id") for contact in embedded(found, "contacts")), None)
        detail: dict[str, Any] = {"contact_id": contact_id} if isinstance(contact_id, int) else {}
        if call.kept.get(CONTACT_FOUND):
            detail[CONTACT_FOUND] = True
        return Receipt(external_id=str(found["id"]), detail=detail)

    def _filed(self, lead: Lead, *, settings: AmoCrmSettings, client: AmoCrmClient, call: Call) -> Receipt:
        """The lead, filed. Its contact is looked for first; not an incoming lead's: amoCRM does so on acceptance."""
        item = lead_item(lead, settings=settings, key=call.key)
        contact = contact_item(lead, settings=settings, region=call.settings.phone_region)
        company = company_item(lead)
        if settings.unsorted:
            form = form_of(lead, settings=settings, key=call.key, sent_at=call.accepted_at)
            return file_incoming(client, item, contact=contact, company=company, form=form)
        wanted = contact and settings.find_contact
        contact_id = find_contact(client, contact, region=call.settings.phone_region) if wanted else None
        if contact_id is not None:
            call.keep({CONTACT_FOUND: True})  # `find` must know which note to expect
            receipt = file_with(client, item, contact_id=contact_id)
            if receipt is not None:
                return receipt
        if contact_id is not None or CONTACT_FOUND in call.kept:
            call.keep({})
        return file_new(client, item, contact=contact, company=company)

    def _with_note(
        self, client: AmoCrmClient, lead: Lead, receipt: Receipt, *, call: Call, may_be_there: bool
    ) -> Receipt:
        is_known = receipt.merged or bool(receipt.detail.get(CONTACT_FOUND))
        own = call.settings
        text = note_of(lead, language=own.language, region=own.phone_region, is_known=is_known)
        return with_note(client, receipt, text, may_be_there=may_be_there)

    def probe(self, account: Account[AmoCrmCredentials], *, call: Call) -> str:
        """Reads the account's own card (vendors.md 1.7)."""
        try:
            card = AmoCrmClient(account, call=call, lead=None).read("/api/v4/account", {}) or {}
        except CredentialsError as error:
            if error.code == "401" and account.credentials.refresh_token.get_secret_value():
                raise expired("amoCRM", error) from None
            raise
        if not isinstance(card.get("id"), int):
            raise RejectedError("This address does not answer as amoCRM does: check it.", code="not_amocrm")
        return f"amoCRM takes the token: account {one_line(str(card.get('name', '?')), limit=80)}, id {card['id']}."

    @classmethod
    def credentials_in(cls, connection: ConnectionFields) -> dict[str, Any]:
        """host = the account's base URL, password = access token, extra = the other credentials, by their names."""
        subdomain = re.split(r"[/.:]", connection.base_url.partition("://")[2])[0]
        return {"subdomain": subdomain, "access_token": connection.token, **super().credentials_in(connection)}


def _filed_before(call: Call) -> Receipt | None:
    """The receipt of a lead that an earlier attempt has filed, without its note."""
    kept = call.kept.get(_FILED)
    return Receipt(**kept) if kept else None
