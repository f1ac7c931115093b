"""What amoCRM may answer (vendors.md 1.2 to 1.5, 1.9): rows of the error table. A write is what files the lead; before
it the contact is looked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tests.support.error_table.cases import LEAD, SECRET, Case

OAUTH = {"access_token": f"expired-{SECRET}", "refresh_token": f"def50200{SECRET}"}
FOUND = {"id": 5, "custom_fields_values": [{"field_code": "PHONE", "values": [{"value": LEAD["phone"]}]}]}

SUPPORT = "В случае повторного возникновения ошибки, обращайтесь в нашу техническую поддержку - support"


def write(**fault: Any) -> tuple[Mapping[str, Any]]:
    """At the call that files the lead."""
    return ({"match": "/api/v4/leads", **fault},)


def search(**fault: Any) -> tuple[Mapping[str, Any]]:
    """At the call that looks for the contact."""
    return ({"match": "/api/v4/contacts", **fault},)


def renewal(**fault: Any) -> tuple[Mapping[str, Any]]:
    """At the token endpoint."""
    return ({"match": "/oauth2/", **fault},)


def answer(status: int, *, hint: str = "", **body: Any) -> dict[str, Any]:
    """An error body as amoCRM writes it; what it repeats of ours must not be seen."""
    problem = {
        "title": "Некорректный запрос",
        "type": f"https://httpstatus.es/{status}",
        "status": status,
        "detail": f"{LEAD['name']} {SECRET}",
        **body,
    }
    return {"kind": "answer", "status": status, "body": problem | ({"hint": hint} if hint else {})}


def problems(*errors: tuple[str, str]) -> dict[str, Any]:
    """`validation-errors` with these codes and paths."""
    said = [{"code": code, "path": path, "detail": LEAD["phone"]} for code, path in errors]
    body: dict[str, Any] = {"validation-errors": [{"request_id": "0", "errors": said}]}
    return answer(400, **body)


CASES: list[Case] = [
    Case(says="200, with the ids of lead and contact"),
    Case(says="103, and then 200", faults=write(kind="interim")),
    Case(says="200, packed with gzip", faults=write(kind="packed")),
    Case(
        says="200, merged into a lead that it had",
        faults=write(kind="answer", status=200, body=[{"id": 5, "contact_id": 6, "company_id": None, "merged": True}]),
    ),
    Case(
        says="400, the found contact is not there any more",
        faults=search(kind="answer", status=200, body={"_embedded": {"contacts": [FOUND]}}),
        note="filed with a new contact",
    ),
    Case(
        says="403 to the note",
        faults=({"kind": "status", "status": 403, "match": "/notes"},),
        note="the receipt says that there is none",
    ),
    Case(
        says="500 to the note",
        faults=({"kind": "status", "status": 500, "match": "/notes"},),
        error="TransientError",
        state="retrying",
        code="500",
        note="only the note, if it is not there",
    ),
    Case(says="401, the OAuth token has expired", credentials=OAUTH, note="renewed, sent once more"),
    Case(
        says="400, validation-errors: a value that is no choice",
        faults=write(**problems(("NotSupportedChoice", "custom_fields_values.0.field_id"))),
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says="400, validation-errors: a wrong type, a missing field",
        faults=write(**problems(("InvalidType", "status_id"), ("FieldMissing", "_embedded.contacts.0.name"))),
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says="400, an incoming form lacks its source",
        faults=write(**problems(("FieldMissing", "data.source_name"))),
        settings={"unsorted": True},
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says="400, Request data can not be empty",
        faults=write(**answer(400, detail="Request data can not be empty")),
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says="400, a page of HTML",
        faults=write(kind="non_json", status=400),
        error="UnknownOutcome",
        state="retrying",
        code="400",
        note="a gateway's, not amoCRM's own form",
    ),
    Case(
        says="400, with half a character and a NUL in its words",
        faults=write(
            kind="answer", status=400, text='{"title": "Bad \\ud800", "type": "x", "detail": "\\u0000 \\u202egnp"}'
        ),
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says="400, Код ошибки 244: no right to add leads, or the subscription is over",
        faults=write(**answer(400, detail=f"Код ошибки 244. {SUPPORT}@amocrm.ru {SECRET}")),
        error="CredentialsError",
        state="retrying",
        code="244",
    ),
    Case(
        says="400, Код ошибки 244, in a problem of no type",
        faults=write(**answer(400, type="about:blank", detail=f"Код ошибки 244. {SUPPORT}@amocrm.ru")),
        error="CredentialsError",
        state="retrying",
        code="244",
        note="the number is amoCRM's own",
    ),
    Case(
        says="400, Error code 202: no right to add contacts",
        faults=write(**answer(400, detail=f"Error code 202. {SUPPORT}@amocrm.com {SECRET}")),
        error="CredentialsError",
        state="retrying",
        code="202",
    ),
    Case(
        says="400, Код ошибки 205: the contact was not created",
        faults=write(**answer(400, detail=f"Код ошибки 205. {SUPPORT}@amocrm.ru {SECRET}")),
        error="RejectedError",
        state="failed",
        code="400",
    ),
    Case(
        says="401, a long-lived token has expired or was revoked",
        credentials={"access_token": f"revoked-{SECRET}"},
        error="CredentialsError",
        state="retrying",
        code="401",
    ),
    Case(
        says="401, and again with the renewed token",
        faults=search(kind="status", status=401, times=2),
        credentials=OAUTH,
        error="CredentialsError",
        state="retrying",
        code="401",
    ),
    Case(
        says="402, the account has not paid",
        note="in amoCRM's own form",
        faults=write(kind="status", status=402),
        error="CredentialsError",
        state="retrying",
        code="402",
    ),
    Case(
        says="403, no rights, or the address is not on the white list",
        note="in amoCRM's own form",
        faults=write(kind="status", status=403),
        error="CredentialsError",
        state="retrying",
        code="403",
    ),
    Case(
        says="403 to the search for the contact, a page of HTML: blocked after too many requests",
        faults=search(kind="non_json", status=403, text="403 Forbidden"),
        error="CredentialsError",
        state="retrying",
        code="403",
    ),
    Case(
        says="403 to the write, a page of HTML",
        faults=write(kind="non_json", status=403, text="403 Forbidden"),
        error="UnknownOutcome",
        state="retrying",
        code="403",
        note="if it is amoCRM's own, the next call hears it, too",
    ),
    *(
        Case(
            says=f"{status}, {says}, as a gateway says it (RFC 9457)",
            faults=write(**answer(status, type="about:blank", title=says)),
            error="UnknownOutcome",
            state="retrying",
            code=str(status),
            note="without a type of amoCRM's",
        )
        for status, says in ((403, "Forbidden"), (404, "Not Found"))
    ),
    *(
        Case(
            says=f"{status}, {says}, in whatever form",
            faults=write(**answer(status, title=says)),
            error="UnknownOutcome",
            state="retrying",
            code=str(status),
            note="no status of amoCRM's",
        )
        for status, says in ((408, "Request Timeout"), (409, "Conflict"), (425, "Too Early"), (499, "Client Closed"))
    ),
    Case(
        says="408 to the search for the contact, a page of HTML",
        faults=search(kind="non_json", status=408),
        error="TransientError",
        state="retrying",
        code="408",
        note="the lead was not sent",
    ),
    Case(
        says="200, and the body breaks off",
        faults=write(kind="cut"),
        error="UnknownOutcome",
        state="retrying",
        code="no_id",
    ),
    Case(
        says="404, no such route",
        faults=write(kind="status", status=404),
        error="RejectedError",
        state="failed",
        code="404",
    ),
    Case(
        says="405, Method Not Allowed",
        faults=write(kind="status", status=405),
        error="RejectedError",
        state="failed",
        code="405",
    ),
    Case(
        says="422, Limit 250 per page",
        faults=write(kind="status", status=422),
        error="RejectedError",
        state="failed",
        code="422",
    ),
    Case(
        says="302, a redirect",
        faults=write(kind="status", status=302),
        error="UnknownOutcome",
        state="retrying",
        code="302",
        note="not followed",
    ),
    Case(
        says="429, retry_after 300 in the body",
        faults=write(kind="rate_limit", retry_after=300),
        error="RateLimited",
        state="retrying",
        code="429",
    ),
    Case(
        says="429, a header Retry-After alone",
        faults=write(kind="answer", status=429, text="", headers={"Retry-After": "7"}),
        error="RateLimited",
        state="retrying",
        code="429",
    ),
    Case(
        says="429, a page of HTML without a time",
        faults=write(kind="non_json", status=429),
        error="RateLimited",
        state="retrying",
        code="429",
    ),
    Case(
        says="429 to the search for the contact",
        faults=search(kind="rate_limit", retry_after=30),
        error="RateLimited",
        state="retrying",
        code="429",
    ),
    *(
        Case(
            says=f"{status} to the search for the contact",
            faults=search(kind="status", status=status),
            error="TransientError",
            state="retrying",
            code=str(status),
        )
        for status in (500, 504)
    ),
    Case(
        says="200 to the search for the contact, and no JSON",
        faults=search(kind="non_json", status=200),
        error="TransientError",
        state="retrying",
        code="not_json",
    ),
    Case(
        says="400 to the search for the contact",
        faults=search(kind="status", status=400, times=2),
        note="filed with a new contact",
    ),
    *(
        Case(
            says=f"{status} to the write{words}",
            faults=write(kind="status", status=status),
            error="UnknownOutcome",
            state="retrying",
            code=str(status),
        )
        for status, words in ((500, ""), (502, ""), (503, ""), (504, ", too heavy"))
    ),
    Case(
        says="200 to the write, and no JSON",
        faults=write(kind="non_json", status=200),
        error="UnknownOutcome",
        state="retrying",
        code="no_id",
    ),
    Case(
        says="200 to the write, an empty array",
        faults=write(kind="answer", status=200, body=[]),
        error="UnknownOutcome",
        state="retrying",
        code="no_id",
    ),
    Case(
        says="nothing: it executes the write and hangs up",
        faults=write(kind="hang_up_after"),
        error="UnknownOutcome",
        state="retrying",
    ),
    Case(
        says="nothing in time to the write",
        faults=write(kind="slow", delay_s=30),
        leadcast={"timeout_s": 1},
        error="UnknownOutcome",
        state="retrying",
    ),
    Case(says="nothing: no connection", faults=({"kind": "down"},), error="TransientError", state="retrying"),
    Case(
        says="401 to the renewal, Token has been revoked",
        credentials=OAUTH | {"refresh_token": f"revoked-{SECRET}"},
        error="CredentialsError",
        state="retrying",
        code="401",
    ),
    Case(
        says="401 to the renewal, wrong client id or secret",
        sandbox={"clients": {"0a-1b": "another"}},
        credentials=OAUTH,
        error="CredentialsError",
        state="retrying",
        code="401",
    ),
    Case(
        says="400 to the renewal, Invalid refresh token",
        faults=renewal(**answer(400, hint="Invalid refresh token")),
        credentials=OAUTH,
        error="CredentialsError",
        state="retrying",
        code="400",
    ),
    Case(
        says="400 to the renewal, Check the `redirect_uri` parameter",
        credentials=OAUTH | {"redirect_uri": None},
        error="CredentialsError",
        state="retrying",
        code="400",
    ),
    Case(
        says="403 to the renewal, a page of HTML",
        faults=renewal(kind="non_json", status=403, text="403 Forbidden"),
        credentials=OAUTH,
        error="TransientError",
        state="retrying",
        code="403",
    ),
    Case(
        says="429 to the renewal",
        faults=renewal(kind="rate_limit", retry_after=300),
        credentials=OAUTH,
        error="RateLimited",
        state="retrying",
        code="429",
    ),
    Case(
        says="502 to the renewal",
        faults=renewal(kind="status", status=502),
        credentials=OAUTH,
        error="TransientError",
        state="retrying",
        code="502",
    ),
    Case(
        says="200 to the renewal, and no tokens",
        faults=renewal(kind="answer", status=200, body={}),
        credentials=OAUTH,
        error="TransientError",
        state="retrying",
        code="not_json",
    ),
    Case(
        says="nothing: it renews the token and hangs up",
        faults=renewal(kind="hang_up_after"),
        credentials=OAUTH,
        error="TransientError",
        state="retrying",
        note="the next attempt shows the old one",
    ),
]
