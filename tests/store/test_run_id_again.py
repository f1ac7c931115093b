"""A run id that is used again, once its run was deleted: what that run has ended is none of the new one's."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from types import SimpleNamespace

import pytest

from leadcast.core.ending import Ending
from leadcast.core.errors import RejectedError, TransientError
from leadcast.core.model import BatchStatus
from leadcast.engine.runs import own_request
from leadcast.flow.inbox import Accepted
from leadcast.flow.settle import all_failed
from leadcast.store.batches.batches import of_wave
from tests.support.planned import plan

from .conftest import Service, StoppedClock
from .ground import Ground

pytestmark = pytest.mark.store
Accept = Callable[..., Accepted]


def planned(ground: Ground, made_at: datetime | None) -> list[str]:
    """What a run `w`, made then, has to send."""
    work = plan(ground.store, ground.settings, run_id="w", clock=ground.deliverer.clock, since=made_at).work
    return [ref.delivery_id for refs in work.values() for ref in refs]


@pytest.fixture
def failed(ground: Ground) -> str:
    """A delivery that the run `w` has failed with."""
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service(answers=[RejectedError("no")]))
    ground.settler.wave("w", Ending())
    assert ground.stands(delivery_id)[0] is BatchStatus.FAILED
    return delivery_id


def made_at(now: datetime) -> datetime:
    run = SimpleNamespace(run_id="w", run_after=now, clear_number=0, conf=None)
    return own_request.made_at(run)


def test_it_does_not_send_what_the_run_before_has_failed_with(
    ground: Ground, failed: str, accept: Accept, clock: StoppedClock
) -> None:
    clock.pass_s(3600)
    again = made_at(clock())
    own = f"{accept('telegram').batch_id}-0"
    assert planned(ground, again) == [own]
    ground.attempt(own, Service())
    assert [item.status for item in ground.settler.wave("w", Ending(since=again))] == [BatchStatus.COMPLETED]


def test_it_has_failed_when_all_of_its_own_have(ground: Ground, accept: Accept, clock: StoppedClock) -> None:
    ground.attempt(ground.claimed(), Service())
    ground.settler.wave("w", Ending())
    clock.pass_s(3600)
    again = made_at(clock())
    own = f"{accept('telegram').batch_id}-0"
    planned(ground, again)
    ground.attempt(own, Service(answers=[RejectedError("no")]))
    assert all_failed(ground.settler.wave("w", Ending(since=again)))


def test_what_the_run_before_has_left_open_it_sends_as_any_run_would(ground: Ground, clock: StoppedClock) -> None:
    """It is in its lane, and no run's."""
    open_one = ground.claimed()
    ground.attempt(open_one, Service(answers=[TransientError("down")]))
    clock.pass_s(3600)
    assert ground.plan("another") == [open_one]
    assert planned(ground, made_at(clock())) == [open_one]
    ground.attempt(open_one, Service())
    ground.settler.so_far([open_one[:-2]])
    assert ground.stands(open_one)[0] is BatchStatus.COMPLETED


def test_a_run_that_is_cleared_long_after_sends_its_own_again(ground: Ground, clock: StoppedClock) -> None:
    made = made_at(clock())
    delivery_id = ground.claimed()
    ground.attempt(delivery_id, Service(answers=[RejectedError("no")]))
    ground.settler.wave("w", Ending())
    clock.pass_s(90 * 24 * 3600)
    assert planned(ground, made) == [delivery_id]


def test_a_clock_that_is_behind_that_of_who_made_the_run_hides_nothing_of_it(
    ground: Ground, failed: str, clock: StoppedClock
) -> None:
    assert planned(ground, made_at(clock() + timedelta(seconds=50))) == [failed]
    with ground.store.begin() as connection:
        assert of_wave(connection, run_id="w", since=made_at(clock() + timedelta(seconds=50))) == [failed[:-2]]
        assert of_wave(connection, run_id="w", since=made_at(clock() + timedelta(seconds=70))) == []
