"""A Bitrix24 portal that was renamed: it is followed, remembered, and looked for again where it was."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leadcast.core.errors import CredentialsError, RejectedError, UnknownOutcome
from leadcast.core.model import Lead
from leadcast.integrations.bitrix24.integration import Bitrix24
from leadcast.integrations.bitrix24.portal import MOVED_TO, Portal
from leadcast.sandbox import Sandbox, SandboxPorts
from tests.contract.bitrix24 import CODE, NO_SEARCH, MakeCall, Remembered, account_of, deliver, methods


@pytest.fixture(scope="session")
def _running_new_home() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        yield sandbox


@pytest.fixture
def new_home(_running_new_home: Sandbox, sandbox: Sandbox) -> Sandbox:
    """Where the portal has moved to: the sandbox redirects there."""
    _running_new_home.reset()
    sandbox.fault(service="bitrix24", kind="rename", location=_running_new_home.bitrix24_url, times=None)
    return _running_new_home


def send(sandbox: Sandbox, make_call: MakeCall, lead: Lead, memory: Remembered, key: str = "k-1") -> None:
    deliver(lead, sandbox, make_call(key=key, memory=memory), settings=NO_SEARCH)


def test_a_portal_that_moved_is_followed_and_next_time_gone_to_at_once(
    sandbox: Sandbox, new_home: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    memory = Remembered()
    for key in ("k-1", "k-2", "k-3"):
        send(sandbox, make_call, lead, memory, key)

    assert [status for _, status in methods(sandbox)] == [302]
    assert [item["originId"] for item in new_home.stored("bitrix24")["leads"]] == ["k-1", "k-2", "k-3"]
    assert memory.values[MOVED_TO] == new_home.bitrix24_url
    assert memory.writes == 1


def test_a_move_is_remembered_when_the_portal_has_answered_there(
    sandbox: Sandbox, new_home: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    new_home.fault(service="bitrix24", kind="status", status=401)
    memory = Remembered()

    with pytest.raises(CredentialsError):
        send(sandbox, make_call, lead, memory)
    assert memory.values == {}


def test_a_portal_that_moved_on_is_followed_from_where_it_was(
    sandbox: Sandbox, new_home: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    memory = Remembered({MOVED_TO: new_home.bitrix24_url})
    sandbox.clear_faults()
    new_home.fault(service="bitrix24", kind="rename", location=sandbox.bitrix24_url)

    send(sandbox, make_call, lead, memory)

    assert [status for _, status in methods(new_home)] == [302]
    assert len(sandbox.stored("bitrix24")["leads"]) == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "down"},
        {"kind": "error", "code": "NO_AUTH_FOUND", "status": 401},
        {"kind": "error", "code": "PORTAL_DELETED", "status": 500},
        {"kind": "non_json", "status": 404},
    ],
    ids=["nobody there", "somebody else's portal", "deleted", "no portal at all"],
)
def test_a_remembered_address_that_is_wrong_is_forgotten(
    sandbox: Sandbox, new_home: Sandbox, make_call: MakeCall, lead: Lead, fault: dict[str, object]
) -> None:
    memory = Remembered({MOVED_TO: new_home.bitrix24_url})
    sandbox.clear_faults()
    new_home.fault(service="bitrix24", **fault)

    send(sandbox, make_call, lead, memory)
    send(sandbox, make_call, lead, memory, "k-2")

    assert [item["originId"] for item in sandbox.stored("bitrix24")["leads"]] == ["k-1", "k-2"]
    assert new_home.stored("bitrix24")["leads"] == []
    assert not memory.values[MOVED_TO]


def test_an_answer_that_is_lost_at_the_new_address_is_not_sent_elsewhere(
    sandbox: Sandbox, new_home: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    memory = Remembered({MOVED_TO: new_home.bitrix24_url})
    new_home.fault(service="bitrix24", kind="hang_up_after")

    with pytest.raises(UnknownOutcome):
        send(sandbox, make_call, lead, memory)
    assert methods(sandbox) == []


@pytest.mark.parametrize(
    "location",
    ["https://evil.example/rest/", "https://evil.example\\.bitrix24.ru/rest/", "https://[/", "/elsewhere", ""],
)
def test_a_redirect_to_a_host_that_is_not_the_vendors_is_not_followed(location: str) -> None:
    portal = Portal(account_of(""), memory=Remembered())

    with pytest.raises(RejectedError, match="not its own"):
        portal.follow(location)
    assert portal.origin == "https://example.bitrix24.ru"


@pytest.mark.parametrize(
    "value",
    [
        *("https://evil.example", "https://evil.example\\.bitrix24.ru", "http://example.bitrix24.ru", "//["),
        *("", 7, None, {"a": 1}),
    ],
)
def test_a_remembered_address_that_no_secret_may_go_to_is_not_used(value: object) -> None:
    portal = Portal(account_of(""), memory=Remembered({MOVED_TO: value}))

    assert portal.origin == "https://example.bitrix24.ru"
    assert not portal.has_moved


def test_a_remembered_portal_in_the_cloud_is_used() -> None:
    portal = Portal(account_of(""), memory=Remembered({MOVED_TO: "https://new.bitrix24.com"}))

    assert (portal.origin, portal.path) == ("https://new.bitrix24.com", f"/rest/1/{CODE}")
    assert portal.has_moved


def test_the_portal_keeps_its_name_and_its_limit_when_it_moves(sandbox: Sandbox, new_home: Sandbox) -> None:
    account = account_of(sandbox.bitrix24_url)

    assert Bitrix24().label(account) == sandbox.bitrix24_url.removeprefix("http://")


def test_a_portal_that_redirects_to_where_it_redirects_from_is_left(
    sandbox: Sandbox, new_home: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    new_home.fault(service="bitrix24", kind="rename", location=sandbox.bitrix24_url, times=None)
    memory = Remembered()

    with pytest.raises(UnknownOutcome, match="may have been made"):
        send(sandbox, make_call, lead, memory)
    assert len(methods(sandbox)) + len(methods(new_home)) == 2
    assert memory.values == {}
