"""The HTTP client of the command line and of the stack's own checks: Airflow's API and Leadcast's."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import requests
from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_fixed

_TIMEOUT_S = 30
_CHECK_TIMEOUT_S = 30
"""Of what is asked again and again. With less, a server that needs longer for each answer would never give one."""
_CALLS = 3
PAUSE_S = 1.0


class ApiError(Exception):
    """An answer that is no success, or none.

    status: of the answer; 0: there was none. problem: the body where it is a JSON object.
    mend: what to do about it, one line, may be empty.
    is_slow: it was reached and took too long to answer, so it is not down.
    """

    def __init__(
        self, message: str, *, status: int = 0, problem: dict[str, Any] | None = None, is_slow: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem or {}
        self.is_slow = is_slow
        self.mend = ""

    @property
    def is_unanswered(self) -> bool:
        """Nobody answered, or a proxy that got no answer: whatever was asked may have been done."""
        return self.status in (0, 502, 504)

    @property
    def is_passing(self) -> bool:
        """Whether asking the same again may be answered."""
        return self.is_unanswered or self.status == 503


def patient() -> Retrying:
    """Calls again what gets no answer, and may be called twice."""
    return Retrying(
        retry=retry_if_exception(lambda error: isinstance(error, ApiError) and error.is_unanswered),
        stop=stop_after_attempt(_CALLS),
        wait=wait_fixed(PAUSE_S),
        reraise=True,
    )


@dataclass(frozen=True, kw_only=True)
class Health:
    """What Airflow says of one of its parts: `healthy` or not, and when its heart last beat."""

    status: str
    beat_at: datetime | None

    @property
    def is_healthy(self) -> bool:
        """Whether Airflow is content."""
        return self.status == "healthy"


@dataclass(frozen=True)
class Api:
    """One Airflow with Leadcast in it, as one user."""

    url: str
    token: str = field(default="", repr=False)

    @classmethod
    def log_in(cls, url: str, *, user: str, password: str) -> Api:
        """An API with a token for this user. Asks again where no answer comes.

        Raises:
            ApiError: wrong password, or nobody answers.
        """
        names = {"username": user, "password": password}
        answer = patient()(cls(url).call, "POST", "/auth/token", json=names)
        return cls(url, answer["access_token"])

    def call(
        self,
        method: str,
        path: str,
        *,
        json: Any = None,
        data: bytes | None = None,
        headers: dict[str, str] | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> Any:
        """One call; returns the answer's JSON. `data` goes out byte for byte as application/json.

        Raises:
            ApiError: any answer but a success, or none.
        """
        sent = dict(headers or {})
        if data is not None:
            sent.setdefault("Content-Type", "application/json")
        url = self.url.rstrip("/") + path
        try:
            with requests.Session() as session:
                # A proxy of the environment's is for the world outside.
                session.trust_env = urlsplit(url).hostname not in ("127.0.0.1", "localhost", "::1")
                answer = session.request(
                    method,
                    url,
                    json=json,
                    data=data,
                    headers=sent,
                    auth=self._authorise,
                    timeout=timeout_s,
                    allow_redirects=False,
                )
        except requests.Timeout as error:
            raise ApiError(f"{self.url} is slow: no answer within {timeout_s:g} s.", is_slow=True) from error
        except requests.RequestException as error:
            raise ApiError(f"{self.url} does not answer ({type(error).__name__}).") from error
        body = _json(answer)
        if not answer.ok or answer.is_redirect or body is None:
            problem = body if isinstance(body, dict) else {}
            raise ApiError(
                f"{method} {path}: {answer.status_code} {answer.reason}", status=answer.status_code, problem=problem
            )
        return body

    def _authorise(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # Not among the headers, where an entry of ~/.netrc would take its place.
        if self.token:
            request.headers["Authorization"] = f"Bearer {self.token}"
        return request

    def health(self) -> dict[str, Health]:
        """Airflow's parts with their health. Empty when it does not answer."""
        try:
            return self.parts()
        except ApiError:
            return {}

    def parts(self, *, timeout_s: float = _CHECK_TIMEOUT_S) -> dict[str, Health]:
        """Airflow's parts with their health.

        Raises:
            ApiError: it does not answer.
        """
        answer = self.call("GET", "/api/v2/monitor/health", timeout_s=timeout_s)
        return {
            name: Health(status=str(part.get("status")), beat_at=_moment(part.get(f"latest_{name}_heartbeat")))
            for name, part in answer.items()
            if isinstance(part, dict)
        }

    def hints(self) -> list[str]:
        """What Leadcast's own health says is to be done. Empty when all is well, or when it does not answer."""
        try:
            found = self.call("GET", "/api/integrations/health", timeout_s=_CHECK_TIMEOUT_S)
        except ApiError as error:
            found = error.problem
        return [str(hint) for hint in found.get("hints", [])]

    def has_dag(self, dag_id: str) -> bool:
        """Whether this DAG is there, paused or not."""
        dag = self._dag(dag_id)
        return dag is not None and not dag["is_stale"]

    def is_unpaused(self, dag_id: str) -> bool:
        """Whether this DAG is there and runs are let through."""
        dag = self._dag(dag_id)
        return dag is not None and not dag["is_paused"] and not dag["is_stale"]

    def _dag(self, dag_id: str) -> Any:
        try:
            return self.call("GET", f"/api/v2/dags/{dag_id}", timeout_s=_CHECK_TIMEOUT_S)
        except ApiError:
            return None

    def import_errors(self, *, since: datetime) -> list[str]:
        """The DAG files that could not be imported since then, with the last line of why."""
        try:
            answer = self.call("GET", "/api/v2/importErrors", timeout_s=_CHECK_TIMEOUT_S)
        except ApiError:
            return []
        found = []
        for error in answer["import_errors"]:
            trace = error["stack_trace"].strip().splitlines() or ["?"]
            if (at := _moment(error["timestamp"])) and at >= since:
                found.append(f"{error['filename']}: {trace[-1]}")
        return found


def _moment(text: object) -> datetime | None:
    return datetime.fromisoformat(text) if isinstance(text, str) else None


def _json(answer: requests.Response) -> Any:
    try:
        return answer.json()
    except requests.JSONDecodeError:
        return None
