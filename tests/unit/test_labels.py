"""How a stranger calls a field: where it could pass for a label of ours, it stands in quotation marks, everywhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from html import unescape
from pathlib import Path

import pytest

from leadcast.core.model import Lead
from leadcast.core.setting_choices import Language
from leadcast.integrations.amocrm.note import note_of
from leadcast.integrations.telegram.text import message_about, visible
from leadcast.integrations.text.labels import LABELS, MAX_LABEL_CHARS, label_of, utm_label
from leadcast.integrations.text.remarks import remarks
from leadcast.integrations.text.templating import Templates

OURS = sorted({label for labels in LABELS.values() for label in labels.values()})
PASSES_FOR_OURS = [
    ("источник", "источник"),
    ("ИСТОЧНИК ", "ИСТОЧНИК"),
    ("Ис\u200bточ\u00adник\u2060", "Источник"),
    ("\u202eИсточник", "Источник"),
    ("\u202eИст\ufe0fочник", "Ист\ufe0fочник"),
    ("Источ\u200dник", "Источ\u200dник"),
    ("Источник" + "\u200b" * 500, "Источник"),
    ("Исто\u0301чник", "Исто\u0301чник"),
    ("Иcтoчник", "Иcтoчник"),  # with Latin letters
    ("Тeлeфoн", "Тeлeфoн"),
    ("KOMПAHИЯ", "KOMПAHИЯ"),
    ("Ѕоurсе", "Ѕоurсе"),  # with Cyrillic ones
    ("Соmmеnt", "Соmmеnt"),
    ("Ｓｏｕｒｃｅ", "Ｓｏｕｒｃｅ"),
    ("𝐍𝐚𝐦𝐞", "𝐍𝐚𝐦𝐞"),
    ("Email", "Email"),
    ("E\u2011mail", "E\u2011mail"),
    ("✅ Источник —", "✅ Источник —"),
    ("> Источник", "> Источник"),
    ("«Источник»", "“Источник”"),
    ("Источник: VIP, Менеджер", "Источник: VIP, Менеджер"),
    ("город\nИсточник: VIP", "город Источник: VIP"),
    ("Источник\uff1a VIP", "Источник\uff1a VIP"),
    ("Источник\ua789 VIP", "Источник\ua789 VIP"),
    ("Источник\ufe13 VIP", "Источник\ufe13 VIP"),
    ("Источник\ufe55 VIP", "Источник\ufe55 VIP"),
    ("Источник\u2236 VIP", "Источник\u2236 VIP"),
    ("Источник\ufe30 VIP", "Источник\ufe30 VIP"),
    ("utm_source", "utm_source"),
    ("UTM_Source", "UTM_Source"),
    ("ut\u200bm_anything", "utm_anything"),
    ("", "no name"),
    (" \u200b\u3164\u200d\ufe0f\n", "no name"),
]
NOT_OURS = [
    "город",
    "Город (регион)",
    "Источник заявки",
    "Name of the child",
    "Телефон 2",
    "Комментарий клиента",
    "—",
    "42",
    "👩\u200d👩\u200d👧",
    "🏴\U000e0067\U000e0062\U000e007f ❤\ufe0f",
    "می\u200cخواهم",
]


def note(lead: Lead, language: Language) -> Sequence[str]:
    return remarks(lead, language=language, region="RU").splitlines()


def known_contacts_note(lead: Lead, language: Language) -> Sequence[str]:
    return note_of(lead, language=language, region="RU", is_known=True).splitlines()


def letter(lead: Lead, language: Language) -> Sequence[str]:
    return Templates(language=language).email("new_lead", lead=lead).text.splitlines()


def html_letter(lead: Lead, language: Language) -> Sequence[str]:
    html = Templates(language=language).email("new_lead", lead=lead).html
    cells = [unescape(cell) for cell in re.findall(r"<td[^>]*row[^>]*>(.*?)</td>", html)]
    return [f"{label}: {value}" for label, value in zip(cells[::2], cells[1::2], strict=True)]


def telegram(lead: Lead, language: Language) -> Sequence[str]:
    return visible(message_about(lead, template="new_lead", templates=Templates(language=language))).splitlines()


MEDIA: Sequence[Callable[[Lead, Language], Sequence[str]]] = (note, known_contacts_note, letter, html_letter, telegram)
each_medium = pytest.mark.parametrize("lines", MEDIA, ids=lambda medium: medium.__name__)
each_language = pytest.mark.parametrize("language", Language)


@pytest.mark.parametrize("name", OURS)
def test_each_of_our_labels_is_known_in_either_language(name: str) -> None:
    assert label_of(name) == f"«{name}»"


@pytest.mark.parametrize(("name", "shown"), PASSES_FOR_OURS)
def test_what_could_pass_for_ours_is_marked(name: str, shown: str) -> None:
    assert label_of(name) == f"«{shown}»"


@pytest.mark.parametrize("name", NOT_OURS)
def test_what_could_not_is_left_as_it_is(name: str) -> None:
    assert label_of(name) == name


def test_a_label_is_one_short_line_of_what_people_see() -> None:
    assert label_of("го\u200bрод\r\n\u2028\x00района\u202e ") == "город района"
    assert label_of("я" * 100_000) == "я" * (MAX_LABEL_CHARS - 1) + "…"
    assert utm_label("я" * 100_000) == "utm_" + "я" * (MAX_LABEL_CHARS - 1) + "…"


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("source", "utm_source"),
        ("utm_source", "utm_source"),
        ("UTM_Source", "utm_Source"),
        ("\u200butm_so\u200burce", "utm_source"),
        ("source: yandex, utm_medium", "«utm_source: yandex, utm_medium»"),
        ("a\nИсточник\uff1a VIP", "«utm_a Источник\uff1a VIP»"),
    ],
)
def test_the_name_of_a_utm_field_is_ours_unless_it_holds_a_colon(name: str, label: str) -> None:
    assert utm_label(name) == label


@each_medium
@each_language
def test_a_forged_name_is_marked_wherever_a_lead_is_read(
    lines: Callable[[Lead, Language], Sequence[str]], language: Language
) -> None:
    names = [name for name, _ in PASSES_FOR_OURS] + OURS
    custom = dict.fromkeys(names, "VIP")

    shown = lines(Lead(id="7", source="сайт", custom=custom), language)

    assert [line for line in shown if line.endswith(": VIP")] == [f"{label_of(name)}: VIP" for name in names]
    assert [line for line in shown if line.startswith(LABELS[language]["source"])] == [
        f"{LABELS[language]['source']}: сайт"
    ]


@each_medium
@each_language
def test_a_forged_utm_name_is_marked_wherever_a_lead_is_read(
    lines: Callable[[Lead, Language], Sequence[str]], language: Language
) -> None:
    utm = {"UTM_Source": "a", "medium": "b", "x\nИсточник: VIP": "c", "so\u200burce": "d"}

    shown = lines(Lead(id="7", utm=utm), language)

    assert [line for line in shown if "utm_" in line] == [
        "utm_Source: a",
        "utm_medium: b",
        "«utm_x Источник: VIP»: c",
        "utm_source: d",
    ]


@each_medium
def test_fields_whose_names_look_alike_are_all_said(lines: Callable[[Lead, Language], Sequence[str]]) -> None:
    custom = {"город": "a", "го\u200bрод": "b", "город ": "c"}

    assert [line for line in lines(Lead(id="7", custom=custom), Language.RU) if line.startswith("город")] == [
        "город: a",
        "город: b",
        "город: c",
    ]


@each_language
def test_labels_of_our_own_stay_bare(language: Language) -> None:
    lead = Lead(id="7", custom={"Источник": "a", "Source": "b", "Тариф: новый": "c", "utm_source": "d", "Го\nрод": "e"})
    templates = Templates(language=language)
    mail = templates.email("new_lead", lead=lead, own_labels=True)

    for shown in (
        mail.text,
        unescape(mail.html),
        message_about(lead, template="new_lead", templates=templates, own_labels=True),
    ):
        assert "«" not in shown
        assert "Го род" in shown
    for line in ("Источник: a", "Source: b", "Тариф: новый: c", "utm_source: d", "Го род: e"):
        assert line in mail.text.splitlines()


def test_every_label_of_the_shipped_templates_is_ours() -> None:
    folder = Path(__file__).parents[2] / "include" / "leadcast" / "templates"
    for language in Language:
        for file in ("new_lead.email.txt", "new_lead.telegram.html", "new_lead.email.html"):
            source = (folder / language / file).read_text()
            found = re.findall(r'^(?:[^{<\n]*\{% if [^%]*%\}\{\{ cell\("([^"]+)"|([^{}<>:\n]+):)', source, re.MULTILINE)
            labels = {name for pair in found for name in pair if name}
            assert len(labels) >= 5
            assert labels <= set(LABELS[language].values())


def test_a_template_of_ones_own_marks_names_like_the_shipped_ones(tmp_path: Path) -> None:
    source = (
        "{% for name, value in lead.custom.items() %}{{ name | label('Откуда') }}:{{ value | said }}\n{% endfor %}"
        "{% for name, value in lead.utm.items() %}{{ name | utm_label }}: {{ value }}\n{% endfor %}"
        "[{{ lead.custom.nothing | label }}][{{ lead.custom.nothing | said }}]"
    )
    (tmp_path / "own.email.txt").write_text(source)
    (tmp_path / "own.telegram.html").write_text(source)
    lead = Lead(id="7", custom={"откуда": "VIP", "Имя": "a\nb", "<b>город": 1}, utm={"Source": "x"})
    templates = Templates(folder=str(tmp_path))

    expected = ["«откуда»: VIP", "«Имя»:", "> a", "> b", "<b>город: 1", "utm_Source: x", "[«no name»][]"]
    assert templates.email("own", lead=lead).text.splitlines() == expected
    assert unescape(message_about(lead, template="own", templates=templates)).splitlines() == expected
    assert "&lt;b&gt;город" in message_about(lead, template="own", templates=templates)


@each_language
def test_only_the_comment_and_custom_fields_have_several_lines(language: Language) -> None:
    forged = f"a\r\n{LABELS[language]['source']}: VIP\x85"
    lead = replace(Lead(id=forged), name=forged, phone=forged, email=forged, company=forged, source=forged)
    lead = replace(lead, utm={"source": forged})
    templates = Templates(language=language)

    mail = templates.email("new_lead", lead=lead)

    assert len(mail.subject.splitlines()) == 1
    for shown in (mail.text, visible(message_about(lead, template="new_lead", templates=templates))):
        assert [line for line in shown.splitlines() if line.startswith(f"{LABELS[language]['source']}: VIP")] == []
