"""Bitrix24's limits: each call waits for its turn, and a method whose time is used up is left alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from leadcast.core.errors import Postponed, RateLimited, TransientError
from leadcast.core.limits import Limit
from leadcast.core.model import Lead
from leadcast.integrations.bitrix24.client import Bitrix24Client
from leadcast.integrations.bitrix24.integration import Bitrix24, Bitrix24Settings
from leadcast.integrations.bitrix24.operating import STOP_AT_S, WATCH_FROM_S, Operating
from leadcast.integrations.http.answer import Answer
from leadcast.sandbox import Sandbox
from tests.contract.bitrix24 import ADD, NO_SEARCH, OAUTH, MakeCall, Remembered, account_of, deliver, find, methods

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACE = f"operating {ADD}"


def in_s(seconds: float) -> int:
    return int(NOW.timestamp() + seconds)


def operating(memory: Remembered) -> Operating:
    return Operating(memory, clock=lambda: NOW)


def times(operating_s: float, *, reset_in_s: float = 600) -> dict[str, float]:
    return {"operating": operating_s, "operating_reset_at": in_s(reset_in_s)}


def test_the_limit_is_the_portals_bucket_with_room_left_for_others() -> None:
    account = account_of("")
    limits = Bitrix24().limits(settings=Bitrix24Settings(), account=account)

    assert limits == [Limit(name="bitrix24 example.bitrix24.ru", calls=2, period_s=1, burst=45)]
    assert Bitrix24().label(account) == "example.bitrix24.ru"


def test_all_accounts_of_a_portal_share_its_limit() -> None:
    limits = [
        Bitrix24().limits(settings=Bitrix24Settings(), account=account)
        for account in (
            account_of(""),
            account_of("", **OAUTH),
            account_of("https://example.bitrix24.ru"),
            account_of("", webhook_url="https://Example.bitrix24.ru:443/rest/1/another/"),
        )
    ]

    assert limits == [limits[0]] * 4


def test_a_portal_of_ones_own_is_known_by_its_address() -> None:
    assert Bitrix24().label(account_of("https://Box.example:8443/")) == "box.example:8443"
    assert Bitrix24().label(account_of("https://user:s3cret@box.example")) == "box.example"


def test_every_call_waits_for_its_turn(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    paced: list[str] = []
    call = make_call(pace=lambda: paced.append("waited"))
    settings = {"entity": "deal", "fields": {"ufCrmCity": "x"}}

    sandbox.fault(service="bitrix24", kind="rename", match="crm.item.fields")
    deliver(lead, sandbox, call, settings=settings, **OAUTH)
    find(lead, sandbox, call, entity="deal")
    Bitrix24().probe(account_of(sandbox.bitrix24_url), call=call)

    assert ("token", 200) in methods(sandbox)
    assert len(paced) == len(methods(sandbox)) == 9


def test_a_method_is_left_alone_before_the_portal_blocks_it(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.configure("bitrix24", operating_limit_s=480, operating_cost_s=45)
    memory = Remembered()
    for number in range(9):  # 405 s
        deliver(lead, sandbox, make_call(key=f"k-{number}", memory=memory), settings=NO_SEARCH)

    with pytest.raises(Postponed) as postponed:
        deliver(lead, sandbox, make_call(key="k-9", memory=memory), settings=NO_SEARCH)
    assert methods(sandbox) == [(f"{ADD}.json", 200)] * 9
    assert 0 < postponed.value.wait_s <= 600
    assert postponed.value.code == "OPERATION_TIME_LIMIT"


def test_the_search_may_be_used_up_while_writing_is_not(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    memory = Remembered()
    Operating(memory, clock=make_call().clock).blocked("crm.duplicate.findbycomm", None)

    with pytest.raises(Postponed):
        deliver(lead, sandbox, make_call(memory=memory))
    assert methods(sandbox) == []
    assert deliver(lead, sandbox, make_call(memory=memory), settings=NO_SEARCH)


def test_a_blocked_method_uses_no_try_and_holds_up_no_other_calls(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.configure("bitrix24", operating_limit_s=100, operating_cost_s=150)
    memory = Remembered()
    deliver(lead, sandbox, make_call(memory=memory), settings=NO_SEARCH)

    with pytest.raises(TransientError) as blocked:
        deliver(lead, sandbox, make_call(key="k-2", memory=memory), settings=NO_SEARCH)
    assert (type(blocked.value), blocked.value.code) == (TransientError, "OPERATION_TIME_LIMIT")
    assert not blocked.value.counts
    assert blocked.value.retry_after_s is not None
    assert 590 < blocked.value.retry_after_s <= 600
    assert find(lead, sandbox, make_call(memory=memory)) is not None

    calls = len(methods(sandbox))
    with pytest.raises(Postponed):
        deliver(lead, sandbox, make_call(key="k-3", memory=memory), settings=NO_SEARCH)
    assert len(methods(sandbox)) == calls


def test_a_block_lasts_until_the_reset_that_the_last_good_answer_named() -> None:
    memory = Remembered()
    operating(memory).note(ADD, times(WATCH_FROM_S, reset_in_s=90))

    assert operating(memory).blocked(ADD, None) == 90
    with pytest.raises(Postponed) as postponed:
        operating(memory).refuse_if_spent(ADD)
    assert postponed.value.wait_s == 90


def test_a_block_whose_reset_nobody_knows_lasts_ten_minutes() -> None:
    assert operating(Remembered()).blocked(ADD, None) == 600
    assert operating(Remembered({PLACE: times(WATCH_FROM_S, reset_in_s=-1)})).blocked(ADD, None) == 600


def test_a_block_that_names_its_end_itself_lasts_so_long(make_call: MakeCall, lead: Lead) -> None:
    body = b'{"error":"OPERATION_TIME_LIMIT","time":{"operating_reset_at":%d}}' % in_s(90)
    client = Bitrix24Client(account_of("https://box.example"), call=make_call(clock=lambda: NOW), lead=lead)

    with pytest.raises(TransientError) as limited:
        client.result_of(Answer(429, {}, body), method=ADD, changes=True)
    assert limited.value.retry_after_s == 90


def test_what_was_used_up_may_be_called_again_after_the_reset() -> None:
    memory = Remembered({PLACE: times(STOP_AT_S, reset_in_s=60)})
    later = Operating(memory, clock=lambda: NOW + timedelta(seconds=60))

    later.refuse_if_spent(ADD)
    with pytest.raises(Postponed):
        operating(memory).refuse_if_spent(ADD)


def test_little_is_written_down_of_a_methods_time() -> None:
    memory = Remembered()
    for spent_s in (0.1, 50, WATCH_FROM_S - 1):
        operating(memory).note(ADD, times(spent_s))
    assert memory.writes == 0

    for spent_s in range(int(WATCH_FROM_S), int(STOP_AT_S) + 50, 10):
        operating(memory).note(ADD, times(spent_s))
    assert memory.writes == 2  # the reset that is next, and that it is enough

    operating(memory).note(ADD, times(STOP_AT_S, reset_in_s=610))
    assert memory.writes == 3


@pytest.mark.parametrize(
    "strange",
    [
        None,
        [],
        "x",
        {},
        {"operating": "400", "operating_reset_at": None},
        {"operating": float("nan"), "operating_reset_at": float("nan")},
        {"operating": 10**400, "operating_reset_at": 1},
        {"operating": 500, "operating_reset_at": float("inf")},
    ],
    ids=range(8),
)
def test_times_that_make_no_sense_say_nothing(strange: object) -> None:
    memory = Remembered()
    operating(memory).note(ADD, strange)
    assert memory.writes == 0
    assert operating(memory).blocked(ADD, strange) == 600


def test_a_429_that_is_not_the_portals_own_is_waited_out(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    for headers, pause_s in (({"Retry-After": "7"}, 7), ({}, 60)):
        sandbox.fault(service="bitrix24", kind="answer", status=429, text="slow down", headers=headers)
        with pytest.raises(RateLimited) as limited:
            deliver(lead, sandbox, make_call())
        assert limited.value.retry_after_s == pause_s


def test_a_busy_portal_meets_no_more_than_its_bucket_holds(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.configure("bitrix24", leaky_bucket=True, drain_per_s=0.01, burst=3)
    deliver(lead, sandbox, make_call())

    with pytest.raises(RateLimited) as limited:
        deliver(lead, sandbox, make_call(key="k-2"))
    assert limited.value.retry_after_s == 10
