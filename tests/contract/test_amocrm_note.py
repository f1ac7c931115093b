"""amoCRM: the note of a lead is neither lost nor written twice."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from leadcast.core.errors import Postponed, RateLimited, TransientError, UnknownOutcome
from leadcast.core.model import Lead
from leadcast.sandbox import Sandbox
from tests.contract.amocrm_deliveries import MakeCall, Progress, calls, deliver, find, stored_lead

NO_SEARCH = {"find_contact": False}


def notes(sandbox: Sandbox) -> list[str]:
    return [note["params"]["text"] for note in stored_lead(sandbox)["notes"]]


@pytest.mark.parametrize("status", [400, 402, 403, 404])
def test_a_note_that_is_refused_is_said_and_fails_nothing(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, status: int
) -> None:
    sandbox.fault(service="amocrm", kind="status", status=status, match="/notes")

    receipt = deliver(lead, sandbox, make_call(), settings=NO_SEARCH)

    assert receipt.external_id == str(stored_lead(sandbox)["id"])
    assert receipt.detail["note"] is False
    assert len(calls(sandbox)) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "status", "status": 500}, TransientError),
        ({"kind": "hang_up_before"}, TransientError),
        ({"kind": "hang_up_after"}, TransientError),
        ({"kind": "rate_limit", "retry_after": 300}, RateLimited),
    ],
)
def test_the_next_attempt_writes_only_the_note_and_only_if_it_is_not_there(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead, fault: dict[str, Any], error: type[TransientError]
) -> None:
    sandbox.fault(service="amocrm", match="/notes", **fault)
    progress = Progress()
    with pytest.raises(error, match="The lead is filed") as failed:
        deliver(lead, sandbox, make_call(keep=progress.keep), settings=NO_SEARCH)
    assert type(failed.value) is error
    assert failed.value.so_far is not None
    assert failed.value.so_far.detail["note"] is False

    receipt = deliver(lead, sandbox, make_call(kept=progress.kept, attempt=2), settings=NO_SEARCH)

    assert receipt.external_id == failed.value.so_far.external_id == str(stored_lead(sandbox)["id"])
    assert receipt.detail == {**failed.value.so_far.detail, "note": True}
    assert len(notes(sandbox)) == 1


def test_what_is_kept_for_the_next_attempt_holds_nothing_of_the_lead(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="amocrm", kind="status", status=500, match="/notes")
    progress = Progress()
    with pytest.raises(TransientError):
        deliver(lead, sandbox, make_call(keep=progress.keep))

    stored = stored_lead(sandbox)
    ids = {"contact_id": stored["contacts"][0]["id"], "company_id": stored["companies"][0]["id"]}
    kept = {"external_id": str(stored["id"]), "merged": False, "detail": ids, "reconciled": False}
    assert progress.kept == {"filed": kept}


def test_a_note_that_waits_for_the_limit_uses_no_try(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    def pace() -> None:
        if calls(sandbox):
            raise Postponed("The limit is reached.", wait_s=300)

    with pytest.raises(TransientError) as failed:
        deliver(lead, sandbox, make_call(pace=pace), settings=NO_SEARCH)
    assert (failed.value.counts, failed.value.retry_after_s) == (False, 300)


def test_a_lead_whose_answer_was_lost_gets_its_note_when_it_is_found(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="amocrm", kind="hang_up_after", match="/leads")
    with pytest.raises(UnknownOutcome):
        deliver(lead, sandbox, make_call())
    assert notes(sandbox) == []

    for _ in range(2):
        found = find(lead, sandbox, make_call())
        assert found is not None
        assert found.detail["note"] is True
    assert len(notes(sandbox)) == 1
    assert notes(sandbox)[0].startswith("Comment: Перезвоните")


def test_a_lost_lead_of_a_found_contact_gets_the_note_that_says_who_it_is_from(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    deliver(lead, sandbox, make_call(key="first-0"))
    progress = Progress()
    sandbox.fault(service="amocrm", kind="hang_up_after", match="/leads")
    with pytest.raises(UnknownOutcome):
        deliver(lead, sandbox, make_call(keep=progress.keep))

    found = find(lead, sandbox, make_call(kept=progress.kept))

    assert found is not None
    assert found.detail["contact_found"] is True
    [_, stored] = sandbox.stored("amocrm")["leads"]
    assert stored["notes"][0]["params"]["text"].startswith("Name: Анна Пример\nPhone: +79990000001")


def test_an_attempt_that_died_over_the_note_of_a_filed_lead_is_taken_up_there(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    sandbox.fault(service="amocrm", kind="hang_up_after", match="/notes")
    progress = Progress()
    with pytest.raises(TransientError):
        deliver(lead, sandbox, make_call(keep=progress.keep))
    before = len(calls(sandbox))

    found = find(lead, sandbox, make_call(kept=progress.kept))

    assert found is not None
    assert found.detail["note"] is True
    assert [path[-6:] for _, path, _ in calls(sandbox)[before:]] == ["/notes"]
    assert len(notes(sandbox)) == 1


def test_a_person_who_has_put_the_notes_spaces_in_order_gets_no_second_one(
    sandbox: Sandbox, make_call: MakeCall, lead: Lead
) -> None:
    lead = Lead(id="1", comment="Перезвоните  завтра\n")
    receipt = deliver(lead, sandbox, make_call(), settings=NO_SEARCH)
    [note] = stored_lead(sandbox)["notes"]
    requests.post(
        f"{sandbox.amocrm_url}/api/v4/leads/{receipt.external_id}/notes",
        json=[{"note_type": "common", "params": {"text": "  ".join(note["params"]["text"].split())}}],
        headers={"Authorization": "Bearer t"},
        timeout=5,
    )

    assert find(lead, sandbox, make_call()) is not None
    assert len(notes(sandbox)) == 2


def test_notes_that_cannot_be_read_leave_the_lead_found(sandbox: Sandbox, make_call: MakeCall, lead: Lead) -> None:
    receipt = deliver(lead, sandbox, make_call(), settings=NO_SEARCH)
    sandbox.fault(service="amocrm", kind="status", status=500, match="/notes")

    with pytest.raises(TransientError) as failed:
        find(lead, sandbox, make_call())
    assert failed.value.so_far is not None
    assert failed.value.so_far.external_id == receipt.external_id
