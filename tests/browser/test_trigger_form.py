"""Airflow's own pages, as a person uses them: sign in, open the DAG, fill in the Trigger form."""

from __future__ import annotations

import json
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from tests.browser.conftest import Browser
from tests.main_job.test_main_job import check_what_the_request_promises
from tests.support.stack import EXAMPLES, Stack, until

pytestmark = pytest.mark.browser
REQUEST: dict[str, Any] = json.loads((EXAMPLES / "laravel-request.json").read_bytes())
SECRETS = ("your_client_secret", "your_access_token", "your_bot_token")
EDITOR = "//*[@role='dialog']//label[normalize-space()='{label}']/ancestor::*[@role='group'][1]"


@pytest.fixture(autouse=True)
def lead_123(stack: Stack) -> None:
    lead = {"name": "Анна Пример", "phone": "+79990000001", "email": "anna@example.com", "company": "ООО Ромашка"}
    stack.api().call("PUT", "/api/integrations/leads/123", json=lead)


def sign_in_by_hand(browser: Browser, stack: Stack) -> None:
    """Goes through Airflow's login page."""
    browser.open("/dags/send_lead")
    browser.find("input[name=username]").send_keys("user")
    password = json.loads(stack.home.passwords_file.read_text())["user"]
    browser.find("input[name=password]").send_keys(password)
    browser.find("button[type=submit]:enabled").click()


def trigger(form: Browser, *, lead_id: str, integrations: list[Any], credentials: dict[str, Any]) -> None:
    """Opens the form on the DAG's page, types the lead's id, pastes the rest into the JSON editors, presses Trigger."""
    form.find("[data-testid=trigger-dag-button]").click()
    form.find("#element_lead_id").send_keys(lead_id)
    form.cdp(
        "Browser.grantPermissions",
        permissions=["clipboardReadWrite", "clipboardSanitizedWrite"],
        origin=form.airflow,
    )
    for label, value in (("Integrations", integrations), ("Credentials", credentials)):
        _paste(form, _editor(form, label), json.dumps(value, indent=2))
    button = form.find("[data-testid=trigger-dag-submit]:enabled")
    form.js("arguments[0].scrollIntoView({block: 'center'})", button)
    button.click()


def _editor(form: Browser, label: str) -> WebElement:
    field = form.wait(lambda: form.driver.find_element(By.XPATH, EDITOR.format(label=label)))
    return form.wait(lambda: field.find_element(By.CSS_SELECTOR, ".monaco-editor .view-lines"))


def _paste(form: Browser, editor: WebElement, text: str) -> None:
    editor.click()
    write = "const [text, done] = arguments; navigator.clipboard.writeText(text).then(() => done(), done)"
    form.driver.execute_async_script(write, text)
    for key in "av":
        ActionChains(form.driver).key_down(Keys.CONTROL).send_keys(key).key_up(Keys.CONTROL).perform()


def test_the_laravel_request_through_airflows_trigger_form(browser: Browser, stack: Stack) -> None:
    sign_in_by_hand(browser, stack)
    trigger(browser, lead_id="123", integrations=REQUEST["integrations"], credentials=REQUEST["credentials"])

    run_id = browser.wait(lambda: browser.js("return location.pathname.split('/runs/')[1]"))
    # the run's first task makes the batch
    (batch,) = until(lambda: stack.sql("leadcast", f"SELECT id FROM batches WHERE wave_id = '{run_id}'"))
    check_what_the_request_promises(stack, stack.settled(batch.id))
    (run,) = stack.sql("airflow", f"SELECT conf::text AS conf FROM dag_run WHERE run_id = '{run_id}'")
    (entry,) = stack.sql("airflow", "SELECT extra FROM log WHERE event = 'trigger_dag_run' ORDER BY id DESC LIMIT 1")
    assert "amocrm" in run.conf
    for secret in SECRETS:
        assert secret not in run.conf
        assert secret not in entry.extra


def test_a_wrong_value_in_the_form_is_named_there_and_makes_no_run(browser: Browser, stack: Stack) -> None:
    count = "SELECT count(*) AS n FROM dag_run WHERE dag_id = 'send_lead'"
    before = stack.sql("airflow", count)[0].n
    browser.sign_in()
    browser.open("/dags/send_lead")
    trigger(browser, lead_id="123", integrations=[{"type": "fax"}], credentials={})

    told = browser.find("[role=dialog] [data-testid=error-alert]", text="conf.integrations")
    assert "unknown integration 'fax'; there are: email, amocrm, telegram, bitrix24, webhook" in told.text
    assert stack.sql("airflow", count)[0].n == before
