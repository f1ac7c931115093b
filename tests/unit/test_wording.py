"""What people read of our errors and reasons is in their language: the catalogue, and that it lacks nothing."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from itertools import chain, product
from pathlib import Path
from smtplib import SMTPServerDisconnected
from socket import gaierror

import pytest

import leadcast
from leadcast.core import errors
from leadcast.core.errors import TransientError
from leadcast.core.setting_choices import Language, Occasion
from leadcast.integrations.email.server import MailServer, TlsMode
from leadcast.integrations.email.smtp_replies import nothing_sent
from leadcast.integrations.text.templating import Templates
from leadcast.integrations.text.wording import Wording, catalogue

PACKAGE = Path(leadcast.__file__).parent
SAMPLE = "X 9"
"""With a blank in it, as values have them: none may be torn at it."""
NOT_FOR_PEOPLE = ("sandbox", "local", "cli")
DELIVERY_ERRORS: list[type] = [errors.DeliveryError, *errors.DeliveryError.__subclasses__()]
ERRORS = {name for name in dir(errors) if isinstance(getattr(errors, name), type)} & {
    kind.__name__ for kind in DELIVERY_ERRORS
} | {"RateLimited", "CredentialsError", "Gone", "Unsendable", "kind"}
"""`kind`: a variable that holds one of them."""
REASONS = {"critical", "reason"}
PARTS = {"UnfitUrlError", "TunnelError", "NotComputableError", "SMTPServerDisconnected"}
"""What is said within a sentence of another file's."""
REFUSALS = {"ValueError", "InvalidRequest", "SettingsError"}
"""What is said of settings, credentials and requests, in errors and letters as well as to who calls the API."""
REFUSE = (
    "integrations",
    "request.py",
    "refusals.py",
    "conf_guard.py",
    "host_name.py",
    "sealing.py",
    "signing_secret.py",
)
FOR_THE_LOG = {"warning", "info", "error", "_unheard"}


Named = dict[str, ast.expr]


def texts_of(node: ast.expr, named: Named) -> Iterator[str]:
    """What an expression may read, with a sample for each value; nothing where it is not ours to say.

    Args:
        named: what the names in reach stand for, as far as it is written there.
    """
    match node:
        case ast.Constant():
            yield str(node.value)
        case ast.IfExp():
            yield from texts_of(node.body, named)
            yield from texts_of(node.orelse, named)
        case ast.JoinedStr():
            yield from map("".join, product(*(list(texts_of(part, named)) for part in node.values)))
        case ast.FormattedValue():
            yield from list(texts_of(node.value, named)) or [SAMPLE]
        case ast.BoolOp():
            yield SAMPLE
            yield from texts_of(node.values[-1], named)
        case ast.Name() if node.id in named:
            yield from texts_of(named[node.id], {name: value for name, value in named.items() if name != node.id})
        case ast.Subscript(value=ast.Name() as table) if isinstance(named.get(table.id), ast.Dict):
            for value in named[table.id].values:  # type: ignore[attr-defined]  # a Dict, by the line above
                yield from texts_of(value, named)


def names_in(body: Iterable[ast.AST]) -> Named:
    """What is assigned to plain names in there."""
    assigned = (node for node in body if isinstance(node, ast.Assign))
    return {target.id: node.value for node in assigned for target in node.targets if isinstance(target, ast.Name)}


def sentences_in(path: Path) -> Iterator[str]:
    """What a file tells people: the first argument of each error that it makes, and each reason that it gives."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef):
            named = names_in(module.body) | names_in(ast.walk(function))
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            for told in chain.from_iterable(told_by(call, refuses=bool({*path.parts} & {*REFUSE})) for call in calls):
                yield from (text for text in texts_of(told, named) if re.search("[a-z].* |^ .*[a-z]", own_of(text)))


def own_of(text: str) -> str:
    """What of it is not a sample's."""
    return text.replace(SAMPLE, "")


def told_by(call: ast.Call, *, refuses: bool) -> list[ast.expr]:
    """The arguments of a call that people may read.

    Args:
        refuses: the file says what is wrong with what it was given.
    """
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    told = call.args[:1] if name in ERRORS | PARTS or isinstance(call.func, ast.IfExp) else []
    if refuses and name in REFUSALS:
        told = call.args[:1]
    if refuses and name == "FieldError":
        told = call.args[1:2]
    if name == "failure":  # smtp_replies: the server and what it does
        told = call.args[1:2]
    if name not in FOR_THE_LOG:
        told = [*told, *(keyword.value for keyword in call.keywords if keyword.arg in REASONS)]
    return told


SENTENCES = sorted(
    {
        (str(path.relative_to(PACKAGE)), text)
        for path in PACKAGE.rglob("*.py")
        if not set(path.relative_to(PACKAGE).parts) & set(NOT_FOR_PEOPLE)
        for text in sentences_in(path)
    }
)


@pytest.mark.parametrize(("where", "sentence"), SENTENCES)
def test_each_sentence_of_ours_is_said_in_russian(where: str, sentence: str) -> None:
    said = Wording.of(Language.RU).say(sentence)

    assert said != sentence, f"{where}: add it to templates/ru/sentences.toml"
    assert said.count(SAMPLE) == sentence.count(SAMPLE)


def test_the_catalogue_has_the_same_names_on_both_sides() -> None:
    for english, russian in catalogue(Language.RU).items():
        names = [sorted(part.split("}")[0] for part in text.split("{")[1:]) for text in (english, russian)]

        assert names[0] == names[1], english


def test_a_sentence_within_a_sentence_is_translated_too() -> None:
    text = "The token was not renewed: Cannot reach https://a.amocrm.ru: connection refused; nothing was sent."

    assert Wording.of(Language.RU).say(text) == (
        "Токен не обновлён: Не удаётся соединиться с https://a.amocrm.ru: в соединении отказано; ничего не отправлено."
    )


@pytest.mark.parametrize(
    ("english", "russian"),
    [
        (
            "the run timed out. Deliveries that it leaves: 3. A later run sends them.",
            "превышено время выполнения запуска. Отправок, которые он оставил: 3. "
            "Их выполнит один из следующих запусков.",
        ),
        (
            "the run timed out. A later run sends what is due.",
            "превышено время выполнения запуска. Всё, чему пришёл срок, отправит один из следующих запусков.",
        ),
        (
            "integrations.0.settings.emails: there is no such field here; it belongs to credentials.email",
            "integrations.0.settings.emails: здесь такого поля нет; его место в credentials.email",
        ),
        (
            "credentials.telegram.chatid: there is no such field; is chat_id meant?",
            "credentials.telegram.chatid: такого поля нет; может быть, chat_id?",
        ),
        (
            "integrations.0.colour: there is no such field; there are: type, settings",
            "integrations.0.colour: такого поля нет; есть: type, settings",
        ),
        (
            "The mail server puts off 1 of 1 recipients: a***@example.com (450); nobody was mailed.",
            "Почтовый сервер пока не принимает 1 из 1 получателей: a***@example.com (450); никому не отправлено.",
        ),
        (
            "The mail server puts off 1 of 2 recipients: a***@example.com (450); 1 have it.",
            "Почтовый сервер пока не принимает 1 из 2 получателей: a***@example.com (450); получили: 1.",
        ),
        (
            "The mail server refuses 1 of 2 recipients: a***@example.com (550); 1 have it.",
            "Почтовый сервер отклонил 1 из 2 получателей: a***@example.com (550); получили: 1.",
        ),
        (
            "Mail server m:25 offers no login with a password; look at the connection's login and auth_type, "
            "or enable TLS.",
            "Почтовый сервер m:25 не предлагает вход по паролю; проверьте login и auth_type подключения или "
            "включите TLS.",
        ),
        (
            "Cannot talk to mail server m:25: connection closed unexpectedly: host is down; nothing was sent.",
            "Не удаётся связаться с почтовым сервером m:25: соединение неожиданно закрыто: хост не работает; "
            "ничего не отправлено.",
        ),
        (
            "The proxy's URL must name a user before its password; nothing was sent.",
            "URL прокси: должен называть имя пользователя перед паролем; ничего не отправлено.",
        ),
        (
            "The proxy's URL must be like http://user:password@proxy.example.com:3128; this one names no host; "
            "nothing was sent.",
            "URL прокси: должен быть вида http://user:password@proxy.example.com:3128, а этот не называет хоста; "
            "ничего не отправлено.",
        ),
        (
            "Connection 'amo': client_id: Input should be a valid string. It needs the access token as password, and "
            "the account's address as host (example.amocrm.ru) or subdomain in extra.",
            "Подключение 'amo': client_id: должно быть строкой. Нужны access token в поле пароля и адрес аккаунта в "
            "поле хоста (example.amocrm.ru) или subdomain в extra.",
        ),
    ],
)
def test_a_sentence_is_found_whatever_its_values_are(english: str, russian: str) -> None:
    assert Wording.of(Language.RU).say(english) == russian


@pytest.mark.parametrize(
    ("error", "russian"),
    [
        (ConnectionRefusedError(111, "Connection refused"), "в соединении отказано"),
        (gaierror(-2, "Name or service not known"), "его имя не удаётся найти в DNS"),
        (TimeoutError("timed out"), "соединение не установлено вовремя"),
        (SMTPServerDisconnected("Connection unexpectedly closed"), "соединение неожиданно закрыто"),
    ],
)
def test_why_there_is_no_line_to_a_mail_server_is_said_in_russian(error: OSError, russian: str) -> None:
    server = MailServer(host="mail", port=25, mode=TlsMode.STARTTLS, from_email="crm@example.com")

    with pytest.raises(TransientError) as found, nothing_sent(server):
        raise error

    assert Wording.of(Language.RU).say(found.value.message) == (
        f"Не удаётся связаться с почтовым сервером mail:25: {russian}; ничего не отправлено."
    )


@pytest.mark.parametrize(
    "text", ["", " ", "Bad Request: chat not found", "Наше собственное слово", "a" * 5000, "The receiver", "{status}"]
)
def test_what_is_not_ours_stays_as_it_is(text: str) -> None:
    assert Wording.of(Language.RU).say(text) == text


def test_values_are_never_taken_for_names() -> None:
    said = Wording.of(Language.RU).say("amoCRM refused the lead (400): {code} {problems}.")

    assert said == "amoCRM отклонила заявку (400): {code} {problems}."


def test_in_english_everything_stays() -> None:
    assert Wording.of(Language.EN).say("The receiver answered 503.") == "The receiver answered 503."


def test_a_russian_letter_has_its_errors_and_reasons_in_russian() -> None:
    letter = Templates().notification(
        Occasion.CRITICAL,
        values={
            "batch": {"id": "b1", "lead_id": "7"},
            "deliveries": [
                {"type": "webhook", "state": "failed", "attempts": 3, "error": "The receiver answered 503."},
                {"type": "email", "state": "delivered", "attempts": 1, "error": None},
            ],
            "reason": "the run timed out",
        },
        language=Language.RU,
    )

    for part in (letter.text, letter.html):
        assert "Получатель ответил 503." in part
        assert "превышено время выполнения запуска" in part
        assert "receiver" not in part
