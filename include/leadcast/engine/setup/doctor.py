"""`leadcast doctor`: what is misconfigured, and the mend. Reads only; run it where Airflow's own commands run."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from leadcast.core.clock import utc_now
from leadcast.core.errors import LeadcastError, SettingsError, StoreError
from leadcast.engine.dag_ids import DAGS, NEEDED
from leadcast.engine.settings import config
from leadcast.engine.setup import dag_files, executor_check, lead_table_check, seals_check, slots
from leadcast.engine.setup.finding import Finding, Level
from leadcast.engine.setup.init import wanted_pools
from leadcast.integrations import registry

if TYPE_CHECKING:
    from tenacity import RetryCallState, Retrying

INIT = "Run: leadcast init"


def examine(lead_id: str = "") -> list[Finding]:
    """Looks at everything. A check that cannot be made is a finding, too.

    Args:
        lead_id: the lead of the user's own table to show as it would be sent; empty: any one.
    """

    def lead_table() -> Iterator[Finding]:
        return lead_table_check.examine(lead_id)

    findings: list[Finding] = []
    for check in (
        *(_settings, _integrations, _store, _sessions, seals_check.examine, _pools, slots.examine),
        *(executor_check.examine, _dags, dag_files.examine),
        *(_connections, _notifications, _outbox, _circuits),
        lead_table,
    ):
        findings += _safely(check)
        if check is _settings and findings[-1].level is Level.FAIL:
            return findings
    return findings


def missing_pools() -> list[str]:
    """Pools that the DAGs use and Airflow does not have: their tasks would wait for ever, without a word."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session

    with create_session() as session:
        there = {pool.pool for pool in Pool.get_pools(session=session)}
    return [name for name in wanted_pools(config.settings()) if name not in there]


def paused_dags() -> list[str]:
    """DAGs that leads need and that are paused: nothing says so, and what should be sent waits."""
    return [dag_id for dag_id, paused in _known_dags().items() if paused and dag_id in NEEDED]


def _patient() -> Retrying:
    """Asks a database again that is slow to answer, which is another thing than down."""
    from sqlalchemy.exc import OperationalError
    from tenacity import Retrying, retry_if_exception, stop_after_attempt

    def is_slow(error: BaseException) -> bool:
        return isinstance(error, OperationalError) and "timeout" in str(error.orig).lower()

    def say(state: RetryCallState) -> None:
        sys.stderr.write("A database is slow to answer; asking again…\n")

    return Retrying(retry=retry_if_exception(is_slow), stop=stop_after_attempt(3), before_sleep=say, reraise=True)


def _safely(check: Callable[[], Iterator[Finding]]) -> list[Finding]:
    try:
        return _patient()(lambda: list(check()))
    except LeadcastError as error:
        return [Finding(Level.FAIL, str(error), "See docs/settings.md")]
    except Exception as error:
        what = f"{check.__name__.strip('_').replace('_', ' ')}: could not be looked at ({type(error).__name__})"
        return [Finding(Level.FAIL, what, "Is Airflow's database up and migrated? airflow db check")]


def _settings() -> Iterator[Finding]:
    config.settings()
    yield Finding(Level.OK, "settings: section [leadcast] can be read")


def _integrations() -> Iterator[Finding]:
    sound = []
    for kind in registry.types():
        try:
            registry.get(kind)
        except SettingsError as error:
            yield Finding(Level.FAIL, str(error), "Mend or uninstall its package, then restart Airflow")
        else:
            sound.append(kind)
    yield Finding(Level.OK, f"integrations: {', '.join(sound)}")


def _store() -> Iterator[Finding]:
    from sqlalchemy.exc import SQLAlchemyError

    from leadcast.store.upkeep import migrate

    store = config.store()

    def revision() -> str | None:
        with store.engine.connect() as connection:
            return migrate.current(connection)

    try:
        at = _patient()(revision)
    except SQLAlchemyError as error:
        yield Finding(Level.FAIL, f"store: does not answer ({type(error).__name__})", "Check [leadcast] store_url")
        return
    try:
        migrate.refuse_newer(at)
    except StoreError as error:
        yield Finding(Level.FAIL, f"store: {error}")
        return
    if at != migrate.newest():
        yield Finding(Level.FAIL, f"store: at revision {at or 'none'}, this code needs {migrate.newest()}", INIT)
    else:
        yield Finding(Level.OK, f"store: answers, at revision {at}")
        for name in migrate.unmade_indexes(store.engine):
            yield Finding(
                Level.WARN, f"store: the index {name} was not made, so it slows down", "Run: leadcast upgrade"
            )


def _sessions() -> Iterator[Finding]:
    from leadcast.store.upkeep import pooler

    store = config.store()
    try:
        is_shared, missing = pooler.shares_sessions(store), pooler.not_in_force(store)
    except StoreError as error:
        if "PgBouncer" in str(error):
            yield Finding(Level.FAIL, f"store: {error}", _PGBOUNCER)
        return  # else said above, by the check of the store
    if is_shared:
        what = "store: behind a pooler that shares sessions. Leads can do with it; leadcast init and upgrade cannot"
        yield Finding(Level.OK, what)
    if missing:
        mend = f"{_PGBOUNCER}, for the role that store_url names"
        yield Finding(Level.WARN, f"store: not in force in our sessions: {', '.join(missing)}", mend)


_PGBOUNCER = 'Let store_url point to PostgreSQL itself; or as docs/running.md says under "PgBouncer"'


def _pools() -> Iterator[Finding]:
    missing = missing_pools()
    for name in missing:
        yield Finding(Level.FAIL, f"pool {name}: missing, its tasks wait for ever", INIT)
    if not missing:
        yield Finding(Level.OK, f"pools: all {len(wanted_pools(config.settings()))} are there")


def _dags() -> Iterator[Finding]:
    paused = _known_dags()
    for dag_id in DAGS:
        if dag_id not in paused:
            yield Finding(
                Level.FAIL, f"DAG {dag_id}: Airflow does not have it", "leadcast init says where it looks for it"
            )
        elif paused[dag_id]:
            level = Level.FAIL if dag_id in NEEDED else Level.WARN
            mend = f"Run: airflow dags unpause {dag_id} (on the local stack: leadcast airflow …)"
            yield Finding(level, f"DAG {dag_id}: paused", mend)
        else:
            yield Finding(Level.OK, f"DAG {dag_id}: there, not paused")


def _known_dags() -> dict[str, bool]:
    """Those of our DAGs that Airflow has → whether it is paused."""
    from airflow.models.dag import DagModel
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        known = select(DagModel.dag_id, DagModel.is_paused).where(DagModel.dag_id.in_(DAGS), ~DagModel.is_stale)
        return {row.dag_id: row.is_paused for row in session.execute(known)}


def _connections() -> Iterator[Finding]:
    from leadcast.engine.setup import connection_check

    yield from connection_check.examine()


def _notifications() -> Iterator[Finding]:
    settings = config.settings()
    if not settings.notify_emails and not settings.notifier:
        yield Finding(
            Level.WARN, "notifications: nobody is told of failed leads", "Set [leadcast] notify_emails, or notifier"
        )
    else:
        yield Finding(Level.OK, f"notifications: on {', '.join(settings.notify_on)}")


def _outbox() -> Iterator[Finding]:
    from leadcast.store import outbox

    try:
        with config.store().begin() as connection:
            troubles = outbox.troubles(connection, now=utc_now())
    except StoreError:
        return  # said above, by the check of the store
    for trouble in troubles:
        late = f"given up in the last {outbox.GIVEN_UP_SHOWN_FOR.days} days"
        how = late if trouble.is_given_up else "not sent yet, tried again"
        what = f"outbox: {trouble.count} of {trouble.channel} {how}: {trouble.error}"
        yield Finding(Level.WARN, what, "Mend the cause. How long it is tried: docs/callbacks.md")
    if not troubles:
        yield Finding(Level.OK, "outbox: nothing that could not be sent")


def _circuits() -> Iterator[Finding]:
    from leadcast.store.accounts import circuits

    try:
        with config.store().begin() as connection:
            found = circuits.listing(connection)
    except StoreError:
        return  # said above, by the check of the store
    for circuit in found:
        what = f"account {circuit.account.type} {circuit.account.label}: left alone, {circuit.waiting} wait"
        close = f"leadcast circuits --close {circuit.account.id[:8]}"
        mend = f"Mend the cause; it is tried again by itself, or at once: {close}"
        if circuit.until is None:
            mend = f"If it wants messages again: {close}, then leadcast retry BATCH for what has failed"
        yield Finding(Level.WARN, f"{what}. {circuit.reason}", mend)
    if not found:
        yield Finding(Level.OK, "accounts: none is left alone")
