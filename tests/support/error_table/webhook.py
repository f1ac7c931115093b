"""What a receiver of webhooks may answer, and the ways in which it may not be reached (vendors.md 4.2, 4.3)."""

from __future__ import annotations

from typing import Any

from tests.support.error_table.cases import Case


def _status(status: int, says: str, error: str, state: str, note: str = "") -> Case:
    fault = {"kind": "status", "status": status}
    return Case(says=f"{status}, {says}", faults=(fault,), error=error, state=state, code=str(status), note=note)


def _answer(status: int, **answer: Any) -> dict[str, Any]:
    return {"kind": "answer", "status": status, **answer}


CASES = [
    Case(says="200"),
    Case(says="103, and then 200", faults=({"kind": "interim"},)),
    Case(says="200, and the body breaks off", faults=({"kind": "cut"},), note="nobody reads it"),
    Case(says="204, nothing in it", faults=(_answer(204),)),
    Case(says="200 and 200 kB", faults=(_answer(200, body="x" * 200_000),), note="64 KiB of it are read, none is kept"),
    Case(
        says="302 to another address",
        faults=({"kind": "redirect", "location": "http://127.0.0.1:1/elsewhere"},),
        error="TransientError",
        state="retrying",
        code="302",
        note="not followed",
    ),
    Case(
        says="308 to another address",
        faults=({"kind": "redirect", "status": 308, "location": "http://127.0.0.1:1/elsewhere"},),
        error="TransientError",
        state="retrying",
        code="308",
        note="not followed",
    ),
    _status(400, "it does not like the message", "TransientError", "retrying"),
    _status(401, "it does not know the signature", "NotLetIn", "retrying"),
    _status(403, "it does not let us in", "NotLetIn", "retrying"),
    _status(
        404,
        "nothing at that address",
        "TransientError",
        "retrying",
        note="so says a gateway while the receiver restarts",
    ),
    _status(405, "no POST there", "TransientError", "retrying"),
    _status(408, "it was too slow to read", "TransientError", "retrying"),
    Case(
        says="410, it wants no more",
        faults=({"kind": "gone"},),
        error="Gone",
        state="failed",
        code="410",
        note="nothing is sent there until a person opens it again",
    ),
    _status(409, "not now", "TransientError", "retrying"),
    _status(413, "too large for it", "TransientError", "retrying"),
    _status(422, "it does not understand the fields", "TransientError", "retrying"),
    _status(423, "it is locked", "TransientError", "retrying"),
    _status(424, "what it stands on is away", "TransientError", "retrying"),
    _status(425, "too early", "TransientError", "retrying"),
    Case(
        says="429 with Retry-After: 7",
        faults=({"kind": "rate_limit", "retry_after": 7},),
        error="RateLimited",
        state="retrying",
        code="429",
        note="all that goes there waits",
    ),
    _status(429, "and no word of how long", "RateLimited", "retrying", note="all that goes there waits"),
    Case(
        says="429 with Retry-After: 86400",
        faults=({"kind": "rate_limit", "retry_after": 86_400},),
        error="RateLimited",
        state="retrying",
        code="429",
        note="an hour is the longest that we wait",
    ),
    _status(500, "it broke", "TransientError", "retrying"),
    _status(502, "its gateway has no answer", "TransientError", "retrying"),
    Case(
        says="503 with Retry-After: 20",
        faults=(_answer(503, headers={"Retry-After": "20"}),),
        error="RateLimited",
        state="retrying",
        code="503",
        note="all that goes there waits",
    ),
    *(
        Case(
            says=f"503 with a Retry-After that is {what}",
            faults=(_answer(503, headers={"Retry-After": value}),),
            error="RateLimited",
            state="retrying",
            code="503",
            note="never sooner than without",
        )
        for what, value in (("0", "0"), ("negative", "-5"), ("over", "Wed, 21 Oct 2015 07:28:00 GMT"))
    ),
    Case(
        says="503 with a Retry-After at the end of time",
        faults=(_answer(503, headers={"Retry-After": "Fri, 31 Dec 9999 23:59:59 -0100"}),),
        error="RateLimited",
        state="retrying",
        code="503",
        note="an hour is the longest that we wait",
    ),
    Case(
        says="503 with a Retry-After that is no time",
        faults=(_answer(503, headers={"Retry-After": "soon"}),),
        error="TransientError",
        state="retrying",
        code="503",
    ),
    _status(504, "its gateway gave up", "TransientError", "retrying"),
    Case(
        says="the connection is closed before it has taken the message",
        faults=({"kind": "hang_up_before"},),
        error="UnknownOutcome",
        state="retrying",
        code="no_answer",
    ),
    Case(
        says="it takes the message and hangs up",
        faults=({"kind": "hang_up_after"},),
        error="UnknownOutcome",
        state="retrying",
        code="no_answer",
        note="the receiver knows it again by its webhook-id",
    ),
    Case(
        says="no answer in time",
        faults=({"kind": "slow", "delay_s": 30},),
        leadcast={"timeout_s": 0.3},
        error="UnknownOutcome",
        state="retrying",
        code="timeout",
    ),
    Case(
        says="no connection",
        credentials={"url": "http://127.0.0.1:1/"},
        error="TransientError",
        state="retrying",
        code="unreachable",
    ),
    Case(
        says="no TLS where https was asked for",
        credentials={"url": "https://{webhook}/"},
        error="TransientError",
        state="retrying",
        code="unreachable",
    ),
    Case(
        says="its name is not known",
        credentials={"url": "https://hook.invalid/"},
        error="TransientError",
        state="retrying",
        code="dns",
    ),
    Case(
        says="its address is a private one",
        leadcast={"allowed_networks": ""},
        error="Blocked",
        state="failed",
        code="private_address",
        note="unless `allowed_networks` opens it",
    ),
    Case(
        says="its address is the cloud's own (169.254.169.254)",
        credentials={"url": "http://169.254.169.254/latest/meta-data/"},
        error="Blocked",
        state="failed",
        code="private_address",
    ),
    Case(
        says="its address is a private one in IPv6's clothes",
        credentials={"url": "http://[::ffff:10.0.0.1]/"},
        error="Blocked",
        state="failed",
        code="private_address",
    ),
]
