"""What a mail server may answer (vendors.md 5.2). The letter goes to sales@ and boss@."""

from __future__ import annotations

from typing import Any

from tests.support.error_table.cases import SECRET, Case

SALES, BOSS = "sales@example.com", "boss@example.com"
LOGIN: dict[str, Any] = {"login": "robot", "password": SECRET}
LATER: dict[str, Any] = {"error": "TransientError", "state": "retrying"}
NO_TRY = "uses no try"


def reply(code: int, text: str, *, stage: str = "rcpt", to: str | None = None, times: int | None = 1) -> dict[str, Any]:
    """A refusal; without `to` it is everybody's."""
    fault: dict[str, Any] = {"kind": "reject", "code": code, "text": text, "stage": stage, "times": times}
    return fault if to is None else {**fault, "match": to}


def everybody(code: int, text: str) -> list[dict[str, Any]]:
    return [reply(code, text, to=SALES), reply(code, text, to=BOSS)]


def extra(**changes: Any) -> dict[str, Any]:
    usual = {"disable_ssl": True, "disable_tls": True, "from_email": "leads@example.com", "timeout": 5}
    return {"extra": usual | changes}


def credentials(says: str, code: str, **more: Any) -> Case:
    return Case(says=says, error="CredentialsError", code=code, **{"state": "retrying", **more})


CASES: list[Case] = [
    # some of the recipients
    Case(
        says="RCPT: 450 4.2.0 greylisted, for one of two",
        faults=[reply(450, f"4.2.0 <{SALES}> greylisted {SECRET}", to=SALES)],
        connection=LOGIN,
        code="450",
        note=f"the other one is mailed; {NO_TRY}",
        **LATER,
    ),
    Case(
        says="RCPT: 550 5.1.1 no such user, for one of two",
        faults=[reply(550, "5.1.1 User unknown", to=SALES)],
        note="the receipt names who was refused",
    ),
    Case(
        says="RCPT: 550 for one, 451 for the other",
        faults=[reply(550, "5.1.1 User unknown", to=SALES), reply(451, "4.7.1 Greylisted", to=BOSS)],
        code="451",
        note=f"only the other one is tried again; {NO_TRY}",
        **LATER,
    ),
    # all of them
    Case(
        says="RCPT: 450 4.2.1 mailbox busy, for all",
        faults=everybody(450, "4.2.1 Mailbox busy"),
        code="450",
        note=NO_TRY,
        **LATER,
    ),
    Case(says="RCPT: 451 4.7.1 greylisted, for all", faults=[{"kind": "greylist"}], code="451", note=NO_TRY, **LATER),
    Case(
        says="RCPT: 452 4.2.2 mailbox full, for all",
        faults=everybody(452, "4.2.2 Mailbox full"),
        code="452",
        note=NO_TRY,
        **LATER,
    ),
    Case(
        says="RCPT: 452 4.5.3 too many recipients, for the second",
        faults=[reply(452, "4.5.3 Too many recipients", to=BOSS)],
        code="452",
        note=f"the first one is mailed; {NO_TRY}",
        **LATER,
    ),
    Case(
        says="RCPT: 552 5.5.3 too many recipients, for the second",
        faults=[reply(552, "5.5.3 Too many recipients", to=BOSS)],
        code="452",
        note=f"as 452, which it used to be; {NO_TRY}",
        **LATER,
    ),
    Case(
        says="RCPT: 441, another 4yz, for all",
        faults=everybody(441, "4.4.1 No answer from host"),
        code="441",
        note=NO_TRY,
        **LATER,
    ),
    Case(
        says="RCPT: 550 5.1.1 no such user, for all",
        faults=everybody(550, f"5.1.1 User unknown {SECRET}"),
        connection=LOGIN,
        error="RejectedError",
        state="failed",
        code="550",
    ),
    Case(
        says="RCPT: 553 5.1.3 bad address, for all",
        faults=everybody(553, "5.1.3 Bad address"),
        error="RejectedError",
        state="failed",
        code="553",
    ),
    # the message
    Case(
        says="DATA: 451 4.7.1 try again later",
        faults=[reply(451, "4.7.1 Try again later", stage="data")],
        code="451",
        note=NO_TRY,
        **LATER,
    ),
    Case(
        says="DATA: 452 4.3.1 no space",
        faults=[reply(452, "4.3.1 Insufficient system storage", stage="data")],
        code="452",
        note=NO_TRY,
        **LATER,
    ),
    Case(
        says="DATA: 552 5.3.4 too big",
        faults=[reply(552, "5.3.4 Message too big", stage="data")],
        error="RejectedError",
        state="failed",
        code="552",
    ),
    Case(
        says="DATA: 554 5.7.1 refused as spam",
        faults=[reply(554, "5.7.1 Spam", stage="data")],
        error="RejectedError",
        state="failed",
        code="554",
    ),
    Case(
        says="MAIL: 552 5.3.4 too big, before it is sent",
        faults=[reply(552, "5.3.4 Message size exceeds limit", stage="mail")],
        error="RejectedError",
        state="failed",
        code="552",
    ),
    # the server
    Case(
        says="421 4.3.2 busy, instead of a greeting",
        faults=[reply(421, "4.3.2 Too many connections", stage="greeting")],
        code="421",
        note=NO_TRY,
        **LATER,
    ),
    Case(
        says="421 4.7.0 closing, at EHLO",
        faults=[reply(421, "4.7.0 Try again later, closing connection. (EHLO)", stage="ehlo")],
        code="421",
        note=f"shows the name that we said; {NO_TRY}",
        **LATER,
    ),
    Case(
        says="421 4.3.2 closing, at MAIL",
        faults=[reply(421, "4.3.2 Closing", stage="mail")],
        code="421",
        note=NO_TRY,
        **LATER,
    ),
    Case(
        says="421 4.7.0 too many connections, at RCPT",
        faults=[reply(421, "4.7.0 Too many connections")],
        code="421",
        note=NO_TRY,
        **LATER,
    ),
    Case(
        says="421 4.3.2 closing, at DATA",
        faults=[reply(421, "4.3.2 Closing", stage="data")],
        code="421",
        note=NO_TRY,
        **LATER,
    ),
    Case(
        says="451 4.7.1 try again later, at MAIL",
        faults=[reply(451, "4.7.1 Try again later", stage="mail")],
        code="451",
        note=NO_TRY,
        **LATER,
    ),
    Case(
        says="454 4.7.0 signing in is not possible for now",
        faults=[reply(454, f"4.7.0 Temporary failure {SECRET}", stage="auth", times=None)],
        connection=LOGIN,
        code="454",
        note=NO_TRY,
        **LATER,
    ),
    Case(says="no connection", faults=[{"kind": "down"}], code="unreachable", **LATER),
    Case(
        says="the connection breaks before the message",
        faults=[{"kind": "hang_up_before"}],
        code="unreachable",
        **LATER,
    ),
    Case(
        says="a certificate that is not trusted",
        sandbox={"starttls": True},
        connection=extra(disable_tls=False),
        code="unreachable",
        **LATER,
    ),
    Case(
        says="no STARTTLS, where it must be",
        connection=extra(disable_tls=False),
        error="Blocked",
        state="failed",
        code="no_starttls",
        note="nothing goes out in clear",
    ),
    # the account
    credentials("AUTH: 535 5.7.8 wrong login", "535", sandbox={"password": "another-password"}, connection=LOGIN),
    credentials(
        "AUTH: 534 5.7.9 mechanism too weak",
        "534",
        faults=[reply(534, f"5.7.9 Use an application password, not {SECRET}", stage="auth", times=None)],
        connection=LOGIN,
    ),
    credentials(
        "AUTH XOAUTH2: 535 5.7.8, the access token has expired",
        "535",
        sandbox={"access_token": "another-token"},
        connection=extra(auth_type="oauth2", access_token=SECRET),
    ),
    credentials(
        "no way to sign in that we speak",
        "no_auth",
        sandbox={"mechanisms": ["LOGIN"]},
        connection=extra(auth_type="oauth2", access_token=SECRET),
    ),
    credentials("MAIL: 530 5.7.0 authentication required", "530", sandbox={"password": "some-password"}),
    credentials(
        "MAIL: 550 5.7.60 not allowed to send as this sender",
        "550",
        faults=[reply(550, "5.7.60 Not allowed to send as this sender", stage="mail")],
    ),
    credentials(
        "RCPT: 530 5.7.0 must issue STARTTLS first",
        "530",
        faults=[reply(530, "5.7.0 Must issue a STARTTLS command first")],
    ),
    credentials(
        "RCPT: 553 5.7.1 the sender is not this login's, for all (Postfix, `smtpd_delay_reject`)",
        "553",
        faults=everybody(553, f"5.7.1 <leads@example.com>: Sender address rejected: not owned by user {SECRET}"),
        connection=LOGIN,
    ),
    credentials(
        "RCPT: 554 5.7.1 this machine is not let in, for all",
        "554",
        faults=everybody(554, "5.7.1 <unknown[192.0.2.7]>: Client host rejected: Access denied"),
    ),
    credentials(
        "RCPT: 504 5.5.2 the name that we said is no full one, for all",
        "504",
        sandbox={"wants_full_name": True},
        connection=extra(ehlo_name="worker"),
        note="the mend is `smtp_ehlo_name`",
    ),
    credentials(
        "RCPT: 554 5.7.1 relay access denied, for all",
        "554",
        sandbox={"relays_for": ["example.org"]},
        state="failed",
        note="perhaps for these recipients only",
    ),
    Case(
        says="RCPT: 554 5.7.1 relay access denied, for one of two",
        faults=[reply(554, "5.7.1 Relay access denied", to=SALES)],
        note="the receipt names who was refused",
    ),
    credentials(
        "DATA: 554 the sender's address is not verified (Amazon SES)",
        "554",
        sandbox={"senders": ["boss@example.com"], "senders_checked_at": "data"},
    ),
    credentials(
        "DATA: 550 5.7.26 the sender fails SPF, DKIM or DMARC",
        "550",
        faults=[reply(550, "5.7.26 This mail has been blocked because the sender is unauthenticated", stage="data")],
    ),
    credentials(
        "EHLO: 550 5.7.1 it does not take the name that we say",
        "550",
        faults=[reply(550, "5.7.1 Invalid EHLO", stage="ehlo", times=None)],
        note="the mend is `smtp_ehlo_name`",
    ),
    credentials(
        "554 5.7.1 instead of a greeting: this machine is not let in",
        "554",
        faults=[reply(554, "5.7.1 No SMTP service here", stage="greeting")],
    ),
    credentials(
        "AUTH: 525 5.7.13 the login is disabled",
        "525",
        faults=[reply(525, f"5.7.13 Account disabled {SECRET}", stage="auth", times=None)],
        connection=LOGIN,
    ),
    # after the dot
    Case(
        says="the connection breaks after the message was sent",
        faults=[{"kind": "drop_after_dot"}],
        error="UnknownOutcome",
        state="retrying",
        code="no_answer",
        note="the same Message-ID",
    ),
    Case(
        says="no answer in time after the message was sent",
        faults=[{"kind": "slow", "delay_s": 60}],
        leadcast={"timeout_s": 0.3},
        error="UnknownOutcome",
        state="retrying",
        code="no_answer",
        note="the same Message-ID",
    ),
]
