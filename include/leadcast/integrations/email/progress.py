"""Who of an e-mail's recipients has it, over all attempts of one delivery. Addresses are kept as hashes only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress

from leadcast.core.digest import digest
from leadcast.core.errors import StoreError, TransientError
from leadcast.core.model import Receipt
from leadcast.core.redact import masked_email
from leadcast.integrations.base import Call
from leadcast.integrations.email.smtp import Sent
from leadcast.integrations.email.smtp_replies import Refusal, masked, not_taken

FIRST_PAUSE_S = 60.0
"""Greylisting wants some minutes. It doubles up to the longest, for a full mailbox."""
LONGEST_PAUSE_S = 900.0


class Progress:
    """What `Call.kept` says, and what an attempt adds to it.

    Args:
        recipients: all of them.
        message_id: of the message, for the receipt.
    """

    def __init__(self, recipients: Sequence[str], *, call: Call, message_id: str) -> None:
        self._names = {recipient: _name(recipient, key=call.key) for recipient in recipients}
        self._message_id = message_id
        self._call = call
        self._mailed: set[str] = set(call.kept.get("mailed", ()))
        self._refused = {name: Refusal(int(code), "") for name, code in call.kept.get("refused", {}).items()}
        self._waits = int(call.kept.get("waits", 0))
        if not self.left and not self._accepted:
            self._refused = {}  # somebody has the failed delivery sent again: perhaps there is such a mailbox now

    @property
    def left(self) -> list[str]:
        """Who is still to be mailed."""
        return [address for address, name in self._names.items() if name not in self._mailed | self._refused.keys()]

    def keep(self, sent: Sent) -> None:
        """Adds what the server has said, and writes it down."""
        self._mailed |= {self._names[address] for address in sent.taken}
        self._refused |= {self._names[address]: refusal for address, refusal in sent.refused.items()}
        self._waits = 1 if sent.taken else self._waits + 1
        self._write_down()

    def next_pause_s(self) -> float:
        """How long to wait for a server that says later to all of it. It grows from attempt to attempt."""
        self._waits += 1
        self._write_down()
        return self._pause_s

    def _write_down(self) -> None:
        refused = {name: refusal.code for name, refusal in self._refused.items()}
        with suppress(StoreError):  # who has it has it: at worst it comes again, under the same Message-ID
            self._call.keep({"mailed": sorted(self._mailed), "refused": refused, "waits": self._waits})

    def to_be_continued(self, sent: Sent) -> TransientError:
        """For those whom the server puts off."""
        error = not_taken(sent.put_off, total=len(self._names), mailed=self._accepted)
        return TransientError(
            error.message,
            retry_after_s=self._pause_s,
            counts=False,
            so_far=self.so_far({address: str(refusal.code) for address, refusal in sent.put_off.items()}),
            code=error.code,
            detail=error.detail,
        )

    def so_far(self, missing: Mapping[str, str]) -> Receipt | None:
        """The receipt for those who have it, with those who may still get it and why they have not; None: nobody has.

        Args:
            missing: address → code.
        """
        return self._receipt(missing) if self._accepted else None

    def ended(self) -> Receipt:
        """The receipt when nobody is left.

        Raises:
            RejectedError: nobody has it.
        """
        if not self._accepted:
            raise not_taken(self._refused_now, total=len(self._names))
        return self._receipt({})

    @property
    def _pause_s(self) -> float:
        return float(min(FIRST_PAUSE_S * 2 ** (self._waits - 1), LONGEST_PAUSE_S))

    @property
    def _accepted(self) -> int:
        return sum(name in self._mailed for name in self._names.values())

    @property
    def _refused_now(self) -> dict[str, Refusal]:
        return {address: self._refused[name] for address, name in self._names.items() if name in self._refused}

    def _receipt(self, missing: Mapping[str, str]) -> Receipt:
        others = [{"to": masked_email(address), "code": code} for address, code in missing.items()]
        detail = {"accepted": self._accepted, "refused": [*masked(self._refused_now), *others]}
        return Receipt(external_id=self._message_id, detail=detail)


def _name(address: str, *, key: str) -> str:
    """With the key, so that the same address is another one in another delivery."""
    return digest(f"{key} {address.lower()}", chars=20)
