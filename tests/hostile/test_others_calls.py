"""Calls of Airflow's for DAGs of others reach it as they came, whatever is in them that no door of ours would take."""

from __future__ import annotations

import asyncio
import json
import threading
from typing import Any

import httpx
import pytest
from fastapi.testclient import TestClient

from leadcast.api import foreign_bodies, threads
from tests.api.conftest import BODY
from tests.hostile.test_doors_rest import client

__all__ = ["client"]
TRIGGER = "/api/v2/dags/another/dagRuns"
BACKFILLS = ["/api/v2/backfills", "/api/v2/backfills/dry_run"]


def _deep(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


CONFS = {
    "many values": json.dumps(list(range(110_000)), separators=(",", ":")),
    "a name that stands twice": '{"a":1,"a":2}',
    "deep": _deep(250),
    "a long number": "9" * 1200,
    "numbers without bounds": "[1e400,-1e400]",
    "more than a mebibyte": json.dumps("x" * 1_100_000),
}


@pytest.mark.parametrize("name", CONFS)
@pytest.mark.parametrize("path", [*BACKFILLS, TRIGGER])
def test_the_conf_of_anothers_run_is_not_touched(client: TestClient, path: str, name: str) -> None:
    body = f'{{"dag_id":"another","who":"Ren\\u00e9e","conf":{CONFS[name]}}}'
    answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 200, answer.text[:300]
    assert answer.json()["got"] == body


@pytest.mark.parametrize("path", BACKFILLS)
@pytest.mark.parametrize("dag_id", ["send_lead", "\\u0073end_lead"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_a_backfill_of_our_own_is_refused(client: TestClient, path: str, dag_id: str, encoding: str) -> None:
    for conf in (json.dumps(BODY), "{}"):
        body = f'{{"dag_id":"another","dag_id":"{dag_id}","dag_run_conf":{conf}}}'.encode(encoding)
        answer = client.post(path, content=body, headers={"Content-Type": "application/json"})
        assert answer.status_code == 422
        assert "retry_leads" in answer.json()["detail"]


@pytest.mark.parametrize("conf", [{"x": "send_lead"}, {"dag_id": "send_lead"}])
def test_one_that_only_names_ours_passes(client: TestClient, conf: dict[str, Any]) -> None:
    assert client.post(BACKFILLS[0], json={"dag_id": "another", "dag_run_conf": conf}).status_code == 200


def test_one_waits_until_others_have_been_looked_at(client: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than a caller of ours waits for the store."""
    look, goes_on = foreign_bodies._refuse_request, threading.Event()
    begun = threading.Semaphore(0)

    def slow(route: str, body: bytes) -> None:
        begun.release()
        goes_on.wait(60)
        look(route, body)

    monkeypatch.setattr(foreign_bodies, "_refuse_request", slow)

    async def call(airflow: httpx.AsyncClient) -> int:
        return (await airflow.post("/api/v2/pools", json={"description": "integrations"})).status_code

    async def calls() -> list[int]:
        transport = httpx.ASGITransport(client.app)
        async with httpx.AsyncClient(transport=transport, base_url="http://airflow", headers=client.headers) as airflow:
            made = [asyncio.create_task(call(airflow)) for _ in range(3)]
            for _ in range(2):
                assert await asyncio.to_thread(begun.acquire, timeout=60)
            await asyncio.sleep(threads.WAITS_S + 0.5)
            goes_on.set()
            return [await each for each in made]

    assert asyncio.run(calls()) == [200, 200, 200]
