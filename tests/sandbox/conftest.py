"""One sandbox for all tests of this folder, as just started for each of them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from leadcast.sandbox import Sandbox, SandboxPorts


@pytest.fixture(scope="session")
def running_sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as sandbox:
        yield sandbox


@pytest.fixture
def sandbox(running_sandbox: Sandbox) -> Sandbox:
    running_sandbox.reset()
    return running_sandbox
