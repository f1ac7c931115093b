"""More leads than a run has time for: none fails, and people are told what is true, once a run."""

from __future__ import annotations

import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from leadcast.local.home import Home
from leadcast.local.ports import Ports
from tests.support.stack import ROOT, SECRETS, Stack, final, free_port, leadcast, stack_env, until

pytestmark = pytest.mark.system
LEADS = 15
TIMED_OUT = "the run timed out"


@pytest.fixture(scope="module")
def hurried() -> Iterator[Stack]:
    """A stack whose runs have a minute, and whose pools promise more than it can do in that.

    A task sends one lead after the other, and each call takes so long that it outlasts the run.
    """
    folder = Path(tempfile.mkdtemp(prefix="leadcast-overload-"))
    settings = {"LEADCAST__WAVE_TIMEOUT_S": "60", "LEADCAST__POOL_SLOTS": "20", "CORE__PARALLELISM": "4"}
    settings["LEADCAST__AT_ONCE"] = "1"
    env = stack_env(folder, free_port(), **{f"AIRFLOW__{name}": value for name, value in settings.items()})
    leadcast(env, "up")
    yield Stack(home=Home.find(env, cwd=ROOT), ports=Ports.from_environment(env), env=env)
    leadcast(env, "down")
    shutil.rmtree(folder, ignore_errors=True)


def test_a_burst_that_no_run_has_time_for_fails_nobody_and_no_letter_is_untrue(hurried: Stack) -> None:
    hurried.forget_batches()
    hurried.sandbox("POST", "/reset")
    hurried.fault(service="webhook", kind="slow", delay_s=21, times=None)
    api = hurried.api()
    body = {"integrations": [{"type": "webhook"}, {"type": "email"}], "credentials": {"email": SECRETS["email"]}}
    ids = [
        api.call("POST", "/api/integrations/send-batch", json=body | {"lead_id": number, "lead": {"name": "Вера"}})[
            "batch_id"
        ]
        for number in range(LEADS)
    ]

    def ended(batch_id: str) -> dict[str, Any] | None:
        return final(hurried.api().call("GET", f"/api/integrations/batches/{batch_id}"))

    batches = [until(partial(ended, batch_id)) for batch_id in ids]
    assert Counter(batch["status"] for batch in batches) == {"completed": LEADS}
    assert {item["webhook_id"] for item in hurried.received("webhook")} == {f"{batch_id}-0" for batch_id in ids}

    told = hurried.sql("leadcast", "SELECT batch_id, occasion, payload FROM notifications WHERE channel = 'email'")
    assert {row.occasion for row in told if row.batch_id} == {"completed"}
    reasons = [row.payload["reason"] for row in told if not row.batch_id]
    runs = hurried.sql("airflow", "SELECT run_id FROM dag_run WHERE dag_id = 'send_lead' AND state = 'failed'")
    assert 0 < len(reasons) <= len(runs), "once a run that had no time left, and not of any lead"
    assert all(reason.startswith(TIMED_OUT) for reason in reasons), reasons
