"""Leadcast as Airflow's plugin: the API, the monitor page, and the guard of the trigger's `conf`.

Every task process loads every plugin, so nothing heavy is imported here: FastAPI alone would cost each task 1.6 s of
processor time. The properties below are read by the api-server only.

Airflow finds it by its file, plugins/leadcast_plugin.py, or by the package's entry point `airflow.plugins`. With both,
Airflow 3.3 would list the second as an import error, and in task processes drop every plugin that comes after it. So
the entry point gives nothing where the file has been loaded, which Airflow does first.
"""

from __future__ import annotations

import sys
from functools import cached_property
from pathlib import Path
from typing import Any

from airflow.sdk.plugins_manager import AirflowPlugin

BY_ENTRY_POINT = "by_entry_point"


class LeadcastPlugin(AirflowPlugin):
    """What Airflow loads of Leadcast: the API with its pages, and what seals requests on their way."""

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
        """Called in each process, before it can write a run."""
        from leadcast.engine.processes import preload
        from leadcast.engine.seal import conf_guard, shown_rows

        conf_guard.watch()
        shown_rows.watch()
        preload.for_forked_tasks()

    @cached_property
    def fastapi_apps(self) -> list[dict[str, Any]]:  # type: ignore[override]  # lazy is the point
        """The app at `/api/integrations`, for the api-server."""
        from leadcast.api.app import create_app
        from leadcast.api.links import MOUNT

        return [{"app": create_app(), "url_prefix": MOUNT, "name": "Leadcast"}]

    @cached_property
    def fastapi_root_middlewares(self) -> list[dict[str, Any]]:  # type: ignore[override]  # lazy, too
        """What looks at Airflow's own trigger before Airflow does."""
        from leadcast.api.foreign_bodies import ForeignBodies
        from leadcast.api.trigger_guard import TriggerGuard
        from leadcast.engine.settings import config

        seal = {"sealer": lambda: config.store().sealer}
        return [
            {"middleware": TriggerGuard, "kwargs": seal, "name": "Leadcast: seals conf"},
            {"middleware": ForeignBodies, "name": "Leadcast: refuses what Airflow would log"},
        ]


def __getattr__(name: str) -> type[LeadcastPlugin] | None:
    """What the entry point names, looked up anew each time: None, which Airflow passes over, beside the file."""
    if name != BY_ENTRY_POINT:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return None if _came_by_its_file() else LeadcastPlugin


def _came_by_its_file() -> bool:
    """Whether a module from the plugins folder, whatever its name, holds the plugin."""
    from airflow import settings

    folder = Path(settings.PLUGINS_FOLDER or "/dev/null")
    # not every entry there is a module, and some are None
    loaded = tuple(sys.modules.values())
    holders = (module for module in loaded if LeadcastPlugin.__name__ in getattr(module, "__dict__", ()))
    return any(folder in Path(getattr(module, "__file__", None) or "").parents for module in holders)
