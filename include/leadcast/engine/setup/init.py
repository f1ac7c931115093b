"""`leadcast init` and `leadcast upgrade`: make what Leadcast needs in the store and in Airflow. Again is harmless."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

from leadcast.core.errors import IndexesUnmade, SettingsError, StoreError
from leadcast.core.settings import Settings
from leadcast.engine.settings import config
from leadcast.integrations import registry

T = TypeVar("T")
POOL_DESCRIPTION = "Leadcast"
"""Marks the pools that we made."""


def initialise() -> list[str]:
    """Brings the store up to date, makes pools, and looks for the DAGs.

    Needs Airflow's database: run it where `airflow db` runs.

    Returns:
        What was done, a line each.

    Raises:
        SettingsError, StoreError: the store or Airflow's database cannot be used; says what to set.
    """
    return [*_migrate(), *in_airflows_database(_make_in_airflow)]


def _make_in_airflow() -> list[str]:
    from leadcast.engine.setup import dag_files, permissions

    return [*make_pools(config.settings()), *permissions.make_known(), dag_files.report()]


def upgrade() -> list[str]:
    """Brings a store of an earlier version up to date, and adds what is missing in Airflow.

    Returns:
        What was done, a line each.

    Raises:
        SettingsError, StoreError: as `initialise`; also where there is no store yet, or a newer version's.
    """
    if store_revision() is None:
        raise StoreError(
            "There are no tables of Leadcast's in the store. Is [leadcast] store_url right? To make them: leadcast init"
        )
    return initialise()


def store_revision() -> str | None:
    """The revision that the store is at; None: it has no tables yet.

    Raises:
        StoreError: it cannot be read.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from leadcast.store.upkeep import migrate

    try:
        with config.store().engine.connect() as connection:
            return migrate.current(connection)
    except SQLAlchemyError as error:
        raise StoreError(f"The store cannot be read: {type(error).__name__}. Check [leadcast] store_url.") from None


def in_airflows_database(work: Callable[[], T]) -> T:
    """Does this work, which uses Airflow's database.

    Raises:
        SettingsError: the database does not answer, or has no tables.
    """
    from sqlalchemy.exc import SQLAlchemyError

    try:
        return work()
    except SQLAlchemyError as error:
        raise SettingsError(
            f"Airflow's database cannot be used: {type(error).__name__}. Is it up and migrated? Run: airflow db migrate"
        ) from None


def wanted_pools(settings: Settings) -> dict[str, int]:
    """The pools that the integrations and the notifications need: name → slots."""
    pools = {registry.queue_of(kind): settings.delivering(kind).slots for kind in registry.types()}
    return pools | {registry.NOTIFICATIONS_QUEUE: settings.pool_slots}


def make_pools(settings: Settings) -> list[str]:
    """Makes the pools that are missing. One that is there is left as it is: somebody may have sized it by hand."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    lines = []
    with create_session() as session:
        there = {pool.pool: pool.slots for pool in Pool.get_pools(session=session)}
        for name, slots in wanted_pools(settings).items():
            if name not in there:
                Pool.create_or_update_pool(
                    name, slots=slots, description=POOL_DESCRIPTION, include_deferred=True, session=session
                )
                lines.append(f"pool {name}: made with {slots} slots")
            elif there[name] != slots:
                lines.append(f"pool {name}: has {there[name]} slots (settings say {slots}); left as it is")
            else:
                lines.append(f"pool {name}: is there, {slots} slots")
    return lines


def _migrate() -> list[str]:
    from sqlalchemy.exc import SQLAlchemyError

    from leadcast.store.upkeep import migrate

    before = store_revision()
    # its lines between ours would be read as ours
    logging.getLogger("alembic").setLevel(logging.WARNING)
    lacks = []
    try:
        migrate.upgrade(config.store().engine)
    except IndexesUnmade as error:  # no reason not to start: the store works
        lacks.append(f"store: {error}")
    except SQLAlchemyError as error:
        raise StoreError(f"The store cannot be migrated: {type(error).__name__}. Check [leadcast] store_url.") from None
    newest = migrate.newest()
    return [f"store: at revision {newest}" + ("" if before == newest else f" (was {before or 'empty'})"), *lacks]
