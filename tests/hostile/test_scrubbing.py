"""What is hidden in a service's words, and what is not: a lead made of common words takes none out of them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from leadcast.core.model import Lead
from leadcast.core.redact import scrub
from leadcast.integrations.text.common_words import is_common
from leadcast.integrations.text.fit_to_show import fit_to_show
from leadcast.integrations.text.personal_data import personal_data, telling
from tests.support.error_table.cases import LEAD, SECRET, SERVICES, WEBHOOK_SECRET, Service, cases_of

BLOCKED = "Forbidden: bot was blocked by the user"
NOT_WORDS_OF_A_SERVICE = {SECRET, WEBHOOK_SECRET, *(value for value in LEAD.values() if isinstance(value, str))}
WORD = re.compile(r"[^\W\d_]{2,}")


def shown(said: str, lead: Lead, *, secrets: tuple[str, ...] = ()) -> str:
    return fit_to_show(said, secrets=[*secrets, *personal_data(lead, region="RU")])


def texts_in(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, item in value.items():
            yield name
            yield from texts_in(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from texts_in(item)


def words_of(service: Service) -> Iterator[str]:
    """All that the service says in the error table, case by case, without what it repeats of ours."""
    for case in cases_of(service):
        said = " ".join(texts_in(case.faults))
        for ours in NOT_WORDS_OF_A_SERVICE:
            said = said.replace(ours, " ")
        yield said


@pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.type)
def test_a_lead_made_of_a_services_own_words_takes_none_out_of_them(service: Service) -> None:
    for said in dict.fromkeys(words_of(service)):
        words = [word for word in WORD.findall(said) if is_common(word)] or ["Error"]
        at = len(said) % len(words)
        word = words[at]
        lead = Lead(
            id="1",
            name=" ".join(words[at : at + 2]),
            phone=str(400 + at),
            email=word,
            company=word.upper(),
            comment=" ".join(words),
            custom={"Phone": word, "List": words[at : at + 3], "Yes": True, "One": 1, "Code": 403, "Year": 2026},
        )
        assert shown(said, lead) == shown(said, Lead(id="1"))


def test_nearly_all_that_services_say_is_common() -> None:
    said = {word for service in SERVICES for text in words_of(service) for word in WORD.findall(text)}

    rare = {word for word in said if not is_common(word)}
    assert len(rare) * 20 < len(said), sorted(rare)


@pytest.mark.parametrize(
    ("said", "lead"),
    [
        (BLOCKED, Lead(id="1", comment="blocked")),
        (BLOCKED, Lead(id="1", name="Will Bot", company="User", comment="bot was blocked by the user")),
        ("Bad Request: chat not found", Lead(id="1", name="Bad Request", company="Chat")),
        ("Internal Server Error: it will restart", Lead(id="1", name="Will", comment="Internal Server Error")),
        ("4.7.1 Mail refused, this is a test", Lead(id="1", company="Mail", comment="Test", name="Test Test")),
        (
            "Bad Request (400): error 4.0.0",
            Lead(id="1", phone="400", email="a@b", custom={"Budget": "4000", "ok": True}),
        ),
        ("Unknown field Phone, email, google", Lead(id="1", custom={"Phone": "Email"}, utm={"utm_source": "google"})),
        ("value true is 1 of null", Lead(id="1", custom={"agreed": "true", "n": "1", "null": "null"})),
        ("Пользователь заблокирован, повторите запрос", Lead(id="1", comment="заблокирован", name="Пользователь")),
        ("Некорректный запрос: поле Телефон", Lead(id="1", name="Тест", comment="Телефон", custom={"Поле": "запрос"})),
        ("ОШИБКА: неверный адрес почты", Lead(id="1", name="Ошибка", email="почта", comment="неверный адрес почты")),
        ("Hannah is unknown", Lead(id="1", custom={"short": "anna"}, comment="know")),
    ],
)
def test_common_words_are_nobodys(said: str, lead: Lead) -> None:
    assert shown(said, lead) == said


@pytest.mark.parametrize(
    ("said", "lead", "seen"),
    [
        ("Contact Will Smith exists", Lead(id="1", name="Will Smith"), "Contact *** exists"),
        ("Contact SMITH, Will exists", Lead(id="1", name="Will Smith"), "Contact ***, Will exists"),
        ("Value 12-34-56 of 123-456", Lead(id="1", phone="12-34-56"), "Value *** of 123-456"),
        ("No mailbox test@mail.com here", Lead(id="1", email="test@mail.com"), "No mailbox *** here"),
        ("No mailbox user@host here", Lead(id="1", email="user@host"), "No mailbox *** here"),
        ("Text «Ян Ли» is short", Lead(id="1", comment="Ян Ли"), "Text «***» is short"),
        ("Value Иннокентий", Lead(id="1", custom={"Сын": "Иннокентий"}), "Value ***"),
        ("Value https://vk.com/durov", Lead(id="1", custom={"page": "https://vk.com/durov"}), "Value ***"),
        ("comment=%D0%AF%D0%BD+%D0%9B%D0%B8.", Lead(id="1", comment="Ян Ли"), "comment=***."),
        ("order 4510123456 is taken", Lead(id="1", custom={"passport": "4510 123456"}), "order *** is taken"),
    ],
)
def test_what_tells_of_somebody_is_hidden_all_the_same(said: str, lead: Lead, seen: str) -> None:
    assert shown(said, lead) == seen


@pytest.mark.parametrize("secret", ["blocked", "user", "true", "http", "Forbidden", "Error", "чата"])
def test_a_secret_is_hidden_in_a_services_words_whatever_it_is(secret: str) -> None:
    said = f"before {secret} and un{secret}ed after"

    assert scrub(said, secrets=[secret]) == "before *** and un***ed after"
    # a lead of the same word changes nothing
    assert shown(said, Lead(id="1", comment=secret), secrets=(secret,)) == "before *** and un***ed after"


def test_a_secret_stays_hidden_where_a_person_has_typed_the_same() -> None:
    lead = Lead(id="1", comment="tok-SECRET-1")

    for secrets in (["tok-SECRET-1", *telling([lead.comment])], [*telling([lead.comment]), "tok-SECRET-1"]):
        assert scrub("xtok-SECRET-1x", secrets=secrets) == "x***x"


def test_our_own_sentence_stays_and_only_what_came_into_it_is_looked_at() -> None:
    secrets = ["refuses", "message", "Telegram"]

    seen = fit_to_show("Telegram refuses the message: the message refuses.", secrets=secrets)

    assert seen == "Telegram refuses the message: the *** ***."
    assert fit_to_show("Nobody of ours says: the message refuses.", secrets=secrets).endswith("the *** ***.")


def test_our_words_within_our_words_stay_too() -> None:
    said = "The token was not renewed: Cannot reach http://mx: no connection in time; nothing was sent."

    assert fit_to_show(said, secrets=["nothing", "token", "http"]) == said.replace("http", "***")
