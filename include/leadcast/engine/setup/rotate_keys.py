"""`leadcast rotate-keys`: brings what is sealed under the first key and binds it to its place, in the store and in
Airflow's runs; and takes it out of Airflow's audit log."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from leadcast.core.sealed_form import SEALED
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.seal import audited_seals
from leadcast.engine.seal.conf_guard import purpose_of
from leadcast.engine.seal.sealed_conf import is_sealed
from leadcast.engine.settings import config
from leadcast.engine.setup.init import in_airflows_database
from leadcast.store.upkeep import rotation
from leadcast.store.upkeep.rotation import Advance, Tally

if TYPE_CHECKING:
    from sqlalchemy import Table

    from leadcast.store.sealing import Sealer

RUNS = "conf of runs"
_CHUNK_ROWS = 200


def count() -> int:
    """How many rows will be looked at.

    Raises:
        SettingsError, StoreError: the store or Airflow's database cannot be used.
    """
    return rotation.count(config.store()) + in_airflows_database(lambda: _count_runs() + audited_seals.count())


def rotate(advance: Advance) -> list[Tally]:
    """Seals anew what is not sealed with the first key for its place. May be run again, and while Airflow runs.

    Raises:
        SettingsError, StoreError: the store or Airflow's database cannot be used; what was done stays done.
    """
    store = config.store()
    in_store = rotation.reseal(store, advance=advance)
    in_airflow = in_airflows_database(
        lambda: [_reseal_runs(store.sealer, advance), audited_seals.take_out(store.sealer, advance)]
    )
    return [*in_store, *in_airflow]


def accepts_unbound() -> bool:
    """Whether what an older version has sealed still opens."""
    return config.settings().accept_unbound_seals


def _count_runs() -> int:
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    runs = _runs()
    with create_session() as session:
        of_ours = select(func.count()).where(runs.c.dag_id == DAG_ID, runs.c.conf.is_not(None))
        return int(session.execute(of_ours).scalar_one())


def _reseal_runs(sealer: Sealer, advance: Advance) -> Tally:
    tally = Tally(RUNS)
    for rows in _chunks():
        for row in rows:
            if not is_sealed(row.conf or {}):
                continue
            seen = Tally(RUNS)
            if _note(seen, sealer, row):
                _replace(tally, sealer, row.id)  # which counts what it finds there
            else:
                tally.add(seen)
        advance(len(rows))
    return tally


def _chunks() -> Iterator[Sequence[Any]]:
    from airflow.utils.session import create_session
    from sqlalchemy import select

    runs, last = _runs(), 0
    while True:
        page = select(*_looked_at(runs)).where(runs.c.dag_id == DAG_ID, runs.c.conf.is_not(None), runs.c.id > last)
        with create_session() as session:
            rows = session.execute(page.order_by(runs.c.id).limit(_CHUNK_ROWS)).all()
        if not rows:
            return
        yield rows
        last = rows[-1].id


def _replace(tally: Tally, sealer: Sealer, run: int) -> None:
    """One run in one transaction: the scheduler holds rows of runs, too. Past the models, which the guard watches."""
    from airflow.utils.session import create_session
    from sqlalchemy import select, update

    runs = _runs()
    with create_session() as session:
        row = session.execute(select(*_looked_at(runs)).where(runs.c.id == run).with_for_update()).one_or_none()
        anew = _note(tally, sealer, row) if row is not None and is_sealed(row.conf or {}) else None
        if row is not None and anew:
            # updated_at tells people when the run last changed for them
            values = {"conf": {**row.conf, "credentials": {SEALED: anew}}, "updated_at": runs.c.updated_at}
            session.execute(update(runs).where(runs.c.id == run).values(values))


def _note(tally: Tally, sealer: Sealer, row: Any) -> str | None:
    return tally.note(sealer, row.conf["credentials"][SEALED], for_=purpose_of(row))


def _looked_at(runs: Table) -> tuple[Any, ...]:
    return runs.c.id, runs.c.conf, runs.c.run_id, runs.c.triggered_by, runs.c.triggering_user_name


def _runs() -> Table:
    from airflow.models.dagrun import DagRun

    return cast("Table", DagRun.__table__)
