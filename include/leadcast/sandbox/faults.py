"""What a service is told to do wrong, for how many calls, and for which of them."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, StringConstraints, model_validator

from leadcast.sandbox.ports import ServiceName


class FaultKind(StrEnum):
    """Every fault there is; `OWN_KINDS` says which belong to one service only."""

    STATUS = "status"
    ANSWER = "answer"
    HANG_UP_BEFORE = "hang_up_before"
    HANG_UP_AFTER = "hang_up_after"
    RATE_LIMIT = "rate_limit"
    SLOW = "slow"
    DOWN = "down"
    NON_JSON = "non_json"
    INTERIM = "interim"
    PACKED = "packed"
    CUT = "cut"
    TOKEN_EXPIRED = "token_expired"  # noqa: S105 - the name of a fault
    VALIDATION = "validation"
    EXPIRED_TOKEN = "expired_token"  # noqa: S105 - the name of a fault
    RENAME = "rename"
    ERROR = "error"
    MIGRATE = "migrate"
    BLOCKED = "blocked"
    GONE = "gone"
    REDIRECT = "redirect"
    REJECT = "reject"
    GREYLIST = "greylist"
    DROP_AFTER_DOT = "drop_after_dot"


_KINDS_OF_ALL = frozenset(
    {
        FaultKind.STATUS,
        FaultKind.HANG_UP_BEFORE,
        FaultKind.HANG_UP_AFTER,
        FaultKind.RATE_LIMIT,
        FaultKind.SLOW,
        FaultKind.DOWN,
    }
)
_KINDS_OF_HTTP = _KINDS_OF_ALL | {
    FaultKind.ANSWER,
    FaultKind.NON_JSON,
    FaultKind.INTERIM,
    FaultKind.PACKED,
    FaultKind.CUT,
}
KINDS: dict[ServiceName, frozenset[FaultKind]] = {
    ServiceName.AMOCRM: _KINDS_OF_HTTP | {FaultKind.TOKEN_EXPIRED, FaultKind.VALIDATION},
    ServiceName.BITRIX24: _KINDS_OF_HTTP | {FaultKind.EXPIRED_TOKEN, FaultKind.RENAME, FaultKind.ERROR},
    ServiceName.TELEGRAM: _KINDS_OF_HTTP | {FaultKind.MIGRATE, FaultKind.BLOCKED, FaultKind.ERROR},
    ServiceName.WEBHOOK: _KINDS_OF_HTTP | {FaultKind.GONE, FaultKind.REDIRECT},
    ServiceName.SMTP: _KINDS_OF_ALL | {FaultKind.REJECT, FaultKind.GREYLIST, FaultKind.DROP_AFTER_DOT},
}
# These describe a lasting condition: without `times` they stay until cleared. The others happen once.
_LASTING = frozenset(
    {FaultKind.DOWN, FaultKind.TOKEN_EXPIRED, FaultKind.MIGRATE, FaultKind.BLOCKED, FaultKind.GONE, FaultKind.GREYLIST}
)
_NEEDS: dict[FaultKind, tuple[str, ...]] = {
    FaultKind.STATUS: ("status",),
    FaultKind.ANSWER: ("status",),
    FaultKind.SLOW: ("delay_s",),
    FaultKind.MIGRATE: ("chat_id", "migrate_to_chat_id"),
    FaultKind.REDIRECT: ("location",),
}

_HeaderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9-]{1,64}$")]
_HeaderValue = Annotated[str, StringConstraints(max_length=500, pattern=r"^[\x20-\x7e]*$")]


class Fault(BaseModel):
    """One fault. Which fields count depends on `kind`; `times` null means until cleared."""

    model_config = ConfigDict(extra="forbid")

    id: int = 0
    service: ServiceName
    kind: FaultKind
    times: int | None = Field(default=1, ge=1, description="how many calls; null: until cleared")
    match: str | None = Field(
        default=None, min_length=1, description="must appear in the path, the body or a recipient"
    )
    status: int | None = Field(default=None, ge=200, le=599)
    executes: bool = Field(default=False, description="status, answer, non_json: the call is executed all the same")
    retry_after: int = Field(default=1, ge=0, le=86_400, description="seconds")
    delay_s: float | None = Field(default=None, gt=0, le=3_600)
    code: str | int | None = Field(default=None, description="bitrix24: error code; smtp: reply code")
    text: str | None = Field(default=None, max_length=500, pattern=r"^[^\r\n]*$")
    error_code: int = Field(default=400, ge=400, le=599, description="telegram")
    description: str | None = Field(default=None, max_length=500)
    chat_id: int | str | None = None
    migrate_to_chat_id: int | None = None
    location: str | None = Field(default=None, max_length=2_000, pattern=r"^https?://[^\s]+$")
    headers: Annotated[dict[_HeaderName, _HeaderValue], Field(max_length=10)] = Field(
        default_factory=dict, description="answer: further headers"
    )
    body: Any = Field(default=None, description="answer: JSON; without it, `text` as it stands")
    stage: Literal["greeting", "ehlo", "auth", "mail", "rcpt", "data"] = Field(
        default="rcpt", description="smtp: where to refuse"
    )

    _set_at: float = PrivateAttr(default_factory=time.monotonic)

    @property
    def set_at(self) -> float:
        """When it was set, on `time.monotonic`'s clock."""
        return self._set_at

    async def is_cut_short(self, stopping: asyncio.Event) -> bool:
        """Waits for `delay_s`. True: the sandbox stops before that."""
        try:
            await asyncio.wait_for(stopping.wait(), timeout=self.delay_s or 0)
        except TimeoutError:
            return False
        return True

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        kinds = KINDS[self.service]
        if self.kind not in kinds:
            known = ", ".join(sorted(kinds))
            raise ValueError(f"{self.service.value} has no fault {self.kind.value!r}; it has: {known}")
        missing = [name for name in _NEEDS.get(self.kind, ()) if getattr(self, name) is None]
        if missing:
            raise ValueError(f"fault {self.kind.value!r} needs {', '.join(missing)}")
        if self.service is ServiceName.SMTP:
            self._check_reply_code()
        if self.kind in _LASTING and "times" not in self.model_fields_set:
            self.times = None
        return self

    def _check_reply_code(self) -> None:
        code = self.status if self.kind is FaultKind.STATUS else self.code
        if code is not None and not (str(code).isdigit() and 400 <= int(code) <= 599):
            raise ValueError(f"smtp: a refusal has a reply code from 400 to 599, not {code!r}")


class FaultBoard:
    """The faults that are set. A fault that has happened `times` times is gone. `on_change` hears of every change."""

    def __init__(self) -> None:
        self._ids = itertools.count(1)
        self._faults: list[Fault] = []
        self.on_change: Callable[[], None] = lambda: None

    def set(self, fault: Fault) -> Fault:
        fault.id = next(self._ids)
        self._faults.append(fault)
        self.on_change()
        return fault

    def all(self) -> list[Fault]:
        return list(self._faults)

    def matching(self, service: ServiceName, haystack: str = "", *kinds: FaultKind) -> list[Fault]:
        """The faults of a service (of these `kinds`, if any are given) that apply to a call, oldest first."""
        return [
            fault
            for fault in self._faults
            if fault.service is service
            and (not kinds or fault.kind in kinds)
            and (fault.match is None or fault.match in haystack)
        ]

    def spend(self, fault: Fault) -> None:
        """It has happened once more."""
        if fault.times is None:
            return
        fault.times -= 1
        if fault.times <= 0:
            self.remove(fault.id)

    def remove(self, fault_id: int) -> bool:
        before = len(self._faults)
        self._faults = [fault for fault in self._faults if fault.id != fault_id]
        self.on_change()
        return len(self._faults) < before

    def clear(self) -> None:
        self._faults = []
        self.on_change()

    def is_down(self, service: ServiceName) -> bool:
        """Down for everybody, until cleared: connections are refused. Otherwise they are closed when a call comes."""
        return any(
            fault.service is service and fault.kind is FaultKind.DOWN and fault.times is None and fault.match is None
            for fault in self._faults
        )
