"""A real api-server on which forty strangers at once send what is dear to check: others beside them are served."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier, Event

import pytest
import requests

from leadcast.store.database import Store
from tests.api.conftest import BODY
from tests.hostile.dear_bodies import FORMS
from tests.support.api_server import TRIGGER, ApiServer

pytestmark = [pytest.mark.system, pytest.mark.store]

STRANGERS = 40
CALLS = 5
TIMEOUT_S = 120
DEAR = [FORMS["lines: lookups of a stranger"](), FORMS["mappings: comparisons"](), FORMS["unknown fields"]()]


def test_forty_strangers_are_told_nothing_and_hold_up_nobody(server: ApiServer, store: Store) -> None:
    begun, is_over = Barrier(STRANGERS + 1), Event()
    bodies = [json.dumps({"logical_date": None, "conf": body}).encode() for body in DEAR]

    def send(number: int) -> list[requests.Response]:
        begun.wait(timeout=TIMEOUT_S)
        heard: list[requests.Response] = []
        while not heard or not is_over.is_set():
            headers = {"Content-Type": "application/json"}
            body = bodies[number % len(bodies)]
            heard.append(requests.post(server.url + TRIGGER, body, headers=headers, timeout=TIMEOUT_S))
        return heard

    with ThreadPoolExecutor(STRANGERS) as pool:
        strangers = [pool.submit(send, number) for number in range(STRANGERS)]
        try:
            begun.wait(timeout=TIMEOUT_S)
            served = [server.call("POST", "/api/integrations/send-batch", json=BODY) for _ in range(CALLS)]
            own = server.trigger(BODY)
        finally:
            is_over.set()
        heard = [answer for stranger in strangers for answer in stranger.result(timeout=TIMEOUT_S)]
    assert [answer.status_code for answer in served] == [202] * CALLS
    assert own.status_code == 200, own.text
    assert len(heard) >= STRANGERS
    assert {answer.status_code for answer in heard} == {401}
    assert len({answer.content for answer in heard}) == 1


def test_airflows_users_are_asked_before_the_guard_looks_at_a_body(server: ApiServer, store: Store) -> None:
    """By token and by cookie, as Airflow itself knows them; who may only look is told no more than a stranger."""
    for conf in (BODY, BODY | {"nope": 1}, BODY | {"credentials": {"sealed": "gAAAA"}}):
        assert server.trigger(conf, user=None).status_code == 401
        assert server.trigger(conf, user="viewer").status_code == 403
    for path in ("/api/v2/backfills", "/api/v2/backfills/dry_run"):
        assert server.call("POST", path, user=None, json={"dag_id": "send_lead"}).status_code == 401
    wrong = requests.post(server.url + TRIGGER, json={}, headers={"Authorization": "Bearer x"}, timeout=TIMEOUT_S)
    assert wrong.status_code == 403
    assert wrong.headers["Content-Type"] == "application/problem+json"
    cookie = {"_token": server.tokens["user"]}
    by_cookie = server.call("POST", TRIGGER, user=None, cookies=cookie, json={"logical_date": None, "conf": BODY})
    assert by_cookie.status_code == 200, by_cookie.text
