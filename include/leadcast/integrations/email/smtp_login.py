"""Signing in to a mail server: by a password in the ways that it offers, or by an access token (RFC 4954)."""

from __future__ import annotations

import binascii
import hmac
import smtplib
import stringprep
import unicodedata
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from leadcast.core.errors import CredentialsError
from leadcast.integrations.email.server import MailServer
from leadcast.integrations.email.smtp_replies import ABOUT_US, failure, is_later, is_refused, words

_SIGNED_IN = frozenset({235, 503})
"""Accepted; or signed in already."""
_GO_ON, _CLOSING = 334, 421
_MOST_QUESTIONS = 5
_GIVE_UP = "*"


@dataclass(frozen=True)
class _Way:
    """One mechanism with what we say in it.

    first: what goes with the command; None: the server speaks first.
    answer: to each question of the server.
    """

    mechanism: str
    first: bytes | None
    answer: Callable[[bytes], bytes]


def sign_in(client: smtplib.SMTP, server: MailServer) -> None:
    """Tries the ways that both sides know, one after the other, as some servers offer what they do not have.

    Raises:
        CredentialsError: the server knows none of them, or refuses our login in each.
        TransientError: it says later.
        SMTPException: it hung up, and had refused nothing.
    """
    offered = client.esmtp_features.get("auth", "").upper().split()
    refusal: tuple[int, bytes | str] | None = None
    reply: bytes | str
    said = [_prepared(server.password.get_secret_value()).decode()]
    for way in _ways(server, offered):
        try:
            code, reply = _exchange(client, way, said)
        except smtplib.SMTPResponseException as last_words:
            code, reply = last_words.smtp_code, last_words.smtp_error
        except smtplib.SMTPException:
            if refusal is None:
                raise
            break  # it has hung up after refusing us, and that is what it has to say
        if code in _SIGNED_IN:
            return
        if code == _CLOSING:
            refusal = refusal or (code, reply)
            break
        if refusal is None or _plainness(code) >= _plainness(refusal[0]):
            refusal = code, reply
    if refusal is None:
        kind = "a password" if server.oauth2 is None else "an access token (XOAUTH2)"
        raise CredentialsError(
            f"Mail server {server} offers no login with {kind}; look at the connection's login and auth_type, "
            "or enable TLS.",
            code="no_auth",
            for_all=True,
        )
    code, reply = refusal
    if not is_refused(code):
        raise failure(server, "does not take our login", code, reply, said=said)
    raise CredentialsError(
        f"Mail server {server} does not take our login ({code}).",
        code=str(code),
        detail=words(server, reply, said=said),
        for_all=True,
    )


def _plainness(code: int) -> int:
    """How plainly a server has spoken of our login: of two ways that failed, the plainer reply counts. What it says of
    the command (504, 501) tells less than what it says of the login; what is no refusal tells nothing."""
    if code in ABOUT_US or is_later(code):
        return 2
    return 1 if is_refused(code) else 0


def _ways(server: MailServer, offered: list[str]) -> Iterator[_Way]:
    user, password = server.identity, server.password.get_secret_value()
    if server.oauth2 is not None:
        token = server.oauth2.access_token.get_secret_value()
        # who is refused is asked back first, and has to say nothing to that
        ways = [_Way("XOAUTH2", f"user={user}\x01auth=Bearer {token}\x01\x01".encode(), lambda _: b"")]
    else:
        typed = user.encode(), password.encode()
        ways = [_cram_md5(*typed)] if _has_md5() else []
        ways += [_plain(*pair) for pair in dict.fromkeys([(_prepared(user), _prepared(password)), typed])]
        ways.append(_Way("LOGIN", typed[0], lambda _: typed[1]))
    yield from (way for way in ways if way.mechanism in offered)


def _cram_md5(user: bytes, password: bytes) -> _Way:
    def answer(challenge: bytes) -> bytes:
        return user + b" " + hmac.new(password, challenge, "md5").hexdigest().encode()

    return _Way("CRAM-MD5", None, answer)


def _has_md5() -> bool:
    """Not where only FIPS-approved algorithms are allowed."""
    try:
        hmac.new(b"", b"", "md5")
    except ValueError:
        return False
    return True


def _plain(user: bytes, password: bytes) -> _Way:
    said = b"\0" + user + b"\0" + password
    return _Way("PLAIN", said, lambda _: said)


def _prepared(text: str) -> bytes:
    """As RFC 4616 wants it of PLAIN: in one of several ways to write the same (SASLprep, RFC 4013 2.1 and 2.2).

    What that forbids goes out all the same: the server is to judge it. Not every server prepares what it has stored,
    so what was typed is tried as well.
    """
    spaced = (" " if stringprep.in_table_c12(character) else character for character in text)
    return unicodedata.normalize("NFKC", "".join(each for each in spaced if not stringprep.in_table_b1(each))).encode()


def _exchange(client: smtplib.SMTP, way: _Way, said: list[str]) -> tuple[int, bytes]:
    """The server's last word on one way. Adds to `said` what was said to it, as it was: the server may repeat it."""

    def coded(text: bytes) -> str:
        said.append(_base64(text))
        return said[-1]

    first = "" if way.first is None else f" {coded(way.first)}"
    code, reply = client.docmd("AUTH", f"{way.mechanism}{first}")
    for _ in range(_MOST_QUESTIONS):
        if code != _GO_ON:
            return code, reply
        try:
            answer = way.answer(b64decode(reply))
        except binascii.Error:
            break  # that was no question
        code, reply = client.docmd(coded(answer))
    return client.docmd(_GIVE_UP) if code == _GO_ON else (code, reply)


def _base64(said: bytes) -> str:
    return b64encode(said).decode("ascii")
