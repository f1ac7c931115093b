"""The settings of the user's own lead table: what makes sense, and how a row becomes a lead."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest

from leadcast.core.errors import SettingsError
from leadcast.core.lead_mapping import LeadMapping, lead_data
from leadcast.core.model import BatchStatus
from leadcast.core.settings import Settings
from leadcast.core.tidy import tidy

TABLE = {"leads_conn_id": "crm", "leads_table": "inquiries"}


def mapping(**values: str) -> LeadMapping:
    made = Settings.of(values).lead_mapping()
    assert made is not None
    return made


def test_without_a_connection_there_is_no_lead_table() -> None:
    assert Settings().lead_mapping() is None


def test_columns_are_named_like_the_fields_unless_mapped() -> None:
    assert mapping(**TABLE).columns == {
        name: name for name in ("name", "phone", "email", "company", "comment", "source")
    }
    assert mapping(**TABLE, leads_columns='{"name": "fio"}').columns == {"name": "fio"}


def test_a_table_may_be_in_a_schema() -> None:
    assert mapping(leads_conn_id="crm", leads_table="sales.inquiries").schema_and_table == ("sales", "inquiries")
    assert mapping(**TABLE).schema_and_table == (None, "inquiries")


def test_a_status_is_written_as_it_is_called_unless_mapped() -> None:
    made = mapping(**TABLE, status_column="state", status_values='{"completed": "sent", "failed": 9}')
    written = {status: made.status_value(BatchStatus(status)) for status in ("completed", "partial", "failed")}
    assert written == {"completed": "sent", "partial": "partial", "failed": 9}


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"leads_table": "inquiries"}, "leads_conn_id"),
        ({"leads_conn_id": "crm"}, "leads_table or leads_query"),
        (
            {"leads_conn_id": "crm", "leads_query": "SELECT 1", "status_column": "state"},
            "leads_query: must be a SELECT",
        ),
        ({"leads_conn_id": "crm", "leads_query": "SELECT 1 WHERE x = ::lead_id"}, "leads_query"),
        ({"leads_conn_id": "crm", "leads_query": "DELETE FROM inquiries WHERE id = :lead_id"}, "leads_query"),
        (
            {"leads_conn_id": "crm", "leads_query": "SELECT 1 WHERE 1 = :lead_id", "status_column": "state"},
            "status_column: of which table?",
        ),
        (
            {"leads_conn_id": "crm", "leads_query": "SELECT 1 WHERE 1 = :lead_id", "leads_columns": '{"name": "fio"}'},
            "AS",
        ),
        ({**TABLE, "leads_columns": '{"nmae": "fio"}'}, "no lead field 'nmae'"),
        ({**TABLE, "leads_columns": '{"custom.": "fio"}'}, "no lead field 'custom.'"),
        ({**TABLE, "leads_columns": "{"}, "not JSON"),
        ({**TABLE, "leads_columns": '{"name": ""}'}, "which column is name?"),
        ({"leads_conn_id": "crm", "leads_query": "SELECT 1 WHERE id = :lead_id::int"}, "CAST"),
        ({**TABLE, "status_time_column": "updated_at"}, "status_column, which is not set"),
        ({**TABLE, "status_column": "state", "status_values": '{"processing": "x"}'}, "no final status 'processing'"),
        ({**TABLE, "leads_key": ""}, "leads_key"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_setting_named(values: dict[str, str], says: str) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.of(values)
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("row", "data"),
    [
        ({"name": "Анна", "phone": 79990000000}, {"name": "Анна", "phone": "79990000000"}),
        ({"name": None, "custom.city": None}, {"name": "", "custom": {"city": None}}),
        ({"utm.utm_source": "news", "utm_medium": "mail"}, {"utm": {"utm_source": "news", "utm_medium": "mail"}}),
        ({"budget": Decimal("10.50"), "floors": Decimal("3")}, {"custom": {"budget": "10.50", "floors": 3}}),
        (
            {"custom.since": datetime(2026, 11, 23, 9, tzinfo=UTC), "custom.day": date(2026, 11, 23)},
            {"custom": {"since": "2026-11-23T09:00:00+00:00", "day": "2026-11-23"}},
        ),
        ({"comment": "окна".encode(), "tags": ["a", "б"]}, {"comment": "окна", "custom": {"tags": "a, б"}}),
        ({"vip": True, "score": 1.5}, {"custom": {"vip": True, "score": 1.5}}),
        ({"prices": [Decimal("1.5")]}, {"custom": {"prices": "1.5"}}),
        ({"form": {"rooms": Decimal("1.5")}}, {"custom": {"form": '{"rooms": "1.5"}'}}),
        ({"sum": Decimal("1e400000"), "none": Decimal("NaN")}, {"custom": {"sum": "1E+400000", "none": "NaN"}}),
        ({"name": " Анна\x00 ", "utm_term": "x" * 2000}, {"name": "Анна", "utm": {"utm_term": "x" * 1024}}),
    ],
)
def test_a_row_becomes_the_lead_that_a_request_would_hold(row: dict[str, Any], data: dict[str, Any]) -> None:
    assert tidy(lead_data(row)).data == {**tidy({}).data, **data}
