"""No word of a service's may tell whom a lead is from, however it quotes the lead."""

from __future__ import annotations

from time import perf_counter

import pytest

from leadcast.core.model import Lead
from leadcast.core.redact import scrub
from leadcast.integrations.text.personal_data import personal_data

ANNA = Lead(
    id="1",
    name="Анна Петрова",
    phone="+7 999 000-00-01",
    email="anna@example.com",
    company="ООО «Рога и Копыта»",
    comment="Перезвоните мужу: 8 (495) 123-45-67",
    custom={"Второй телефон": "89160000002", "Дети": ["Мария", {"имя": "Иннокентий"}], "Согласие": True},
)


def shown(said: str, lead: Lead = ANNA) -> str:
    return scrub(said, secrets=personal_data(lead, region="RU"))


def test_ways_to_a_person_are_hidden_in_every_form_in_which_they_are_sent() -> None:
    lead = Lead(id="1", phone="8 999 000-00-01, 8 999 000-00-02", email="Anna@почта.рф, boss@example.com")
    sent = "+79990000001 79990000002 89990000001 Anna@xn--80a1acny.xn--p1ai anna@xn--80a1acny.xn--p1ai boss@example.com"

    assert shown(sent, lead).replace("***", "").replace("+", "").strip() == ""


@pytest.mark.parametrize(
    ("said", "seen"),
    [
        ("Поле Анна Петрова +7 (999) 000-00-01", "Поле *** +7 (***"),
        ("Петрова Анна, 8 (999) 000-00-01", "*** ***, 8 (***"),
        ("АННА ПЕТРОВА", "*** ***"),
        ("копыта, рога", "***, ***"),
        ("tel:+7%20999%20000-00-01", "tel:***"),
        ("4951234567 and +7 916 000-00-02", "*** and +7 ***"),
        ("Мария, Иннокентий", "***, ***"),
        ("Поле заполнено неверно (True)", "Поле заполнено неверно (True)"),
    ],
)
def test_a_lead_is_hidden_when_it_is_quoted_otherwise_than_it_was_typed(said: str, seen: str) -> None:
    assert shown(said) == seen


@pytest.mark.parametrize("phone", ["９９９００００００１", "8 999 000-00-01 доб. 12", "тел. 999.000.00.01"])
def test_a_number_is_hidden_whatever_was_typed_around_it(phone: str) -> None:
    assert "000" not in shown("+7 (999) 000-00-01", Lead(id="1", phone=phone))


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("Cannot Reach", "Cannot talk to mail server mx:25: connection refused; nothing was sent."),
        ("The server", "The receiver answered 503."),
        ("Сервер Почтовый", "Почтовый ящик: сервер отвечает"),
        ("Он", "Поле он"),
    ],
)
def test_our_own_words_are_nobodys(name: str, said: str) -> None:
    assert shown(said, Lead(id="1", name=name)) == said


def test_a_lead_with_much_in_it_is_read_in_no_time() -> None:
    lead = Lead(
        id="1",
        name="слово " * 170,
        comment="1 2 3 4 5 6 x " * 4000,
        custom={str(number): f"значение {number} " + "9 " * 100 for number in range(200)},
    )
    begun = perf_counter()

    shown("Поле " * 4000, lead)

    assert perf_counter() - begun < 2
