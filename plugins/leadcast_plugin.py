"""Hands Airflow what Leadcast adds to it: the API, the monitor page, and the guard of the trigger's `conf`.

Every task process loads every plugin, so nothing heavy is imported here: FastAPI alone would cost each task 1.6 s of
processor time. The properties below are read by the api-server only.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin


class LeadcastPlugin(AirflowPlugin):
    """Leadcast in Airflow."""

    name = "leadcast"
    external_views = [  # noqa: RUF012  # Airflow reads and changes this very list
        {
            "name": "Leadcast",
            "href": "/api/integrations/ui",
            "destination": "nav",
            "category": "browse",
            "url_route": "leadcast",
        }
    ]

    @classmethod
    def on_load(cls, *args: Any, **kwargs: Any) -> None:
        """Called once in each process, before it can write a run."""
        from leadcast.engine import conf_guard, preload

        conf_guard.watch()
        preload.for_forked_tasks()

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # lazy is the point
        """The API with its pages."""
        from leadcast.api.app import create_app
        from leadcast.api.links import MOUNT

        return [{"app": create_app(), "url_prefix": MOUNT, "name": "Leadcast"}]

    @cached_property
    def fastapi_root_middlewares(self) -> list[dict[str, Any]]:  # type: ignore[override]  # lazy, too
        """What looks at Airflow's own trigger before Airflow does."""
        from leadcast.api.trigger_guard import TriggerGuard
        from leadcast.engine import config

        seal = {"sealer": lambda: config.store().sealer}
        return [{"middleware": TriggerGuard, "kwargs": seal, "name": "Leadcast: seals conf"}]
