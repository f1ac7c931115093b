"""What a mail server's replies mean, and how to say so without secrets and whole addresses (vendors.md 5.2)."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from leadcast.core.errors import CredentialsError, DeliveryError, RejectedError, TransientError
from leadcast.core.redact import masked_email, one_line, scrub
from leadcast.integrations.email.server import MailServer
from leadcast.integrations.email.smtp_blame import Fault, fault_of
from leadcast.integrations.email.smtp_last_words import HAS_HUNG_UP, NOT_CONNECTED, TAKES_NO_MORE
from leadcast.integrations.http import line_faults

ABOUT_US = frozenset({530, 534, 535, 538})
"""5yz replies about our login, whatever the command was."""
PUT_OFF = frozenset({450, 451, 452})
"""4yz replies about one message: greylisting, a full or busy mailbox, too many recipients at once. Others, 421 and 454
above all, are about the server."""
_ADDRESS = re.compile(r"[^\s<>@:;,()\"]{1,64}@[^\s<>@:;,()\"]{1,255}")
_MOST_CHARS = 2000
_MOST_SHOWN = 5


@dataclass(frozen=True)
class Refusal:
    """What the server said about a recipient that it did not take. `fault`: what it has against us rather."""

    code: int
    text: str
    fault: Fault | None = None

    @classmethod
    def of(cls, server: MailServer, code: int, reply: bytes | str) -> Refusal:
        """What a reply says."""
        fault = fault_of(code, _text(reply)[:_MOST_CHARS], sender_domain=server.sender.domain)
        return cls(code, words(server, reply), fault)

    @property
    def may_pass(self) -> bool:
        """Whether the server puts the recipient off (4yz) rather than refuses it (5yz)."""
        return not is_refused(self.code)


@contextmanager
def nothing_sent(server: MailServer) -> Iterator[None]:
    """Up to the message itself, whatever breaks may be repeated."""
    try:
        yield
    except smtplib.SMTPResponseException as error:
        raise TransientError(
            f"Mail server {server} does not talk to us ({error.smtp_code}).",
            counts=not is_later(error.smtp_code),
            code=str(error.smtp_code),
            detail=words(server, error.smtp_error),
        ) from None
    except (smtplib.SMTPException, OSError, UnicodeError) as error:
        speaks_clear = "WRONG_VERSION" in str(getattr(error, "reason", ""))
        hint = " Its port begins without TLS: set disable_ssl for STARTTLS." if speaks_clear else ""
        raise TransientError(
            f"Cannot talk to mail server {server}: {_why(error)}; nothing was sent.{hint}", code="unreachable"
        ) from None


def _why(error: smtplib.SMTPException | OSError | UnicodeError) -> str:
    """What became of the line, in our own words: `smtplib` and what is below it have theirs."""
    if isinstance(error, UnicodeError):
        return "a name or an address is not in ASCII"
    if not isinstance(error, smtplib.SMTPException):
        return line_faults.why(error)
    if not isinstance(error, smtplib.SMTPServerDisconnected):
        return "it does not keep to SMTP"
    if str(error) in (NOT_CONNECTED, TAKES_NO_MORE, HAS_HUNG_UP):
        return str(error)
    if isinstance(error.__context__, TimeoutError):
        return "no answer in time"
    if isinstance(error.__context__, OSError):
        return f"connection closed unexpectedly: {line_faults.why(error.__context__)}"
    return "connection closed unexpectedly"


def is_taken(code: int) -> bool:
    """Whether the server agreed: 250, or 251 (it forwards), or 252 (it will see)."""
    return 200 <= code < 300


def is_later(code: int) -> bool:
    """Whether the server asks to come again (4yz): it is busy, throttles us or greylists. Nothing has failed."""
    return 400 <= code < 500


def is_refused(code: int) -> bool:
    """Whether the server says no for good (5yz)."""
    return 500 <= code < 600


def failure(server: MailServer, what: str, code: int, reply: bytes | str, *, said: Iterable[str] = ()) -> DeliveryError:
    """The error for a reply of the server: 5yz will not pass, 4yz and what is no reply at all may (vendors.md 5.2).

    Args:
        said: what we have said to it that must not be shown, besides the server's secrets.
    """
    message, detail = f"Mail server {server} {what} ({code}).", words(server, reply, said=said)
    if not is_refused(code):
        return TransientError(message, counts=not is_later(code), code=str(code), detail=detail)
    if code in ABOUT_US:
        return CredentialsError(message, code=str(code), detail=detail, for_all=True)
    return RejectedError(message, code=str(code), detail=detail)


def not_let_in(server: MailServer, what: str, code: int, reply: bytes, *, fault: Fault) -> DeliveryError:
    """The error for a refusal before anything was said of a message.

    Args:
        fault: what a lasting refusal is for, unless its words say something else.
    """
    if not is_refused(code):
        return failure(server, what, code, reply)
    refusal = Refusal.of(server, code, reply)
    return against_us(server, refusal.fault or fault, refusal)


def against_us(server: MailServer, fault: Fault, refusal: Refusal) -> CredentialsError:
    """The error for what the server has against who sends, whoever the recipients are."""
    what = fault.what.format(sender=server.sender.addr_spec, name=server.name)
    return CredentialsError(
        f"Mail server {server} {what} ({refusal.code}). {fault.mend}",
        code=str(refusal.code),
        detail=refusal.text,
        for_all=fault.for_all,
    )


def fault_in_all(left: Mapping[str, Refusal]) -> Fault | None:
    """What the server has against us, if it has said the same of each."""
    faults = {refusal.fault for refusal in left.values()}
    return next(iter(faults)) if len(faults) == 1 else None


def not_taken(left: Mapping[str, Refusal], *, total: int, mailed: int = 0) -> DeliveryError:
    """The error for recipients who were not mailed: it may pass where one of them was put off.

    Args:
        total: how many there are in all.
        mailed: how many of them have the message.
    """
    put_off = {address: refusal for address, refusal in left.items() if refusal.may_pass}
    what = "puts off" if put_off else "refuses"
    about = put_off or left
    first = next(iter(about.values()))
    return (TransientError if put_off else RejectedError)(
        f"The mail server {what} {len(about)} of {total} recipients: {_listed(about)}; "
        f"{f'{mailed} have it' if mailed else 'nobody was mailed'}.",
        code=str(first.code),
        detail=first.text,
    )


def _listed(left: Mapping[str, Refusal]) -> str:
    shown = [f"{entry['to']} ({entry['code']})" for entry in masked(left)]
    # no number: the sentence says how many they are
    return ", ".join(shown[:_MOST_SHOWN]) + (", …" if len(shown) > _MOST_SHOWN else "")


def words(server: MailServer, reply: bytes | str, *, said: Iterable[str] = ()) -> str:
    """The server's own words, on one line, cut, without our secrets and with masked addresses, as it writes them."""
    text = scrub(_text(reply)[:_MOST_CHARS], secrets=[*server.secrets(), *said])
    # not cut to what is kept of it: the lead's data has to be found in it, whole
    return one_line(_ADDRESS.sub(lambda found: masked_email(found[0]), text), limit=_MOST_CHARS)


def _text(reply: bytes | str) -> str:
    return reply.decode("utf-8", errors="replace") if isinstance(reply, bytes) else reply


def masked(refused: Mapping[str, Refusal]) -> list[dict[str, str]]:
    """Who was not mailed and why, fit to be shown: `[{"to": "a***@example.com", "code": "550"}]`."""
    return [{"to": masked_email(address), "code": str(refusal.code)} for address, refusal in refused.items()]
