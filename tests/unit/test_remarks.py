"""What a CRM's note says of a lead, and what gives way when it is too much."""

from __future__ import annotations

from leadcast.core.model import Lead
from leadcast.core.settings import Language
from leadcast.integrations.remarks import MAX_CHARS, remarks


def test_a_long_comment_gives_way_to_what_stands_behind_it() -> None:
    lead = Lead(id="1", comment="я" * 60_000, source="landing", utm={"source": "yandex"}, custom={"city": "Тверь"})
    text = remarks(lead, language=Language.EN)
    assert len(text) == MAX_CHARS
    assert text.endswith("…\nSource: landing\nutm_source: yandex\ncity: Тверь")


def test_what_fits_is_left_as_it_is() -> None:
    lead = Lead(id="1", comment="Call me", company="Acme")
    assert remarks(lead, language=Language.EN, with_company=True) == "Company: Acme\nComment: Call me"
    assert remarks(Lead(id="1"), language=Language.EN) == ""


def test_even_the_rest_is_cut_when_it_is_too_long() -> None:
    lead = Lead(id="1", comment="hello", custom={str(number): "x" * 1000 for number in range(50)})
    text = remarks(lead, language=Language.EN)
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

    assert remarks(lead, language=Language.RU).splitlines() == [
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
        "город Источник: VIP: Тверь",
    ]
