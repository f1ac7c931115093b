"""The operators of the DAG `prune`: old leads from the store, old runs from Airflow."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import BaseOperator

from leadcast.core.conn_ids import OF_AIRFLOW

if TYPE_CHECKING:
    from airflow.sdk.definitions.context import Context

    from leadcast.control.erase import Eraser
    from leadcast.integrations.connection import ConnectionFields

CONN_ID = OF_AIRFLOW
LONGEST_S = 900.0
"""How long runs are deleted in one day."""
HOW_TO_HAVE_IT = (
    f"No connection {CONN_ID}: old runs stay in Airflow's database. Tasks cannot reach it, so this one asks Airflow's "
    "API as a user of yours. Make the connection (type http): host is the address of the api-server, as "
    "http://host:8080; login and password are those of a user who may delete runs of Leadcast's DAGs. Or run "
    "`leadcast prune` daily where `airflow db` runs."
)


class EraseOldOperator(BaseOperator):
    """Erases leads that are older than `keep_leads_days`, and goes on with erasures that were asked for."""

    def execute(self, context: Context) -> dict[str, int]:
        """Returns how many of each kind were erased for their age."""
        from dataclasses import asdict

        eraser = _eraser()
        eraser.go_on()
        erased = asdict(eraser.old())
        self.log.info("Erased: %s", erased)
        return erased


class DeleteRunsOperator(BaseOperator):
    """Deletes finished runs of our DAGs that are older than `keep_runs_days`, and those of leads that are erased.

    Through Airflow's API, where the connection `leadcast_airflow` says which and as whom; without it, nothing.
    """

    def execute(self, context: Context) -> dict[str, int]:
        """Returns how many runs of each DAG are gone."""
        import asyncio

        from leadcast.core.errors import CredentialsError
        from leadcast.engine.settings import connections

        try:
            connection = connections.fields(CONN_ID)
        except CredentialsError:
            self.log.warning(HOW_TO_HAVE_IT)
            return {}
        gone = asyncio.run(_delete_runs(connection))
        self.log.info("Deleted: %s", gone)
        return gone


async def _delete_runs(connection: ConnectionFields) -> dict[str, int]:
    from functools import partial
    from time import monotonic

    from leadcast.core.clock import utc_now
    from leadcast.engine.dag_ids import DAGS
    from leadcast.engine.runs.airflow_api import over_network
    from leadcast.engine.runs.lead_traces import erase_through
    from leadcast.engine.runs.old_runs import delete_through, rules
    from leadcast.engine.settings import config

    now = utc_now()
    eraser = _eraser()
    async with over_network(connection) as api:
        until = monotonic() + LONGEST_S
        for erasure in eraser.open_ones():
            if monotonic() >= until:
                break
            found = await erase_through(
                api,
                erasure.lead_id,
                until=until,
                reach=erasure.reach,
                was_there=partial(eraser.was_there, erasure),
            )
            eraser.in_airflow(erasure.lead_id, found)
        eraser.go_on()
        listed = rules(config.settings(), dag_ids=DAGS, now=now)
        return dict(await delete_through(api, listed, until=now + timedelta(seconds=LONGEST_S)))


def _eraser() -> Eraser:
    from leadcast.control.erase import Eraser
    from leadcast.engine.settings import config

    return Eraser(store=config.store(), settings=config.settings())
