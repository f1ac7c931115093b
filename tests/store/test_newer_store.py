"""A store that a newer version of Leadcast has made: refused with words, looked at without a crash."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from sqlalchemy import Engine, create_engine, inspect, make_url, text

from leadcast.control.monitor import Monitor
from leadcast.core.errors import StoreError
from leadcast.engine.settings import config
from leadcast.engine.setup import doctor
from leadcast.engine.setup.init import initialise, upgrade
from leadcast.store.database import Store, open_engine
from leadcast.store.sealing import Sealer
from leadcast.store.upkeep import migrate

pytestmark = pytest.mark.store


@pytest.fixture
def fresh(postgres_url: str, fernet_key: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Engine]:
    """An empty database, which the settings name."""
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        connection.execute(text("DROP DATABASE IF EXISTS newer WITH (FORCE)"))
        connection.execute(text("CREATE DATABASE newer"))
    engine = open_engine(make_url(postgres_url).set(database="newer").render_as_string(hide_password=False))
    monkeypatch.setattr(config, "store", lambda *_: Store(engine, Sealer(fernet_key)))
    yield engine
    engine.dispose()
    admin.dispose()


@pytest.fixture
def newer(fresh: Engine) -> Engine:
    """A store at a revision that this code does not know."""
    migrate.upgrade(fresh)
    with fresh.begin() as connection:
        connection.execute(text(f"UPDATE {migrate.VERSION_TABLE} SET version_num = '9999'"))
    return fresh


def test_init_and_upgrade_refuse_it_and_say_what_to_do(newer: Engine) -> None:
    for work in (initialise, upgrade, lambda: migrate.remove(newer)):
        with pytest.raises(StoreError, match=r"revision 9999.*pip install --upgrade leadcast.*backup"):
            work()


def test_health_and_doctor_look_at_it_without_a_crash(newer: Engine, fernet_key: str) -> None:
    health = Monitor(Store(newer, Sealer(fernet_key))).health()
    assert (health.reachable, health.migrated) == (True, False)
    (finding,) = [found for found in doctor.examine() if found.what.startswith("store:")]
    assert finding.level == "fail"
    assert "9999" in finding.what


def test_upgrade_makes_no_store_where_there_is_none(fresh: Engine) -> None:
    with pytest.raises(StoreError, match="leadcast init"):
        upgrade()
    assert inspect(fresh).get_table_names() == []


def test_removing_a_store_leaves_nothing_and_again_is_harmless(fresh: Engine) -> None:
    migrate.upgrade(fresh)
    migrate.remove(fresh)
    assert inspect(fresh).get_table_names() == []
    migrate.remove(fresh)
