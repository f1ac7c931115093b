"""What was never begun is never failed for having waited: it goes on waiting until it is sent, or held for its age."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
from sqlalchemy import func, select, update

from leadcast.control.retry import Retrier
from leadcast.core.backoff import LONGEST_WAIT_S
from leadcast.core.ending import Ending
from leadcast.core.errors import HELD_FOR_AGE, CredentialsError, RateLimited, TransientError
from leadcast.core.limits import Limit
from leadcast.core.model import BatchStatus, DeliveryState
from leadcast.core.settings import Settings
from leadcast.engine.runs.ended import STOPPED
from leadcast.flow.plan import ring_for_rest
from leadcast.store.batches import lanes, views
from leadcast.store.database import Store
from leadcast.store.schema import batches, limits, pauses

from .conftest import Service, StoppedClock
from .ground import Ground

pytestmark = pytest.mark.store
D = DeliveryState
AWAY = TransientError("away", code="unreachable")


@dataclass
class Limited(Service):
    """One call in so many seconds."""

    period_s: float = 1.0

    def limits(self, *, settings: Any, account: Any) -> list[Limit]:
        return [Limit(name="chat", calls=1, period_s=self.period_s)]


@dataclass(frozen=True)
class Line:
    """Leads to one service whose limit lets none of them out."""

    ground: Ground
    clock: StoppedClock
    service: Limited
    ids: list[str]

    def time_passes(self, seconds: float) -> None:
        """By our clock, and by the limiter's, which is the database's."""
        self.clock.pass_s(seconds)
        with self.ground.store.begin() as connection:
            state = connection.execute(select(limits.c.state)).scalar_one()
            earlier = {name: at - seconds for name, at in state.items() if name != "slots"}
            earlier["slots"] = [at - seconds for at in state.get("slots", [])]
            connection.execute(update(limits).values(state=earlier))

    def waves(self, count: int = 20) -> None:
        """As many waves as are rung for."""
        for _ in range(count):
            run_id = ring_for_rest(self.ground.store, self.ground.settings, clock=self.clock)
            if run_id is None:
                break
            self.wave(run_id)

    def wave(self, run_id: str) -> None:
        """Its tasks send all that is due, each what it finds, and settle it."""
        self.ground.plan(run_id)
        with self.ground.store.begin() as connection:
            due = lanes.due(connection, "telegram", now=self.clock(), limit=1000)
        for ref in due:
            self.ground.attempt(ref.delivery_id, self.service, run_id=run_id)
        self.ground.settler.so_far({ref.batch_id for ref in due})
        self.ground.settler.wave(run_id, Ending())

    def views(self) -> list[views.DeliveryView]:
        with self.ground.store.begin() as connection:
            found = [views.batch(connection, delivery_id[:-2]) for delivery_id in self.ids]
        return [batch.deliveries[0] for batch in found if batch is not None]


@pytest.fixture
def line(ground: Ground, clock: StoppedClock) -> Callable[..., Line]:
    """The first is answered 429; the others come after it."""

    def line(count: int, *, asks_s: float, service: Limited | None = None, **settings: Any) -> Line:
        ground.settings = ground.settings.model_copy(update=settings)
        ground.deliverer = replace(ground.deliverer, settings=ground.settings, sleep=lambda _: None)
        ground.settler = replace(ground.settler, settings=ground.settings)
        made = Line(ground, clock, service or Limited(), [])
        made.service.answers = [RateLimited("slow down", retry_after_s=asks_s)]
        made.ids.extend(f"{ground.accept('telegram').batch_id}-0" for _ in range(count))
        ground.plan("w")
        for delivery_id in made.ids:
            ground.attempt(delivery_id, made.service)
        ground.settler.wave("w", Ending())
        return made

    return line


@pytest.mark.parametrize("asks_s", [5 * 3600, 1e9])
def test_a_service_that_asks_for_very_long_is_called_again_after_an_hour_for_all(
    line: Callable[..., Line], store: Store, asks_s: float
) -> None:
    waiting = line(3, asks_s=asks_s)
    with store.begin() as connection:
        paused_s = connection.execute(select(func.extract("epoch", pauses.c.until - func.now()))).scalar_one()
    assert LONGEST_WAIT_S - 60 < paused_s <= LONGEST_WAIT_S
    assert [item.state for item in waiting.views()] == [D.RETRYING] * 3
    for _ in range(5):
        waiting.time_passes(LONGEST_WAIT_S * 1.1)
        waiting.waves()
    assert [item.state for item in waiting.views()] == [D.DELIVERED] * 3


def test_who_stands_in_line_for_longer_than_a_delivery_may_be_put_off_has_his_turn(line: Callable[..., Line]) -> None:
    waiting = line(12, asks_s=60, service=Limited(period_s=60), give_up_after_s=300)
    assert {item.state for item in waiting.views()} == {D.RETRYING}
    for _ in range(40):
        waiting.time_passes(60)
        waiting.waves()
    assert {item.state for item in waiting.views()[1:]} == {D.DELIVERED}


def test_who_has_heard_the_429_is_not_the_last_in_line(line: Callable[..., Line]) -> None:
    waiting = line(12, asks_s=60, service=Limited(period_s=60))
    waiting.time_passes(70)
    waiting.ground.attempt(waiting.ids[0], waiting.service, run_id="x")
    assert waiting.views()[0].state is D.DELIVERED


def test_who_has_no_turn_before_he_is_too_old_is_held_for_a_person_then(line: Callable[..., Line]) -> None:
    waiting = line(3, asks_s=LONGEST_WAIT_S, give_up_after_s=300, hold_after_s=1800)
    waiting.time_passes(1790)
    waiting.waves()
    assert [item.state for item in waiting.views()][1:] == [D.RETRYING] * 2
    waiting.time_passes(60)
    waiting.waves()
    held = waiting.views()[1:]
    assert [(item.state, (item.error or {}).get("code")) for item in held] == [(D.FAILED, HELD_FOR_AGE)] * 2
    assert len(waiting.service.got) == 1


def test_who_is_held_before_his_turn_takes_no_place_in_the_line(line: Callable[..., Line]) -> None:
    waiting = line(30, asks_s=1, service=Limited(period_s=60), hold_after_s=600)
    with waiting.ground.store.begin() as connection:
        until = connection.execute(select(limits.c.state)).scalar_one()["queued_until"]
        now = float(connection.execute(select(func.extract("epoch", func.now()))).scalar_one())
    assert until - now <= 600


def test_whoever_a_person_asks_for_has_his_whole_time_again(line: Callable[..., Line], clock: StoppedClock) -> None:
    waiting = line(1, asks_s=LONGEST_WAIT_S)
    late = f"{waiting.ground.accept('telegram').batch_id}-0"
    clock.pass_s(waiting.ground.settings.hold_after_s + 1)
    waiting.ids[:] = [late]
    waiting.ground.attempt(late, waiting.service, asked=True, run_id="")
    (item,) = waiting.views()
    assert (item.state, item.waits_for) == (D.RETRYING, "limit")
    assert item.next_attempt_at is not None
    assert (item.next_attempt_at - clock()).total_seconds() > LONGEST_WAIT_S - 60


def test_in_a_round_of_the_schedule_too_what_was_not_begun_waits(
    line: Callable[..., Line], clock: StoppedClock, store: Store
) -> None:
    """What has been begun ends when it was put off for long enough. Started again by the schedule, it is not begun."""
    waiting = line(1, asks_s=LONGEST_WAIT_S, give_up_after_s=300)
    assert [item.state for item in waiting.views()] == [D.FAILED], "its time is over before the service takes it"
    retrier = Retrier(store=store, settings=waiting.ground.settings, clock=clock)
    clock.pass_s(60)
    assert retrier.window(since=clock().replace(hour=0), until=clock()).batches == 1
    waiting.wave("x")
    assert [(item.state, item.waits_for) for item in waiting.views()] == [(D.RETRYING, "limit")]


def test_the_time_of_what_has_waited_for_long_begins_when_it_is_tried(line: Callable[..., Line]) -> None:
    waiting = line(2, asks_s=LONGEST_WAIT_S, give_up_after_s=300)
    waiting.time_passes(LONGEST_WAIT_S * 1.1)
    waiting.service.answers = [RateLimited("slow down", retry_after_s=120)]
    waiting.waves()
    assert (waiting.views()[1].state, waiting.views()[1].attempts) == (D.RETRYING, 1)


def test_what_tries_an_account_that_was_away_for_long_is_not_lost_by_it(ground: Ground, clock: StoppedClock) -> None:
    for _ in range(5):
        ground.attempt(f"{ground.accept('telegram').batch_id}-0", Service(answers=[AWAY]))
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service())
    ground.settler.wave("w", Ending())
    clock.pass_s(ground.settings.give_up_after_s + 60)
    ground.attempt(delivery_id, Service(answers=[CredentialsError("401")]), run_id="x")
    assert ground.stands(delivery_id)[1] is D.RETRYING


@pytest.mark.parametrize("critical", ["", STOPPED])
def test_whatever_ends_its_run_it_goes_on_however_long_it_has_waited(line: Callable[..., Line], critical: str) -> None:
    waiting = line(2, asks_s=LONGEST_WAIT_S, give_up_after_s=300)
    waiting.time_passes(LONGEST_WAIT_S * 1.1)
    late = waiting.ids[1:]
    assert waiting.ground.plan("x") == late
    waiting.ground.settler.wave("x", Ending(critical=critical))
    assert [item.state for item in waiting.views()][1:] == [D.RETRYING]
    assert waiting.ground.plan("y") == late


def test_what_waits_for_a_moment_in_its_run_is_sent_by_another_when_somebody_stops_the_run(
    ground: Ground, clock: StoppedClock
) -> None:
    ids = [f"{ground.accept('telegram').batch_id}-0" for _ in range(2)]
    ground.plan("w")
    ground.deliverer = replace(ground.deliverer, sleep=lambda _: None)
    service = Limited(period_s=30)
    for delivery_id in ids:
        ground.attempt(delivery_id, service)
    assert ground.stands(ids[1])[1] is D.RETRYING
    ground.settler.wave("w", Ending(critical=STOPPED))
    clock.pass_s(60)
    assert ground.plan("x") == ids[1:]


def test_those_that_wait_for_an_account_are_held_at_once_when_they_are_too_old_and_not_one_in_a_quarter_of_an_hour(
    ground: Ground, clock: StoppedClock, store: Store
) -> None:
    settings = Settings(give_up_after_s=300, hold_after_s=3600)
    ground.settings, ground.deliverer = settings, replace(ground.deliverer, settings=settings)
    ground.settler = replace(ground.settler, settings=settings)
    for _ in range(5):
        ground.attempt(f"{ground.accept('telegram').batch_id}-0", Service(answers=[AWAY]))
    waiting = Line(ground, clock, Limited(), [f"{ground.accept('telegram').batch_id}-0" for _ in range(20)])
    ground.plan("w")
    for delivery_id in waiting.ids:
        ground.attempt(delivery_id, Service())
    ground.settler.wave("w", Ending())
    clock.pass_s(3590)
    waiting.service.answers = [AWAY] * 40
    waiting.waves(1)  # one of them tries the account
    assert [item.state for item in waiting.views()].count(D.RETRYING) >= 19
    clock.pass_s(60)
    waiting.waves(2)
    of_line = [delivery_id[:-2] for delivery_id in waiting.ids]
    codes = [(item.error or {}).get("code") for item in waiting.views()]
    assert codes.count(HELD_FOR_AGE) >= 19
    with store.begin() as connection:
        ended = connection.execute(
            select(func.count()).where(batches.c.status == BatchStatus.FAILED, batches.c.id.in_(of_line))
        )
        assert ended.scalar_one() == codes.count(HELD_FOR_AGE)
