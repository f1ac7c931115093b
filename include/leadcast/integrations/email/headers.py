"""Headers of an e-mail that come out as they went in, whatever their language.

The standard library cuts a long subject or name that is not ASCII into encoded words and loses the space between two of
them (python/cpython#92081: "тема письма" arrives as "темаписьма"), or in later versions the one that must stand there
(#144156: Yahoo refuses such a letter). Folding a long name in ASCII it loses the quotes around it, so that what stands
before a comma becomes another address (#80222). And a text that looks like an encoded word (`=?utf-8?B?…?=`) is read as
one, by itself and by whoever gets the letter. So here a text is encoded as a whole where it is not plain and short.
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
from typing import Any, cast

_LONGEST_LINE = 78
"""RFC 5322 2.1.1: without CR and LF."""


class _Subject(UniqueUnstructuredHeader):
    """The registry makes a header of it: `name` and the text itself come from there."""

    name: str

    @classmethod
    def parse(cls, value: str, kwds: dict[str, Any]) -> None:
        """Takes it as it is: the library would read an encoded word in it."""
        super().parse(value, kwds)
        kwds["decoded"] = value

    def fold(self, *, policy: Policy) -> str:
        return f"{self.name}: {_written(str(self), header=self.name)}{policy.linesep}"


class _People(UniqueAddressHeader):
    name: str

    def fold(self, *, policy: Policy) -> str:
        shown = ",\r\n ".join(_address(address, header=self.name) for address in self.addresses)
        return f"{self.name}: {shown}{policy.linesep}"


def _address(address: Address, *, header: str) -> str:
    if not address.display_name or _is_plain(str(address), header=header):
        return str(address)
    return f"{_encoded(address.display_name, header=header)}\r\n <{address.addr_spec}>"


def _written(text: str, *, header: str) -> str:
    return text if _is_plain(text, header=header) else _encoded(text, header=header)


def _is_plain(text: str, *, header: str) -> bool:
    """Whether it needs neither encoding nor folding, and cannot be taken for something encoded."""
    return text.isascii() and "=?" not in text and len(f"{header}: {text}") <= _LONGEST_LINE


def _encoded(text: str, *, header: str) -> str:
    return Header(text, "utf-8", header_name=header).encode(linesep="\r\n")


def _registry() -> HeaderRegistry:
    registry = HeaderRegistry()
    for name, kind in {"subject": _Subject, "from": _People, "to": _People, "reply-to": _People}.items():
        registry.map_to_type(name, cast("type[BaseHeader]", kind))
    return registry


INTACT = SMTP.clone(header_factory=_registry())
"""The policy of messages whose headers are to arrive intact: `EmailMessage(policy=INTACT)`."""
