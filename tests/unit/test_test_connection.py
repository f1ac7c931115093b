"""`leadcast test-connection` and what stands behind it and the Test button: a harmless call, a clear answer."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from typer.testing import CliRunner

from leadcast.cli import app
from leadcast.engine.settings import config
from leadcast.engine.setup import connection_hooks
from leadcast.integrations import registry
from leadcast.integrations.base import Account, Call
from leadcast.sandbox import Sandbox, SandboxPorts
from tests.support.connection_forms import forms

SECRET = "s3cret5bW4hJ9ZZtopAABBCC"
runner = CliRunner()


@pytest.fixture(scope="module")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """The outside services, and an installation whose connection `mine_<type>` leads to each of them."""
    running_sandbox.reset()
    monkeypatch.setenv("AIRFLOW__LEADCAST__ALLOWED_NETWORKS", "127.0.0.0/8")
    monkeypatch.setenv("AIRFLOW__LEADCAST__STORE_URL", "postgresql://nobody@127.0.0.1:9/none")
    for kind, fields in connections_of(running_sandbox).items():
        monkeypatch.setenv(f"AIRFLOW_CONN_MINE_{kind.upper()}", json.dumps(fields))
    config.settings.cache_clear()
    yield running_sandbox
    config.settings.cache_clear()


def connections_of(sandbox: Sandbox) -> dict[str, dict[str, Any]]:
    no_tls = {"disable_ssl": True, "disable_tls": True, "from_email": "leads@example.com"}
    telegram = {"base_url": sandbox.telegram_url}
    token = f"123456:{SECRET}ABCDEFGHIJKLMNO"
    return {
        "amocrm": {"conn_type": "amocrm", "host": sandbox.amocrm_url, "password": SECRET},
        "bitrix24": {"conn_type": "bitrix24", "host": f"{sandbox.bitrix24_url}/rest/1/{SECRET}/"},
        "telegram": {"conn_type": "telegram", "host": "-1001234567890", "password": token, "extra": telegram},
        "email": {"conn_type": "smtp", "host": sandbox.smtp_host, "port": sandbox.smtp_port, "extra": no_tls},
        "webhook": {"conn_type": "http", "host": f"{sandbox.webhook_url}/{SECRET}"},
    }


SERVICES = {"email": "smtp"}
"""Names in the sandbox, where they are others."""


def sent(sandbox: Sandbox, kind: str) -> list[Any]:
    """What the service holds: nothing, before and after a test."""
    held = sandbox.stored(SERVICES.get(kind, kind))
    return [item for name in ("leads", "messages", "letters", "events") for item in held.get(name, [])]


@pytest.mark.parametrize("kind", registry.SHIPPED)
def test_an_account_that_works_is_said_to_and_nothing_is_sent(sandbox: Sandbox, kind: str) -> None:
    result = runner.invoke(app, ["test-connection", kind, "--conn-id", f"mine_{kind}"])

    assert result.exit_code == 0, result.output
    assert result.stdout.startswith(("✓" if registry.get(kind).can_probe else "–") + f" {kind}, connection 'mine_")
    assert SECRET not in result.output
    assert sent(sandbox, kind) == []


@pytest.mark.parametrize("kind", [kind for kind in registry.SHIPPED if registry.get(kind).can_probe])
def test_a_service_that_is_down_is_said_with_exit_code_1(sandbox: Sandbox, kind: str) -> None:
    sandbox.fault(service=SERVICES.get(kind, kind), kind="down")

    result = runner.invoke(app, ["test-connection", kind, "--conn-id", f"mine_{kind}"])

    assert result.exit_code == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"✗ {kind}, connection 'mine_{kind}': ")
    assert SECRET not in result.output


@pytest.mark.parametrize("kind", [kind for kind in registry.SHIPPED if registry.get(kind).can_probe])
def test_the_button_says_what_the_command_says(sandbox: Sandbox, kind: str) -> None:
    works, words = connection_hooks.probe_account(kind, f"mine_{kind}")
    assert works, words
    assert words in runner.invoke(app, ["test-connection", kind, "--conn-id", f"mine_{kind}"]).stdout


@pytest.mark.parametrize("kind", [kind for kind in registry.SHIPPED if registry.get(kind).can_probe])
def test_what_the_form_has_saved_can_be_tried(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    form = forms(sandbox.ports)[kind]
    fields = form.fields | ({"extra": {"base_url": sandbox.telegram_url}} if kind == "telegram" else {})
    monkeypatch.setenv("AIRFLOW_CONN_FROM_THE_FORM", json.dumps(fields))

    tried = connection_hooks.try_out(kind, "from_the_form")

    assert tried.works, tried.words
    assert sent(sandbox, kind) == []


def test_an_account_that_is_refused_is_said_without_its_secret(sandbox: Sandbox) -> None:
    body = {"title": "Unauthorized", "status": 401, "detail": f"no such token: {SECRET}"}
    sandbox.fault(service="amocrm", kind="answer", status=401, body=body)

    works, words = connection_hooks.probe_account("amocrm", "mine_amocrm")

    assert not works
    assert "access token" in words
    assert SECRET not in words


def test_the_default_connection_is_the_integrations_own_and_its_lack_is_named(sandbox: Sandbox) -> None:
    result = runner.invoke(app, ["test-connection", "amocrm"])

    assert result.exit_code == 1
    assert "'leadcast_amocrm'" in result.stderr
    assert "Admin → Connections" in result.stderr


def test_a_type_that_nobody_registered_is_refused_with_those_that_there_are(sandbox: Sandbox) -> None:
    result = runner.invoke(app, ["test-connection", "fax"])

    assert result.exit_code == 1
    assert "there are: email, amocrm" in result.stderr


@pytest.mark.parametrize(
    ("answer", "works", "words"),
    [
        (None, None, "cannot be tried without sending"),
        (lambda: f"Yes: {SECRET}\nsecond line", True, "Yes: *** second line"),
        (lambda: dict[str, str]()[SECRET], False, "The test itself failed: KeyError at test_test_connection.py:"),
    ],
    ids=["without a harmless call", "with one that says too much", "with one that breaks"],
)
def test_an_integration_of_ones_own(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, answer: Callable[[], str] | None, works: bool | None, words: str
) -> None:
    """Like amoCRM's, but it can or cannot be tried."""
    amocrm = type(registry.get("amocrm"))

    class Own(amocrm):  # type: ignore[misc, valid-type]
        can_probe = answer is not None

        def probe(self, account: Account[Any], *, call: Call) -> str:
            assert answer is not None
            return answer()

    monkeypatch.setattr(registry, "get", lambda kind: Own())

    tried = connection_hooks.try_out("own", "mine_amocrm")

    assert tried.works is works
    assert words in tried.words
    assert SECRET not in tried.words
