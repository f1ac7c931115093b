"""What people read: placeholders, escaping, Telegram's limit, the user's own templates, notifications."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leadcast.core.errors import RejectedError
from leadcast.core.model import Lead
from leadcast.core.setting_choices import Language, Occasion
from leadcast.integrations.telegram.text import MAX_CHARS, message_about, visible
from leadcast.integrations.text.caller_lines import check_line
from leadcast.integrations.text.templating import Templates
from tests.support.examples import examples

TELEGRAM_TAGS = frozenset({"b", "i", "u", "s", "code", "pre", "a", "blockquote"})
LEAD = Lead(
    id="123",
    name="Анна Пример",
    phone="+7 999 000-00-01",
    email="anna@example.ru",
    company="Ромашка",
    comment="Перезвоните\nпосле шести",
    source="landing-a",
    utm={"utm_source": "yandex", "medium": "cpc"},
    custom={"budget": 15000, "roof-area": "120", "urgent": True, "nothing": None},
)
HOSTILE = Lead(id="7", name="<b>Eve</b> & {lead_phone} {{ 7*7 }} {% if %}", phone="<script>", comment="</blockquote>")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=6000)


class _Tags(HTMLParser):
    """Which tags a piece of HTML opens; raises for one that is closed wrongly or never."""

    def __init__(self, message: str) -> None:
        super().__init__()
        self.seen: Counter[str] = Counter()
        self._open: list[str] = []
        self.feed(message)
        self.close()
        assert not self._open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen[tag] += 1
        self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag


def test_every_placeholder_of_a_line_is_filled_in() -> None:
    source = (
        "{lead_id}|{lead_name}|{lead_phone}|{lead_email}|{lead_company}|{lead_comment}|{lead_source}|"
        "{lead_utm_source}|{lead_utm_medium}|{lead_budget}|{lead_roof-area}|{lead_urgent}"
    )
    assert Templates().line(source, lead=LEAD) == (
        "123|Анна Пример|+7 999 000-00-01|anna@example.ru|Ромашка|Перезвоните после шести|landing-a|"
        "yandex|cpc|15000|120|true"
    )


def test_the_laravel_systems_subject_works() -> None:
    assert Templates().line("New Lead: {lead_name}", lead=LEAD) == "New Lead: Анна Пример"


def test_what_a_lead_has_not_comes_out_empty() -> None:
    line = Templates().line("[{lead_nothing}{lead_unheard_of}{{ lead.custom.a.b.c }}{{ lead.upper }}]", lead=LEAD)
    assert line == "[]"


def test_attribute_expressions_work_in_a_line() -> None:
    assert Templates().line("{{ lead.name }}: {{ lead.custom['roof-area'] }}", lead=LEAD) == "Анна Пример: 120"


def test_a_custom_field_does_not_hide_a_field_of_the_lead() -> None:
    lead = Lead(id="1", name="Anna", custom={"name": "Eve", "utm_source": "eve"}, utm={"source": "yandex"})
    assert Templates().line("{lead_name} {lead_utm_source}", lead=lead) == "Anna yandex"


def test_a_value_that_looks_like_a_template_comes_out_as_it_is() -> None:
    line = Templates().line("Новая: {lead_name}", lead=HOSTILE)
    assert line == "Новая: <b>Eve</b> & {lead_phone} {{ 7*7 }} {% if %}"


def test_a_line_stays_one_line_whatever_the_lead_holds() -> None:
    lead = Lead(id="1", name="Anna\r\nBcc: eve@example.com\x0b\x1b[31m\u2028!")
    line = Templates().line("Lead {lead_name}", lead=lead)
    assert line == "Lead Anna Bcc: eve@example.com [31m !"


def test_a_line_is_cut_at_998_characters() -> None:
    assert len(Templates().line("{lead_name}", lead=Lead(id="1", name="x" * 1024))) == 998


@pytest.mark.parametrize(
    "source",
    [
        "{% for x in range(10) %}x{% endfor %}",
        "{{ range(999999999) }}",
        "{{ 'a' * 999999999 }}",
        "{{ lead.name | upper }}",
        "{{ lead.name.upper() }}",
        "{{ 7 * 7 }}",
        "{{ lead.name if lead else '' }}",
        r"{{ '\ud800' }}",
        r"{{ '\x00' }}",
        "{{ unfinished",
        "{% endif %}",
        "{{ " + "lead[" * 190 + "1" + "]" * 190 + " }}",
        "{{ lead" + ".a" * 490 + " }}",
        "x" * 999,
    ],
)
def test_a_line_takes_nothing_but_lookups(source: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        check_line(source)
    with pytest.raises(RejectedError):
        Templates().line(source, lead=LEAD)


@pytest.mark.parametrize("source", ["{{ lead.__class__.__mro__ }}", "{{ lead['__class__'] }}", "{{ self._x }}"])
def test_a_line_reaches_no_insides_of_python(source: str) -> None:
    assert Templates().line(source, lead=LEAD) == ""


@pytest.mark.parametrize(("language", "word"), [(Language.RU, "Новая заявка"), (Language.EN, "New lead")])
def test_the_shipped_email_speaks_both_languages_and_holds_all_of_the_lead(language: Language, word: str) -> None:
    email = Templates(language=language).email("new_lead", lead=LEAD)
    assert email.subject == f"{word} 123: Анна Пример"
    for part in (email.text, email.html):
        for value in (word, "Анна Пример", "+7 999 000-00-01", "anna@example.ru", "Ромашка", "Перезвоните", "15000"):
            assert value in part
        assert "utm_source" in part
        assert "utm_medium" in part
        assert "nothing" not in part


def test_the_language_of_a_call_wins() -> None:
    assert (
        Templates(language=Language.RU).email("new_lead", lead=LEAD, language=Language.EN).text.startswith("New lead")
    )


def test_the_html_of_an_email_is_escaped_and_its_text_is_not() -> None:
    email = Templates().email("new_lead", lead=HOSTILE, subject="{lead_name}")
    assert "<script>" not in email.html
    assert "&lt;script&gt;" in email.html
    assert "{{ 7*7 }}" in email.html
    assert "<script>" in email.text
    assert email.subject == HOSTILE.name


def test_a_link_in_an_email_cannot_be_more_than_an_address() -> None:
    html = Templates().email("new_lead", lead=Lead(id="1", email='a@b.ru?bcc=eve@example.com"><x')).html
    assert 'href="mailto:a@b.ru%3Fbcc%3Deve@example.com%22%3E%3Cx"' in html


def test_an_unknown_template_is_refused_with_the_ones_there_are() -> None:
    with pytest.raises(RejectedError, match=r"'newlead'.*new_lead"):
        Templates().email("newlead", lead=LEAD)
    with pytest.raises(RejectedError, match="new_lead"):
        message_about(LEAD, template="newlead", templates=Templates())


@pytest.mark.parametrize("name", ["../new_lead", "/etc/passwd", "ru/new_lead", "notify_failed", "layout", "", "a" * 99])
def test_a_name_leads_nowhere_else(name: str, tmp_path: Path) -> None:
    (tmp_path / "own").mkdir()
    (tmp_path / "new_lead.email.txt").write_text("outside")
    with pytest.raises(RejectedError):
        Templates(folder=str(tmp_path / "own")).email(name, lead=LEAD)


def test_the_users_own_template_wins_and_its_language_first(tmp_path: Path) -> None:
    templates = Templates(folder=str(tmp_path))
    assert "Новая заявка" in templates.email("new_lead", lead=LEAD).text
    (tmp_path / "new_lead.email.txt").write_text("for both: {lead_name}")
    assert templates.email("new_lead", lead=LEAD).text == "for both: Анна Пример"
    (tmp_path / "ru").mkdir()
    (tmp_path / "ru" / "new_lead.email.txt").write_text("по-русски: {{ lead.name | upper }}")
    assert templates.email("new_lead", lead=LEAD).text == "по-русски: АННА ПРИМЕР"
    assert templates.email("new_lead", lead=LEAD, language=Language.EN).text == "for both: Анна Пример"


def test_a_template_of_ones_own_needs_one_file_only(tmp_path: Path) -> None:
    (tmp_path / "vip.email.html").write_text("<p>{lead_name}</p>")
    email = Templates(folder=str(tmp_path)).email("vip", lead=HOSTILE)
    assert email.html == "<p>&lt;b&gt;Eve&lt;/b&gt; &amp; {lead_phone} {{ 7*7 }} {% if %}</p>"
    assert "Новая заявка 7" in email.text
    assert email.subject.startswith("Новая заявка 7")


def test_a_broken_template_is_named_and_says_nothing_of_the_lead(tmp_path: Path) -> None:
    (tmp_path / "a.email.txt").write_text("{% if %}")
    (tmp_path / "b.email.txt").write_text("{{ lead.name | int + [] }}")
    (tmp_path / "c.email.txt").write_bytes(b"\xff\xfe")
    for name in "abc":
        with pytest.raises(RejectedError, match=rf"^Template {name}\.email\.txt cannot be rendered") as caught:
            Templates(folder=str(tmp_path)).email(name, lead=LEAD)
        assert "Анна" not in str(caught.value)


def test_a_template_cannot_leave_the_sandbox(tmp_path: Path) -> None:
    (tmp_path / "x.email.txt").write_text("[{{ lead.__class__.__mro__ }}{{ ''.__class__.__subclasses__() }}]")
    with pytest.raises(RejectedError, match=r"x\.email\.txt"):
        Templates(folder=str(tmp_path)).email("x", lead=LEAD)


def test_a_telegram_message_is_escaped() -> None:
    message = message_about(HOSTILE, template="new_lead", templates=Templates())
    assert set(_Tags(message).seen) == {"b", "blockquote"}
    assert "<b>Eve</b> & {lead_phone} {{ 7*7 }} {% if %}" in visible(message)


def test_a_long_comment_is_cut_so_that_the_message_just_fits() -> None:
    lead = Lead(id="1", name="Анна", phone="+79990000001", comment="<&>" * 20_000)
    message = message_about(lead, template="new_lead", templates=Templates())
    assert len(visible(message)) == MAX_CHARS
    assert visible(message).endswith("…")
    assert "+79990000001" in message
    assert _Tags(message).seen == Counter(b=2, blockquote=1)


def test_a_short_lead_is_not_cut() -> None:
    assert "…" not in message_about(LEAD, template="new_lead", templates=Templates())


@settings(max_examples=examples(0.1))
@given(
    name=TEXT,
    company=TEXT,
    comment=TEXT,
    custom=st.dictionaries(st.text(min_size=1, max_size=100), TEXT, max_size=60),
)
def test_whatever_a_lead_holds_telegram_can_take_the_message(
    name: str, company: str, comment: str, custom: dict[str, str]
) -> None:
    lead = Lead(id="1", name=name, company=company, comment=comment, custom=custom)
    message = message_about(lead, template="new_lead", templates=Templates())
    assert 0 < len(visible(message)) <= MAX_CHARS
    assert len(message.encode()) <= 32_768
    assert set(_Tags(message).seen) <= TELEGRAM_TAGS


def test_a_telegram_template_that_is_too_long_by_itself_is_refused(tmp_path: Path) -> None:
    (tmp_path / "long.telegram.html").write_text("x" * 4097)
    with pytest.raises(RejectedError, match="4096"):
        message_about(LEAD, template="long", templates=Templates(folder=str(tmp_path)))


@pytest.mark.parametrize("occasion", [occasion for occasion in Occasion if occasion is not Occasion.ACCOUNT])
@pytest.mark.parametrize("language", Language)
def test_a_notification_says_what_happened_to_every_delivery(occasion: Occasion, language: Language) -> None:
    values = {
        "batch": {
            "id": "b-1",
            "lead_id": "123",
            "status": occasion.value,
            "total": 2,
            "delivered": 1,
            "failed": 1,
            "accepted_at": datetime(2026, 1, 1, 10, 0, tzinfo=UTC),
            "finished_at": datetime(2026, 1, 1, 10, 0, 2, tzinfo=UTC),
            "duration_s": 2.04,
        },
        "deliveries": [
            {"type": "amocrm", "state": "delivered", "attempts": 1, "error": "", "receipt": "5512"},
            {"type": "email", "state": "failed", "attempts": 3, "error": "550 <no such user>", "receipt": ""},
        ],
        "link": "http://127.0.0.1:8080/leadcast/batches/b-1",
        "reason": "the store is gone" if occasion is Occasion.CRITICAL else "",
    }
    email = Templates(language=language).notification(occasion, values=values)
    assert "123" in email.subject
    for part in (email.subject, email.text, email.html):
        assert ("заявка" if language is Language.RU else "lead") in part.lower()
    for part in (email.text, email.html):
        for value in ("b-1", "amocrm", "5512", "2026-01-01 10:00:02 UTC", "2.0", "http://127.0.0.1:8080/leadcast"):
            assert value in part
        assert ("the store is gone" in part) == (occasion is Occasion.CRITICAL)
    assert "550 <no such user>" in email.text
    assert "550 &lt;no such user&gt;" in email.html


@pytest.mark.parametrize("language", Language)
def test_an_account_that_takes_no_leads_is_named_with_the_reason(language: Language) -> None:
    reason = "amocrm, example.amocrm.ru: failures in a row: 5. <401>"
    values = {"batch": {"id": "", "lead_id": ""}, "deliveries": [], "link": "https://here/ui", "reason": reason}
    email = Templates(language=language).notification(Occasion.ACCOUNT, values=values)
    assert ("заявки" if language is Language.RU else "leads") in email.subject
    own = reason.replace("failures in a row", "ошибок подряд") if language is Language.RU else reason
    assert own in email.text
    assert "https://here/ui" in email.text
    assert "&lt;401&gt;" in email.html


def test_the_notifications_of_all_occasions_differ() -> None:
    subjects = {Templates().notification(occasion, values={"batch": {"lead_id": "1"}}).subject for occasion in Occasion}
    assert len(subjects) == len(Occasion)


@pytest.mark.parametrize("language", Language)
def test_a_line_of_a_stranger_does_not_pass_for_one_of_ours(language: Language) -> None:
    source = {Language.RU: "Источник", Language.EN: "Source"}[language]
    forged = f"a\n{source}: VIP\u2028{source}: VIP\n--\nb"
    lead = Lead(id="7", name=forged, company=forged, comment=forged, source=forged, utm={forged: forged})
    lead = replace(lead, custom={forged: forged})
    templates = Templates(language=language)

    letter = templates.email("new_lead", lead=lead).text

    lines = [
        *letter.splitlines(),
        *message_about(replace(lead, comment=""), template="new_lead", templates=templates).splitlines(),
    ]
    assert not [line for line in lines if line.startswith(f"{source}: VIP")]
    assert [line for line in letter.splitlines() if line == "--"] == ["--"]
    assert f"> {source}: VIP" in letter
