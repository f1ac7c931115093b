"""The judgement: what was promised, held against the ledger, the services and what people were told."""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from chaos.orphans import orphans
from chaos.people import Sent
from chaos.stack import Stage
from chaos.world import Seen

_UNREST = {
    "batches without a final status": "SELECT count(*) FROM batches WHERE status IN ('pending', 'processing')",
    "open deliveries": "SELECT count(*) FROM deliveries WHERE state IN ('pending', 'sending', 'retrying')",
    "running attempts": "SELECT count(*) FROM attempts WHERE outcome = 'running'",
    "pending notifications": "SELECT count(*) FROM notifications WHERE state = 'pending'",
}
_FAILED = ("failed", "unknown")


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What came of a run.

    lost: said to be delivered and not there, or no batch at all. doubled: there more than once. statusless: without a
    final status, something of it still open, or left over. unheard: a notification, hook or callback that was not
    sent. doubts: not known as delivered and there all the same; a person is told of each. repeats: letters and events
    that came again under an id that their receivers know. refused: leads whose clients gave up before they had a 202.
    """

    leads: int
    deliveries: int
    states: Counter[str]
    lost: tuple[str, ...]
    doubled: tuple[str, ...]
    statusless: tuple[str, ...]
    unheard: tuple[str, ...]
    doubts: tuple[str, ...]
    repeats: int
    resent_posts: int
    refused: tuple[str, ...]
    told: Counter[str] = field(default_factory=Counter)

    @property
    def is_kept(self) -> bool:
        """Whether the promise was kept."""
        return not (self.lost or self.doubled or self.statusless or self.unheard)


def unrest(stage: Stage) -> dict[str, int]:
    """What is still going on, by kind; empty: all is calm."""
    counts = {what: int(stage.rows(statement)[0][0]) for what, statement in _UNREST.items()}
    return {what: count for what, count in counts.items() if count}


def await_calm(stage: Stage, *, timeout_s: float, say: Callable[[str], None]) -> dict[str, int]:
    """Waits until nothing is going on; returns what still is when the time is up."""
    until, last = time.monotonic() + timeout_s, ""
    while (left := unrest(stage)) and time.monotonic() < until:
        words = ", ".join(f"{count} {what}" for what, count in left.items())
        if words != last:
            say(f"  waiting: {words}")
            last = words
        time.sleep(3)
    return left


def judge(stage: Stage, sent: Sequence[Sent]) -> Verdict:
    """Holds everything that was sent against everything that is known."""
    seen = stage.world.seen()
    ids = [item.lead_id for item in sent]
    batches = stage.rows("SELECT id, lead_id, status, wave_id FROM batches WHERE lead_id = ANY(:ids)", ids=ids)
    deliveries = stage.rows(
        "SELECT d.id, d.batch_id, d.type, d.state, b.lead_id FROM deliveries d JOIN batches b ON b.id = d.batch_id "
        "WHERE b.lead_id = ANY(:ids)",
        ids=ids,
    )
    chats = {item.lead_id: item.chat for item in sent}
    arrived = {row.id: seen.count(row.type, row.id, chat=chats[row.lead_id]) for row in deliveries}
    told = _told(stage, seen)
    held = {batch.lead_id for batch in batches}
    return Verdict(
        leads=len(sent),
        deliveries=len(deliveries),
        states=Counter(str(row.state) for row in deliveries),
        lost=(
            *(f"{item.lead_id}: no batch" for item in sent if item.answers and item.lead_id not in held),
            *(_of(row) for row in deliveries if row.state == "delivered" and not arrived[row.id]),
        ),
        doubled=(
            *(f"{item.lead_id}: {len(item.answers)} batches" for item in sent if len(item.answers) > 1),
            *(f"{lead_id}: {n} batches" for lead_id, n in Counter(b.lead_id for b in batches).items() if n > 1),
            *(f"{_of(row)}: {arrived[row.id]} times" for row in deliveries if arrived[row.id] > 1),
        ),
        statusless=(
            *(f"batch {b.id}: {b.status}" for b in batches if b.status in ("pending", "processing")),
            *(f"batch {b.id}: no wave" for b in batches if not b.wave_id and b.status != "cancelled"),
            *(f"{what}: {count}" for what, count in (unrest(stage) | orphans(stage)).items()),
        ),
        unheard=(*told.unheard, *_missing_rows(stage, batches)),
        doubts=tuple(_of(row) for row in deliveries if row.state in _FAILED and arrived[row.id]),
        repeats=seen.repeats(),
        resent_posts=sum(item.repeats for item in sent),
        refused=tuple(item.lead_id for item in sent if not item.answers),
        told=told.sent,
    )


def _of(row: Any) -> str:
    return f"{row.type} {row.id} ({row.state}, lead {row.lead_id})"


@dataclass(frozen=True)
class _Told:
    sent: Counter[str]
    unheard: tuple[str, ...]


def _told(stage: Stage, seen: Seen) -> _Told:
    """Whether all that the outbox calls sent has been heard."""
    rows = stage.rows("SELECT key, channel, state, batch_id, occasion, error FROM notifications")
    digests = {letter.removeprefix("<").partition("@")[0] for letter in seen.letters}
    calls = Counter(_hook_lines(stage.home.root / "hooks.log"))
    unheard, sent = [], Counter[str]()
    for row in rows:
        digest = hashlib.sha256(row.key.encode()).hexdigest()[:32]
        heard = {
            "email": digest in digests,
            "callback_url": f"msg_{digest}" in seen.events,
            "hook": calls[f"{row.occasion} {row.batch_id}"] > 0,
        }.get(row.channel, True)
        if row.state == "sent" and heard:
            sent[row.channel] += 1
        else:
            why = f"{row.state}, {row.error}" if row.state != "sent" else "called sent, and nobody has heard it"
            unheard.append(f"{row.channel} {row.occasion} of batch {row.batch_id}: {why}")
    return _Told(sent, tuple(unheard))


def _missing_rows(stage: Stage, batches: Sequence[Any]) -> list[str]:
    """Final statuses that nothing was queued for."""
    rows = stage.rows("SELECT batch_id, channel, key FROM notifications WHERE batch_id IS NOT NULL")
    queued = {(row.batch_id, row.channel, word) for row in rows for word in row.key.split(":")}
    final = [batch for batch in batches if batch.status in ("completed", "partial", "failed")]
    return [
        f"batch {batch.id}: no {channel} for {batch.status}"
        for batch in final
        for channel in ("email", "hook")
        if (batch.id, channel, batch.status) not in queued
    ]


def _hook_lines(path: Path) -> list[str]:
    try:
        return path.read_text().splitlines()
    except FileNotFoundError:
        return []
