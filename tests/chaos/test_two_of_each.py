"""Two schedulers and two workers of docker-compose.yaml, while leads arrive: Redis loses all that it holds, a worker
dies in the middle of a call, a scheduler dies. Nothing is lost, nothing arrives twice.

Telegram is left out: after such a death it cannot be asked what has arrived, and a person decides (`on_unknown`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import Row, create_engine, text

from leadcast.client.api import Api
from tests.support.compose import own_files, read, read_env, scaled, with_secrets
from tests.support.containers import Containers, has_own_host_names
from tests.support.place import Place, borrowed
from tests.support.servers import POSTGRES, missing, require

pytestmark = pytest.mark.system

KINDS = ("amocrm", "bitrix24", "email", "webhook")
SCHEDULERS = ("scheduler", "scheduler-2")
WORKERS = ("worker", "worker-2")
LEADS_AT_ONCE = 12
LOST = 2


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, redis_server: str) -> Iterator[Place]:
    """A corner of this machine's servers that nobody else uses."""
    require("PostgreSQL", port=5432)
    if not has_own_host_names():
        missing("`unshare --uts`, to give each worker a host name of its own")
    with borrowed(tmp_path_factory.mktemp("two-of-each"), redis_url=redis_server) as place:
        yield place


@pytest.fixture(scope="module")
def dotenv() -> str:
    """As a person fills it in: people are told, and each worker runs one task at once.

    A task sends many leads, so there are few of them. The pools are larger than the workers, so that there is something
    to lose in Redis.
    """
    fitting = with_secrets().replace("LEADCAST_CONCURRENCY=8", "LEADCAST_CONCURRENCY=1")
    return fitting.replace("POOL_SLOTS=3", "POOL_SLOTS=10")


@pytest.fixture(scope="module")
def containers(dotenv: str, place: Place) -> Iterator[Containers]:
    """`docker compose --profile sandbox up --scale scheduler=2 --scale worker=2`."""
    files = own_files(sandbox=True)
    files["settings.env"] += "AIRFLOW__LEADCAST__NOTIFY_EMAILS=sales@example.com\n"
    with Containers(scaled(read(read_env(dotenv), files), scheduler=2, worker=2), place) as running:
        running.up("api-server", "sandbox", "dag-processor", *SCHEDULERS, *WORKERS)
        yield running


@pytest.fixture(scope="module")
def api(containers: Containers, dotenv: str, place: Place) -> Api:
    """Airflow's API as the user `sender`, with all that was started at work."""
    api = Api.log_in(place.api_url, user="sender", password=read_env(dotenv)["SENDER_PASSWORD"])
    containers.until(lambda: api.is_unpaused("send_lead"))
    containers.until(lambda: rows(place.airflow_database, ALIVE)[0].schedulers == len(SCHEDULERS))
    return api


ALIVE = "SELECT count(*) AS schedulers FROM job WHERE job_type = 'SchedulerJob' AND state = 'running'"

AT_WORK = """
    SELECT split_part(worker, ':', 1) AS name FROM attempts JOIN deliveries ON deliveries.id = attempts.delivery_id
    WHERE attempts.finished_at IS NULL AND type = 'webhook' LIMIT 1
"""
"""The worker that is in the middle of a call."""

IN_CHARGE = """
    SELECT job.hostname AS name FROM job JOIN task_instance ON queued_by_job_id = job.id
    WHERE task_instance.state = 'queued' AND job.state = 'running' GROUP BY job.hostname ORDER BY count(*) DESC LIMIT 1
"""
"""The scheduler that has handed out most of what waits for a worker."""

LEFT_IN_STORE = """
    SELECT 'batch ' || status AS what, id FROM batches WHERE status IN ('pending', 'processing')
    UNION ALL SELECT 'delivery ' || state, id FROM deliveries WHERE state IN ('pending', 'sending', 'retrying')
    UNION ALL SELECT 'attempt without end', delivery_id FROM attempts WHERE finished_at IS NULL
    UNION ALL SELECT 'notification ' || state, key FROM notifications WHERE state <> 'sent'
"""
LEFT_IN_AIRFLOW = """
    SELECT 'run ' || state AS what, run_id AS id FROM dag_run
    WHERE dag_id = 'send_lead' AND state NOT IN ('success', 'failed')
"""


def rows(database: str, query: str) -> list[Row[Any]]:
    """What a database answers."""
    engine = create_engine(POSTGRES.set(database=database))
    with engine.connect() as connection:
        found = list(connection.execute(text(query)))
    engine.dispose()
    return found


def kinds_of(number: int) -> tuple[str, ...]:
    """Three or all four, by turns."""
    left_out = number % (len(KINDS) + 1)
    return KINDS[:left_out] + KINDS[left_out + 1 :]


def send(api: Api, number: int) -> str:
    """Sends a lead by the REST door. Returns the id of its batch."""
    kinds = kinds_of(number)
    body = {
        "lead_id": f"two-{number}",
        "lead": {"name": f"Lead {number}", "phone": f"+7999{number:07d}", "email": f"lead-{number}@example.com"},
        "integrations": [{"type": kind} for kind in kinds],
        "credentials": {"email": {"emails": ["crm@example.com"]}} if "email" in kinds else {},
    }
    return str(api.call("POST", "/api/integrations/send-batch", json=body)["batch_id"])


def send_many(api: Api, first: int) -> list[str]:
    with ThreadPoolExecutor(4) as pool:
        return list(pool.map(lambda number: send(api, number), range(first, first + LEADS_AT_ONCE)))


def left(place: Place) -> list[Row[Any]]:
    """What has not come to its end."""
    return rows(place.store_database, LEFT_IN_STORE) + rows(place.airflow_database, LEFT_IN_AIRFLOW)


def stored(place: Place, service: str, what: str) -> list[dict[str, Any]]:
    """What a service of the sandbox has made of what it got."""
    found: list[dict[str, Any]] = place.sandbox("GET", f"/stored/{service}").json()[what]
    return found


def letter_ids(place: Place) -> set[str]:
    """Of all letters, the Message-ID up to its @. A letter that came twice is shown once: its receiver knows it."""
    return {letter["message_id"].strip("<>").partition("@")[0] for letter in stored(place, "smtp", "letters")}


def made(place: Place) -> Counter[str]:
    """How often each delivery has had its effect, by its key; what its receiver knows for a repetition counts once."""
    tags = [tag["name"] for lead in stored(place, "amocrm", "leads") for tag in lead["tags"]]
    return Counter(
        [
            *(tag.removeprefix("ext:") for tag in tags if tag.startswith("ext:")),
            *(lead["originId"] for lead in stored(place, "bitrix24", "leads")),
            *(event["webhook_id"] for event in stored(place, "webhook", "events")),
            *letter_ids(place),
        ]
    )


def test_nothing_is_lost_or_doubled_when_redis_a_worker_and_a_scheduler_fail_in_the_middle(
    api: Api, containers: Containers, place: Place
) -> None:
    slow = {"service": "webhook", "kind": "slow", "delay_s": 3, "times": 12}
    place.sandbox("POST", "/faults", json=slow)

    sent = send_many(api, 0)
    containers.until(lambda: place.waiting_in_redis() >= LOST)
    place.flush_redis()
    sent += send_many(api, len(sent))
    (worker,) = containers.until(lambda: rows(place.store_database, AT_WORK))
    containers.kill(worker.name)
    containers.up(worker.name)
    sent += send_many(api, len(sent))
    (scheduler,) = containers.until(lambda: rows(place.airflow_database, IN_CHARGE))
    containers.kill(scheduler.name)

    containers.until(lambda: not left(place))
    batches = {row.id: row.status for row in rows(place.store_database, "SELECT id, status FROM batches")}
    assert batches == dict.fromkeys(sent, "completed")
    deliveries = rows(place.store_database, "SELECT id, batch_id, state FROM deliveries")
    assert Counter(row.batch_id for row in deliveries) == {id_: len(kinds_of(n)) for n, id_ in enumerate(sent)}
    assert Counter(row.state for row in deliveries) == {"delivered": len(deliveries)}
    arrived = made(place)
    assert {row.id: arrived[row.id] for row in deliveries} == dict.fromkeys((row.id for row in deliveries), 1)
    told = rows(place.store_database, "SELECT key FROM notifications WHERE channel = 'email'")
    assert len(told) == len(sent)
    assert len(letter_ids(place) - {row.id for row in deliveries}) == len(told)
