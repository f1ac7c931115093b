"""The monitor's pages in a browser: what they show, that they stay fresh, and that they fit in everywhere."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import pytest
from selenium.webdriver.support.ui import Select

from tests.browser.conftest import PAGE, Browser
from tests.support.stack import Stack, until

pytestmark = pytest.mark.browser
CHATS = {"bot_token": "700:token-of-the-browser-tests", "chat_id": "@sales"}
HOSTILE = '"><img src=x onerror="window.hit=1"><script>window.hit=1</script>'
VLADIVOSTOK = timezone(timedelta(hours=10))


def send(stack: Stack, lead_id: str, *types: str) -> str:
    """Sends a lead without data to these integrations; returns the batch's id."""
    body = {
        "lead_id": lead_id,
        "lead": {"name": "Анна Пример"},
        "integrations": [{"type": kind} for kind in types],
        "credentials": {"telegram": CHATS} if "telegram" in types else {},
    }
    return str(stack.api().call("POST", "/api/integrations/send-batch", json=body)["batch_id"])


def settled(stack: Stack, lead_id: str, *types: str) -> dict[str, Any]:
    """Sends a lead, and waits until all is over."""
    return stack.settled(send(stack, lead_id, *types))


def outcomes(monitor: Browser) -> list[str]:
    """The outcomes in the attempts' tables, in their order."""
    return [cell.text for cell in monitor.all(".outcome")]


def test_an_empty_monitor_says_what_to_do_next(monitor: Browser) -> None:
    monitor.open(PAGE)
    assert "No batch yet" in monitor.find("main").text
    assert "leadcast send examples/lead-123.json" in monitor.find("pre").text
    monitor.find("main a", text="the API").click()
    assert "/api/integrations/send-batch" in monitor.find(".call", text="POST").text


def test_a_new_batch_appears_and_ends_without_the_page_being_loaded_again(monitor: Browser, stack: Stack) -> None:
    monitor.open(PAGE)
    monitor.js("window.loadedOnce = true")
    batch_id = send(stack, "new-1", "telegram", "webhook")
    monitor.wait(lambda: "completed" in monitor.rows().get("new-1", ""))
    assert monitor.states() == {"telegram": "delivered", "webhook": "delivered"}
    assert monitor.find(".count.completed").text == "1 completed"
    assert monitor.js("return window.loadedOnce") is True
    stack.settled(batch_id)


def test_times_are_local_and_say_utc_when_pointed_at(monitor: Browser, stack: Stack) -> None:
    accepted_at = datetime.fromisoformat(settled(stack, "time-1", "webhook")["accepted_at"])
    monitor.cdp("Emulation.setTimezoneOverride", timezoneId="Asia/Vladivostok")
    monitor.cdp("Emulation.setLocaleOverride", locale="en-GB")
    try:
        monitor.open(PAGE)
        shown = monitor.find("main time")
        assert shown.text == f"{accepted_at.astimezone(VLADIVOSTOK):%d/%m/%Y, %H:%M:%S}"
        assert shown.get_attribute("title") == f"{accepted_at:%Y-%m-%d %H:%M:%S} UTC"
    finally:
        monitor.cdp("Emulation.setTimezoneOverride", timezoneId="")
        monitor.cdp("Emulation.setLocaleOverride")


def test_batches_are_filtered_by_status_and_by_lead(monitor: Browser, stack: Stack) -> None:
    stack.fault(service="telegram", kind="blocked")
    requests = {"good": ["webhook"], "half": ["telegram", "webhook"], "bad": ["telegram"]}
    for batch_id in [send(stack, lead_id, *types) for lead_id, types in requests.items()]:
        stack.settled(batch_id)

    monitor.open(PAGE)
    assert {lead: row.split()[4] for lead, row in monitor.rows().items()} == {
        "good": "completed",
        "half": "partial",
        "bad": "failed",
    }
    monitor.find(".count.failed").click()
    monitor.wait(lambda: set(monitor.rows()) == {"bad"})
    Select(monitor.find("select[name=status]")).select_by_visible_text("partial")
    monitor.find("button", text="Show").click()
    monitor.wait(lambda: set(monitor.rows()) == {"half"})
    monitor.find("a", text="Show all").click()
    monitor.wait(lambda: set(monitor.rows()) == {"good", "half", "bad"})
    monitor.find("input[name=lead_id]").send_keys("good\n")
    monitor.wait(lambda: set(monitor.rows()) == {"good"})
    monitor.open(f"{PAGE}?status=cancelled")
    assert "No batch is like that" in monitor.find("main").text


def test_a_batch_page_follows_its_attempts_to_the_end(monitor: Browser, stack: Stack) -> None:
    stack.fault(service="telegram", kind="rate_limit", retry_after=6)
    batch_id = send(stack, "again-1", "telegram")
    until(lambda: stack.sql("leadcast", "SELECT 1 FROM deliveries WHERE state = 'retrying'"))
    monitor.open(f"{PAGE}/batches/{batch_id}")
    monitor.js("window.loadedOnce = true")
    assert outcomes(monitor) == ["rate_limited"]
    assert monitor.states() == {"telegram": "retrying"}
    assert "Next attempt" in monitor.find(".delivery").text
    monitor.wait(lambda: outcomes(monitor) == ["rate_limited", "delivered"])
    monitor.find("h1", text="completed")
    assert monitor.js("return window.loadedOnce") is True
    assert "429" in monitor.find(".delivery tbody tr").text
    receipt = stack.settled(batch_id)["deliveries"][0]["receipt"]["external_id"]
    assert f"Receipt\n{receipt}" in monitor.find(".delivery").text


def test_airflow_shows_the_monitor_in_a_frame_and_its_links_lead_out_of_it(monitor: Browser, stack: Stack) -> None:
    batch = settled(stack, "frame-1", "webhook")
    monitor.open("/")
    monitor.find("button[aria-label=Browse]").click()
    monitor.find("[role=menuitem]", text="Leadcast").click()
    monitor.driver.switch_to.frame(monitor.find("iframe"))
    monitor.find("td.lead", text="frame-1")
    monitor.find("a.id").click()
    monitor.find("a[data-airflow]", text=batch["run_id"]).click()
    monitor.driver.switch_to.default_content()
    monitor.wait(lambda: monitor.js("return location.pathname") == f"/dags/send_lead/runs/{batch['run_id']}")
    assert monitor.all("iframe") == []
    monitor.find("a", text="deliver_webhook")


def test_inside_airflow_the_monitor_follows_its_switch_for_light_and_dark(monitor: Browser) -> None:
    monitor.cdp("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "light"}])
    monitor.open("/plugin/leadcast")
    frame = monitor.find("iframe")
    scheme = "return arguments[0].contentDocument.documentElement.style.colorScheme"
    monitor.wait(lambda: monitor.js(scheme, frame) == "light")
    monitor.find("button[aria-label=User]").click()
    monitor.find("[role=menuitem]", text="Appearance").click()
    monitor.find("[role^=menuitem]", text="Dark Mode").click()
    monitor.wait(lambda: monitor.js(scheme, frame) == "dark")


def test_what_services_and_callers_say_is_shown_and_never_run(monitor: Browser, stack: Stack) -> None:
    stack.fault(service="telegram", kind="error", description=HOSTILE)
    monitor.open(PAGE)
    batch_id = settled(stack, "plain", "telegram")["batch_id"]
    # no door lets such an id in; the pages do not count on it
    stack.sql("leadcast", f"UPDATE batches SET lead_id = '{HOSTILE}' WHERE id = '{batch_id}' RETURNING id")
    monitor.wait(lambda: HOSTILE in monitor.rows())
    assert HOSTILE in str(monitor.find(".chip").get_attribute("title"))
    check_nothing_ran(monitor)
    monitor.find("a.id").click()
    assert HOSTILE in monitor.find("h1").text
    assert HOSTILE in monitor.find("td.said").text
    check_nothing_ran(monitor)


def check_nothing_ran(monitor: Browser) -> None:
    assert monitor.js("return window.hit") is None
    assert monitor.all("main img, main script") == []


def test_no_page_is_wider_than_a_narrow_screen(monitor: Browser, stack: Stack) -> None:
    stack.fault(service="telegram", kind="error", description="x" * 300)
    batch = settled(stack, "l" * 128, "telegram", "webhook")
    monitor.cdp("Emulation.setDeviceMetricsOverride", width=360, height=800, deviceScaleFactor=1, mobile=False)
    for page in (PAGE, f"{PAGE}/batches/{batch['batch_id']}", "/api/integrations/docs", monitor.sandbox):
        monitor.open(page)
        monitor.find("h1, h2, table")
        assert monitor.js("return document.documentElement.scrollWidth <= document.documentElement.clientWidth"), page


def test_what_failed_is_retried_from_its_page(monitor: Browser, stack: Stack) -> None:
    stack.fault(service="telegram", kind="error", description="chat not found")
    batch_id = settled(stack, "retry-1", "telegram", "webhook")["batch_id"]
    monitor.open(f"{PAGE}/batches/{batch_id}")
    monitor.find("button", text="Retry").click()
    monitor.find("h1", text="completed")
    monitor.wait(lambda: outcomes(monitor) == ["rejected", "delivered", "delivered"])
    assert monitor.all(".actions button") == []
    stack.settled(batch_id)


def test_inside_airflow_a_batch_is_cancelled_by_pressing_twice(monitor: Browser, stack: Stack) -> None:
    stack.fault(service="webhook", kind="answer", status=503, headers={"Retry-After": "25"}, times=None)
    batch_id = send(stack, "cancel-1", "webhook")
    until(lambda: stack.sql("leadcast", "SELECT 1 FROM deliveries WHERE state = 'retrying'"))
    monitor.open("/plugin/leadcast")
    monitor.driver.switch_to.frame(monitor.find("iframe"))
    monitor.find("a.id").click()
    monitor.find("button", text="Cancel").click()
    assert monitor.states() == {"webhook": "retrying"}
    monitor.find("button", text="Press again to cancel").click()
    monitor.find("h1", text="cancelled")
    assert monitor.states() == {"webhook": "cancelled"}
    assert "Cancelled" in monitor.find("main").text
    stack.settled(batch_id)


def test_a_button_that_is_pressed_once_forgets_it_again(monitor: Browser, stack: Stack) -> None:
    stack.fault(service="webhook", kind="answer", status=503, headers={"Retry-After": "25"}, times=None)
    batch_id = send(stack, "cancel-2", "webhook")
    until(lambda: stack.sql("leadcast", "SELECT 1 FROM deliveries WHERE state = 'retrying'"))
    monitor.open(f"{PAGE}/batches/{batch_id}")
    monitor.find("button", text="Cancel").click()
    monitor.find("button", text="Press again").send_keys("\t")
    monitor.find("button", text="Cancel").click()
    assert monitor.find("button").text == "Press again to cancel"
    assert monitor.states() == {"webhook": "retrying"}
    stack.api().call("POST", f"/api/integrations/batches/{batch_id}/cancel")
    stack.settled(batch_id)


def test_what_cannot_be_done_any_more_is_said_beside_the_button(monitor: Browser, stack: Stack) -> None:
    stack.fault(service="telegram", kind="error", description="chat not found")
    batch_id = settled(stack, "retry-2", "telegram")["batch_id"]
    monitor.open(f"{PAGE}/batches/{batch_id}")
    stack.api().call("POST", f"/api/integrations/batches/{batch_id}/retry")
    stack.settled(batch_id)
    monitor.find("button", text="Retry").click()
    monitor.find("#said", text="none of its deliveries is failed or unknown")
    assert monitor.find("button").is_enabled()
    # a refusal is in the console, too: the browser's own line, and wanted here
    assert all("409" in line for line in monitor.complaints())


def test_a_viewer_may_not_press(monitor: Browser, stack: Stack) -> None:
    stack.fault(service="telegram", kind="error", description="chat not found")
    batch_id = settled(stack, "viewer-1", "telegram")["batch_id"]
    monitor.sign_in("viewer")
    monitor.open(f"{PAGE}/batches/{batch_id}")
    monitor.find(".masked", text="You see how it goes.")
    assert monitor.all("[data-post]") == []
    assert monitor.all(".delivery small:not(.id)") == [], "what the service has said"
