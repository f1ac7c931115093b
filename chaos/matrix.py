"""The matrix: kill point × integration × who dies × what is done after. From it a seed chooses and orders a run."""

from __future__ import annotations

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from itertools import cycle
from typing import Any

from chaos.faults import ANY
from chaos.people import TYPES

SEND, SWEEP = "send_lead", "sweep"


class Who(StrEnum):
    """Who dies (or what goes wrong)."""

    TASK = "the task"
    WORKER = "worker and task"
    SCHEDULER = "the scheduler"
    SCHEDULER_TREE = "scheduler and workers"
    API_SERVER = "the api-server"
    TRIGGERER = "the triggerer"
    DAG_PROCESSOR = "the dag-processor"
    POSTGRES_IMMEDIATE = "PostgreSQL, immediate"
    POSTGRES_KILLED = "PostgreSQL, SIGKILL"
    STACK = "the whole stack"
    SERVICE = "the service fails"
    SLOW_TASK = "slow service, then the task"

    @property
    def is_big(self) -> bool:
        """Whether all feel it, so that one is staged at a time."""
        return self not in (Who.TASK, Who.WORKER, Who.SERVICE, Who.SLOW_TASK)


class After(StrEnum):
    """What is done after."""

    NOTHING = "nothing"
    CLEAR = "failed tasks cleared"
    RETRY = "POST …/retry"
    BACKFILL = "backfill of retry_leads"


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One fault. Two are different when (point, who, kind, after) are.

    kind: the integration, channel or DAG that is hit. times: how often the same delivery is hit, one try after another.
    service: faults of the sandbox; point then says which in words.
    """

    point: str
    who: Who
    kind: str = ANY
    after: After = After.NOTHING
    times: int = 1
    service: tuple[Mapping[str, Any], ...] = field(default=(), compare=False)
    id: str = field(default="", compare=False)

    @property
    def words(self) -> str:
        """What happens, for the table."""
        where = POINTS.get(self.point, self.point)
        again = f" ×{self.times}" if self.times > 1 else ""
        return f"{where}{again}"


POINTS = {
    "accept.before": "request read, not stored",
    "accept.after": "request stored, before the answer",
    "ring.before": "before the bell",
    "ring.after": "bell rung",
    "worker.before": "worker has the task, not begun",
    "look.before": "before plan looks what is due",
    "look.after": "lanes locked, not committed",
    "plan.after": "planned and committed",
    "lane.before": "before it takes more from its lane",
    "lane.after": "taken from its lane, not committed",
    "feed.before": "planned, lists not written",
    "feed.after": "lists written",
    "begin.before": "before it is marked sending",
    "begin.after": "marked sending",
    "call.before": "before the call goes out",
    "call.sent": "call made, answer unread",
    "call.answered": "answer read, unwritten",
    "find.before": "died once; before asking the service",
    "find.after": "died once; asked, nothing done",
    "end.before": "outcome known, unwritten",
    "end.after": "outcome written",
    "settle.before": "before a batch is settled",
    "settle.after": "a batch is settled",
    "settle_wave.before": "before the wave is settled",
    "settle_wave.after": "the wave is settled",
    "take.after": "outbox row taken",
    "tell.before": "before it is told",
    "tell.after": "told, not marked",
    "sent.after": "marked told, not committed",
    "run_callback.before": "run ended, its callback not run",
    "sweep.before": "before the sweep",
    "sweep.after": "swept",
}

_ON_THE_WAY = ("begin.before", "begin.after", "call.before", "call.sent", "call.answered", "end.before", "end.after")
_SERVICES = {"email": "smtp"}
_WRITES = {"amocrm": "/api/v4/leads", "bitrix24": "crm.item.add", "telegram": "sendMessage", "webhook": None}


def everything(afters: Sequence[After]) -> list[Scenario]:
    """All faults that there are. `afters`: those that can be done on this stack."""
    found = [item for item in (*_small(), *_services(), *_big()) if item.after in afters]
    return list(dict.fromkeys(found))


def chosen(count: int, *, afters: Sequence[After], seed: int, big: int | None = None) -> list[Scenario]:
    """A run: first one of each point, then one of each (point, who), then any, up to `count`. Small ones come first.

    Args:
        big: at most so many of those that all feel; None: as the count has it.
    """
    pool = everything(afters)
    random.Random(seed).shuffle(pool)
    pool.sort(key=lambda item: item.who.is_big)  # stable: where a point has a small one, that is its first
    points: dict[str, Scenario] = {}
    pairs: dict[tuple[str, Who], Scenario] = {}
    for item in pool:
        points.setdefault(item.point, item)
        pairs.setdefault((item.point, item.who), item)
    ordered = list(dict.fromkeys([*points.values(), *pairs.values(), *pool]))
    large = [item for item in ordered if item.who.is_big][:big]
    taken = [item for item in ordered if not item.who.is_big or item in large][:count]
    taken.sort(key=lambda item: item.who.is_big)
    return [replace(item, id=f"{number:03d}") for number, item in enumerate(taken)]


def _small() -> Iterator[Scenario]:
    for point in ("look.before", "look.after", "plan.after"):
        for who in (Who.TASK, Who.WORKER):
            yield Scenario(point=point, who=who)
    for point in ("feed.before", "feed.after"):
        yield Scenario(point=point, who=Who.TASK, kind=SEND)
    yield Scenario(point="plan.after", who=Who.TASK, times=3, after=After.CLEAR)
    yield Scenario(point="worker.before", who=Who.TASK, kind="plan")
    yield Scenario(point="worker.before", who=Who.TASK, kind="webhook")
    after = cycle(After)
    for kind in TYPES:
        for point in _ON_THE_WAY:
            yield Scenario(point=point, who=Who.TASK, kind=kind)
            lasting = next(after)
            if lasting is not After.NOTHING:
                yield Scenario(point=point, who=Who.TASK, kind=kind, times=3, after=lasting)
        for point in ("begin.after", "call.sent", "end.after"):
            yield Scenario(point=point, who=Who.WORKER, kind=kind)
    for kind in ("webhook", "telegram"):
        for point in ("lane.before", "lane.after"):
            yield Scenario(point=point, who=Who.TASK, kind=kind)
    yield Scenario(point="lane.after", who=Who.WORKER, kind="amocrm")
    for kind in ("amocrm", "bitrix24"):
        for point in ("find.before", "find.after"):
            yield Scenario(point=point, who=Who.TASK, kind=kind)
    for point in ("settle.before", "settle.after", "settle_wave.before", "settle_wave.after"):
        yield Scenario(point=point, who=Who.TASK)
    yield Scenario(point="settle_wave.before", who=Who.WORKER)
    for kind in ("email", "hook", "callback_url"):
        yield Scenario(point="take.after", who=Who.TASK, kind=kind)
        yield Scenario(point="sent.after", who=Who.TASK, kind=kind)
    for kind in ("notification", "hook", "callback"):
        for point in ("tell.before", "tell.after"):
            yield Scenario(point=point, who=Who.TASK, kind=kind)
    for kind in ("notification", "callback"):
        yield Scenario(point="call.sent", who=Who.TASK, kind=kind)
    yield Scenario(point="run_callback.before", who=Who.TASK)
    yield Scenario(point="sweep.before", who=Who.TASK)
    yield Scenario(point="sweep.after", who=Who.TASK)


def _services() -> Iterator[Scenario]:
    """What the services do wrong by themselves."""
    plain: tuple[tuple[str, dict[str, Any]], ...] = (
        ("hangs up before", {"kind": "hang_up_before"}),
        ("executes, then hangs up", {"kind": "hang_up_after"}),
        ("answers after 8 s", {"kind": "slow", "delay_s": 8}),
        ("answers 503", {"kind": "status", "status": 503}),
        ("asks to wait (429)", {"kind": "rate_limit", "retry_after": 2}),
        ("refuses connections", {"kind": "down", "times": 2}),
    )
    for kind, match in _WRITES.items():
        for words, fault in plain:
            yield _service(kind, words, {**fault, **({"match": match} if match else {})})
        lasting = {"kind": "status", "status": 503, "times": 3, **({"match": match} if match else {})}
        for after in (After.NOTHING, After.CLEAR, After.RETRY, After.BACKFILL):
            yield _service(kind, "answers 503, three times", lasting, after=after)
        slow = {"service": kind, "kind": "slow", "delay_s": 8, **({"match": match} if match else {})}
        yield Scenario(point="call.sent", who=Who.SLOW_TASK, kind=kind, service=(slow,))
    yield _service("email", "hangs up before", {"kind": "hang_up_before", "match": "@example.com"})
    yield _service("email", "takes the letter, then hangs up", {"kind": "drop_after_dot"})
    yield _service("email", "answers 451 (greylisting)", {"kind": "greylist", "times": 2})
    yield _service("email", "refuses connections", {"kind": "down", "times": 2})
    yield _service("email", "answers after 8 s", {"kind": "slow", "delay_s": 8})
    yield _service("amocrm", "access token expired", {"kind": "token_expired", "times": 1})
    yield _service("bitrix24", "access token expired", {"kind": "expired_token", "times": 1})
    yield _service("telegram", "answers HTML (502)", {"kind": "non_json", "status": 502, "match": "sendMessage"})


def _service(kind: str, words: str, fault: Mapping[str, Any], *, after: After = After.NOTHING) -> Scenario:
    told = {"service": _SERVICES.get(kind, kind), **fault}
    return Scenario(point=words, who=Who.SERVICE, kind=kind, after=after, service=(told,))


def _big() -> Iterator[Scenario]:
    table: dict[Who, tuple[str, ...]] = {
        Who.SCHEDULER: (
            "accept.after",
            "plan.after",
            "begin.after",
            "call.sent",
            "call.answered",
            "settle_wave.before",
        ),
        Who.SCHEDULER_TREE: ("feed.after", "call.sent", "end.after"),
        Who.API_SERVER: (
            *("accept.before", "accept.after", "ring.before", "ring.after"),
            *("feed.before", "call.sent", "end.after", "settle_wave.after"),
        ),
        Who.TRIGGERER: ("plan.after", "call.sent"),
        Who.DAG_PROCESSOR: ("plan.after", "run_callback.before"),
        Who.POSTGRES_IMMEDIATE: (
            *("accept.before", "accept.after", "look.after", "begin.after", "call.sent", "call.answered"),
            *("settle.before", "sent.after"),
        ),
        Who.POSTGRES_KILLED: ("call.answered", "feed.before"),
        Who.STACK: (
            *("accept.after", "ring.after", "plan.after", "feed.after", "begin.after", "call.before", "call.sent"),
            *("call.answered", "end.after", "settle.after", "tell.after"),
        ),
    }
    kinds = cycle(TYPES)
    for who, points in table.items():
        for point in points:
            kind = next(kinds) if point in _ON_THE_WAY else _kind_of(point)
            yield Scenario(point=point, who=who, kind=kind)
    yield Scenario(point="call.sent", who=Who.STACK, kind="telegram", after=After.RETRY)
    yield Scenario(point="begin.after", who=Who.STACK, kind="amocrm", after=After.CLEAR)
    yield Scenario(point="call.sent", who=Who.POSTGRES_IMMEDIATE, kind="bitrix24", after=After.BACKFILL)


def _kind_of(point: str) -> str:
    return {"feed.before": SEND, "feed.after": SEND, "tell.after": "notification"}.get(point, ANY)
