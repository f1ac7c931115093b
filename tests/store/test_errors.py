"""Every error that a service can answer, through the real deliverer: what is made of it and what the ledger says then.

docs/errors.md is the table of what was seen here. `make docs` writes it; the last tests hold it to what was seen.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import astuple, dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Row, select
from structlog.testing import capture_logs

from leadcast.core.errors import AttemptFailed
from leadcast.core.model import DeliveryState
from leadcast.core.settings import Settings
from leadcast.flow.deliver.deliverer import Deliverer
from leadcast.flow.inbox import Accepted, Inbox
from leadcast.integrations import registry
from leadcast.integrations.base import Account, Integration
from leadcast.sandbox import Sandbox, SandboxPorts
from leadcast.store.batches import views
from leadcast.store.database import Store
from leadcast.store.schema import circuits, deliveries, memory
from tests.support.by_hand import by_hand
from tests.support.error_table.cases import (
    LEAD,
    SECRET,
    SERVICES,
    WEBHOOK_SECRET,
    Case,
    Service,
    cases_of,
    credentials_of,
    mail_server,
)

from .conftest import StoppedClock

pytestmark = pytest.mark.store
PAGE = Path(__file__).parents[2] / "docs" / "errors.md"
WRITES_THE_PAGE = bool(os.environ.get("WRITE_DOCS"))
FEWEST_ROWS = 60
CASES = {f"{service.type}-{case.slug}": (service, case) for service in SERVICES for case in cases_of(service)}
INTRO = """\
# What each service may answer, and what comes of it

<!-- Made by `make docs` from what tests/store/test_errors.py has seen. Do not edit by hand. -->

Each row is a test: the sandbox gives this answer to the first attempt of a delivery, and the row says what the ledger
held after it. Times are the longest that chance allows. Run one with
`pytest "tests/store/test_errors.py::test_an_answer[<name>]"`. The classes are those of `leadcast.core.errors`.

*Asked for* means that the service is asked whether the delivery is there, before it is sent again. A delivery that
*waits* holds up no run: a later one carries it on. What *counts against the account* opens its circuit when it happens
some times in a row ([settings](settings.md): `circuit_failures`): then all deliveries to it wait, and use no try. Where
the service has said it of the account itself, once is enough, and *nothing more is sent to the account for a while*.

*In 10 s* is the first pause only. What amoCRM or Bitrix24 does not find after a lost answer may still be on its way:
they are asked again until 75 s have passed since that attempt, and only then it is sent again.
"""


@dataclass(frozen=True)
class Seen:
    """What came of one case, in the words of the table."""

    says: str
    made_of_it: str
    comes: str
    test: str


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    return running_sandbox


@pytest.fixture(scope="module")
def seen() -> dict[str, Seen]:
    """What the cases of this run have shown, by the test's name."""
    return {}


@dataclass(frozen=True)
class Attempted:
    """One case's delivery after its first attempt, as people see it and as the ledger has it; its account's circuit."""

    integration: Integration[Any, Any]
    delivery: views.DeliveryView
    row: Row[Any]
    circuit: Row[Any] | None
    failed: AttemptFailed | None
    written: str
    """All that was logged, and remembered of the account."""
    now: StoppedClock

    @property
    def error(self) -> Mapping[str, Any]:
        return self.delivery.error or {}

    @property
    def words(self) -> str:
        """All in which no secret and nothing of the lead may stand."""
        return f"{self.delivery} {self.failed} {self.row.kept} {self.circuit} {self.written}"


@pytest.fixture
def attempt(store: Store, deliverer: Deliverer, sandbox: Sandbox, clock: StoppedClock) -> Callable[..., Attempted]:
    """Accepts a batch with one delivery and makes its first attempt, while the service answers as the case says."""

    def attempt(service: Service, case: Case, *, lead: Mapping[str, Any] = LEAD) -> Attempted:
        settings = Settings.of(
            {
                "amocrm_base_url": sandbox.amocrm_url,
                "bitrix24_base_url": sandbox.bitrix24_url,
                "telegram_base_url": sandbox.telegram_url,
                "allowed_networks": "127.0.0.0/8",
                "language": "en",
                **case.leadcast,
            }
        )
        inbox = Inbox(store, settings, clock=clock)
        accepted = _accept(inbox, service, credentials_of(service, case, sandbox), case, lead=lead)
        if case.sandbox:
            sandbox.configure(service.sandbox, **case.sandbox)
        for fault in case.faults:
            sandbox.fault(**{"service": service.sandbox, **fault})

        def account(integration: Integration[Any, Any], inline: Mapping[str, Any]) -> Account[Any]:
            if integration.needs_connection:
                return integration.from_connection(mail_server(case, sandbox), inline)
            credentials = integration.credentials_model.model_validate(inline)
            return integration.from_inline(credentials, base_url=getattr(settings, f"{service.type}_base_url", ""))

        integration, failed = registry.get(service.type), None
        deliverer_here = replace(deliverer, settings=settings, accounts=account, sleep=lambda _: None)
        with capture_logs() as logged:
            try:
                deliverer_here.deliver(
                    f"{accepted.batch_id}-0", integration=integration, last_in_run=False, action=by_hand(deliverer_here)
                )
            except AttemptFailed as failure:
                failed = failure
        with store.begin() as connection:
            batch = views.batch(connection, accepted.batch_id)
            row = connection.execute(select(deliveries)).one()
            circuit = connection.execute(select(circuits)).one_or_none()
            remembered = connection.execute(select(memory)).all()
        assert batch is not None
        return Attempted(integration, batch.deliveries[0], row, circuit, failed, f"{logged} {remembered}", clock)

    return attempt


def _accept(
    inbox: Inbox, service: Service, credentials: Mapping[str, Any], case: Case, *, lead: Mapping[str, Any]
) -> Accepted:
    return inbox.accept(
        {
            "lead_id": "7781",
            "lead": lead,
            "integrations": [{"type": service.type, "settings": dict(case.settings)}],
            "credentials": {service.type: credentials},
        }
    )


@pytest.mark.parametrize("name", CASES)
def test_an_answer(name: str, attempt: Callable[..., Attempted], seen: dict[str, Seen]) -> None:
    service, case = CASES[name]

    attempted = attempt(service, case)

    seen[name] = Seen(_cell(case.says, case.note), _made_of_it(attempted), _what_comes(attempted), f"`{name}`")
    assert (attempted.error.get("class"), attempted.delivery.state) == (case.error, case.state), attempted.error
    if case.code is not None:
        assert attempted.error["code"] == case.code
    for value in (SECRET, WEBHOOK_SECRET, *(value for value in LEAD.values() if isinstance(value, str))):
        assert value not in attempted.words
    assert not any("\n" in str(value) for value in attempted.error.values())


@pytest.mark.parametrize(
    "name",
    [
        "telegram-403-forbidden-bot-was-blocked-by-the-user",
        "telegram-400-bad-request-chat-not-found",
        "amocrm-400-request-data-can-not-be-empty",
        "bitrix24-400-with-an-empty-code-access-denied",
        "email-rcpt-553-5-1-3-bad-address-for-all",
    ],
)
def test_a_lead_made_of_what_is_answered_hides_nothing_of_it(name: str, attempt: Callable[..., Attempted]) -> None:
    service, case = CASES[name]
    fault = case.faults[-1]
    said = str(fault.get("text") or fault.get("description") or fault["body"]["detail"])
    said = said.replace(SECRET, "").replace(LEAD["phone"], "").strip(": ")
    words = said.split()
    lead = {"name": said, "company": words[-1], "comment": words[0], "custom": dict.fromkeys(words, words[-1])}

    error = attempt(service, case, lead=lead).error

    assert said.rstrip(".") in error["detail"] + error["message"]


def test_the_page_says_what_was_seen(seen: dict[str, Seen]) -> None:
    if WRITES_THE_PAGE:
        assert seen.keys() == CASES.keys(), "the page is written by a run of all cases"
        PAGE.write_text(_page(seen), encoding="utf-8")
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    assert not [row for row in map(_row, seen.values()) if row not in lines], "stale: run `make docs`"


def test_the_page_has_a_row_for_every_case_and_no_other() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert [line.split("`")[-2] for line in page.splitlines() if line.endswith("` |")] == list(CASES)
    assert page.startswith(INTRO)
    assert len(CASES) >= FEWEST_ROWS


def _page(seen: Mapping[str, Seen]) -> str:
    parts = [INTRO]
    for service in SERVICES:
        rows = [_row(seen[name]) for name, (its_service, _) in CASES.items() if its_service is service]
        head = "| it answers | we make of it | what comes | test |\n| --- | --- | --- | --- |\n"
        parts.append(f"\n## {service.title}\n\n{head}" + "".join(f"{row}\n" for row in rows))
    return "".join(parts)


def _row(seen: Seen) -> str:
    return "| " + " | ".join(astuple(seen)) + " |"


def _cell(says: str, note: str) -> str:
    text = f"{says} ({note})" if note else says
    return text.replace("|", "\\|").replace("<", "&lt;")


def _made_of_it(attempted: Attempted) -> str:
    if not attempted.error:
        return "delivered"
    code = attempted.error["code"]
    return f"`{attempted.error['class']}`" + (f", `{code}`" if code else "")


def _what_comes(attempted: Attempted) -> str:
    """What happens to the delivery and to its account now, as the ledger and the circuit have it."""
    return "; ".join(part for part in (_of_the_delivery(attempted), _of_the_account(attempted.circuit)) if part)


def _of_the_delivery(attempted: Attempted) -> str:
    state = attempted.delivery.state
    match state:
        case DeliveryState.DELIVERED:
            return "nothing more"
        case DeliveryState.UNKNOWN:
            return "`unknown`: a person decides"
        case DeliveryState.FAILED:
            return "`failed`"
    next_at = attempted.delivery.next_attempt_at
    assert next_at is not None
    if attempted.row.in_doubt and attempted.integration.can_find:
        how = "asked for, then sent if it is not there"
    elif attempted.row.in_doubt and attempted.integration.repeatable:
        how = "sent again under the same id"
    else:
        how = "sent again"
    when = _about((next_at - attempted.now()).total_seconds())
    waits = "waits, then " if attempted.row.waits_for else ""
    return f"`{state.value}`: {waits}{how}, in {when}" + ("" if attempted.row.tries else ", without using a try")


def _of_the_account(circuit: Row[Any] | None) -> str:
    if circuit is None:
        return ""
    if circuit.opened_at is None:
        return "counts against the account"
    return "nothing more is sent to the account " + (
        "until a person opens it" if circuit.open_until is None else "for a while"
    )


def _about(seconds: float) -> str:
    if seconds < 100:
        return f"{seconds:.0f} s"
    if seconds < 6000:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
