"""The user's own lead table, on PostgreSQL, MariaDB and SQLite: a lead is read from it, a status goes back into it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import URL, Engine, create_engine, event, make_url, text

from leadcast.core.errors import LeadTableError
from leadcast.core.lead_mapping import LeadMapping
from leadcast.core.model import BatchStatus
from leadcast.core.tidy import tidy
from leadcast.lead_table import table as lead_table
from leadcast.lead_table.facts import any_id
from leadcast.lead_table.table import LeadTable

pytestmark = pytest.mark.store

MAPPING = LeadMapping(
    conn_id="crm",
    table="inquiries",
    key="nr",
    columns={"name": "fio", "phone": "tel", "utm.utm_source": "src", "custom.budget": "budget"},
    status_column="state",
    status_values={"completed": "sent", "failed": "lost"},
    status_time_column="touched",
)
QUERY = LeadMapping(
    conn_id="crm",
    key="nr",
    query="SELECT nr, fio AS name, tel AS phone, src AS utm_source, budget FROM inquiries WHERE nr = :lead_id",
)
AT = datetime(2026, 11, 23, 9, 30, 15, 900_000, tzinfo=UTC)
TYPES = {"time": {"postgresql": "timestamptz", "mysql": "DATETIME", "sqlite": "TIMESTAMP"}}


@pytest.fixture(params=["postgresql", "mariadb", "sqlite"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> URL:
    if request.param == "sqlite":
        return URL.create("sqlite", database=str(tmp_path / "crm.db"))
    if request.param == "mariadb":
        found: URL = request.getfixturevalue("mariadb_server")
        return found
    return make_url(request.getfixturevalue("postgres_url"))


@pytest.fixture
def crm(url: URL) -> Iterator[Engine]:
    """The user's database: a table that was there before us."""
    engine = create_engine(url)
    time = TYPES["time"][engine.dialect.name]
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS inquiries"))
        connection.execute(
            text(
                "CREATE TABLE inquiries (nr INTEGER PRIMARY KEY, fio VARCHAR(100), tel VARCHAR(40), src VARCHAR(40), "
                f"budget DECIMAL(10, 2), state VARCHAR(20), touched {time} NULL)"
            )
        )
        connection.execute(text("INSERT INTO inquiries VALUES (12, 'Анна 👩', '+7 999', 'news', 10.5, 'new', NULL)"))
        connection.execute(text("INSERT INTO inquiries (nr) VALUES (13)"))
    yield engine
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE inquiries"))
    engine.dispose()


@pytest.fixture
def table(crm: Engine, url: URL) -> Iterator[Callable[[LeadMapping], LeadTable]]:
    opened: list[LeadTable] = []

    def open_table(mapping: LeadMapping = MAPPING) -> LeadTable:
        opened.append(LeadTable(url, mapping))
        return opened[-1]

    yield open_table
    for each in opened:
        each.close()


def row(crm: Engine, number: int) -> Any:
    with crm.connect() as connection:
        return connection.execute(text("SELECT state, touched FROM inquiries WHERE nr = :nr"), {"nr": number}).one()


@pytest.mark.parametrize("mapping", [MAPPING, QUERY], ids=["table", "query"])
def test_a_lead_is_read_by_its_id(table: Callable[..., LeadTable], mapping: LeadMapping) -> None:
    found = table(mapping).find("12")
    assert found is not None
    assert float(found["custom"].pop("budget")) == 10.5
    assert found == {"name": "Анна 👩", "phone": "+7 999", "utm": {"utm_source": "news"}, "custom": {}}


@pytest.mark.parametrize("mapping", [MAPPING, QUERY], ids=["table", "query"])
@pytest.mark.parametrize("lead_id", ["99", "12x", "012", "12.0", "lead-12", "9" * 30])
def test_no_other_lead_is_taken_for_it(table: Callable[..., LeadTable], mapping: LeadMapping, lead_id: str) -> None:
    assert table(mapping).find(lead_id) is None
    assert mapping.table == "" or not table(mapping).write_status(lead_id, BatchStatus.FAILED, at=AT)


def test_what_is_empty_in_the_table_is_empty_in_the_lead(table: Callable[..., LeadTable]) -> None:
    found = table().find("13")
    assert found == {"name": None, "phone": None, "utm": {"utm_source": None}, "custom": {"budget": None}}
    assert tidy(found).data == tidy({"utm": {"utm_source": ""}, "custom": {"budget": None}}).data


def test_a_status_goes_into_the_row_as_the_settings_say_with_its_time_in_utc(
    table: Callable[..., LeadTable], crm: Engine
) -> None:
    assert table().write_status("12", BatchStatus.COMPLETED, at=AT)
    state, touched = row(crm, 12)
    assert state == "sent"
    seen = datetime.fromisoformat(touched) if isinstance(touched, str) else touched
    assert seen.replace(tzinfo=seen.tzinfo or UTC) == AT.replace(microsecond=0)
    assert tuple(row(crm, 13)) == (None, None)
    assert table().write_status("13", BatchStatus.PARTIAL, at=AT)
    assert row(crm, 13)[0] == "partial"


def test_a_status_that_stands_there_is_not_written_again(table: Callable[..., LeadTable]) -> None:
    users = table()
    updates: list[str] = []

    @event.listens_for(users.engine, "before_cursor_execute")
    def listen(connection: Any, cursor: Any, statement: str, *rest: Any) -> None:
        if statement.startswith("UPDATE"):
            updates.append(statement)

    for _ in range(3):
        assert users.write_status("12", BatchStatus.FAILED, at=AT)
    assert len(updates) == 1


def test_some_lead_is_found_to_show(table: Callable[..., LeadTable], crm: Engine) -> None:
    assert any_id(table()) in ("12", "13")
    assert any_id(table(QUERY)) is None
    with crm.begin() as connection:
        connection.execute(text("DELETE FROM inquiries"))
    assert any_id(table()) is None


def test_a_column_that_is_not_there_is_named(table: Callable[..., LeadTable]) -> None:
    wrong = LeadMapping(conn_id="crm", table="inquiries", key="nr", columns={"name": "full_name"})
    with pytest.raises(LeadTableError) as caught:
        table(wrong).find("12")
    assert "full_name" in caught.value.detail
    assert not caught.value.is_away


def test_a_query_must_bring_the_key_to_compare_it(table: Callable[..., LeadTable]) -> None:
    wrong = LeadMapping(conn_id="crm", key="nr", query="SELECT fio AS name FROM inquiries WHERE nr = :lead_id")
    with pytest.raises(LeadTableError, match="no column 'nr'"):
        table(wrong).find("12")


def test_a_key_may_be_text_and_two_fields_may_come_from_one_column(
    table: Callable[..., LeadTable], crm: Engine
) -> None:
    by_phone = LeadMapping(conn_id="crm", table="inquiries", key="tel", columns={"phone": "tel", "source": "tel"})
    with crm.begin() as connection:
        connection.execute(text("UPDATE inquiries SET tel = 'A-1' WHERE nr = 12"))
    assert table(by_phone).find("A-1") == {"phone": "A-1", "source": "A-1"}
    assert table(by_phone).find("a-1") is None


def test_a_database_that_is_away_is_said_without_its_password() -> None:
    away = URL.create("mysql+pymysql", username="u", password="S3CRET", host="127.0.0.1", port=1, database="x")
    with pytest.raises(LeadTableError) as caught:
        LeadTable(away, MAPPING).find("12")
    assert "S3CRET" not in str(caught.value)
    assert "OperationalError" in str(caught.value)
    assert caught.value.is_away


@pytest.mark.parametrize("scheme", ["nosuch", "mssql+pymssql"])
def test_a_database_without_a_driver_is_said_with_the_mend(scheme: str) -> None:
    with pytest.raises(LeadTableError, match="sqlalchemy_scheme"):
        LeadTable(URL.create(scheme, host="x"), MAPPING)


def test_an_error_in_the_users_own_query_is_not_taken_for_a_lead_that_is_not_there(postgres_url: str) -> None:
    query = "SELECT id, name::int AS name FROM (SELECT 5 AS id, '+7 999 000' AS name) l WHERE id = :lead_id"
    table = LeadTable(make_url(postgres_url), LeadMapping(conn_id="crm", query=query))
    with pytest.raises(LeadTableError) as caught:
        table.find("5")
    assert "+7 999" not in str(caught.value), "what the database quotes is for the doctor only"
    assert "22P02" in str(caught.value)
    assert "+7 999" in caught.value.detail
    assert table.find("12x") is None
    table.close()


def test_what_blanks_fill_up_is_compared_without_them(postgres_url: str) -> None:
    engine = create_engine(postgres_url)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE IF EXISTS padded"))
        connection.execute(text("CREATE TABLE padded (id CHAR(8) PRIMARY KEY, name TEXT, state CHAR(12))"))
        connection.execute(text("INSERT INTO padded VALUES ('A1', 'Ann', 'completed')"))
    mapping = LeadMapping(conn_id="crm", table="padded", columns={"name": "name"}, status_column="state")
    table = LeadTable(make_url(postgres_url), mapping)
    assert table.find("A1") == {"name": "Ann"}
    assert any_id(table) == "A1"
    assert table.write_status("A1", BatchStatus.COMPLETED, at=AT)
    assert table.write_status("A1", BatchStatus.FAILED, at=AT)
    with engine.begin() as connection:
        assert connection.execute(text("SELECT trim(state) FROM padded")).scalar() == "failed"
        connection.execute(text("DROP TABLE padded"))
    engine.dispose()
    table.close()


@pytest.mark.parametrize("url", ["postgresql", "mariadb"], indirect=True)  # SQLite lets nobody write between
def test_a_writer_that_wakes_late_does_not_cover_what_was_written_since(
    table: Callable[..., LeadTable], crm: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    late, real = table(), lead_table._one

    def then_somebody_else_writes(*arguments: Any) -> Any:
        found = real(*arguments)
        monkeypatch.setattr(lead_table, "_one", real)
        table().write_status("12", BatchStatus.COMPLETED, at=AT)
        return found

    monkeypatch.setattr(lead_table, "_one", then_somebody_else_writes)
    with pytest.raises(LeadTableError):
        late.write_status("12", BatchStatus.FAILED, at=AT)
    assert row(crm, 12)[0] == "sent"


def test_settings_that_a_driver_does_not_know_are_said(mariadb_server: URL) -> None:
    table = LeadTable(mariadb_server, MAPPING, connect_args={"sslmode": "require"})
    with pytest.raises(LeadTableError, match="sslmode") as caught:
        table.find("1")
    assert caught.value.is_away
