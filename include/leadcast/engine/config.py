"""Leadcast's settings and store, as Airflow's configuration names them."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from leadcast.core.settings import Settings

if TYPE_CHECKING:
    from leadcast.store.database import Store

SECTION = "leadcast"
_PREFIX = f"AIRFLOW__{SECTION.upper()}__"
_BESIDE_DAGS = {"templates_folder": "include/templates", "hooks_file": "include/hooks.py"}


@cache
def settings() -> Settings:
    """Section `[leadcast]`, read once a process.

    Empty paths are looked for beside the DAG folder, and an empty key is Airflow's own.

    Raises:
        SettingsError: a value is wrong or a key unknown.
    """
    from airflow.sdk.configuration import conf

    values = {}
    for key in Settings.model_fields:
        value = conf.get(SECTION, key, fallback=None)
        if value is not None:
            values[key] = value
    # a key that we do not know is a typing mistake of somebody who believes it is set
    known = {f"{_PREFIX}{key.upper()}{suffix}" for key in Settings.model_fields for suffix in ("", "_CMD", "_SECRET")}
    values |= {
        name[len(_PREFIX) :].lower(): "" for name in os.environ if name.startswith(_PREFIX) and name not in known
    }
    if not values.get("fernet_key"):
        values["fernet_key"] = conf.get("core", "fernet_key", fallback="")
    for key, place in _BESIDE_DAGS.items():
        found = Path(conf.get("core", "dags_folder")).parent / place
        if not values.get(key) and found.exists():
            values[key] = str(found)
    return Settings.of(values)


@cache
def store(pool_size: int = 5) -> Store:
    """The store, opened once a process.

    Raises:
        SettingsError: store_url or the Fernet key is missing or wrong.
    """
    from leadcast.store.database import Store

    return Store.of(settings(), pool_size=pool_size)
