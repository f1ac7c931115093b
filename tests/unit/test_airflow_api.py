"""Airflow's API, as it is asked for runs: what it answers is taken at its word, what it refuses is said."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, TypeVar

import httpx
import pytest
from pydantic import SecretStr

from leadcast.control.erase import InAirflow
from leadcast.core.errors import CredentialsError
from leadcast.core.reach import Reach
from leadcast.core.settings import Settings
from leadcast.engine.runs import airflow_api, lead_traces
from leadcast.engine.runs.airflow_api import AirflowApi, AirflowApiError
from leadcast.engine.runs.old_runs import Rule, delete_through, rules
from leadcast.integrations.connection import ConnectionFields

T = TypeVar("T")
RUNS = "/api/v2/dags/send_lead/dagRuns"
NOW = datetime(2026, 11, 26, 3, 17, tzinfo=UTC)
Answer = Callable[[httpx.Request], httpx.Response]


def ask(answer: Answer, work: Callable[[AirflowApi], Coroutine[Any, Any, T]]) -> T:
    """Does something with an API that answers so."""

    async def run() -> T:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://airflow") as client:
            return await work(AirflowApi(client, "a-token"))

    return asyncio.run(run())


class Runs:
    """An Airflow with these runs: run id → conf. `running`: what cannot be deleted."""

    def __init__(self, confs: dict[str, Any], *, running: tuple[str, ...] = (), by: str | None = None) -> None:
        self.confs, self.running, self.by = confs, running, by
        self.calls: list[str] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.calls.append(request.method)
        assert request.headers["Authorization"] == "Bearer a-token"
        if request.method == "DELETE":
            run_id = request.url.path.rpartition("/")[2]
            if run_id in self.running:
                return httpx.Response(409)
            return httpx.Response(204 if self.confs.pop(run_id, None) is not None else 404)
        if request.method == "PATCH":
            (action,) = json.loads(request.content)["actions"]
            gone = [run_id for run_id in action["entities"] if run_id not in self.running]
            for run_id in gone:
                del self.confs[run_id]
            return httpx.Response(200, json={"delete": {"success": gone, "errors": []}})
        offset, limit = (int(request.url.params.get(name, 0)) for name in ("offset", "limit"))
        text = request.url.params.get("conf_contains", "")
        chosen = {run_id: conf for run_id, conf in self.confs.items() if text in json.dumps(conf)}
        made = {"triggering_user_name": self.by, "run_after": NOW.isoformat()}
        listed = [{"dag_run_id": run_id, "conf": conf, **made} for run_id, conf in chosen.items()]
        return httpx.Response(200, json={"dag_runs": listed[offset : offset + limit]})


def refuses(status: int) -> Answer:
    return lambda request: httpx.Response(status)


def away(request: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("no route to a-token")


def test_the_runs_of_a_lead_are_those_whose_conf_names_it_and_no_other() -> None:
    confs: dict[str, Any] = {f"other-{number}": {"lead_id": f"{number}123"} for number in range(150)}
    runs = Runs(confs | {"as-number": {"lead_id": 123}, "as-text": {"lead_id": "123"}, "bell": {}, "none": None})
    found = ask(runs, lambda api: lead_traces.erase_through(api, "123"))
    assert (found.erased, found.left) == ({"runs": 2}, {})
    assert not {"as-number", "as-text"} & runs.confs.keys()
    assert len(runs.confs) == 152


def test_runs_of_others_are_not_read_for_a_lead_with_a_short_id() -> None:
    others: dict[str, Any] = {f"other-{number}": {"lead_id": f"1{number}", "note": "1" * 9} for number in range(2000)}
    runs = Runs(others | {"as-number": {"lead_id": 1}, "as-text": {"lead_id": "1", "integrations": []}})
    found = ask(runs, lambda api: lead_traces.erase_through(api, "1"))
    assert (found.erased, found.left) == ({"runs": 2}, {})
    assert runs.calls.count("GET") <= 4


def test_what_is_read_for_one_lead_is_bounded_and_said_not_to_be_all() -> None:
    confs: dict[str, Any] = {f"decoy-{number}": {"settings": {"lead_id": "x1"}} for number in range(6000)}
    runs = Runs(confs | {"its": {"lead_id": "x1"}})
    found = ask(runs, lambda api: lead_traces.erase_through(api, "x1"))
    assert found.left is None
    assert runs.calls.count("GET") == airflow_api.MOST_PAGES


@pytest.mark.parametrize("by", ["admin", None, "user"])
def test_an_erasure_of_one_user_takes_no_runs_of_others(by: str | None) -> None:
    runs = Runs({"manual-1": {"lead_id": "123"}}, by=by)
    reach = Reach(only_of="user", over_all_at=NOW)
    found = ask(runs, lambda api: lead_traces.erase_through(api, "123", reach=reach))
    assert (found.erased, found.left) == ({"runs": int(by == "user")}, {})
    assert bool(runs.confs) is (by != "user")
    over_all = Reach(only_of="user", over_all_at=NOW + timedelta(seconds=1))
    ask(runs, lambda api: lead_traces.erase_through(api, "123", reach=over_all))
    assert not runs.confs


def test_what_was_triggered_since_is_left_alone() -> None:
    runs = Runs({"before": {"lead_id": "123"}, "since": {"lead_id": "123"}})
    asked: dict[str, datetime] = {}

    def was_there(run_id: str, made_at: datetime) -> bool:
        asked[run_id] = made_at
        return run_id == "before"

    found = ask(runs, lambda api: lead_traces.erase_through(api, "123", was_there=was_there))
    assert (found.erased, found.left, list(runs.confs)) == ({"runs": 1}, {}, ["since"])
    assert asked == dict.fromkeys(["before", "since"], NOW - timedelta(minutes=1))


def test_what_there_is_no_time_for_is_left() -> None:
    runs = Runs({f"manual-{number}": {"lead_id": 123} for number in range(3)})
    found = ask(runs, lambda api: lead_traces.erase_through(api, "123", until=0.0))
    assert (found.erased, sorted(found.left or {})) == ({"runs": 0}, sorted(runs.confs))
    assert "DELETE" not in runs.calls


def test_a_deletion_that_never_answers_is_left_and_holds_nothing_up() -> None:
    begun: list[str] = []
    runs = Runs({f"manual-{number}": {"lead_id": 123} for number in range(2)})

    async def work() -> tuple[InAirflow, bool]:
        over = asyncio.Event()

        class Hangs(AirflowApi):
            async def delete_run(self, dag_id: str, run_id: str) -> str:
                begun.append(run_id)
                while not over.is_set():  # as little to be cancelled as a thread is
                    with suppress(asyncio.CancelledError):
                        await over.wait()
                return ""

        async with httpx.AsyncClient(transport=httpx.MockTransport(runs), base_url="http://airflow") as client:
            erasing = lead_traces.erase_through(Hangs(client, "a-token"), "123", until=monotonic() + 0.5)
            task = asyncio.create_task(erasing)
            await asyncio.wait({task}, timeout=30)
            is_answered = task.done()
            over.set()
            return await task, is_answered

    found, is_answered = asyncio.run(work())
    assert is_answered
    assert found.left == dict.fromkeys(["manual-0", "manual-1"], "There was no time for it.")
    assert begun == ["manual-0"]


def test_a_run_that_runs_is_left_and_said_to_run() -> None:
    runs = Runs({"manual-1": {"lead_id": 123}, "manual-2": {"lead_id": 123}}, running=("manual-2",))
    found = ask(runs, lambda api: lead_traces.erase_through(api, "123"))
    assert (found.erased, found.left) == ({"runs": 1}, {"manual-2": "It runs (409)."})


def test_without_the_right_to_delete_the_run_is_left_and_without_the_right_to_look_nobody_knows() -> None:
    def may_look_only(request: httpx.Request) -> httpx.Response:
        if request.method == "DELETE":
            return httpx.Response(403)
        run = {"dag_run_id": "manual-1", "conf": {"lead_id": 123}, "run_after": NOW.isoformat()}
        return httpx.Response(200, json={"dag_runs": [run]})

    found = ask(may_look_only, lambda api: lead_traces.erase_through(api, "123"))
    assert found.erased == {"runs": 0}
    assert found.left is not None
    assert "no right" in found.left["manual-1"]
    for answer in (refuses(403), refuses(500), away):
        assert ask(answer, lambda api: lead_traces.erase_through(api, "123")).left is None


def test_a_run_that_is_gone_already_is_no_failure() -> None:
    assert ask(refuses(404), lambda api: api.delete_run("send_lead", "manual-1")) == ""


def test_old_runs_are_deleted_page_by_page_up_to_a_number_a_day() -> None:
    runs = Runs({f"run-{number}": {} for number in range(450)})
    rule = Rule(dag_id="send_lead", states=("success",), before=NOW)
    until = NOW + timedelta(minutes=15)
    gone = ask(runs, lambda api: delete_through(api, [rule], until=until, clock=lambda: NOW, at_most=200))
    assert (gone, len(runs.confs)) == ({"send_lead": 200}, 250)
    gone = ask(runs, lambda api: delete_through(api, [rule], until=until, clock=lambda: NOW))
    assert (gone, runs.confs) == ({"send_lead": 250}, {})


def test_it_stops_when_its_time_is_over_and_where_nothing_more_can_be_deleted() -> None:
    rule = Rule(dag_id="send_lead", states=("success",), before=NOW)
    assert ask(Runs({"run": {}}), lambda api: delete_through(api, [rule], until=NOW, clock=lambda: NOW)) == {}
    later = NOW + timedelta(minutes=15)
    again = Runs({"run": {}}, running=("run",))
    assert ask(again, lambda api: delete_through(api, [rule], until=later, clock=lambda: NOW)) == {}
    assert again.calls == ["GET", "PATCH"]


def test_an_api_that_is_away_is_said_to_be_without_a_word_of_what_was_sent() -> None:
    with pytest.raises(AirflowApiError, match=r"^Airflow's API does not answer \(ConnectError\)\.$"):
        ask(away, lambda api: api.finished_runs("sweep", states=("success",), before=NOW))


def test_good_sweeps_are_kept_for_a_day_and_all_else_as_the_settings_say() -> None:
    listed = rules(Settings(keep_runs_days=30), dag_ids=("send_lead", "sweep"), now=NOW)
    assert [(rule.dag_id, list(rule.states), (NOW - rule.before).days) for rule in listed] == [
        ("send_lead", ["success", "failed"], 30),
        ("sweep", ["success", "failed"], 30),
        ("sweep", ["success"], 1),
    ]
    (sweeps,) = rules(Settings(keep_runs_days=0), dag_ids=("send_lead", "sweep"), now=NOW)
    assert (sweeps.dag_id, sweeps.states) == ("sweep", ("success",))


def connection(**more: Any) -> ConnectionFields:
    return ConnectionFields(conn_id="leadcast_airflow", conn_type="http", **more)


def test_a_connection_without_host_or_with_a_wrong_password_is_said_to_be_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def enter(fields: ConnectionFields) -> None:
        async with airflow_api.over_network(fields):
            pass

    with pytest.raises(CredentialsError, match="no host"):
        asyncio.run(enter(connection()))
    real = httpx.AsyncClient

    def refused(**more: Any) -> httpx.AsyncClient:
        return real(**more, transport=httpx.MockTransport(refuses(401)))

    monkeypatch.setattr(httpx, "AsyncClient", refused)
    wrong = connection(host="http://127.0.0.1:1", login="admin", password=SecretStr("a-password"))
    with pytest.raises(CredentialsError, match=r"leadcast_airflow.*\(401\)") as caught:
        asyncio.run(enter(wrong))
    assert "a-password" not in str(caught.value)
    asyncio.run(enter(connection(host="http://127.0.0.1:1", password=SecretStr("a-token"))))
