"""The sandbox's page: what the stand-ins have received."""

from __future__ import annotations

import pytest

from tests.browser.conftest import Browser
from tests.browser.test_monitor import settled
from tests.support.stack import Stack

pytestmark = pytest.mark.browser
SERVICES = ("amocrm", "bitrix24", "telegram", "webhook", "smtp")


def test_an_empty_sandbox_says_what_would_be_there_and_how_to_make_it_fail(browser: Browser) -> None:
    browser.open(browser.sandbox)
    for service in SERVICES:
        assert "Nothing has come in yet." in browser.find(f"#{service}").text
    assert "POST /faults" in browser.find("body").text


def test_the_token_is_gone_from_the_address_and_without_one_nothing_is_shown(browser: Browser) -> None:
    browser.open(browser.sandbox)
    browser.find("#amocrm")
    token = browser.stack.keys().sandbox.get_secret_value()
    assert token not in browser.driver.current_url
    browser.driver.refresh()  # the tab still has it
    browser.find("#amocrm")
    browser.js("sessionStorage.clear()")
    browser.driver.refresh()
    assert "has the token" in browser.find("main p.empty").text
    assert browser.all("#amocrm") == []
    assert browser.js("return document.cookie") == ""


def test_what_was_received_is_shown_with_its_answer(browser: Browser, stack: Stack) -> None:
    stack.fault(service="webhook", kind="status", status=503)
    settled(stack, "seen-1", "telegram", "webhook")
    stack.fault(service="smtp", kind="down")

    browser.open(browser.sandbox)
    message = browser.find("#telegram details")
    assert [row.text for row in browser.all("nav a")][2:4] == ["telegram (1)", "webhook (2)"]
    assert '"service": "smtp"' in browser.find("li").text
    newest, first = browser.all("#webhook tbody tr")
    assert "not executed" in first.text
    assert "503" in first.text
    assert "not executed" not in newest.text
    assert "Nothing has come in yet." in browser.find("#amocrm").text
    message.find_element("tag name", "summary").click()
    assert "Анна Пример" in browser.find("#telegram pre").text
    assert "700:token" not in browser.driver.page_source
    shown = browser.find("#telegram time")
    assert str(shown.get_attribute("title")).endswith("UTC")
    assert shown.text == browser.js("return new Date(arguments[0].dateTime).toLocaleString()", shown)
