"""What people do with leads on their way: at our doors, and in Airflow."""

from __future__ import annotations

from collections import Counter
from typing import Any

from leadcast.client.api import ApiError
from tests.support.stack import Stack, final, until

CHATS = {"bot_token": "700:token-of-the-tests", "chat_id": "@sales"}


class People:
    """A lead that is on its way, and what people do."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.api = stack.api()
        self.admin = stack.api("admin")

    def send(self, *types: str) -> str:
        body = {
            "lead_id": 8,
            "lead": {"name": "Вера"},
            "integrations": [{"type": kind} for kind in types],
            "credentials": {"telegram": CHATS} if "telegram" in types else {},
        }
        return str(self.api.call("POST", "/api/integrations/send-batch", json=body)["batch_id"])

    def batch(self, batch_id: str) -> dict[str, Any]:
        found: dict[str, Any] = self.api.call("GET", f"/api/integrations/batches/{batch_id}")
        return found

    def states(self, batch_id: str) -> dict[str, str]:
        return {item["type"]: item["state"] for item in self.batch(batch_id)["deliveries"]}

    def ended(self, batch_id: str) -> dict[str, Any]:
        return until(lambda: final(self.batch(batch_id)))

    def swept(self, batch_id: str) -> dict[str, Any]:
        """The batch, once it has ended by the sweep. That comes by every minute; here it is asked to."""

        def after_a_sweep() -> dict[str, Any] | None:
            batch = final(self.batch(batch_id))
            if batch is None:
                self.sweep()
            return batch

        return until(after_a_sweep)

    def sweep(self) -> None:
        path = "/api/v2/dags/sweep/dagRuns"
        run_id = self.admin.call("POST", path, json={"logical_date": None})["dag_run_id"]
        until(lambda: _over(self.admin.call("GET", f"{path}/{run_id}")["state"]))

    def in_state(self, batch_id: str, kind: str, state: str) -> str:
        """Waits until the delivery is in this state; the run that has it."""
        until(lambda: self.states(batch_id)[kind] == state)
        return str(self.batch(batch_id)["run_id"])

    def task(self, run_id: str, kind: str) -> dict[str, Any]:
        path = f"/api/v2/dags/send_lead/dagRuns/{run_id}/taskInstances/deliver_{kind}/0"
        found: dict[str, Any] = self.admin.call("GET", path)
        return found

    def mark(self, run_id: str, kind: str, state: str) -> None:
        path = f"/api/v2/dags/send_lead/dagRuns/{run_id}/taskInstances/deliver_{kind}/0"
        self.admin.call("PATCH", path, json={"new_state": state})

    def mark_run(self, run_id: str, state: str) -> None:
        self.admin.call("PATCH", f"/api/v2/dags/send_lead/dagRuns/{run_id}", json={"state": state})

    def delete_run(self, run_id: str) -> int:
        try:
            self.admin.call("DELETE", f"/api/v2/dags/send_lead/dagRuns/{run_id}")
        except ApiError as answered:  # also where there is no body to read
            return answered.status
        raise AssertionError("an answer to a DELETE has no body")

    def pause(self, paused: bool) -> None:
        self.admin.call("PATCH", "/api/v2/dags/send_lead", json={"is_paused": paused})

    def queued_run(self) -> str | None:
        runs = self.admin.call("GET", "/api/v2/dags/send_lead/dagRuns?state=queued&limit=1")["dag_runs"]
        return str(runs[0]["dag_run_id"]) if runs else None

    def run_ends(self, run_id: str) -> str:
        path = f"/api/v2/dags/send_lead/dagRuns/{run_id}"
        return until(lambda: _over(self.admin.call("GET", path)["state"]))

    def told(self, batch_id: str) -> Counter[str]:
        """What people were told of the batch, by letters that have come."""
        query = f"SELECT occasion, sent_at FROM notifications WHERE batch_id = '{batch_id}' AND channel = 'email'"
        rows = until(lambda: _sent(self.stack.sql("leadcast", query)))
        letters = [letter for letter in self.stack.received("smtp") if letter["rcpt_tos"] == ["sales@example.com"]]
        assert len([letter for letter in letters if batch_id in letter["text"]]) == len(rows)
        return Counter(row.occasion for row in rows)


def _over(state: str) -> str | None:
    return state if state in ("success", "failed") else None


def _sent(rows: list[Any]) -> list[Any] | None:
    return rows if rows and all(row.sent_at for row in rows) else None
