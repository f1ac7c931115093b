"""Telegram: any lead makes a message that the server's own rules take, cut where it must be and escaped throughout."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leadcast.core.errors import RejectedError
from leadcast.core.model import Lead
from leadcast.core.setting_choices import Language
from leadcast.integrations.telegram.text import MAX_BYTES, MAX_CHARS, message_about, visible
from leadcast.integrations.text.templating import Templates
from leadcast.sandbox.telegram.text import message_text
from tests.support.examples import examples

HARD = (
    "&",
    '"',
    "<b>",
    "</blockquote>",
    "&amp;",
    "&nbsp;",
    "😀",
    "👩‍👩‍👧‍👦",
    "é",
    "\u0301",
    "\u202e",
    "שלום",
    "{lead_name}",
    "{{ 7 }}",
    "\u00a0",
)
WORDS = st.one_of(
    st.text(max_size=300),
    st.builds(lambda piece, times: piece * times, st.sampled_from(HARD), st.integers(1, 4200)),
    st.builds(
        lambda pieces, times: "".join(pieces) * times, st.lists(st.sampled_from(HARD), max_size=6), st.integers(1, 900)
    ),
)
LEADS = st.builds(
    Lead,
    id=st.text(min_size=1, max_size=64),
    name=WORDS,
    phone=st.text(max_size=30),
    email=st.text(max_size=60),
    company=WORDS,
    comment=WORDS,
    utm=st.dictionaries(st.text(min_size=1, max_size=30), WORDS, max_size=3),
    custom=st.dictionaries(st.text(min_size=1, max_size=30), WORDS, max_size=5),
)
WORDY = """{% for name, value in lead.custom.items() %}
<a href="https://crm.example.com/leads/{{ "a-long-address-that-nobody-sees/" * 12 }}">{{ name }}</a>: {{ value }}
{% endfor %}{{ lead.comment }}"""


def shown(message: str) -> str:
    """What people read, by the sandbox's copy of Telegram's rules, which share no code with ours."""
    return message_text({"text": message, "parse_mode": "HTML"})[0]


@settings(max_examples=examples(0.5))
@given(lead=LEADS)
def test_any_lead_makes_a_message_that_is_taken(lead: Lead) -> None:
    message = message_about(lead, template="new_lead", templates=Templates(language=Language.EN))
    assert len(shown(message)) <= MAX_CHARS
    assert len(message.encode()) <= MAX_BYTES


@settings(max_examples=examples(0.2), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lead=LEADS, many=st.integers(0, 128))
def test_a_wordy_template_is_bound_in_bytes_too(lead: Lead, many: int, tmp_path: Path) -> None:
    (tmp_path / "wordy.telegram.html").write_text(WORDY)
    custom = {**lead.custom, **{f"field {number}": "x" for number in range(many)}}
    lead = Lead(id="1", comment=lead.comment or "x", custom=custom)
    message = message_about(lead, template="wordy", templates=Templates(folder=str(tmp_path)))
    assert len(message.encode()) <= MAX_BYTES
    assert len(visible(message)) <= MAX_CHARS


@pytest.mark.parametrize("piece", ["&", '"', "😀", "e\u0301", "👩‍👩‍👧‍👦", "ש", "\u202eabc"])
def test_a_long_comment_is_cut_and_keeps_its_beginning(piece: str) -> None:
    comment = piece * 4096
    text = shown(
        message_about(
            Lead(id="1", name="Anna", comment=comment), template="new_lead", templates=Templates(language=Language.EN)
        )
    )
    assert len(text) == MAX_CHARS
    assert "Name: Anna" in text
    assert text.endswith("…")
    assert comment[:4000] in text


def test_a_lead_that_fits_is_not_touched() -> None:
    lead = Lead(id="1", name='<b>&amp; "Eve" &nbsp;</b>', comment="&" * 4000)
    text = shown(message_about(lead, template="new_lead", templates=Templates(language=Language.EN)))
    assert lead.name in text
    assert text.endswith("&" * 4000)


def test_spaces_at_the_end_count_since_telegram_trims_others_than_we_do() -> None:
    lead = Lead(id="1", comment="a" + "\u00a0" * 5000)
    message = message_about(lead, template="new_lead", templates=Templates(language=Language.EN))
    assert len(message.replace("<b>", "").replace("</b>", "").replace("<blockquote>", "")) <= MAX_CHARS + 20


def test_a_template_that_is_too_long_by_itself_is_the_templates_fault(tmp_path: Path) -> None:
    (tmp_path / "huge.telegram.html").write_text("<b></b>" * 5000 + "x")
    with pytest.raises(RejectedError, match="huge"):
        message_about(Lead(id="1"), template="huge", templates=Templates(folder=str(tmp_path)))
