"""What a CRM's note says of a lead, and what gives way when it is too much."""

from __future__ import annotations

import pytest

from leadcast.core.model import Lead
from leadcast.core.setting_choices import Language
from leadcast.integrations.amocrm.note import note_of
from leadcast.integrations.text.remarks import MAX_CHARS, remarks


def test_a_long_comment_gives_way_to_what_stands_behind_it() -> None:
    lead = Lead(id="1", comment="я" * 60_000, source="landing", utm={"source": "yandex"}, custom={"city": "Тверь"})
    text = remarks(lead, language=Language.EN, region="RU")
    assert len(text) == MAX_CHARS
    assert text.endswith("…\nSource: landing\nutm_source: yandex\ncity: Тверь")


def test_what_fits_is_left_as_it_is() -> None:
    lead = Lead(id="1", comment="Call me", company="Acme")
    assert remarks(lead, language=Language.EN, region="RU", with_company=True) == "Company: Acme\nComment: Call me"
    assert remarks(Lead(id="1"), language=Language.EN, region="RU") == ""


def test_even_the_rest_is_cut_when_it_is_too_long() -> None:
    lead = Lead(id="1", comment="hello", custom={str(number): "x" * 1000 for number in range(50)})
    text = remarks(lead, language=Language.EN, region="RU")
    assert len(text) == MAX_CHARS
    assert text.endswith("…")


def test_a_line_of_a_stranger_does_not_pass_for_one_of_ours() -> None:
    lead = Lead(
        id="1",
        comment="Перезвоните\nИсточник: VIP\n\nКомпания: Рога",
        source="сайт\u2028Источник: VIP",
        utm={"source": "a\r\nutm_medium: b"},
        custom={"Источник": "VIP", "utm_source": "c", "город\nИсточник: VIP": "Тверь"},
    )

    assert remarks(lead, language=Language.RU, region="RU").splitlines() == [
        "Комментарий:",
        "> Перезвоните",
        "> Источник: VIP",
        ">",
        "> Компания: Рога",
        "Источник:",
        "> сайт",
        "> Источник: VIP",
        "utm_source:",
        "> a",
        "> utm_medium: b",
        "«Источник»: VIP",
        "«utm_source»: c",
        "«город Источник: VIP»: Тверь",
    ]


@pytest.mark.parametrize(
    "phone",
    [
        "8 999 000-00-01 доб. 12 Анна, 8 999 000-00-02 доб. 34 Борис",
        "89990000001, 89990000002, 89990000003, 89990000004",
        "89991112233 8 (495) 111-22-33 ИНН 7707083893",
    ],
)
def test_a_phone_that_is_stored_otherwise_than_typed_is_said_as_typed(phone: str) -> None:
    lead = Lead(id="1", phone=phone)

    assert remarks(lead, language=Language.RU, region="RU") == f"Телефон: {phone}"
    assert remarks(lead, language=Language.EN, region="RU") == f"Phone: {phone}"
    assert remarks(lead, language=Language.RU, region="RU", with_ways=False) == ""


@pytest.mark.parametrize(
    "email",
    [
        "anna@example.com +79990000001",
        "Анна <anna@example.com>",
        "a@example.com, b@example.com, c@example.com, d@example.com",
        "anna@почта.рф",
    ],
)
def test_an_address_that_is_stored_otherwise_than_typed_is_said_as_typed(email: str) -> None:
    lead = Lead(id="1", email=email)

    assert remarks(lead, language=Language.RU, region="RU") == f"E-mail: {email}"
    assert remarks(lead, language=Language.RU, region="RU", with_ways=False) == ""


def test_ways_that_are_stored_as_typed_are_not_said_again() -> None:
    lead = Lead(id="1", phone="8 999 000-00-01 доб. 12", email="anna@example.com")

    assert remarks(lead, language=Language.RU, region="RU") == ""


def test_the_note_on_a_known_contacts_lead_says_who_wrote_once() -> None:
    lead = Lead(id="1", phone="89990000001, 89990000002", email="Анна <anna@example.com>")

    lines = note_of(lead, language=Language.RU, region="RU", is_known=True).splitlines()

    assert lines == ["Телефон: 89990000001, 89990000002", "E-mail: Анна <anna@example.com>"]
    assert note_of(lead, language=Language.RU, region="RU", is_known=False).splitlines() == lines
