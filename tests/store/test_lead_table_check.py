"""What `leadcast doctor` says of the user's own lead table, on PostgreSQL, MariaDB and SQLite."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial

import pytest
from sqlalchemy import URL, Engine, create_engine, text

from leadcast.core.lead_mapping import LeadMapping
from leadcast.engine.settings import config
from leadcast.engine.settings.lead_table import ConnectedLeadTable
from leadcast.engine.setup import lead_table_check
from leadcast.engine.setup.finding import Finding, Level
from leadcast.integrations.connection import ConnectionFields

from .test_lead_table import MAPPING, QUERY, crm, url  # noqa: F401  # fixtures

pytestmark = pytest.mark.store
Examine = Callable[..., list[Finding]]
READER = "'leadcast_reader'@'127.0.0.1'"


@pytest.fixture
def examine_at(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[Finding]]:
    """Examines the lead table in some database."""

    def examine_at(url: URL, mapping: LeadMapping = MAPPING, lead_id: str = "") -> list[Finding]:  # noqa: F811
        monkeypatch.setattr("leadcast.engine.settings.lead_table.url_of", lambda _: url)
        table = ConnectedLeadTable(mapping, find_connection=lambda conn_id: ConnectionFields(conn_id=conn_id))
        monkeypatch.setattr(config, "lead_table", lambda: table)
        return list(lead_table_check.examine(lead_id))

    return examine_at


@pytest.fixture
def examine(examine_at: Examine, crm: Engine, url: URL) -> Examine:  # noqa: F811
    return partial(examine_at, url)


def failures(findings: list[Finding]) -> list[str]:
    return [finding.what for finding in findings if finding.level is Level.FAIL]


def test_a_mapping_that_fits_is_shown_with_one_lead_masked(examine: Examine) -> None:
    findings = examine(lead_id="12")
    assert {finding.level for finding in findings} == {Level.OK}
    said = findings[-1].what
    assert said.startswith("lead 12 as it would be sent: name А***, phone ***99, utm.utm_source n***, custom.budget ")
    assert said.endswith("; empty: email, company, comment, source")
    assert "Анна" not in str(findings)
    assert "completed → sent, partial → partial, failed → lost, cancelled → cancelled" in str(findings)


def test_some_lead_is_shown_where_none_is_named(examine: Examine) -> None:
    assert " as it would be sent: " in examine()[-1].what


def test_a_column_that_is_not_there_is_said_with_those_that_are(examine: Examine) -> None:
    wrong = replace(MAPPING, columns={"name": "full_name"}, status_column="status", key="number")
    findings = examine(wrong)
    assert failures(findings) == [
        "lead table: leads_key names 'number', which is no column",
        "lead table: leads_columns (name) names 'full_name', which is no column",
        "lead table: status_column names 'status', which is no column",
    ]
    assert findings[0].mend == "There are: budget, fio, nr, src, state, tel, touched"


def test_a_table_that_is_not_there_is_said(examine: Examine) -> None:
    assert "lead table" in failures(examine(replace(MAPPING, table="nothing_here")))[0]


def test_a_status_that_does_not_fit_its_column_is_said(examine: Examine, crm: Engine) -> None:  # noqa: F811
    if crm.dialect.name != "sqlite":  # which holds anything anywhere
        long = failures(examine(replace(MAPPING, status_values={"partial": "x" * 21})))
        assert "holds 20 characters" in long[0]
    number = failures(examine(replace(MAPPING, status_column="budget", status_values={"completed": 1})))
    assert [said.rpartition(", and ")[2] for said in number] == ["budget is a number"] * 2


def test_a_key_that_is_not_unique_is_warned_of(examine: Examine) -> None:
    findings = examine(replace(MAPPING, key="tel"), lead_id="+7 999")
    assert [finding.level for finding in findings].count(Level.WARN) == 1
    assert "tel is not unique" in str(findings)


def test_a_query_is_tried_with_the_lead_that_is_named(examine: Examine) -> None:
    assert examine(QUERY)[-1].mend == "Name a lead to try it with: leadcast doctor --lead ID"
    assert "lead 12 as it would be sent: name А***" in examine(QUERY, "12")[-1].what
    assert failures(examine(QUERY, "99")) == ["lead 99: not found"]
    wrong = replace(QUERY, query="SELECT nope FROM inquiries WHERE nr = :lead_id")
    assert "nope" in failures(examine(wrong, "12"))[0]


@pytest.fixture
def users_mariadb(mariadb_server: URL) -> Iterator[Engine]:
    """A table in MariaDB with an enumeration, and somebody who may only read it."""
    engine = create_engine(mariadb_server)
    with engine.begin() as connection:
        connection.execute(
            text(
                "CREATE TABLE inquiries (nr INT PRIMARY KEY, fio TEXT, tel TEXT, src TEXT, budget INT, "
                "state ENUM('new', 'sent', 'lost', 'partial'), touched DATETIME)"
            )
        )
        connection.execute(text(f"CREATE OR REPLACE USER {READER} IDENTIFIED BY 'reads'"))
        connection.execute(text(f"GRANT SELECT ON {mariadb_server.database}.inquiries TO {READER}"))
    yield engine
    with engine.begin() as connection:
        connection.execute(text(f"DROP USER {READER}"))
        connection.execute(text("DROP TABLE inquiries"))
    engine.dispose()


def test_an_enumeration_must_have_the_status(examine_at: Examine, users_mariadb: Engine) -> None:
    wrong = replace(MAPPING, status_values={**MAPPING.status_values, "completed": "done"})
    assert failures(examine_at(users_mariadb.url, wrong)) == [
        "lead table: status completed is written as 'done', and state takes only new, sent, lost, partial"
    ]
    warned = [finding for finding in examine_at(users_mariadb.url) if finding.level is Level.WARN]
    assert ["cancelled" in finding.what for finding in warned] == [True]


def test_a_table_that_we_may_only_read_is_said(examine_at: Examine, users_mariadb: Engine) -> None:
    mapping = replace(MAPPING, status_values={**MAPPING.status_values, "cancelled": "lost"})
    reading = users_mariadb.url.set(username="leadcast_reader", password="reads")
    assert failures(examine_at(users_mariadb.url, mapping)) == []
    [said] = failures(examine_at(reading, mapping))
    assert "a status cannot be written" in said
    assert "denied" in said
    with users_mariadb.begin() as connection:
        connection.execute(text(f"GRANT UPDATE (state) ON {users_mariadb.url.database}.inquiries TO {READER}"))
    assert "touched" in failures(examine_at(reading, mapping))[0], "the time is written, too"
    assert "reads" not in said.replace("leadcast_reader", "")
