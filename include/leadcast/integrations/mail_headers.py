"""Headers of an e-mail that come out as they went in, whatever their language.

The standard library cuts a long subject or name that is not ASCII into encoded words and loses the space between two of
them (python/cpython#92081: "тема письма" arrives as "темаписьма"), or in later versions the one that must stand there
(#144156: Yahoo refuses such a letter). Here such text is encoded as a whole.
"""

from __future__ import annotations

from email.header import Header
from email.headerregistry import (
    Address,
    BaseHeader,
    HeaderRegistry,
    UniqueAddressHeader,
    UniqueUnstructuredHeader,
)
from email.policy import SMTP, Policy
from typing import cast


class _Text:
    """The registry mixes these with the library's own headers: `fold` here comes before theirs."""

    name: str

    def fold(self, *, policy: Policy) -> str:
        text = str(self)
        if text.isascii():
            return super().fold(policy=policy)  # type: ignore[misc,no-any-return]  # the library's
        return f"{self.name}: {_encoded(text, header=self.name)}{policy.linesep}"


class _Addresses:
    name: str
    addresses: tuple[Address, ...]

    def fold(self, *, policy: Policy) -> str:
        if str(self).isascii():
            return super().fold(policy=policy)  # type: ignore[misc,no-any-return]  # the library's
        shown = ",\r\n ".join(_address(address, header=self.name) for address in self.addresses)
        return f"{self.name}: {shown}{policy.linesep}"


class _Subject(_Text, UniqueUnstructuredHeader):
    pass


class _People(_Addresses, UniqueAddressHeader):
    pass


def _encoded(text: str, *, header: str) -> str:
    return Header(text, "utf-8", header_name=header).encode(linesep="\r\n")


def _address(address: Address, *, header: str) -> str:
    if address.display_name.isascii():
        return str(address)
    return f"{_encoded(address.display_name, header=header)}\r\n <{address.addr_spec}>"


def _registry() -> HeaderRegistry:
    registry = HeaderRegistry()
    for name, kind in {"subject": _Subject, "from": _People, "to": _People, "reply-to": _People}.items():
        registry.map_to_type(name, cast("type[BaseHeader]", kind))
    return registry


INTACT = SMTP.clone(header_factory=_registry())
"""The policy of messages whose headers are to arrive intact: `EmailMessage(policy=INTACT)`."""
