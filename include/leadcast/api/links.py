"""Addresses of our resources and of Airflow's pages, whatever path Airflow itself is served under."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated
from urllib.parse import quote, urlencode

from fastapi import Depends, Request

from leadcast.engine.dag_ids import DAG_ID

MOUNT = "/api/integrations"


@dataclass(frozen=True)
class Links:
    """Paths as the caller sees them.

    root: where this application is mounted, as `/api/integrations` behind the prefix of `[api] base_url`.
    """

    root: str

    @classmethod
    def of(cls, request: Request) -> Links:
        """The links for an answer to this request."""
        return cls(str(request.scope.get("root_path", "")))

    @property
    def airflow(self) -> str:
        """Where Airflow itself is; empty at the root of the host."""
        return self.root.removesuffix(MOUNT)

    def batch(self, batch_id: str) -> str:
        """The address of a batch in the API."""
        return f"{self.root}/batches/{quote(batch_id, safe='')}"

    def batches(self, query: str) -> str:
        """The address of a page of batches in the API."""
        return f"{self.root}/batches?{query}"

    def lead(self, lead_id: str) -> str:
        """The address of a lead in the API."""
        return f"{self.root}/leads/{quote(lead_id, safe='')}"

    def run(self, run_id: str | None) -> str | None:
        """The page of a run in Airflow."""
        return None if run_id is None else f"{self.airflow}/dags/{DAG_ID}/runs/{quote(run_id, safe='')}"

    def sign_in(self, path: str, *, query: str) -> str:
        """Where Airflow lets a person sign in, and sends him back to this address of ours."""
        back = quote(f"{self.root}{path}") + (f"?{query}" if query else "")
        return f"{self.airflow}/api/v2/auth/login?{urlencode({'next': back})}"

    def page(self, path: str = "") -> str:
        """The address of a page of the monitor; empty: its first one."""
        return f"{self.root}/ui{path}"


LinksDep = Annotated[Links, Depends(Links.of)]
