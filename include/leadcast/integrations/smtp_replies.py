"""What a mail server's replies mean, and how to say so without secrets and whole addresses (vendors.md 5.2)."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from leadcast.core.errors import CredentialsError, DeliveryError, RejectedError, TransientError
from leadcast.core.redact import masked_email, one_line, scrub
from leadcast.integrations.mail_server import MailServer

ABOUT_US = frozenset({530, 534, 535, 538})
"""5yz replies about our login, whatever the command was."""


@dataclass(frozen=True)
class Refusal:
    """What the server said about a recipient that it did not take."""

    code: int
    text: str

    @property
    def may_pass(self) -> bool:
        """Whether the server puts the recipient off (4yz) rather than refuses it (5yz)."""
        return self.code < 500


@contextmanager
def nothing_sent(server: MailServer) -> Iterator[None]:
    """Up to the message itself, whatever breaks may be repeated."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        raise TransientError(
            f"Mail server {server} does not talk to us.",
            code=str(error.smtp_code),
            detail=words(server, error.smtp_error),
        ) from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        why = one_line(getattr(error, "verify_message", "") or getattr(error, "reason", "") or str(error), limit=200)
        hint = " Its port begins without TLS: set disable_ssl for STARTTLS." if "WRONG_VERSION" in why else ""
        raise TransientError(
            f"Cannot talk to mail server {server}: {why}; nothing was sent.{hint}", code="unreachable"
        ) from None


def is_taken(code: int) -> bool:
    """Whether the server agreed: 250, or 251 (it forwards), or 252 (it will see)."""
    return 200 <= code < 300


def failure(server: MailServer, what: str, code: int, reply: bytes | str) -> DeliveryError:
    """The error for a reply of the server: 4yz may pass, 5yz will not (vendors.md 5.2)."""
    kind: type[DeliveryError] = RejectedError
    if code < 500:
        kind = TransientError
    elif code in ABOUT_US:
        kind = CredentialsError
    return kind(f"Mail server {server} {what} ({code}).", code=str(code), detail=words(server, reply))


def not_taken(refused: Mapping[str, Refusal], *, total: int) -> DeliveryError:
    """The error for recipients who keep the message from being sent: it may pass where one of them was put off."""
    put_off = [refusal for refusal in refused.values() if refusal.may_pass]
    kind = TransientError if put_off else RejectedError
    first = (put_off or list(refused.values()))[0]
    what = "puts off" if put_off else "refuses"
    return kind(
        f"The mail server {what} {len(put_off or refused)} of {total} recipients, so nobody was mailed: "
        f"{_listed(refused)}.",
        code=str(first.code),
        detail=first.text,
    )


def _listed(refused: Mapping[str, Refusal]) -> str:
    shown = [f"{entry['to']} ({entry['code']})" for entry in masked(refused)]
    return ", ".join(shown[:5]) + (f" and {len(shown) - 5} more" if len(shown) > 5 else "")


def words(server: MailServer, reply: bytes | str) -> str:
    """The server's own words, on one line, cut, without our password."""
    text = reply.decode("utf-8", errors="replace") if isinstance(reply, bytes) else reply
    return scrub(one_line(text, limit=200), secrets=[server.password.get_secret_value()])


def masked(refused: Mapping[str, Refusal]) -> list[dict[str, str]]:
    """Who was not mailed and why, fit to be shown: `[{"to": "a***@example.com", "code": "550"}]`."""
    return [{"to": masked_email(address), "code": str(refusal.code)} for address, refusal in refused.items()]
