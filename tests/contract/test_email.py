"""E-mail: what arrives, what each trouble is called. Who is mailed when: `test_email_recipients`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from email.header import decode_header, make_header
from email.utils import getaddresses
from typing import Any

import pytest
from pydantic import SecretStr, ValidationError

from leadcast.core.circuit import is_against_account
from leadcast.core.errors import (
    Blocked,
    CredentialsError,
    RejectedError,
    SettingsError,
    TransientError,
    UnknownOutcome,
)
from leadcast.core.model import Lead, Receipt
from leadcast.integrations.base import Account, Call
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email.integration import Email, EmailAccount
from leadcast.integrations.email.settings import EmailCredentials, EmailSettings
from leadcast.integrations.email.smtp import MailServer, TlsMode
from leadcast.sandbox import Sandbox

INLINE = {
    "emails": ["admin@example.com", "notifications@example.com"],
    "template": "new_lead",
    "subject": "New Lead: {lead_name}",
}
ADMIN, NOTIFICATIONS = INLINE["emails"]
MakeCall = Callable[..., Call]


def connection(sandbox: Sandbox, **changes: Any) -> ConnectionFields:
    extra = {"disable_ssl": True, "disable_tls": True, "from_email": "Leads <leads@example.com>", "timeout": 5}
    return ConnectionFields(
        conn_id="smtp_default",
        host=sandbox.smtp_host,
        port=sandbox.smtp_port,
        login=changes.pop("login", ""),
        password=SecretStr(changes.pop("password", "")),
        extra=extra | changes,
    )


def deliver(
    sandbox: Sandbox, lead: Lead, call: Call, *, settings: Any = None, inline: Any = None, **changes: Any
) -> Receipt:
    account = Email.from_connection(connection(sandbox, **changes), INLINE if inline is None else inline)
    return Email().deliver(lead, settings=EmailSettings.model_validate(settings or {}), account=account, call=call)


def letters(sandbox: Sandbox) -> list[dict[str, Any]]:
    return sandbox.stored("smtp")["letters"]


def headers(letter: dict[str, Any]) -> dict[str, str]:
    return {name.lower(): value for name, value in letter["mail_headers"]}


def test_the_laravel_systems_email_arrives_at_both_addresses(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    call = make_call()
    receipt = deliver(sandbox, lead, call)
    [letter] = letters(sandbox)
    assert letter["rcpt_tos"] == [ADMIN, NOTIFICATIONS]
    assert letter["mail_from"] == "leads@example.com"
    assert letter["from"] == "Leads <leads@example.com>"
    assert letter["to"] == f"{ADMIN}, {NOTIFICATIONS}"
    assert letter["subject"] == f"New Lead: {lead.name}"
    assert lead.phone in letter["text"]
    assert lead.phone in letter["html"]
    assert headers(letter)["auto-submitted"] == "auto-generated"
    assert letter["message_id"] == f"<{call.key}@example.com>" == receipt.external_id
    assert receipt.detail == {"accepted": 2, "refused": []}


def test_the_settings_win_over_the_credentials(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    deliver(sandbox, lead, make_call(), settings={"subject": "№ {lead_id}", "language": "en"})
    [letter] = letters(sandbox)
    assert letter["subject"] == f"№ {lead.id}"
    assert "New lead" in letter["text"]


def test_without_a_subject_the_template_has_one(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    deliver(sandbox, lead, make_call(), inline={"emails": [ADMIN]}, settings={"language": "en"})
    assert letters(sandbox)[0]["subject"] == f"New lead {lead.id}: {lead.name}"


def test_an_unknown_template_is_refused_before_anything_is_sent(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    with pytest.raises(RejectedError, match="new_lead"):
        deliver(sandbox, lead, make_call(), settings={"template": "nope"})
    assert sandbox.received("smtp") == []


def test_an_answer_goes_to_the_lead(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    deliver(sandbox, replace(lead, name="Анна", email="anna@example.ru"), make_call())
    assert letters(sandbox)[0]["reply_to"] == "Анна <anna@example.ru>"


@pytest.mark.parametrize(
    "address", ["", "anna", "anna@", "a@b.ru, eve@example.com", "Anna <a@b.ru>", "a@b.ru\r\nBcc: eve@example.com"]
)
def test_an_answer_goes_to_nobody_where_the_lead_has_not_one_address(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, address: str
) -> None:
    deliver(sandbox, replace(lead, email=address), make_call())
    assert letters(sandbox)[0]["reply_to"] is None


def test_an_answer_need_not_go_to_the_lead(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    deliver(sandbox, replace(lead, email="anna@example.ru"), make_call(), settings={"reply_to_lead": False})
    assert letters(sandbox)[0]["reply_to"] is None


def test_a_lead_cannot_add_headers(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    evil = replace(lead, name="Anna\r\nBcc: eve@example.com\x85\u2028\r\n\r\nHello", email="anna@example.ru")
    deliver(sandbox, evil, make_call())
    [letter] = letters(sandbox)
    assert " ".join(letter["subject"].split()) == "New Lead: Anna Bcc: eve@example.com Hello"
    assert "bcc" not in headers(letter)
    assert letter["rcpt_tos"] == [ADMIN, NOTIFICATIONS]


@pytest.mark.parametrize(
    "text", ["=?utf-8?q?x?= =?utf-8?b?0LY=?=", "=?nope", "?=", "a =?utf-8?q?=0D=0ABcc:_x?=", "=?utf-8?B?0JDQvdC90LA=?="]
)
def test_what_looks_like_an_encoded_word_comes_out_as_it_was_typed(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, text: str
) -> None:
    deliver(sandbox, replace(lead, name=text, email="anna@example.ru"), make_call())
    [letter] = letters(sandbox)
    assert letter["subject"] == f"New Lead: {text}"
    assert letter["text"].count(text) == 1
    [(name, address)] = getaddresses([headers(letter)["reply-to"]])
    assert (str(make_header(decode_header(name))), address) == (text, "anna@example.ru")


def test_a_long_name_with_commas_stays_one_persons(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    name = "a@b.example, John <c@d.example>; and a long name of a stranger: yes, really"
    deliver(sandbox, replace(lead, name=name, email="anna@example.ru"), make_call())
    [(_, address)] = getaddresses([headers(letters(sandbox)[0])["reply-to"]])
    assert address == "anna@example.ru"


def test_sender_recipients_and_lead_keep_the_domain_that_was_typed(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    asking, inline = replace(lead, email="anna@βόλος.com"), {"emails": ["info@straße.de"]}
    deliver(sandbox, asking, make_call(), inline=inline, from_email="Заявки <info@straße.de>")
    [letter] = letters(sandbox)
    assert letter["rcpt_tos"] == [letter["mail_from"]] == ["info@xn--strae-oqa.de"]
    assert (letter["to"], letter["reply_to"].split()[-1]) == ("info@xn--strae-oqa.de", "<anna@xn--nxasmm1c.com>")


@pytest.mark.parametrize("domain", ["i❤.ws", "-а.рф"])
def test_an_answer_goes_to_no_domain_that_there_cannot_be(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, domain: str
) -> None:
    deliver(sandbox, replace(lead, email=f"anna@{domain}"), make_call())
    assert letters(sandbox)[0]["reply_to"] is None


def test_fields_are_shown_instead_of_the_leads_own_ones(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    fields = {"Город": "{{ lead.custom['Площадь'] }} м²", "Кому": "<отдел> & {lead_name}", "Скидка": 5}
    deliver(sandbox, lead, make_call(), settings={"fields": fields})
    [letter] = letters(sandbox)
    assert "Город: 42 м²" in letter["text"]
    assert f"Кому: <отдел> & {lead.name}" in letter["text"]
    assert "&lt;отдел&gt; &amp;" in letter["html"]
    assert "Срочно" not in letter["text"] + letter["html"]


def test_labels_of_the_settings_are_ours_and_those_of_the_lead_are_not(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    deliver(sandbox, lead, make_call(), settings={"fields": {"Источник": "{lead_source}"}})
    deliver(sandbox, replace(lead, source="", custom={"Источник": "VIP"}), make_call())
    ours, theirs = letters(sandbox)
    assert f"Источник: {lead.source}" in ours["text"].splitlines()
    assert "«Источник»: VIP" in theirs["text"].splitlines()
    assert "«Источник»" in theirs["html"]


def test_when_everybody_is_refused_so_is_the_delivery(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="smtp", kind="reject", code="550", times=2)
    with pytest.raises(RejectedError, match="refuses 2 of 2") as caught:
        deliver(sandbox, lead, make_call())
    assert caught.value.code == "550"
    assert ADMIN not in str(caught.value)


@pytest.mark.parametrize(
    ("stage", "code", "error"),
    [
        ("auth", "454", TransientError),
        ("auth", "534", CredentialsError),
        ("auth", "535", CredentialsError),
        ("mail", "421", TransientError),
        ("mail", "451", TransientError),
        ("mail", "550", CredentialsError),
        ("mail", "530", CredentialsError),
        ("mail", "552", RejectedError),
        ("rcpt", "421", TransientError),
        ("rcpt", "530", CredentialsError),
        ("data", "421", TransientError),
        ("data", "454", TransientError),
        ("data", "530", CredentialsError),
    ],
)
def test_a_reply_means_what_its_code_says(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, stage: str, code: str, error: type[Exception]
) -> None:
    # a client tries one way to sign in after the other
    sandbox.fault(service="smtp", kind="reject", stage=stage, code=code, times=None)
    with pytest.raises(error) as caught:
        deliver(sandbox, lead, make_call(), login="robot", password="hunter2-hunter2")
    assert type(caught.value) is error
    assert caught.value.code == code  # type: ignore[attr-defined]
    assert not getattr(caught.value, "counts", False), "it says later, and not that anything has failed"
    assert letters(sandbox) == []


def test_an_answer_lost_after_the_message_is_unknown_and_its_repetition_can_be_recognised(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.fault(service="smtp", kind="drop_after_dot")
    with pytest.raises(UnknownOutcome):
        deliver(sandbox, lead, make_call())
    deliver(sandbox, lead, make_call(attempt=2))
    assert [letter["repeat"] for letter in letters(sandbox)] == [False, True]
    assert Email.repeatable


def test_a_silent_server_is_left_when_time_is_up(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.fault(service="smtp", kind="slow", delay_s=60)
    with pytest.raises(UnknownOutcome):
        deliver(sandbox, lead, replace(make_call(), timeout_s=0.5))


@pytest.mark.parametrize("kind", ["hang_up_before", "down"])
def test_a_server_that_hangs_up_before_the_message_is_tried_again(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall, kind: str
) -> None:
    sandbox.fault(service="smtp", kind=kind, times=1)
    with pytest.raises(TransientError, match="nothing was sent"):
        deliver(sandbox, lead, make_call())


def test_a_server_that_is_not_there_is_tried_again(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    account = Email.from_connection(replace(connection(sandbox), port=1), INLINE)
    with pytest.raises(TransientError, match=r"'smtp_default'"):
        Email().deliver(lead, settings=EmailSettings(), account=account, call=make_call())


def test_when_no_time_is_left_nothing_is_sent(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    with pytest.raises(TransientError, match="nothing was sent") as late:
        deliver(sandbox, lead, make_call(timeout_s=0))
    assert letters(sandbox) == []
    assert not is_against_account(late.value)


def test_the_login_is_used(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    sandbox.configure("smtp", user="robot", password="hunter2-hunter2")
    deliver(sandbox, lead, make_call(), login="robot", password="hunter2-hunter2")
    assert len(letters(sandbox)) == 1


def test_a_refused_login_is_a_matter_of_credentials_and_stays_secret(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.configure("smtp", user="robot", password="hunter2-hunter2")
    with pytest.raises(CredentialsError) as caught:
        deliver(sandbox, lead, make_call(), login="robot", password="wrong-password")
    assert caught.value.code == "535"
    assert "wrong-password" not in f"{caught.value}{caught.value.detail}"


def test_a_server_without_starttls_gets_nothing_in_clear(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    with pytest.raises(Blocked, match="STARTTLS"):
        deliver(sandbox, lead, make_call(), disable_tls=False, login="robot", password="hunter2-hunter2")
    assert sandbox.received("smtp") == []


def test_a_certificate_that_is_not_trusted_is_refused_unless_the_operator_says_so(
    sandbox: Sandbox, lead: Lead, make_call: MakeCall
) -> None:
    sandbox.configure("smtp", starttls=True)
    with pytest.raises(TransientError, match="self-signed"):
        deliver(sandbox, lead, make_call(), disable_tls=False)
    assert letters(sandbox) == []
    deliver(sandbox, lead, make_call(), disable_tls=False, ssl_context="none")
    assert len(letters(sandbox)) == 1


def test_a_probe_signs_in_and_mails_nobody(sandbox: Sandbox, make_call: MakeCall) -> None:
    assert Email.can_probe
    sandbox.configure("smtp", user="robot", password="hunter2-hunter2")
    account = Email.from_connection(connection(sandbox, login="robot", password="hunter2-hunter2"), INLINE)
    words = Email().probe(account, call=make_call())
    assert words == (
        f"Mail server 127.0.0.1:{sandbox.smtp_port} lets us in as robot; letters go out from leads@example.com. "
        "Nobody was mailed."
    )
    assert sandbox.received("smtp") == []


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"login": "robot", "password": "wrong-password"}, CredentialsError),
        ({"disable_tls": False}, Blocked),
        ({"disable_ssl": False}, TransientError),
    ],
)
def test_a_probe_that_fails_says_why(
    sandbox: Sandbox, make_call: MakeCall, changes: dict[str, Any], error: type[Exception]
) -> None:
    sandbox.configure("smtp", password="hunter2-hunter2")
    account = Email.from_connection(connection(sandbox, **changes), INLINE)
    with pytest.raises(error) as caught:
        Email().probe(account, call=make_call())
    assert "wrong-password" not in str(caught.value)


def test_the_account_is_the_server_with_its_login_whoever_is_written_to(sandbox: Sandbox) -> None:
    fields = connection(sandbox, login="robot", password="hunter2-hunter2")
    one, other = (Email.from_connection(fields, {"emails": [address]}) for address in (ADMIN, NOTIFICATIONS))
    stranger = Email.from_connection(replace(fields, password=SecretStr("another-password")), INLINE)
    assert Email().identity(one) == Email().identity(other) != Email().identity(stranger)
    assert Email().label(one) == "127.0.0.1"
    assert Email().limits(settings=EmailSettings(), account=one) == ()


def test_a_port_without_tls_says_what_to_set(sandbox: Sandbox, lead: Lead, make_call: MakeCall) -> None:
    with pytest.raises(TransientError, match="disable_ssl"):
        deliver(sandbox, lead, make_call(), disable_ssl=False)


def test_email_without_a_mail_server_is_a_matter_of_setup(lead: Lead, make_call: MakeCall) -> None:
    account = Account(credentials=EmailCredentials.model_validate(INLINE))
    with pytest.raises(SettingsError, match="smtp_default"):
        Email().deliver(lead, settings=EmailSettings(), account=account, call=make_call())


@pytest.mark.parametrize(
    ("extra", "mode", "port"),
    [
        ({}, TlsMode.TLS, 465),
        ({"disable_tls": True}, TlsMode.TLS, 465),
        ({"disable_ssl": True}, TlsMode.STARTTLS, 587),
        ({"disable_ssl": "true", "disable_tls": "false"}, TlsMode.STARTTLS, 587),
        ({"disable_ssl": True, "disable_tls": True}, TlsMode.PLAIN, 25),
    ],
)
def test_a_connection_is_read_as_airflow_reads_it(extra: dict[str, Any], mode: TlsMode, port: int) -> None:
    fields = ConnectionFields(conn_id="c", host="mail.example.com", login="leads@example.com", extra=extra)
    server = MailServer.from_connection(fields)
    assert (server.mode, server.port, server.verify) == (mode, port, True)
    assert server.sender.addr_spec == "leads@example.com"
    assert server.timeout_s == 30


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"host": ""}, "host"),
        ({"login": ""}, "from_email"),
        ({"login": "robot"}, "from_email"),
        ({"extra": {"auth_type": "kerberos"}}, "auth_type"),
        ({"extra": {"auth_type": "oauth2"}}, "access_token"),
        ({"extra": {"auth_type": "oauth2", "access_token": "a b"}}, "access_token"),
        ({"extra": {"auth_type": "oauth2", "client_id": "a", "client_secret": "b", "tenant_id": "../x"}}, "tenant_id"),
        ({"extra": {"ssl_context": "whatever"}}, "ssl_context"),
        ({"extra": {"timeout": "soon"}}, "timeout"),
        ({"extra": {"from_email": "Robot <nobody>"}}, "from_email"),
    ],
)
def test_a_connection_that_lacks_something_says_what(changes: dict[str, Any], word: str) -> None:
    fields = ConnectionFields(conn_id="my_smtp", host="mail.example.com", login="leads@example.com")
    with pytest.raises(CredentialsError, match=word) as caught:
        Email.from_connection(replace(fields, **changes), INLINE)
    assert "my_smtp" in str(caught.value)


def test_recipients_may_lie_in_the_connection_and_the_request_wins(sandbox: Sandbox) -> None:
    fields = connection(sandbox, emails="a@example.com, b@example.com", subject="From the connection")
    account = Email.from_connection(fields, {})
    assert isinstance(account, EmailAccount)
    assert account.credentials.emails == ("a@example.com", "b@example.com")
    assert account.credentials.subject == "From the connection"
    assert Email.from_connection(fields, {"emails": [ADMIN]}).credentials.emails == (ADMIN,)


def test_without_recipients_it_says_where_to_put_them(sandbox: Sandbox) -> None:
    with pytest.raises(CredentialsError, match=r"credentials\.email\.emails"):
        Email.from_connection(connection(sandbox), {})


@pytest.mark.parametrize(
    "wrong",
    [
        {"emails": []},
        {"emails": ["nobody"]},
        {"emails": ["a@b.ru, c@d.ru"]},
        {"emails": ["a@b.ru\r\nRCPT TO:<eve@example.com>"]},
        {"emails": ["a@b.ru>"]},
        {"emails": [f"a{number}@b.ru" for number in range(51)]},
        {"template": "../../etc/passwd"},
        {"subject": "{% for x in y %}"},
        {"subject": "x" * 999},
        {"password": "mine"},
    ],
)
def test_credentials_that_do_not_fit_are_refused_at_the_door(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        EmailCredentials.model_validate(INLINE | wrong)


def test_an_address_written_twice_is_mailed_once_and_a_russian_domain_is_fine() -> None:
    credentials = EmailCredentials.model_validate({"emails": ["A@b.ru", "info@пример.рф", "a@b.ru"]})
    assert credentials.emails == ("A@b.ru", "info@xn--e1afmkfd.xn--p1ai")
