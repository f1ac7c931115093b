"""`leadcast circuits`: what people see of accounts that are left alone, and how they let deliveries pass again."""

from __future__ import annotations

import pytest
from sqlalchemy import func, select, update
from typer.testing import CliRunner

from leadcast.cli import app
from leadcast.core.circuit import WAITS_FOR_CIRCUIT
from leadcast.core.clock import utc_now
from leadcast.core.errors import Gone
from leadcast.core.model import DeliveryState
from leadcast.engine.setup import doctor
from leadcast.store.accounts import circuits
from leadcast.store.accounts.circuits import AccountRef
from leadcast.store.database import Store
from leadcast.store.schema import deliveries

from .test_services import Accept

pytestmark = [pytest.mark.airflow, pytest.mark.store]
ACCOUNT = AccountRef(id="0badcafe" * 5, type="webhook", label="https://hook.example")


@pytest.fixture
def stopped(store: Store, accept: Accept) -> str:
    """An endpoint that is gone, with a delivery that waits for it; the delivery's id."""
    delivery_id = f"{accept({'type': 'webhook'}).batch_id}-0"
    with store.begin() as connection:
        circuits.stop(connection, ACCOUNT, Gone("The receiver is gone (410).", code="410"), now=utc_now())
        waiting = {"state": DeliveryState.RETRYING, "waits_for": WAITS_FOR_CIRCUIT, "account": ACCOUNT.id}
        connection.execute(update(deliveries).where(deliveries.c.id == delivery_id).values(**waiting))
    return delivery_id


def test_without_any_it_says_that_all_is_well(store: Store, environment: None) -> None:
    result = CliRunner().invoke(app, ["circuits"])
    assert result.exit_code == 0
    assert "No account is left alone" in result.output


def test_it_shows_who_is_left_alone_and_why(store: Store, environment: None, stopped: str) -> None:
    result = CliRunner().invoke(app, ["circuits"], env={"COLUMNS": "200"})
    assert result.exit_code == 0
    for words in ("0badcafe", "webhook", "https://hook.example", "never by itself", "410", "--close ID"):
        assert words in result.output


def test_the_doctor_names_the_command_that_closes_it(store: Store, environment: None, stopped: str) -> None:
    [finding] = doctor._circuits()
    assert finding.mend.count("leadcast circuits --close 0badcafe") == 1
    assert "leadcast retry BATCH" in finding.mend


def test_a_person_closes_one_and_what_waits_is_due(store: Store, environment: None, stopped: str) -> None:
    result = CliRunner().invoke(app, ["circuits", "--close", "0BADCAFE"])
    assert result.exit_code == 0
    assert "closed" in result.output
    assert "leadcast retry BATCH" in result.output
    with store.begin() as connection:
        assert circuits.listing(connection) == []
        assert connection.execute(select(func.count()).where(deliveries.c.next_attempt_at <= utc_now())).scalar() == 1


def test_one_that_is_not_there_is_said(store: Store, environment: None) -> None:
    result = CliRunner().invoke(app, ["circuits", "--close", "ffff"])
    assert result.exit_code == 1
    assert "ffff" in result.output
