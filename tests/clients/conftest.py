"""One sandbox and one Postfix for all tests of this folder, as just started for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leadcast.sandbox import Sandbox, SandboxPorts
from tests.clients.postfix import Postfix, running_postfix

SDK_HOSTS = ("example.bitrix24.ru", "renamed.bitrix24.ru", "oauth.bitrix24.tech")
"""What Bitrix24's own SDK calls; a proxy leads it to the sandbox (tls_front.py)."""


@pytest.fixture(scope="session")
def _running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free(), names=SDK_HOSTS) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(_running_sandbox: Sandbox) -> Sandbox:
    _running_sandbox.reset()
    return _running_sandbox


@pytest.fixture(scope="session")
def _running_postfix() -> Iterator[Postfix]:
    with running_postfix() as server:
        yield server


@pytest.fixture
def postfix(_running_postfix: Postfix, monkeypatch: pytest.MonkeyPatch) -> Postfix:
    """The server, its mailboxes empty, its certificate trusted: by OpenSSL's own variable, as an operator would."""
    _running_postfix.empty()
    monkeypatch.setenv("SSL_CERT_FILE", str(_running_postfix.trusted))
    return _running_postfix
