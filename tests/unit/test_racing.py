"""A host with dead addresses is reached by a live one, and nothing is left behind."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from time import monotonic

import pytest

from leadcast.integrations.http.racing import MAX_ADDRESSES, first_connected, in_turns

LIVE = "127.0.0.9"
REFUSING = [f"127.0.0.{number}" for number in range(21, 21 + MAX_ADDRESSES - 1)]
SILENT = ["127.0.0.11", "127.0.0.12", "127.0.0.13"]


@pytest.fixture
def port() -> Iterator[int]:
    """A port with a listener at LIVE, three at SILENT whose queue is full, and none elsewhere."""
    with ExitStack() as stack:
        live = stack.enter_context(socket.create_server((LIVE, 0)))
        port: int = live.getsockname()[1]
        for address in SILENT:
            stack.enter_context(socket.create_server((address, port), backlog=0))
            for _ in range(4):
                waiting = stack.enter_context(socket.socket())
                waiting.setblocking(False)
                waiting.connect_ex((address, port))
        yield port


def soon(seconds: float = 20) -> float:
    return monotonic() + seconds


@pytest.mark.parametrize(
    "dead", [[], REFUSING[:4], SILENT, REFUSING, [*REFUSING[:5], *SILENT, *REFUSING[5:9]]], ids=len
)
def test_the_live_address_is_found_behind_dead_ones(port: int, dead: list[str]) -> None:
    before, threads = os.listdir("/proc/self/fd"), threading.active_count()
    with first_connected([*dead, LIVE], port, deadline=soon())[0] as sock:
        assert sock.getpeername() == (LIVE, port)
        assert len(os.listdir("/proc/self/fd")) == len(before) + 1
        assert threading.active_count() == threads


def test_the_first_that_answers_wins_though_others_answer_too(port: int) -> None:
    with socket.create_server(("127.0.0.10", port)):
        sock, address = first_connected([LIVE, "127.0.0.10"], port, deadline=soon())
        sock.close()
    assert address == LIVE


def test_where_all_refuse_the_last_one_says_why(port: int) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(ConnectionRefusedError):
        first_connected(REFUSING[:3], port, deadline=soon())
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_where_nobody_answers_it_ends_with_the_time(port: int) -> None:
    before = os.listdir("/proc/self/fd")
    with pytest.raises(TimeoutError):
        first_connected(SILENT, port, deadline=soon(0.6))
    assert len(os.listdir("/proc/self/fd")) == len(before)


def test_a_host_with_more_addresses_than_anybody_needs_is_not_tried_for_ever(port: int) -> None:
    with pytest.raises(ConnectionRefusedError):
        first_connected([*REFUSING, "127.0.0.99", LIVE], port, deadline=soon())


def test_a_family_that_this_machine_does_not_have_costs_nothing(port: int) -> None:
    with first_connected(["2001:db8::1", "2001:db8::2", LIVE], port, deadline=soon())[0] as sock:
        assert sock.getpeername() == (LIVE, port)


def test_the_families_take_turns() -> None:
    assert in_turns(["2::1", "2::2", "2::3", "1.1.1.1", "1.1.1.2"]) == ["2::1", "1.1.1.1", "2::2", "1.1.1.2", "2::3"]
    assert in_turns(["1.1.1.1", "2::1", "2::2"]) == ["1.1.1.1", "2::1", "2::2"]
    assert in_turns([]) == []
