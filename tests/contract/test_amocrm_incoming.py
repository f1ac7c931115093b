"""amoCRM: leads filed as incoming forms, which a person accepts, and how they are found again."""

from __future__ import annotations

from typing import Any

import pytest
import requests
from pydantic import ValidationError

from leadcast.core.clock import utc_now
from leadcast.core.errors import RejectedError, TransientError, UnknownOutcome
from leadcast.core.model import Lead
from leadcast.integrations.amocrm.settings import AmoCrmSettings
from leadcast.sandbox import Sandbox
from tests.contract.amocrm_deliveries import MakeCall, calls, deliver, find, stored_lead

UNSORTED = {"unsorted": True}


def incoming(sandbox: Sandbox) -> dict[str, Any]:
    [form] = sandbox.stored("amocrm")["unsorted"]
    return dict(form)


def test_an_incoming_lead_has_all_that_another_has(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    settings = {**UNSORTED, "pipeline_id": 7001, "tags": ["site"], "price": 5, "fields": {"SOURCE": "{lead_source}"}}
    call = make_call()
    receipt = deliver(lead, sandbox, call, settings=settings)

    stored = stored_lead(sandbox)
    [contact], [company], [note] = stored["contacts"], stored["companies"], stored["notes"]
    assert (stored["name"], stored["price"], stored["status_id"]) == ("Анна Пример", 5, 50110)
    assert (contact["name"], company["name"]) == ("Анна Пример", "ООО Ромашка")
    assert [tag["name"] for tag in stored["tags"]] == ["site", f"ext:{call.key}"]
    assert stored["custom_fields_values"][0]["values"] == [{"value": "landing-a"}]
    assert note["params"]["text"].startswith("Comment:")
    assert receipt.external_id == str(stored["id"])
    assert receipt.detail == {
        "contact_id": contact["id"],
        "company_id": company["id"],
        "unsorted": True,
        "note": True,
    }


def test_the_form_is_the_settings_or_what_the_lead_says_of_it(sandbox: Sandbox, make_call: MakeCall) -> None:
    said = {"form_page": "https://site.example/p", "referer": "https://ya.ru", "ip": "203.0.113.7"}
    lead = Lead(id="1", name="Анна", source="landing-a", custom=said)
    call = make_call()
    deliver(lead, sandbox, call, settings={**UNSORTED, "form_id": "f-12"})

    form = incoming(sandbox)
    assert (form["source_name"], form["source_uid"]) == ("landing-a", call.key)
    assert form["metadata"] == {
        "category": "forms",
        "form_id": "f-12",
        "form_name": "landing-a",
        "form_sent_at": int(call.accepted_at.timestamp()),
        **said,
    }


def test_a_lead_that_says_nothing_of_a_form_is_taken_all_the_same(sandbox: Sandbox, make_call: MakeCall) -> None:
    deliver(Lead(id="1", custom={"ip": "nowhere", "form_page": 5}), sandbox, make_call(), settings=UNSORTED)

    metadata = incoming(sandbox)["metadata"]
    assert [metadata[name] for name in ("form_id", "form_name", "form_page")] == ["leadcast"] * 3
    assert "ip" not in metadata


@pytest.mark.parametrize("shown", [True, False])
def test_an_incoming_lead_is_found_whether_or_not_the_leads_show_it(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, shown: bool
) -> None:
    sandbox.configure("amocrm", incoming_in_lists=shown)
    call = make_call(accepted_at=utc_now())
    sandbox.fault(service="amocrm", kind="hang_up_after")
    with pytest.raises(UnknownOutcome):
        deliver(lead, sandbox, call, settings=UNSORTED)

    found = find(lead, sandbox, call, **UNSORTED)

    assert found is not None
    assert found.external_id == str(stored_lead(sandbox)["id"])
    assert find(lead, sandbox, make_call(key=call.key + "0"), **UNSORTED) is None


def test_an_incoming_lead_is_found_after_it_was_accepted(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    sandbox.configure("amocrm", incoming_in_lists=False)
    call = make_call(accepted_at=utc_now())
    receipt = deliver(lead, sandbox, call, settings=UNSORTED)
    accept = f"{sandbox.amocrm_url}/api/v4/leads/unsorted/{incoming(sandbox)['uid']}/accept"
    requests.post(accept, json={}, headers={"Authorization": "Bearer t"}, timeout=5)

    found = find(lead, sandbox, call, **UNSORTED)
    assert found is not None
    assert found.external_id == receipt.external_id


def test_an_incoming_lead_that_is_accepted_while_it_is_looked_for_is_found(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.configure("amocrm", incoming_in_lists=False)
    call = make_call(accepted_at=utc_now())
    receipt = deliver(lead, sandbox, call, settings=UNSORTED)
    uid, turns = incoming(sandbox)["uid"], iter(range(10))

    def pace() -> None:
        if next(turns) == 2:  # when the leads do not show it and the incoming ones were not asked for, or were
            accept = f"{sandbox.amocrm_url}/api/v4/leads/unsorted/{uid}/accept"
            requests.post(accept, json={}, headers={"Authorization": "Bearer t"}, timeout=5)

    found = find(lead, sandbox, make_call(accepted_at=call.accepted_at, pace=pace), **UNSORTED)

    assert found is not None
    assert found.external_id == receipt.external_id
    assert found.detail["contact_id"] == receipt.detail["contact_id"]


def test_a_hostile_lead_is_filed_as_it_is(sandbox: Sandbox, make_call: MakeCall) -> None:
    text = "\r\n<script>{{ 7*7 }} {lead_phone} \u202e🚀\x00" + "я" * 900
    custom = {"form_page": text, "referer": text, "ip": text, text[:100]: text}
    lead = Lead(id="1", name=text, phone=text, email=text, company=text, comment=text, source=text, custom=custom)

    assert deliver(lead, sandbox, make_call(), settings=UNSORTED).external_id
    assert stored_lead(sandbox)["name"] == text[:255]


def test_a_list_of_incoming_leads_that_fails_does_not_pass_for_nothing_found(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="amocrm", kind="status", status=500, match="/unsorted")

    with pytest.raises(TransientError):
        find(lead, sandbox, make_call(), **UNSORTED)


def test_the_contact_of_an_incoming_lead_is_not_looked_for(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    deliver(lead, sandbox, make_call())
    before = len(calls(sandbox))

    deliver(lead, sandbox, make_call(key="another-1"), settings=UNSORTED)

    assert [method for method, _, _ in calls(sandbox)[before:]] == ["POST", "POST"]


def test_a_yes_that_names_no_lead_is_no_yes(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    body = {"_embedded": {"unsorted": [{"uid": "5", "_embedded": {"leads": []}}]}}
    sandbox.fault(service="amocrm", kind="answer", status=200, body=body)

    with pytest.raises(UnknownOutcome, match="without naming the lead"):
        deliver(lead, sandbox, make_call(), settings=UNSORTED)


def test_a_refused_form_names_the_fields(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    with pytest.raises(RejectedError, match="pipeline_id NotSupportedChoice"):
        deliver(lead, sandbox, make_call(), settings={**UNSORTED, "pipeline_id": 5})


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"unsorted": True, "status_id": 5}, "status_id: an incoming lead"),
        ({"form_name": "Форма"}, "form_name: goes with unsorted"),
        ({"unsorted": True, "form_page": "x" * 256}, "form_page"),
    ],
)
def test_settings_that_amocrm_would_ignore_are_refused(settings: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        AmoCrmSettings.model_validate(settings)
