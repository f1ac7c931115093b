"""Airflow's public REST API, as far as it is needed to find and delete runs: in this process, or over the network."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from leadcast.core.errors import CredentialsError, LeadcastError
from leadcast.core.reach import EVERYBODYS, Reach, WasThere, all_were_there
from leadcast.engine.runs.own_request import earliest
from leadcast.integrations.connection import ConnectionFields

if TYPE_CHECKING:
    import httpx

PAGE = 100
"""Runs in one answer; Airflow gives no more at once, unless it is told to."""
PAGE_WITH_CONFS = 25
"""The same where their confs are read, each of which may have a megabyte."""
MOST_PAGES = 200
"""Read for one lead and one way to write its id."""
CALL_TIMEOUT_S = 30.0
_LOOPBACK = ("127.0.0.1", "localhost", "::1")


class AirflowApiError(LeadcastError):
    """Airflow's API does not answer, or refuses. The text says which call, and with which status."""


class AirflowApi:
    """The API as one user may use it.

    Args:
        client: knows where it is.
        token: that user's.
    """

    def __init__(self, client: httpx.AsyncClient, token: str) -> None:
        self._client = client
        self._headers = {"Authorization": f"Bearer {token}"}

    async def runs_of_lead(
        self,
        dag_id: str,
        lead_id: str,
        *,
        forms: Sequence[str],
        reach: Reach = EVERYBODYS,
        was_there: WasThere = all_were_there,
    ) -> tuple[list[str], bool]:
        """Ids of the runs whose `conf` is a request for this lead, whatever their state; and whether they are all.

        Args:
            forms: how its id may stand in the conf as JSON.
            reach, was_there: whose runs, and which of them.

        Raises:
            AirflowApiError: they could not be looked for.
        """
        found: dict[str, None] = {}
        is_all = True
        for form in forms:
            for number in range(MOST_PAGES):
                offset = number * PAGE_WITH_CONFS
                query = {"conf_contains": form, "limit": PAGE_WITH_CONFS, "offset": offset, "order_by": "id"}
                page = (await self._call("GET", _runs(dag_id), params=query))["dag_runs"]
                # the search is for a text anywhere in the conf
                its = (run for run in page if _lead_id(run["conf"]) == lead_id)
                found |= {run["dag_run_id"]: None for run in its if _is_taken(run, reach, was_there)}
                if len(page) < PAGE_WITH_CONFS:
                    break
            else:
                is_all = False
        return list(found), is_all

    async def delete_run(self, dag_id: str, run_id: str) -> str:
        """Deletes one run. Returns why it could not be; empty: it is gone."""
        try:
            await self._call("DELETE", f"{_runs(dag_id)}/{quote(run_id, safe='')}", but=HTTPStatus.NOT_FOUND)
        except AirflowApiError as error:
            return str(error)
        return ""

    async def finished_runs(self, dag_id: str, *, states: Sequence[str], before: datetime) -> list[str]:
        """Ids of up to 100 runs that have ended in one of these states before a time, the oldest first.

        Raises:
            AirflowApiError: they could not be looked for.
        """
        query = {"state": list(states), "end_date_lt": before.isoformat(), "limit": PAGE, "order_by": "id"}
        return [run["dag_run_id"] for run in (await self._call("GET", _runs(dag_id), params=query))["dag_runs"]]

    async def delete_runs(self, dag_id: str, run_ids: Sequence[str]) -> int:
        """Deletes many runs in one call. Returns how many are gone; one that runs again is left.

        Raises:
            AirflowApiError: they could not be deleted.
        """
        action = {"action": "delete", "entities": list(run_ids), "action_on_non_existence": "skip"}
        answer = await self._call("PATCH", _runs(dag_id), json={"actions": [action]})
        return len(answer["delete"]["success"])

    async def _call(self, method: str, path: str, *, but: int = 0, **more: Any) -> Any:
        """The answer's JSON, or None. `but`: a status that is as good as a success."""
        import httpx

        try:
            answer = await self._client.request(method, path, headers=self._headers, timeout=CALL_TIMEOUT_S, **more)
        except httpx.HTTPError as error:
            raise AirflowApiError(f"Airflow's API does not answer ({type(error).__name__}).") from None
        if answer.status_code == HTTPStatus.FORBIDDEN:
            raise AirflowApiError(f"The user has no right to this: {method} dagRuns (403).")
        if answer.status_code == HTTPStatus.CONFLICT:
            raise AirflowApiError("It runs (409).")
        if not answer.is_success and answer.status_code != but:
            raise AirflowApiError(f"Airflow answered {answer.status_code} to {method} dagRuns.")
        return answer.json() if answer.content and answer.is_success else None


def _lead_id(conf: Any) -> str | None:
    return str(conf.get("lead_id")) if isinstance(conf, dict) else None


def _is_taken(run: Mapping[str, Any], reach: Reach, was_there: WasThere) -> bool:
    run_after, queued_at = datetime.fromisoformat(run["run_after"]), run.get("queued_at")
    made_at = earliest(run_after, datetime.fromisoformat(queued_at) if queued_at else None)
    return reach.takes(run.get("triggering_user_name"), run_after) and was_there(run["dag_run_id"], made_at)


def _runs(dag_id: str) -> str:
    return f"/api/v2/dags/{dag_id}/dagRuns"


@asynccontextmanager
async def in_process(*, token: str) -> AsyncIterator[AirflowApi]:
    """In the api-server: its own API, in the name of the caller with this token."""
    import httpx

    from leadcast.engine.runs.bell import root_app

    transport = httpx.ASGITransport(app=root_app(), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost", trust_env=False) as client:
        yield AirflowApi(client, token)


@asynccontextmanager
async def over_network(connection: ConnectionFields) -> AsyncIterator[AirflowApi]:
    """Elsewhere: the API that a connection names, as the user in it.

    Args:
        connection: host; login and password. Without a login, the password is a token.

    Raises:
        CredentialsError: no host, or the API does not let the user in.
        AirflowApiError: it does not answer.
    """
    import httpx

    url = connection.base_url
    if not url:
        raise CredentialsError(f"Connection {connection.conn_id!r} has no host.", code="credentials")
    # a proxy of the environment's is for the world outside
    trust_env = urlsplit(url).hostname not in _LOOPBACK
    async with httpx.AsyncClient(base_url=url, trust_env=trust_env, timeout=CALL_TIMEOUT_S) as client:
        yield AirflowApi(client, await _token(client, connection))


async def _token(client: httpx.AsyncClient, connection: ConnectionFields) -> str:
    import httpx

    password = connection.password.get_secret_value()
    if not connection.login:
        return password
    try:
        answer = await client.post("/auth/token", json={"username": connection.login, "password": password})
    except httpx.HTTPError as error:
        raise AirflowApiError(f"Airflow's API does not answer ({type(error).__name__}).") from None
    if not answer.is_success:
        raise CredentialsError(
            f"Airflow does not let the user of connection {connection.conn_id!r} in ({answer.status_code}).",
            code=str(answer.status_code),
        )
    return str(answer.json()["access_token"])
