"""Airflow's connection form, filled in as a person does it, and a lead through what it has saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial

import pytest
import requests
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from leadcast.integrations import registry
from tests.browser.conftest import Browser
from tests.support.connection_forms import Form, forms
from tests.support.stack import Stack

pytestmark = pytest.mark.browser
FIELD = "//*[@role='dialog']//label[normalize-space()='{label}']/ancestor::*[@role='group'][1]"
SWITCH = FIELD + "//*[@data-scope='switch']"
CONN_ID = "leadcast_made_in_the_form"


@pytest.fixture
def conn_id(stack: Stack) -> Iterator[str]:
    """A name that is free, before and after."""
    yield CONN_ID
    api = stack.api("admin")
    headers = {"Authorization": f"Bearer {api.token}"}
    requests.delete(f"{api.url}/api/v2/connections/{CONN_ID}", headers=headers, timeout=30)


def make(browser: Browser, form: Form, *, conn_id: str) -> None:
    """Fills the form in, opens the section of extra fields as people do, and saves."""
    browser.open("/connections")
    browser.find("button", text="Add Connection").click()
    browser.find("[role=dialog] input[name=connection_id]").send_keys(conn_id)
    browser.find("[role=dialog] input[role=combobox]:enabled").send_keys(form.label)
    browser.wait(lambda: [one for one in browser.all("[role=option]") if one.text == form.label])
    browser.find("[role=dialog] input[role=combobox]").send_keys(Keys.ENTER)
    for name, text in form.standard.items():
        browser.find(f"[role=dialog] input[name={name}]").send_keys(text)
    if form.saved:
        sections = browser.all("[role=dialog] button")
        next(section for section in sections if section.text == "Extra Fields").click()
    for name, text in form.extra.items():
        browser.find(f"#element_{name}").send_keys(text)
    for label in form.switched_on:
        browser.wait(partial(browser.driver.find_element, By.XPATH, SWITCH.format(label=label))).click()
    browser.find("[role=dialog] button:enabled", text="Save").click()
    browser.wait(lambda: not browser.all("[role=dialog]"))


@pytest.mark.parametrize("kind", registry.SHIPPED)
def test_a_connection_made_in_the_form_delivers(browser: Browser, stack: Stack, conn_id: str, kind: str) -> None:
    form = forms(stack.ports.sandbox)[kind]
    browser.sign_in("admin")
    make(browser, form, conn_id=conn_id)

    saved = stack.api("admin").call("GET", f"/api/v2/connections/{conn_id}")
    assert json.loads(saved["extra"] or "null") == form.saved
    shown = {name: saved[name] for name in ("host", "login", "schema", "port")}
    assert shown == {name: form.fields[name] for name in shown}

    body = {
        "lead_id": f"form-{kind}",
        "lead": {"name": "Анна Пример", "phone": "+79990000001", "email": "anna@example.com"},
        "integrations": [{"type": kind}],
        "credentials": {kind: {"conn_id": conn_id, **form.credentials}},
    }
    sent = stack.api().call("POST", "/api/integrations/send-batch", json=body)
    (delivery,) = stack.settled(sent["batch_id"])["deliveries"]
    assert (delivery["state"], delivery["error"]) == ("delivered", None)
