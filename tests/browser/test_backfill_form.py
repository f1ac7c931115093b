"""Airflow's Trigger dialog, as a person uses it to have a past hour of `retry_leads` done again."""

from __future__ import annotations

from datetime import timedelta

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.conftest import Browser
from tests.stack.test_retry_leads import DAY, batch, has, send_of_day
from tests.support.stack import Stack, until

pytestmark = pytest.mark.browser
AT = timedelta(hours=5)
HOUR = DAY + AT


@pytest.fixture
def failed(stack: Stack) -> str:
    """A batch of two days ago whose message could not be sent."""
    stack.fault(service="telegram", kind="down")
    batch_id = send_of_day(stack, "telegram", bot="form", at=AT + timedelta(minutes=20))
    stack.sandbox("DELETE", "/faults")
    return batch_id


def fill_in(form: Browser, number: int, text: str, time: str) -> None:
    """Opens one of the two date fields, types day and time, and leaves it."""
    form.wait(lambda: fields(form)[number]).click()
    for placeholder, value in (("YYYY/MM/DD", text), ("HH:mm", time)):
        field = form.find(f"input[placeholder='{placeholder}']")
        field.send_keys(Keys.CONTROL, "a")
        field.send_keys(value, Keys.ENTER)
    form.js("document.activeElement.blur()")
    fields(form)[number].click()
    form.wait(lambda: not form.all("input[placeholder='HH:mm']"))


def fields(form: Browser) -> list[WebElement]:
    return form.all("[role=dialog] [data-testid=datetime-input]")[:2]


def test_a_past_hour_is_sent_again_from_airflows_backfill_form(browser: Browser, stack: Stack, failed: str) -> None:
    browser.sign_in("admin")
    browser.open("/dags/retry_leads")
    browser.find("[data-testid=trigger-dag-button]").click()
    browser.find("[role=dialog] label", text="Backfill").click()
    day, begin = f"{HOUR:%Y/%m/%d}", f"{HOUR:%H:%M}"
    fill_in(browser, 0, day, begin)
    fill_in(browser, 1, day, begin)
    browser.find("[role=dialog]", text="1 run will be triggered")
    button = browser.find("[role=dialog] button:enabled", text="Run Backfill")
    browser.js("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()
    until(lambda: has(stack, failed, "completed"))
    assert [item["state"] for item in batch(stack, failed)["deliveries"]] == ["delivered"]
    assert len(stack.received("telegram")) == 1
