"""What is checked before a stack is started, and what is said."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from leadcast.client.errors import StackError
from leadcast.local import checks
from leadcast.local.home import Home
from leadcast.local.ports import Ports, is_free


@pytest.fixture
def listener() -> socket.socket:
    taken = socket.socket()
    taken.bind(("127.0.0.1", 0))
    taken.listen()
    return taken


def test_a_taken_port_is_named_with_what_to_do(listener: socket.socket) -> None:
    with listener:
        port = listener.getsockname()[1]
        with pytest.raises(StackError) as caught:
            checks.check_ports(Ports(api=port))

    assert f"{port} (for Airflow)" in str(caught.value)
    assert "LEADCAST_PORT" in caught.value.mend


def test_a_port_counts_as_free_again_once_its_server_has_ended(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert not is_free(port)

    listener.close()

    assert is_free(port)


def test_an_old_python_is_refused_with_the_mend() -> None:
    with pytest.raises(StackError, match=r"Python 3\.9"):
        checks.check_python((3, 9))
    checks.check_python((3, 11))


def test_a_full_disk_is_refused_before_a_database_is_made_on_it(tmp_path: Path) -> None:
    home = Home(root=tmp_path, project=tmp_path)
    with pytest.raises(StackError, match="100 MiB are free"):
        checks.check_disk(home, free_bytes=100 << 20)
    checks.check_disk(home, free_bytes=2 << 30)


@pytest.mark.parametrize("text", ["80", "abc", "70000", "-1", "²"])
def test_a_port_that_cannot_be_is_refused(text: str) -> None:
    with pytest.raises(StackError, match="LEADCAST_PORT"):
        Ports.from_environment({"LEADCAST_PORT": text})


def test_all_ports_follow_from_one_and_are_different() -> None:
    ports = Ports.from_environment({"LEADCAST_PORT": "9000"})

    assert ports.api_url == "http://127.0.0.1:9000"
    assert len(ports.all) == 8
    assert not set(ports.all) & set(Ports(api=9100).all)
    assert Ports.from_environment({}).api == 8080
