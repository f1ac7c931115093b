"""What Bitrix24 may answer (vendors.md 2.1, 2.3, 2.5, 2.7). Its codes come with any status, 200 included."""

from __future__ import annotations

from typing import Any

from tests.support.error_table.cases import SECRET, Case

ADD, SEARCH, FIELDS = "crm.item.add", "crm.duplicate.findbycomm", "crm.item.fields"
OAUTH: dict[str, Any] = {
    "webhook_url": None,
    "domain": "example.bitrix24.ru",
    "access_token": "expired" + SECRET,
    "refresh_token": "refresh" + SECRET,
    "client_id": "app.1a2b",
    "client_secret": SECRET,
}


def error(code: str, status: int, text: str = "", *, on: str = ADD, **more: Any) -> dict[str, Any]:
    """The portal's error body, whose words hold a secret and the lead's phone."""
    text = f"{text or code}: {SECRET} +79990000001"
    return {"kind": "error", "code": code, "status": status, "text": text, "match": on, **more}


def refused(code: str, status: int, says: str) -> Case:
    return Case(
        says=f"{status} `{code}`: {says}",
        faults=[error(code, status)],
        error="CredentialsError",
        state="failed",
        code=code.upper(),
    )


def rejected(code: str, status: int, says: str, **more: Any) -> Case:
    return Case(
        says=f"{status} `{code}`: {says}",
        faults=[error(code, status)],
        error="RejectedError",
        state="failed",
        code=code.upper() or str(status),
        **more,
    )


CASES: list[Case] = [
    # about us: no delivery of this account will pass
    refused("NO_AUTH_FOUND", 401, "a wrong webhook or token"),
    refused("INVALID_CREDENTIALS", 403, "wrong, as the documentation has its status"),
    refused("INVALID_CREDENTIALS", 401, "wrong, as the SDK has its status"),
    refused("invalid_token", 401, "no application with this token"),
    refused("authorization_error", 401, "the user was removed"),
    refused("APPLICATION_NOT_FOUND", 401, "the application was removed"),
    refused("ERROR_OAUTH", 401, "the application is not installed"),
    refused("PAYMENT_REQUIRED", 401, "the subscription has ended"),
    refused("METHOD_CONFIRM_WAITING", 401, "the user has to confirm first"),
    refused("METHOD_CONFIRM_DENIED", 403, "the user said no"),
    refused("insufficient_scope", 403, "the webhook lacks the scope crm"),
    refused("insufficient_scope", 200, "the same with a status that says nothing"),
    refused("user_access_error", 403, "the user may not use the application"),
    refused("allowed_only_intranet_user", 403, "the user is not of the company"),
    refused("ACCESS_DENIED", 403, "REST is not in the plan"),
    refused("ACCESS_DENIED", 400, "no right to add leads"),
    refused("OVERLOAD_LIMIT", 503, "blocked by hand for overload"),
    refused("PORTAL_DELETED", 500, "the portal was deleted"),
    refused("PORTAL_DELETED", 410, "deleted, as the SDK has its status"),
    Case(
        says="403 with a code that nobody knows",
        faults=[error("SOMETHING_NEW", 403)],
        error="CredentialsError",
        state="failed",
        code="SOMETHING_NEW",
    ),
    # the token of an application
    Case(
        says="401 `expired_token`, and there is a refresh token",
        credentials=OAUTH,
        note="renewed once; the call is repeated with the new token",
    ),
    Case(
        says="401 `expired_token` without a refresh token",
        credentials=OAUTH | {"refresh_token": None},
        error="CredentialsError",
        state="failed",
        code="EXPIRED_TOKEN",
    ),
    Case(
        says="400 `invalid_grant` to the renewal: the refresh token is used up",
        credentials=OAUTH | {"refresh_token": "revoked" + SECRET},
        error="CredentialsError",
        state="failed",
        code="INVALID_GRANT",
    ),
    Case(
        says="200 `wrong_client` to the renewal",
        credentials=OAUTH,
        faults=[error("wrong_client", 200, on="/oauth/token/")],
        error="CredentialsError",
        state="failed",
        code="WRONG_CLIENT",
    ),
    Case(
        says="502 to the renewal",
        credentials=OAUTH,
        faults=[{"kind": "status", "status": 502, "match": "/oauth/token/"}],
        error="TransientError",
        state="retrying",
        note="the lead was not sent",
    ),
    # too much
    Case(
        says="503 `QUERY_LIMIT_EXCEEDED`",
        faults=[error("QUERY_LIMIT_EXCEEDED", 503)],
        error="RateLimited",
        state="retrying",
        code="QUERY_LIMIT_EXCEEDED",
        note="not executed",
    ),
    Case(
        says="200 `QUERY_LIMIT_EXCEEDED`",
        faults=[error("query_limit_exceeded", 200)],
        error="RateLimited",
        state="retrying",
        code="QUERY_LIMIT_EXCEEDED",
    ),
    Case(
        says="429 `OPERATION_TIME_LIMIT`",
        faults=[error("OPERATION_TIME_LIMIT", 429)],
        error="TransientError",
        state="retrying",
        code="OPERATION_TIME_LIMIT",
        note="until the reset that is known, else ten minutes; uses no try, and other calls go on",
    ),
    Case(
        says="429 without a code, `Retry-After: 7`",
        faults=[{"kind": "answer", "status": 429, "text": "slow down", "headers": {"Retry-After": "7"}}],
        error="RateLimited",
        state="retrying",
        code="429",
    ),
    # the lead
    rejected("CRM_FIELD_ERROR_VALUE_NOT_VALID", 400, "a value that the field does not take"),
    rejected("CRM_FIELD_ERROR_REQUIRED", 400, "a required field is empty"),
    rejected("CRM_FIELD_ERROR_REQUIRED", 200, "the same with a status that says nothing"),
    rejected("100", 400, "one value where the field takes a list"),
    rejected("NOT_FOUND", 400, "no such entity type"),
    rejected("INVALID_ARG_VALUE", 400, "an argument is wrong"),
    rejected("CREATE_DYNAMIC_ITEM_RESTRICTED", 400, "the plan's number of items is reached"),
    rejected("INVALID_REQUEST", 400, "HTTPS is required"),
    rejected("ERROR_METHOD_NOT_FOUND", 404, "no such method"),
    Case(
        says="400 with an empty code, `Access denied.`",
        faults=[error("", 400, "Access denied.")],
        error="RejectedError",
        state="failed",
        code="400",
        note="as the old methods have it",
    ),
    Case(
        says="422, not JSON",
        faults=[{"kind": "non_json", "status": 422, "match": ADD, "text": SECRET}],
        error="UnknownOutcome",
        state="retrying",
        code="422",
        note="a gateway's, not the portal's own form",
    ),
    Case(
        says="403, not JSON",
        faults=[{"kind": "non_json", "status": 403, "match": ADD}],
        error="UnknownOutcome",
        state="retrying",
        code="403",
        note="the same",
    ),
    *(
        Case(
            says=f"{status} `TIMEOUT`, in the portal's form",
            faults=[error("TIMEOUT", status)],
            error="UnknownOutcome",
            state="retrying",
            code=str(status),
            note="no status of the portal's",
        )
        for status in (408, 409, 499)
    ),
    Case(
        says="408 to `crm.item.fields`, not JSON",
        settings={"fields": {"ufCrmCity": "x"}},
        faults=[{"kind": "non_json", "status": 408, "match": FIELDS}],
        error="TransientError",
        state="retrying",
        code="408",
        note="it changes nothing: asked again",
    ),
    # the mapping, and the search before it
    Case(
        says="no such field in `crm.item.fields`",
        settings={"fields": {"ufCrmNowhere": "x"}},
        error="Unsendable",
        state="failed",
        code="mapping",
        note="told before anything is sent",
    ),
    Case(
        says="`isReadOnly` in `crm.item.fields`",
        settings={"fields": {"isReturnCustomer": "Y"}},
        error="Unsendable",
        state="failed",
        code="mapping",
    ),
    Case(
        says="500 to `crm.item.fields`",
        settings={"fields": {"ufCrmCity": "x"}},
        faults=[{"kind": "status", "status": 500, "match": FIELDS}],
        error="TransientError",
        state="retrying",
        code="INTERNAL_SERVER_ERROR",
        note="it changes nothing: asked again",
    ),
    Case(
        says="403 `ACCESS_DENIED` to the search for a contact",
        faults=[error("ACCESS_DENIED", 403, on=SEARCH)],
        note="delivered without a link; the receipt says `contact_search: refused`",
    ),
    Case(
        says="500 to the search for a contact",
        faults=[{"kind": "status", "status": 500, "match": SEARCH}],
        error="TransientError",
        state="retrying",
        code="INTERNAL_SERVER_ERROR",
    ),
    # where it is not known whether the lead was made
    Case(
        says="500 `INTERNAL_SERVER_ERROR`",
        faults=[error("INTERNAL_SERVER_ERROR", 500)],
        error="UnknownOutcome",
        state="retrying",
        code="INTERNAL_SERVER_ERROR",
        note="looked for by `originId` before it is sent again; so are the next",
    ),
    Case(
        says="200 `ERROR_UNEXPECTED_ANSWER`",
        faults=[error("ERROR_UNEXPECTED_ANSWER", 200)],
        error="UnknownOutcome",
        state="retrying",
        code="ERROR_UNEXPECTED_ANSWER",
    ),
    *(
        Case(
            says=f"{status}, a gateway's page",
            faults=[{"kind": "non_json", "status": status, "match": ADD}],
            error="UnknownOutcome",
            state="retrying",
            code=str(status),
        )
        for status in (502, 503, 504)
    ),
    Case(
        says="200, not JSON",
        faults=[{"kind": "non_json", "status": 200, "match": ADD}],
        error="UnknownOutcome",
        state="retrying",
        code="not_json",
    ),
    Case(
        says="200, and the body breaks off",
        faults=[{"kind": "cut", "match": ADD}],
        error="UnknownOutcome",
        state="retrying",
        code="not_json",
    ),
    Case(
        says="200 without the new item's id",
        faults=[{"kind": "answer", "status": 200, "body": {"result": []}, "match": ADD}],
        error="UnknownOutcome",
        state="retrying",
        code="no_id",
    ),
    Case(
        says="no answer: the lead was made",
        faults=[{"kind": "hang_up_after", "match": ADD}],
        error="UnknownOutcome",
        state="retrying",
        code="no_answer",
    ),
    Case(
        says="no answer: the lead was not made",
        faults=[{"kind": "hang_up_before", "match": ADD}],
        error="UnknownOutcome",
        state="retrying",
        code="no_answer",
    ),
    Case(
        says="no connection",
        faults=[{"kind": "down"}],
        error="TransientError",
        state="retrying",
        code="unreachable",
        note="nothing was sent",
    ),
    # where the portal is
    Case(says="302 to another of its addresses", faults=[{"kind": "rename"}], note="followed once, and remembered"),
    Case(
        says="302 to a stranger's host",
        faults=[{"kind": "rename", "location": "https://evil.example/rest/"}],
        error="RejectedError",
        state="failed",
        code="302",
        note="the webhook's secret is not sent there",
    ),
    Case(
        says="302 again and again",
        faults=[{"kind": "rename", "times": None}],
        error="RejectedError",
        state="failed",
        code="302",
    ),
    Case(
        says="a portal without leads",
        sandbox={"crm_mode": "simple"},
        note="it makes a contact and a deal of the lead; the receipt says `converted`",
    ),
]
