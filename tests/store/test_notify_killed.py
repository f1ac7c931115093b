"""A process that is killed between sending and marking: what it sent is sent again, and can be recognised."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import update
from standardwebhooks import Webhook

from leadcast.flow.inbox import Accepted
from leadcast.flow.notify import Dispatcher
from leadcast.sandbox import Sandbox, SandboxPorts
from leadcast.store.database import Store
from leadcast.store.paces import PACES, Channel
from leadcast.store.schema import notifications

from .conftest import StoppedClock
from .dies_while_telling import CALLBACK_SECRET, real_sender
from .test_notify import Post, dispatcher, queue, states

pytestmark = pytest.mark.store
LEASE_S = {channel: pace.lease_s(1, try_s=pace.longest_s) for channel, pace in PACES.items()}
"""For how long a row is left alone that was taken by somebody who does not say what became of it."""
ROOT = Path(__file__).parents[2]
Accept = Callable[..., Accepted]
HOOKS = """
import pathlib
LOG = pathlib.Path({log!r})

def then(batch):
    with LOG.open("a") as file:
        file.write(batch.id + "\\n")
"""


@pytest.fixture(scope="module")
def sandbox() -> Iterator[Sandbox]:
    with Sandbox.start(ports=SandboxPorts.any_free()) as running:
        yield running


@pytest.fixture
def hook_log(tmp_path: Path) -> Path:
    return tmp_path / "called.txt"


@pytest.fixture
def hooks_file(tmp_path: Path, hook_log: Path) -> Path:
    path = tmp_path / "hooks.py"
    path.write_text(HOOKS.format(log=str(hook_log)))
    return path


@pytest.fixture
def killed(
    store: Store, fernet_key: str, clock: StoppedClock, sandbox: Sandbox, hooks_file: Path
) -> Callable[[Channel], None]:
    """A process that sends what is due in this channel, and is killed before it can say so."""

    def killed(channel: Channel) -> None:
        given = {
            "store": store.engine.url.render_as_string(hide_password=False),
            "key": fernet_key,
            "channel": channel,
            "now": clock().isoformat(),
            "host": sandbox.smtp_host,
            "port": sandbox.smtp_port,
            "hooks_file": str(hooks_file),
        }
        command = [sys.executable, "-m", "tests.store.dies_while_telling", json.dumps(given)]
        done = subprocess.run(command, cwd=ROOT, env=os.environ | {"PYTHONPATH": "include"}, timeout=120)
        assert done.returncode == -signal.SIGKILL

    return killed


@pytest.fixture
def lives(store: Store, clock: StoppedClock, sandbox: Sandbox, hooks_file: Path) -> Dispatcher:
    """The process that comes after."""
    smtp = (sandbox.smtp_host, sandbox.smtp_port)
    senders = {channel: real_sender(channel, smtp=smtp, hooks_file=str(hooks_file)) for channel in Channel}
    return Dispatcher(store=store, senders=senders, clock=clock)


def test_a_letter_comes_again_with_the_same_message_id(
    store: Store, clock: StoppedClock, accept: Accept, sandbox: Sandbox, killed: Callable[..., None], lives: Dispatcher
) -> None:
    sandbox.reset()
    queue(store, clock, "a", batch_id=accept().batch_id)
    killed(Channel.EMAIL)
    assert states(store) == [("pending", 1)]
    clock.pass_s(LEASE_S[Channel.EMAIL] - 1)
    assert lives.flush(bound_s=30) == 0, "not at once: it may be what kills, and the other may still be at it"
    clock.pass_s(1)
    assert lives.flush(bound_s=30) == 1
    clock.pass_s(3600)
    assert lives.flush(bound_s=30) == 0
    first, again = sandbox.received("smtp")
    assert first["message_id"] == again["message_id"]
    assert states(store) == [("sent", 2)]


def test_a_callback_comes_again_with_the_same_webhook_id(
    store: Store, clock: StoppedClock, accept: Accept, sandbox: Sandbox, killed: Callable[..., None], lives: Dispatcher
) -> None:
    sandbox.reset()
    batch_id = accept(callback_url=f"{sandbox.webhook_url}/done").batch_id
    queue(store, clock, "a", batch_id=batch_id, channel=Channel.CALLBACK_URL)
    killed(Channel.CALLBACK_URL)
    clock.pass_s(LEASE_S[Channel.CALLBACK_URL] - 1)
    assert lives.flush(bound_s=30) == 0
    clock.pass_s(1)
    assert lives.flush(bound_s=30) == 1
    first, again = sandbox.received("webhook")
    assert first["headers"]["webhook-id"] == again["headers"]["webhook-id"]
    assert first["body"] == again["body"]
    for call in (first, again):
        Webhook(CALLBACK_SECRET).verify(call["body"], call["headers"])


def test_a_hook_whose_process_is_killed_is_called_again(
    store: Store,
    clock: StoppedClock,
    accept: Accept,
    hook_log: Path,
    hooks_file: Path,
    killed: Callable[..., None],
    lives: Dispatcher,
) -> None:
    batch_id = accept().batch_id
    queue(store, clock, "a", batch_id=batch_id, channel=Channel.HOOK, occasion="then")
    killed(Channel.HOOK)
    clock.pass_s(30)
    lives.flush(bound_s=30)
    clock.pass_s(3600)
    lives.flush(bound_s=30)
    assert hook_log.read_text().split() == [batch_id, batch_id]


def test_what_kills_its_process_every_time_is_given_up(store: Store, clock: StoppedClock) -> None:
    queue(store, clock, "a", channel=Channel.HOOK)
    with store.begin() as connection:
        connection.execute(update(notifications).values(attempts=PACES[Channel.HOOK].max_attempts))
    post = Post()
    dispatcher(store, clock, post).flush(bound_s=10)
    assert post.stories == []
    assert states(store) == [("dead", PACES[Channel.HOOK].max_attempts)]
