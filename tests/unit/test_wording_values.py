"""What stands within our sentences is ours and is translated, too: what a system, a library or a model has found."""

from __future__ import annotations

import errno
import os
import re
import smtplib
import ssl
from collections.abc import Iterator, Mapping
from socket import gaierror
from typing import Any

import pytest
from pydantic import BaseModel, SecretStr, ValidationError

from leadcast.core.errors import DeliveryError
from leadcast.core.field_words import SENTENCES, UNKNOWN, Fault
from leadcast.core.request_errors import LeadNotFound
from leadcast.core.setting_choices import Language
from leadcast.core.settings import Settings
from leadcast.flow.request import SendBatch
from leadcast.integrations import registry
from leadcast.integrations.connection import ConnectionFields
from leadcast.integrations.email.server import MailServer, TlsMode
from leadcast.integrations.email.smtp_replies import Refusal, not_taken, nothing_sent
from leadcast.integrations.http import line_faults
from leadcast.integrations.text.wording import Wording

SERVER = MailServer(host="mail", port=25, mode=TlsMode.STARTTLS, from_email="crm@example.com")
NAMES = {"TLS", "ASCII", "SMTP", "DNS", "OpenSSL", "URL", "NUL", "null", "true", "false", "crm", "https", "example"}


def said(text: str) -> str:
    return Wording.of(Language.RU).say(text)


def english_in(text: str) -> list[str]:
    """Words that are neither Russian nor a name."""
    return [word for word in re.findall(r"[A-Za-z]{3,}", re.sub(r"'[^']*'", "", text)) if word not in NAMES]


def untrusted(code: int, message: str) -> ssl.SSLCertVerificationError:
    error = ssl.SSLCertVerificationError(1, f"[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: {message}")
    error.verify_code, error.verify_message = code, message
    return error


LINES = [
    *(OSError(number, os.strerror(number)) for number in errno.errorcode),
    *(untrusted(code, "Hostname mismatch, certificate is not valid for 'crm.example.ru'.") for code in range(100)),
    ssl.SSLCertVerificationError("certificate verify failed"),
    ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
    ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
    gaierror(-2, "Name or service not known"),
    TimeoutError("timed out"),
    OSError("no address"),
    OSError(99999, "Unknown error 99999"),
]


@pytest.mark.parametrize("error", LINES, ids=lambda error: f"{type(error).__name__} {error.errno}")
def test_why_there_is_no_line_is_ours_whatever_the_system_calls_it(error: OSError) -> None:
    why = line_faults.why(error)
    sentence = said(f"Cannot reach https://crm.example: {why}; nothing was sent.")

    assert not english_in(sentence)
    assert not english_in(said(f"Cannot reach https://crm.example: {why}, through the proxy; nothing was sent."))
    assert "example.ru" not in why, "no name from a certificate"


@pytest.mark.parametrize(
    ("code", "why"),
    [
        (10, "it has expired"),
        (18, "it is self-signed"),
        (20, "who has issued it is not known here, or the server leaves out a certificate between them"),
        (62, "it is for another name"),
        (33, "OpenSSL: 33"),
    ],
)
def test_what_is_wrong_with_a_certificate_is_said(code: int, why: str) -> None:
    assert line_faults.why(untrusted(code, "…")) == f"its certificate is not trusted ({why})"


def hung_up(text: str, cause: OSError | None = None) -> smtplib.SMTPServerDisconnected:
    error = smtplib.SMTPServerDisconnected(text)
    error.__context__ = cause
    return error


@pytest.mark.parametrize(
    "error",
    [
        hung_up("Connection unexpectedly closed"),
        hung_up("Connection unexpectedly closed: timed out", TimeoutError("timed out")),
        hung_up("Connection unexpectedly closed: [Errno 104] …", ConnectionResetError(104, "Connection reset by peer")),
        hung_up("Connection unexpectedly closed: EOF", ssl.SSLEOFError(8, "EOF occurred")),
        hung_up("Server not connected"),
        hung_up("please run connect() first"),
        hung_up("not connected"),
        hung_up("it takes no more"),
        hung_up("it has hung up"),
        smtplib.SMTPNotSupportedError("STARTTLS extension not supported by server."),
        smtplib.SMTPException("No suitable authentication method found."),
        UnicodeEncodeError("ascii", "ж", 0, 1, "ordinal not in range(128)"),
        ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number (_ssl.c:1016)"),
        untrusted(10, "certificate has expired"),
    ],
    ids=repr,
)
def test_why_a_mail_server_cannot_be_talked_to_is_ours(error: Exception) -> None:
    with pytest.raises(DeliveryError) as caught, nothing_sent(SERVER):
        raise error

    assert not english_in(said(caught.value.message).replace("mail:25", ""))


@pytest.mark.parametrize("count", [1, 5, 6, 9])
@pytest.mark.parametrize(("code", "mailed"), [(450, 0), (450, 2), (550, 0), (550, 2)])
def test_how_many_recipients_are_not_mailed_is_said_whole(count: int, code: int, mailed: int) -> None:
    left = {f"somebody{number}@x.ru": Refusal(code, "") for number in range(count)}
    sentence = said(not_taken(left, total=count + mailed, mailed=mailed).message)

    assert f" {count} из {count + mailed} " in sentence
    assert sentence.count("s***@x.ru") == min(count, 5)
    assert ("…" in sentence) == (count > 5)
    assert not english_in(re.sub(r"\S+@\S+", "", sentence))


CONTEXT: Mapping[str, Any] = {
    "expected": "'a', 'b' or 'c'",
    "min_length": 1,
    "max_length": 5,
    "actual_length": 9,
    "field_type": "List",
    "pattern": "^(?:@[A-Za-z0-9_]{1,64}|-?[0-9]{1,19})$",
    **dict.fromkeys(("gt", "ge", "lt", "le"), 5),
    "class_name": "Settings",
    "error": "an error of Python's",
}


def found(kind: str, **context: Any) -> ValidationError:
    """An error of this type, its values made up."""
    line: Any = {"type": kind, "loc": ("field", 0), "input": "secret", "ctx": {**CONTEXT, **context}}
    return ValidationError.from_exception_data("Settings", [line])


@pytest.mark.parametrize("kind", sorted(SENTENCES.keys() - {"ip_v4_network", "ip_v6_network"}))
def test_what_a_model_finds_is_said_in_our_words(kind: str) -> None:
    fault = Fault.first_of(found(kind))

    assert fault.where == "field.0"
    assert "secret" not in str(fault)
    for sentence in (
        f"Its settings do not fit together: {fault}",
        f"Connection 'amo': {fault}.",
        f"Connection 'amo' does not suffice for amocrm: {fault}",
        f"The request of run r1 was refused: {fault} (and 2 more) When that is mended, clear the run.",
    ):
        left = english_in(re.sub(r"\^\S+|field\.0|amocrm|credentials|Clear|list|datetime", "", said(sentence)))
        assert not left, said(sentence)


def test_the_ways_to_choose_from_are_listed_in_no_language() -> None:
    assert Fault.first_of(found("literal_error")).what == "Input should be one of: 'a', 'b', 'c'"


def test_our_own_checks_speak_for_themselves() -> None:
    assert (
        str(Fault.first_of(found("value_error", error=ValueError("must be so, and not so"))))
        == "field.0: must be so, and not so"
    )


ODD: list[Any] = [
    None, "", "x" * 100_000, -1, 0, 10**30, 1.5, float("inf"), True, [], [1], ["x"] * 2000, {}, {"a": 1}, {1: 2},
    object(), "\x00", {"x": "{{ 1 +"}, {"x": "{{ lead.nobody }}"}, "{{ x", "https://", {"x" * 300: "y"}, {"X Y": "z"},
]  # fmt: skip


def models() -> Iterator[type[BaseModel]]:
    yield from (Settings, SendBatch)
    for kind in registry.types():
        integration = registry.get(kind)
        yield from (integration.settings_model, integration.credentials_model)


@pytest.mark.parametrize("model", list(models()), ids=lambda model: model.__name__)
def test_nothing_that_our_models_find_is_without_a_word(model: type[BaseModel]) -> None:
    for name in (*model.model_fields, "no_such_field"):
        for value in ODD:
            try:
                model.model_validate({name: value})
            except ValidationError as error:
                for each in error.errors(include_url=False, include_input=False):
                    assert each["type"] in {*SENTENCES, "value_error"}, (name, each)


@pytest.mark.parametrize(
    "fields",
    [
        {"conn_type": "telegram", "host": "the chat", "password": "1:a"},
        {"conn_type": "telegram", "host": "1", "password": "no token"},
        {"conn_type": "telegram", "host": "1"},
        {"conn_type": "webhook", "host": "", "password": "whsec_AQIDBAUGBwgJCgsMDQ4PEBESExQVFhcY"},
        {"conn_type": "amocrm", "host": "https://x.amocrm.ru", "password": "t", "extra": {"domain": "evil.example"}},
        {"conn_type": "amocrm", "host": "https://x.amocrm.ru", "password": "t", "extra": {"requests_per_second": "x"}},
        {"conn_type": "amocrm", "host": "https://x.amocrm.ru", "password": "t", "extra": {"refresh_token": "x"}},
        {"conn_type": "bitrix24", "host": "https://x.bitrix24.ru", "password": "t", "extra": {"client_id": ["x"]}},
        {"conn_type": "webhook", "host": "https://x.ru", "password": "no secret"},
        {"conn_type": "webhook", "host": "https://x.ru", "extra": {"headers": {"X": "ж"}}},
        {"conn_type": "webhook", "host": "https://u:p@x.ru"},
        {"conn_type": "email", "host": "mail", "extra": {"emails": ["anna"], "from_email": "a@b.ru"}},
    ],
    ids=str,
)
def test_what_is_wrong_with_a_connection_is_said_in_russian(fields: Mapping[str, Any]) -> None:
    integration = registry.get(fields["conn_type"])
    connection = ConnectionFields(
        conn_id="one",
        conn_type=fields["conn_type"],
        host=fields["host"],
        password=SecretStr(fields.get("password", "")),
        extra=fields.get("extra", {}),
    )
    with pytest.raises(DeliveryError) as caught:
        integration.from_connection(connection, {})

    text = said(caught.value.message)
    assert text != caught.value.message
    assert not set(re.findall(r"\w+", text)) & {"should", "must", "error", "needs", "Input", "not", "is", "the"}


def test_a_lead_that_nobody_knows_is_said_in_russian() -> None:
    text = f"The request of run r was refused: {LeadNotFound('7')} When that is mended, clear the run."

    assert "Заявки '7' нет." in said(text)


def test_a_type_that_nobody_has_thought_of_has_a_word_too() -> None:
    assert said(UNKNOWN) != UNKNOWN
    assert str(Fault.first_of(found("callable_type"))) == f"field.0: {UNKNOWN}"
