"""A mail server for submission: keeps letters, refuses, greylists and hangs up as told (vendors.md section 5)."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Mapping
from typing import Any, ClassVar

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, Session

from leadcast.sandbox.faults import Fault, FaultBoard, FaultKind
from leadcast.sandbox.ports import ServiceName
from leadcast.sandbox.received import Journal, Received
from leadcast.sandbox.smtp.auth import MECHANISMS, SmtpSettings, read_access_token, read_digest, sign_in
from leadcast.sandbox.smtp.connection import Connection
from leadcast.sandbox.smtp.letter import read_letter
from leadcast.sandbox.smtp.policy import objection
from leadcast.sandbox.smtp.tls import Certificate

MAX_LETTER_BYTES = 10 * 1024 * 1024
MAX_LETTERS = 10_000
_IDLE_TIMEOUT_S = 120.0
_OK = "250 2.0.0 OK"
_REFUSING = (FaultKind.STATUS, FaultKind.RATE_LIMIT, FaultKind.REJECT)


class SmtpService:
    """The handler of every connection (aiosmtpd calls the `handle_...` methods)."""

    name: ClassVar[ServiceName] = ServiceName.SMTP

    def __init__(self, board: FaultBoard, journal: Journal, stopping: asyncio.Event) -> None:
        # aiosmtpd logs recipients at INFO: personal data.
        logging.getLogger("mail.log").setLevel(logging.WARNING)
        self._board = board
        self._journal = journal
        self._stopping = stopping
        self._certificate: Certificate | None = None
        self._transports: set[asyncio.BaseTransport] = set()
        self.reset()

    def reset(self) -> None:
        """As just started."""
        self.settings = SmtpSettings()
        self.forget()

    def forget(self) -> None:
        """Drop all letters, and what greylisting remembers."""
        self._letters: deque[dict[str, Any]] = deque(maxlen=MAX_LETTERS)
        self._greylisted: set[tuple[int, str, str]] = set()
        self._seen_ids: set[str] = set()

    def configure(self, changes: Mapping[str, Any]) -> None:
        """Change some settings; raises pydantic's ValidationError and then changes none."""
        self.settings = SmtpSettings.model_validate({**self.settings.model_dump(), **changes})

    def stored(self) -> dict[str, list[dict[str, Any]]]:
        """The letters accepted, also those whose sender was not told so."""
        return {"letters": list(self._letters)}

    @property
    def certificate(self) -> Certificate:
        """The self-signed certificate for STARTTLS, made when first needed."""
        if self._certificate is None:
            self._certificate = Certificate.self_signed()
        return self._certificate

    def connection(self) -> SMTP:
        """The protocol of one connection."""
        context: ssl.SSLContext | None = self.certificate.server_context() if self.settings.starttls else None
        return Connection(
            self,
            data_size_limit=MAX_LETTER_BYTES,
            enable_SMTPUTF8=True,
            hostname="sandbox.localhost",
            ident="Leadcast sandbox",
            tls_context=context,
            timeout=_IDLE_TIMEOUT_S,
            authenticator=self._authenticate,
            auth_require_tls=self.settings.starttls,
            auth_exclude_mechanism=MECHANISMS - set(self.settings.mechanisms),
            loop=asyncio.get_running_loop(),
        )

    def opened(self, transport: asyncio.Transport) -> None:
        """A client has connected."""
        for fault in self._board.matching(self.name, "", FaultKind.DOWN)[:1]:
            self._board.spend(fault)
            self._note("CONNECT", "", fault=fault)
            transport.abort()
            return
        self._transports.add(transport)

    def closed(self, transport: asyncio.BaseTransport) -> None:
        """A client has gone."""
        self._transports.discard(transport)

    def hang_up_on_all(self) -> None:
        """Close every open connection: the sandbox is stopping."""
        for transport in tuple(self._transports):
            transport.close()

    async def auth_XOAUTH2(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802 - aiosmtpd's name
        """An access token instead of a password."""
        given = await read_access_token(server, args)
        if given is None:
            return AuthResult(success=False, handled=True)
        assert server.session is not None
        assert server.envelope is not None
        result = self._authenticate(server, server.session, server.envelope, "XOAUTH2", given)
        if not result.success:  # who is refused is told why, and must answer that
            await server.challenge_auth('{"status":"401","schemes":"Bearer"}')
        return result

    async def auth_CRAM__MD5(self, server: SMTP, args: list[str]) -> AuthResult:  # noqa: N802 - aiosmtpd's name
        """A digest of the password instead of the password."""
        given = await read_digest(server)
        if given is None:
            return AuthResult(success=False, handled=True)
        assert server.session is not None
        assert server.envelope is not None
        return self._authenticate(server, server.session, server.envelope, "CRAM-MD5", given)

    def _authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, auth_data: Any
    ) -> AuthResult:
        fault = self._refusal("auth", mechanism)
        if fault is not None:
            return AuthResult(success=False, handled=False, message=self._refuse("AUTH", mechanism, fault))
        return sign_in(auth_data, settings=self.settings)

    def greeting(self, usual: str) -> str:
        """What a connection begins with."""
        fault = self._refusal("greeting", "")
        return usual if fault is None else self._refuse("CONNECT", "", fault)

    async def handle_EHLO(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        fault = self._refusal("ehlo", hostname)
        session.host_name = hostname
        return responses if fault is None else [self._refuse("EHLO", hostname, fault)]

    async def handle_HELO(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, hostname: str
    ) -> str:
        fault = self._refusal("ehlo", hostname)
        session.host_name = hostname
        return f"250 {server.hostname}" if fault is None else self._refuse("HELO", hostname, fault)

    async def handle_MAIL(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if self.settings.is_closed and not session.authenticated:
            return "530 5.7.0 Authentication required"
        fault = self._refusal("mail", address)
        if fault is not None:
            return self._refuse("MAIL", address, fault)
        wrong = objection(self.settings, "mail", name=session.host_name, sender=address)
        if wrong is not None:
            return wrong
        envelope.mail_from = address
        envelope.mail_options.extend(options)
        return _OK

    async def handle_RCPT(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if "@" not in address:
            return "501 5.1.3 Bad recipient address syntax"
        for fault in self._board.matching(self.name, address, FaultKind.HANG_UP_BEFORE)[:1]:
            self._board.spend(fault)
            self._note("RCPT", address, fault=fault)
            await _hang_up(server)
        fault_or_none = self._refusal("rcpt", address) or self._greylisting(envelope.mail_from or "", address)
        if fault_or_none is not None:
            return self._refuse("RCPT", address, fault_or_none)
        sender = envelope.mail_from or ""
        wrong = objection(self.settings, "rcpt", name=session.host_name, sender=sender, recipient=address)
        if wrong is not None:
            return wrong
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(options)
        return _OK

    async def handle_DATA(  # noqa: N802 - aiosmtpd's name
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        recipients = " ".join(envelope.rcpt_tos)
        fault = self._refusal("data", recipients)
        if fault is not None:
            return self._refuse("DATA", recipients, fault)
        wrong = objection(self.settings, "data", name=session.host_name, sender=envelope.mail_from or "")
        if wrong is not None:
            return wrong
        kinds = (FaultKind.SLOW, FaultKind.HANG_UP_AFTER, FaultKind.DROP_AFTER_DOT)
        fault = next(iter(self._board.matching(self.name, recipients, *kinds)), None)
        if fault is not None:
            self._board.spend(fault)
            if fault.kind is FaultKind.SLOW and await fault.is_cut_short(self._stopping):
                await _hang_up(server)
        is_dropped = fault is not None and fault.kind is not FaultKind.SLOW
        self._keep(session, envelope, fault=fault, is_dropped=is_dropped)
        if is_dropped:
            await _hang_up(server)
        return f"{_OK} queued"

    def _refusal(self, stage: str, address: str) -> Fault | None:
        faults = self._board.matching(self.name, address, *_REFUSING)
        return next((fault for fault in faults if fault.stage == stage), None)

    def _greylisting(self, sender: str, recipient: str) -> Fault | None:
        """The fault that greylists this pair, the first time it is seen."""
        for fault in self._board.matching(self.name, recipient, FaultKind.GREYLIST):
            pair = (fault.id, sender, recipient)
            if pair not in self._greylisted:
                self._greylisted.add(pair)
                return fault
        return None

    def _refuse(self, method: str, address: str, fault: Fault) -> str:
        self._board.spend(fault)
        code, text = _reply(fault)
        self._note(method, address, fault=fault, status=code)
        return f"{code} {text}"

    def _note(self, method: str, address: str, *, fault: Fault, status: int | None = None) -> None:
        entry = Received(service=self.name, method=method, path=address, status=status, fault=fault.kind.value)
        self._journal.add(entry)

    def _keep(self, session: Session, envelope: Envelope, *, fault: Fault | None, is_dropped: bool) -> None:
        letter = read_letter(envelope.original_content or b"")
        details: dict[str, Any] = {"mail_from": envelope.mail_from, "rcpt_tos": list(envelope.rcpt_tos), **letter}
        details["ehlo"] = session.host_name
        details["repeat"] = letter["message_id"] in self._seen_ids
        if letter["message_id"] is not None:
            self._seen_ids.add(letter["message_id"])
        self._letters.append(details)
        entry = Received(
            service=self.name,
            method="DATA",
            path=" ".join(envelope.rcpt_tos),
            status=None if is_dropped else 250,
            executed=True,
            fault=None if fault is None else fault.kind.value,
            credential=session.auth_data,
            stored=[{"message_id": letter["message_id"]}],
            details=details,
            size_bytes=len(envelope.original_content or b"") * 2,
        )
        self._journal.add(entry)


def _reply(fault: Fault) -> tuple[int, str]:
    if fault.kind is FaultKind.GREYLIST:
        return 451, fault.text or "4.7.1 Greylisted, please try again later"
    if fault.kind is FaultKind.RATE_LIMIT:
        return 451, fault.text or f"4.7.0 Too many messages, try again in {fault.retry_after} s"
    code = int(fault.code or fault.status or 550)
    default = "5.1.1 User unknown" if code >= 500 else "4.3.0 Try again later"
    return code, fault.text or default


async def _hang_up(server: SMTP) -> None:
    """Close the connection without an answer; aiosmtpd then cancels this very handler."""
    assert isinstance(server.transport, asyncio.Transport)
    server.transport.abort()
    await asyncio.sleep(5)
