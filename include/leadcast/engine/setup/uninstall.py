"""`leadcast uninstall`: takes out of Airflow what Leadcast has put there, so that the package can be removed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from leadcast.core.errors import SettingsError, StoreError
from leadcast.core.model import BatchStatus
from leadcast.engine.dag_ids import DAGS
from leadcast.engine.settings import config
from leadcast.engine.setup import dag_files
from leadcast.engine.setup.init import POOL_DESCRIPTION, in_airflows_database, store_revision, wanted_pools

if TYPE_CHECKING:
    from sqlalchemy.orm import Session


LAST_STEPS = (
    "Last steps, yours: take Leadcast out of Airflow's configuration, wherever it stands: the section [leadcast] or "
    "AIRFLOW__LEADCAST__…, the bundle leadcast.engine.setup.bundle.LeadcastDags, plugins/leadcast_plugin.py, what "
    "[core] executor and [celery] extra_celery_config name of it. Then: pip uninstall leadcast"
)


def store_name() -> str:
    """What `--store` would drop, in words: whoever has two stores must see which one it is."""
    url = config.store().engine.url
    return f"the tables in database {url.database} on {url.host or 'this machine'}"


def refuse_while_open() -> None:
    """Lets an uninstallation pass if every batch has ended, or there are none.

    Raises:
        StoreError: some have not, or the store cannot tell.
    """
    from sqlalchemy import func, select

    from leadcast.store.schema import batches

    if store_revision() is None:
        return
    unfinished = [status.value for status in BatchStatus if not status.is_final]
    with config.store().begin() as connection:
        counted = select(func.count()).where(batches.c.status.in_(unfinished))
        number = connection.execute(counted).scalar_one()
    if number:
        raise StoreError(
            f"Batches that have not ended: {number}. Their leads would not be sent. Wait for them, "
            "or give them up: leadcast uninstall --yes"
        )


def uninstall(*, drop_store: bool, end_tasks: bool) -> list[str]:
    """Removes the link to the DAG files, the DAGs with their runs, the pools and the roles. Again is harmless.

    Args:
        drop_store: also drops the store's tables, with all leads and batches.
        end_tasks: calls tasks failed that Airflow believes to be running; those of an Airflow that was killed are.

    Returns:
        What was done, and what stays, a line each.

    Raises:
        SettingsError: Airflow runs and would make the DAGs anew; a task runs; the database cannot be used.
        StoreError: the store cannot be dropped.
    """
    lines = in_airflows_database(lambda: list(_from_airflow(end_tasks=end_tasks)))
    store = _drop_store() if drop_store else "store: left, with its leads and batches; --store drops it"
    return [*lines, store, LAST_STEPS]


def _from_airflow(*, end_tasks: bool) -> Iterator[str]:
    from airflow.utils.session import create_session

    from leadcast.engine.setup import permissions

    with create_session() as session:
        _refuse_while_parsed(session)
        if (link := dag_files.unlink()) is not None:
            yield f"link {link}: removed"
        yield from _remove_dags(session, end_tasks=end_tasks)
        yield from _remove_pools(session)
    yield from permissions.remove_roles(DAGS)
    with create_session() as session:
        yield from _what_stays(session)


def _refuse_while_parsed(session: Session) -> None:
    from airflow.jobs.job import most_recent_job

    processor = most_recent_job("DagProcessorJob", session=session)
    if processor is None or not processor.is_alive():
        return
    if there := dag_files.places():
        raise SettingsError(
            "Airflow's dag-processor runs and would list the DAGs again at once. Stop Airflow first, or take "
            f"Leadcast's files from it: {', '.join(str(place.folder) for place in there)}. One that was killed counts "
            "as running for half a minute more."
        )


def _remove_dags(session: Session, *, end_tasks: bool) -> Iterator[str]:
    from airflow.api.common.delete_dag import delete_dag
    from airflow.models.dag import DagModel
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.taskinstance import TaskInstance
    from airflow.sdk.exceptions import AirflowException
    from airflow.utils.state import TaskInstanceState
    from sqlalchemy import exists, select, update

    bundles: set[str] = set()
    for dag in session.scalars(select(DagModel).where(DagModel.dag_id.in_(DAGS))).all():
        bundles.add(dag.bundle_name)
        dag_id = dag.dag_id
        if end_tasks:
            running = (TaskInstance.dag_id == dag_id) & (TaskInstance.state == TaskInstanceState.RUNNING)
            session.execute(update(TaskInstance).where(running).values(state=TaskInstanceState.FAILED))
        try:
            delete_dag(dag_id, session=session)
        except AirflowException:
            raise SettingsError(
                f"Tasks of the DAG {dag_id} run. Wait for them. If none does, Airflow was killed under them: "
                "leadcast uninstall --yes"
            ) from None
        yield f"DAG {dag_id}: removed, with its runs"
    session.expire_all()
    # Airflow keeps the row of a bundle for ever; one that held only our DAGs came with us
    named = bundles & dag_files.own_bundles()
    for bundle in session.scalars(select(DagBundleModel).where(DagBundleModel.name.in_(named))).all():
        if not session.scalar(select(exists().where(DagModel.bundle_name == bundle.name))):
            session.delete(bundle)


def _remove_pools(session: Session) -> Iterator[str]:
    from airflow.models.pool import Pool

    wanted = wanted_pools(config.settings())
    for pool in Pool.get_pools(session=session):
        if pool.pool in wanted and pool.description == POOL_DESCRIPTION:
            session.delete(pool)
            yield f"pool {pool.pool}: removed"
        elif pool.pool in wanted:
            yield f"pool {pool.pool}: left; its description says that Leadcast did not make it"


def _what_stays(session: Session) -> Iterator[str]:
    from airflow.models.connection import Connection
    from sqlalchemy import or_, select

    from leadcast.engine.settings.provider import get_provider_info

    types = [kind["connection-type"] for kind in get_provider_info()["connection-types"]]
    ours = or_(Connection.conn_type.in_(types), Connection.conn_id.like("leadcast\\_%", escape="\\"))
    for conn_id in session.scalars(select(Connection.conn_id).where(ours).order_by(Connection.conn_id)):
        yield f"connection {conn_id}: left, it is yours. To remove it: airflow connections delete {conn_id}"
    yield "audit log, and the tasks' log files: left, as Airflow leaves them"


def _drop_store() -> str:
    from sqlalchemy.exc import SQLAlchemyError

    from leadcast.store.upkeep import migrate

    try:
        migrate.remove(config.store().engine)
    except SQLAlchemyError as error:
        raise StoreError(
            f"The store cannot be dropped: {type(error).__name__}. Does a process of Airflow's still use it?"
        ) from None
    return "store: dropped, with its leads and batches"
