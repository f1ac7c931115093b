"""Leadcast's settings and store, as Airflow's configuration names them."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from leadcast.core.settings import Settings
from leadcast.engine.settings.read_settings import read

if TYPE_CHECKING:
    from leadcast.engine.settings.lead_table import ConnectedLeadTable
    from leadcast.flow.inbox import Inbox
    from leadcast.store.database import Store


@cache
def settings() -> Settings:
    """Section `[leadcast]`, read once a process.

    Raises:
        SettingsError: a value is wrong or a key unknown.
    """
    from airflow.sdk.configuration import conf

    return read(conf)


@cache
def store(pool_size: int = 5, lock_timeout_s: int | None = None, statement_timeout_s: int | None = None) -> Store:
    """The store, opened once a process.

    Args:
        lock_timeout_s: how long a statement waits for what others hold; None: as long as usual.
        statement_timeout_s: how long a statement may take; None: as long as usual.

    Raises:
        SettingsError: store_url or the Fernet key is missing or wrong.
    """
    from leadcast.store.database import LOCK_TIMEOUT_S, STATEMENT_TIMEOUT_S, Store

    return Store.of(
        settings(),
        pool_size=pool_size,
        lock_timeout_s=lock_timeout_s or LOCK_TIMEOUT_S,
        statement_timeout_s=statement_timeout_s or STATEMENT_TIMEOUT_S,
    )


@cache
def lead_table() -> ConnectedLeadTable | None:
    """The user's own lead table, opened once a process; None: the settings name none."""
    from leadcast.engine.settings.lead_table import ConnectedLeadTable

    mapping = settings().lead_mapping()
    return None if mapping is None else ConnectedLeadTable(mapping)


def inbox() -> Inbox:
    """Where requests are accepted."""
    from leadcast.flow.inbox import Inbox

    return Inbox(store(), settings(), lead_source=lead_table())
