"""Bitrix24: a lead, or a deal with its contact, under a key of ours that finds them again (vendors.md 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from leadcast.core.errors import CredentialsError, RejectedError
from leadcast.core.limits import Limit
from leadcast.core.model import Lead, Receipt
from leadcast.core.redact import one_line
from leadcast.integrations.base import Account, Call, Integration
from leadcast.integrations.bitrix24.client import Bitrix24Client
from leadcast.integrations.bitrix24.contact import FIND, is_about_more_than_the_search, known_contact
from leadcast.integrations.bitrix24.fields import contact_fields, item_fields, mapped_fields
from leadcast.integrations.bitrix24.items import ADD, EntityType, Item, added, found, id_of
from leadcast.integrations.bitrix24.portal import ZONES, is_vendors_host, own_address
from leadcast.integrations.bitrix24.settings import Bitrix24Credentials, Bitrix24Settings, Entity
from leadcast.integrations.connection import ConnectionFields, InConnection
from leadcast.integrations.http.oauth import expired

__all__ = ["Bitrix24", "Bitrix24Credentials", "Bitrix24Settings"]

DRAINS_PER_S = 2
BURST = 45
"""The portal takes 50 at once (vendors.md 2.4). It counts them by our address, so what else stands there and calls it
has the other five, and so has the time that calls take on their way: they arrive closer together than they left."""
SIMPLE_CRM_STAGE = "CONVERTED"


class Bitrix24(Integration[Bitrix24Settings, Bitrix24Credentials]):
    """Creates a lead or a deal. Bitrix24 keeps `originId` and does not look at it: we ask before sending again."""

    type = "bitrix24"
    connection_types = ("bitrix24",)
    in_connection = InConnection(
        needs="It needs the webhook's URL as host or password, or the portal as host and the access token as password."
    )
    public_hosts = ZONES
    can_find = True
    can_probe = True
    # the cloud cuts a call after 60 s (vendors.md 2.4)
    absent_after_s = 75

    def limits(self, *, settings: Bitrix24Settings, account: Account[Bitrix24Credentials]) -> Sequence[Limit]:
        """The portal's leaky bucket, whichever webhook or application of ours calls it (vendors.md 2.4)."""
        return [Limit(name=f"bitrix24 {self.label(account)}", calls=DRAINS_PER_S, burst=BURST)]

    def address_of(self, account: Account[Bitrix24Credentials]) -> str:
        """The configured one, also where the portal has moved."""
        return account.base_url or own_address(account)

    def deliver(
        self, lead: Lead, *, settings: Bitrix24Settings, account: Account[Bitrix24Credentials], call: Call
    ) -> Receipt:
        """One lead, with the contact that the portal knows for it; or one deal, with that contact or a new one."""
        client = Bitrix24Client(account, call=call, lead=lead)
        client.operating.refuse_if_spent(ADD, *([FIND] if settings.find_contact else []))
        entity_type = EntityType.of(settings.entity)
        mapped = mapped_fields(client, entity_type, settings.fields, lead=lead, memory=call.memory)
        contact, detail = _contact(client, lead, settings=settings, call=call)
        fields = item_fields(lead, settings=settings, call=call) | {"contactId": contact} | mapped
        return _receipt(added(client, entity_type, fields, key=call.key), detail)

    def find(
        self, lead: Lead, *, settings: Bitrix24Settings, account: Account[Bitrix24Credentials], call: Call
    ) -> Receipt | None:
        """Asks for the item with our key."""
        client = Bitrix24Client(account, call=call, lead=lead)
        item = found(client, EntityType.of(settings.entity), key=call.key)
        if item is None:
            return None
        contact_id = id_of(item.get("contactId"))
        return _receipt(item, {} if contact_id is None else {"contact_id": contact_id})

    def probe(self, account: Account[Bitrix24Credentials], *, call: Call) -> str:
        """Asks who the webhook or token acts for, which every one of them may (vendors.md 2.7)."""
        try:
            who = Bitrix24Client(account, call=call, lead=None).read("profile", {})
        except CredentialsError as error:
            if error.code == "EXPIRED_TOKEN" and account.credentials.refresh_token.get_secret_value():
                raise expired("Bitrix24", error) from None
            raise
        name = one_line(f"{who.get('NAME', '')} {who.get('LAST_NAME', '')}", limit=80)
        return f"Bitrix24 lets us in: as {name or 'a user'}, id {who.get('ID')}."

    @classmethod
    def credentials_in(cls, connection: ConnectionFields) -> dict[str, Any]:
        """host or password = the webhook's URL; or host = the portal, password = access token, extra = the rest."""
        address, secret = connection.base_url, connection.token.get_secret_value()
        webhook_url = next((text for text in (address, secret) if "/rest/" in text), "")
        if webhook_url:
            return {"webhook_url": webhook_url}
        in_extra = super().credentials_in(connection)
        if "webhook_url" in in_extra:
            return in_extra
        return {"domain": urlsplit(address).hostname or "", "access_token": secret, **in_extra}

    @classmethod
    def from_connection(cls, connection: ConnectionFields, inline: Mapping[str, Any]) -> Account[Bitrix24Credentials]:
        """The address of a portal of one's own is the operator's choice."""
        account = super().from_connection(connection, inline)
        return replace(account, base_url=_operators_choice(connection.base_url, account.credentials))


def _operators_choice(address: str, credentials: Bitrix24Credentials) -> str:
    """The base URL of a portal outside the vendor's cloud; empty for one within, whose rules then hold."""
    url = urlsplit(address or credentials.webhook_url.get_secret_value() or f"https://{credentials.domain}")
    if url.scheme == "https" and is_vendors_host(url.hostname or ""):
        return ""
    return f"{url.scheme}://{url.netloc}"


def _receipt(item: Item, detail: Mapping[str, Any]) -> Receipt:
    # A portal in simple mode has made a contact and a deal of the lead at once; it keeps the lead, with our key.
    converted = {"converted": True} if item.get("stageId") == SIMPLE_CRM_STAGE else {}
    return Receipt(external_id=str(item["id"]), detail={**detail, **converted})


def _contact(
    client: Bitrix24Client, lead: Lead, *, settings: Bitrix24Settings, call: Call
) -> tuple[int | None, dict[str, Any]]:
    """The id of the contact to link, and what the receipt says of it. Only a deal gets a new one: a lead holds the
    person's data itself."""
    is_deal, key = settings.entity is Entity.DEAL, f"{call.key}-contact"
    region = call.settings.phone_region
    if not (lead.name or lead.phone or lead.email):
        return None, {}
    own = mapped_fields(client, EntityType.CONTACT, settings.contact_fields, lead=lead, memory=call.memory)
    detail: dict[str, Any] = {}
    try:
        # an attempt before this one may have made it and died before it made the deal
        ours = found(client, EntityType.CONTACT, key=key) if is_deal and call.attempt > 1 else None
        known = known_contact(client, lead, region=region) if ours is None and settings.find_contact else None
    except RejectedError as error:  # a doubled contact is better than a lead that is not filed
        if is_about_more_than_the_search(error):
            raise
        detail["contact_search"] = "refused"
    else:
        if ours is not None:
            return ours["id"], {"contact_id": ours["id"]}
        if known is not None:
            return known, {"contact_id": known, "contact_found": True}
    if not is_deal:
        return None, detail
    made = added(client, EntityType.CONTACT, contact_fields(lead, settings=settings, region=region) | own, key=key)[
        "id"
    ]
    return made, {"contact_id": made, **detail}
