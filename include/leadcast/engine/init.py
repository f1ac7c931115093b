"""`leadcast init`: makes what Leadcast needs in the store and in Airflow. May be run again at any time."""

from __future__ import annotations

from leadcast.core.settings import Settings
from leadcast.engine import config
from leadcast.integrations import registry


def initialise() -> list[str]:
    """Brings the store up to date and makes the pools. Needs Airflow's database: run it where `airflow db` runs.

    Returns:
        What was done, a line each.

    Raises:
        SettingsError, StoreError: the store cannot be used; says what to set.
    """
    return [_migrate(), *make_pools(config.settings())]


def wanted_pools(settings: Settings) -> dict[str, int]:
    """Pool name → slots."""
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
                    name, slots=slots, description="Leadcast", include_deferred=True, session=session
                )
                lines.append(f"pool {name}: made with {slots} slots")
            elif there[name] != slots:
                lines.append(f"pool {name}: has {there[name]} slots (settings say {slots}); left as it is")
            else:
                lines.append(f"pool {name}: is there, {slots} slots")
    return lines


def _migrate() -> str:
    from sqlalchemy.exc import SQLAlchemyError

    from leadcast.core.errors import StoreError
    from leadcast.store import migrate

    store = config.store()
    try:
        with store.engine.connect() as connection:
            before = migrate.current(connection)
        migrate.upgrade(store.engine)
    except SQLAlchemyError as error:
        raise StoreError(f"The store cannot be migrated: {type(error).__name__}. Check [leadcast] store_url.") from None
    newest = migrate.newest()
    return f"store: at revision {newest}" + ("" if before == newest else f" (was {before or 'empty'})")
