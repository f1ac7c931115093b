"""All services of one sandbox with what they share: journal, faults, the sign that it stops."""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Mapping
from typing import Any

from leadcast.sandbox.amocrm.service import AmoCrm
from leadcast.sandbox.bitrix24.service import Bitrix24
from leadcast.sandbox.faults import Fault, FaultBoard
from leadcast.sandbox.gate import Gate
from leadcast.sandbox.http_service import HttpService
from leadcast.sandbox.ports import ServiceName
from leadcast.sandbox.received import Journal
from leadcast.sandbox.smtp.service import SmtpService
from leadcast.sandbox.telegram.service import Telegram
from leadcast.sandbox.webhook import WebhookReceiver


class Services:
    """One of each. To be used on the sandbox's event loop only."""

    def __init__(self) -> None:
        self.journal = Journal()
        self.board = FaultBoard()
        self.stopping = asyncio.Event()
        http: tuple[HttpService, ...] = (
            AmoCrm(self.board),
            Bitrix24(self.board),
            Telegram(self.board),
            WebhookReceiver(self.board),
        )
        self.http = {service.name: service for service in http}
        self.smtp = SmtpService(self.board, self.journal, self.stopping)

    def gate(self, name: ServiceName) -> Gate:
        """The ASGI application of an HTTP service."""
        return Gate(self.http[name], board=self.board, journal=self.journal, stopping=self.stopping)

    def named(self, name: ServiceName) -> HttpService | SmtpService:
        return self.smtp if name is ServiceName.SMTP else self.http[name]

    def received(self, name: ServiceName) -> list[dict[str, Any]]:
        """What a service received, newest last."""
        return [copy.deepcopy(entry.as_json()) for entry in self.journal.of(name)]

    def stored(self, name: ServiceName) -> dict[str, list[dict[str, Any]]]:
        """What a service holds now, by kind."""
        return copy.deepcopy(self.named(name).stored())

    def set_fault(self, fault: Fault) -> Fault:
        """Set it; answers a copy with its id."""
        return self.board.set(fault).model_copy()

    def configure(self, name: ServiceName, changes: Mapping[str, Any]) -> None:
        self.named(name).configure(changes)

    def settings(self) -> dict[str, Any]:
        """The settings of all services, secrets masked."""
        return {name.value: self.named(name).settings.model_dump(mode="json") for name in ServiceName}

    def clear(self) -> None:
        """Forget what was received and stored; faults and settings stay."""
        self.journal.clear()
        for name in ServiceName:
            self.named(name).forget()

    def reset(self) -> None:
        """As just started."""
        self.journal.clear()
        self.board.clear()
        for name in ServiceName:
            self.named(name).reset()
