"""A real Chromium before the one stack that all tests share."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, TypeVar

import pytest
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException, WebDriverException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from tests.support.stack import Stack, until

PROGRAMS = ("chromium", "chromedriver")
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-quic",
    "--no-first-run",
    "--window-size=1280,900",
)
PAGE = "/api/integrations/ui"
LONGEST_WAIT_S = 30
T = TypeVar("T")


@dataclass
class Browser:
    """One tab, and what a person does and sees in it."""

    driver: webdriver.Chrome
    stack: Stack = field(repr=False)

    @property
    def airflow(self) -> str:
        """Where Airflow is."""
        return self.stack.ports.api_url

    @property
    def sandbox(self) -> str:
        """Where the sandbox's page is, with the token, as the terminal shows it."""
        token = self.stack.keys().sandbox.get_secret_value()
        return f"http://127.0.0.1:{self.stack.ports.sandbox.control}/#token={token}"

    def open(self, path: str) -> None:
        """Goes to a page of Airflow's host, or to a whole address."""
        self.driver.get(path if path.startswith("http") else self.airflow + path)

    def sign_in(self, user: str = "user") -> None:
        """Gives the browser the cookie that Airflow's login page gives."""
        self.cdp("Network.setCookie", name="_token", value=self.stack.api(user).token, url=self.airflow)

    def cdp(self, command: str, **arguments: Any) -> Any:
        """A command of Chromium's own protocol."""
        return self.driver.execute_cdp_cmd(command, arguments)

    def js(self, script: str, *arguments: Any) -> Any:
        """What a script in the page returns."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, probe: Callable[[], T | None]) -> T:
        """Asks again until there is an answer; an element that has just gone or is not there yet is none."""
        gone = (StaleElementReferenceException, NoSuchElementException)
        wait = WebDriverWait(self.driver, LONGEST_WAIT_S, poll_frequency=0.1, ignored_exceptions=gone)

        def asked(_: object) -> T | None:
            try:
                return probe()
            except WebDriverException as error:  # the page went away in the middle of the question
                if "inspector error" in (error.msg or ""):
                    return None
                raise

        found = wait.until(asked)
        assert found is not None
        return found

    def find(self, selector: str, *, text: str = "") -> WebElement:
        """The first visible element of this CSS selector that holds this text, once there is one."""
        return self.wait(
            lambda: next((one for one in self.all(selector) if one.is_displayed() and text in one.text), None)
        )

    def all(self, selector: str) -> list[WebElement]:
        """All elements of this CSS selector, as things stand."""
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def rows(self) -> dict[str, str]:
        """The monitor's table: what is said of each lead."""
        rows = self.all("main tbody tr")
        return {row.find_element(By.CSS_SELECTOR, "td.lead").text: row.text for row in rows}

    def states(self, row: str = "main") -> dict[str, str]:
        """Types and states as the chips tell them."""
        chips = (chip.get_attribute("textContent") or "" for chip in self.all(f"{row} .chip"))
        return dict(chip.split(": ") for chip in chips)

    def complaints(self) -> list[str]:
        """What the console holds against our pages: failed scripts, breaches of their policy, files not found."""
        log: list[dict[str, str]] = self.driver.get_log("browser")  # type: ignore[no-untyped-call]
        said = [entry["message"] for entry in log if entry["level"] == "SEVERE"]
        return [message for message in said if not self._is_of_airflow_itself(message)]

    def _is_of_airflow_itself(self, message: str) -> bool:
        return message.startswith(self.airflow) and not message.startswith(f"{self.airflow}/api/integrations/")


@pytest.fixture(scope="session", autouse=True)
def _programs() -> None:
    """Asked before the stack is started. CI must have them."""
    missing = [program for program in PROGRAMS if shutil.which(program) is None]
    if missing:
        reason = f"{', '.join(missing)} not found; Debian: apt install chromium chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)


@pytest.fixture(scope="session")
def chromium(_programs: None) -> Iterator[webdriver.Chrome]:
    """Chromium, started once."""
    profile = tempfile.mkdtemp(prefix="leadcast-chromium-")
    options = webdriver.ChromeOptions()
    options.binary_location = str(shutil.which("chromium"))
    for flag in (*FLAGS, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    # with the path given, Selenium looks for no driver to download
    driver = webdriver.Chrome(options=options, service=Service(str(shutil.which("chromedriver"))))
    try:
        yield driver
    finally:
        driver.quit()
        shutil.rmtree(profile, ignore_errors=True)


@pytest.fixture
def browser(chromium: webdriver.Chrome, stack: Stack) -> Iterator[Browser]:
    """A browser that nobody has used yet; its console has to stay quiet about our pages."""
    opened = Browser(chromium, stack)
    chromium.switch_to.default_content()
    chromium.get("about:blank")
    for command in ("Emulation.clearDeviceMetricsOverride", "Network.clearBrowserCookies"):
        opened.cdp(command)
    opened.cdp("Emulation.setEmulatedMedia", features=[])
    opened.cdp("Storage.clearDataForOrigin", origin=opened.airflow, storageTypes="local_storage")
    opened.complaints()
    yield opened
    chromium.get("about:blank")  # Airflow's pages never stop asking, and take half a core
    assert opened.complaints() == []


@pytest.fixture
def monitor(browser: Browser, stack: Stack) -> Browser:
    """The browser, signed in, and nothing has been sent yet."""
    until(lambda: not stack.sql("leadcast", "SELECT 1 FROM batches WHERE status IN ('pending', 'processing')"))
    stack.forget_batches()
    browser.sign_in()
    return browser
