"""Any lead comes in, however hostile, and arrives escaped and intact, or cut as documented; nothing between.

Intact: the values are there as the door has mended them (tests/unit/test_tidy.py), apart from what no transport keeps:
which line breaks stood where, and what is hidden in the name of a field.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from email.utils import getaddresses
from html.parser import HTMLParser
from typing import Any
from urllib.parse import parse_qsl

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from leadcast.core.blanks import without_unseen
from leadcast.core.model import Lead
from leadcast.core.plain import plain_text
from leadcast.flow.request import validate
from leadcast.integrations import registry
from leadcast.integrations.base import Account, Call
from leadcast.integrations.bitrix24.fields import addresses_of
from leadcast.integrations.text.addresses import mail_address
from leadcast.integrations.text.remarks import said
from leadcast.integrations.text.template_values import text_of
from leadcast.integrations.text.ways import addresses_in, each_phone
from leadcast.sandbox import Sandbox
from leadcast.sandbox.telegram.html import parse_html
from tests.support.error_table.cases import SERVICES, Case, credentials_of, mail_server
from tests.support.examples import examples

MakeCall = Callable[..., Call]
MAX_NAME_CHARS = 255
"""Of a name or title in amoCRM and Bitrix24."""
MAX_NOTE_CHARS = 10_000
MAX_MESSAGE_CHARS = 4096
FRAGMENTS = (
    "Анна Пример",
    "anna@example.com",
    "+7 (999) 000-00-01",
    "\r\nBcc: eve@example.com\r\n\r\n",
    "\n.\r\nMAIL FROM:<eve@example.com>\r\n",
    "<script>alert(1)</script>",
    "</b></blockquote></td><img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>",
    "&lt;&amp;amp;&#60;&nbsp;&",
    "]]><!-- -->",
    "[url=//evil.example]",
    "{{ 7 * 7 }}{% for a in b %}{# #}",
    "{lead_phone}{lead_comment}",
    "\u202eright to left\u202c",
    "\u0301\u0301\u0489 alone",
    "👩\u200d👩\u200d👧🏳️\u200d🌈",
    "=?utf-8?q?=0D=0ABcc:_eve=40example.com?=",
    '"quoted", <angle@example.com>; (comment)',
    "\u2028\u2029\x85\x0b\x0c\x1b[31m\x7f\ufeff\ufffe",
    "a" * 900,
    "'; DROP TABLE leads; --",
    "%0d%0a%00$(id)`id`",
    "\\N\\r\\n\\u0000\\",
    " ",
    "…",
)
IMPOSSIBLE: tuple[Any, ...] = (
    "nul \x00", "half \ud800", "n" * 10_240, None, False, 5, ["a", "list"], {"an": "object"}, [["deep"], {"er": None}],
    float("inf"), "\u200b", " anna@example.com ", "anna@почта.рф", "anna@example.c",
)  # fmt: skip
CHARACTERS = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
PIECES = st.lists(st.one_of(st.sampled_from(FRAGMENTS), st.text(CHARACTERS, max_size=30)), max_size=6).map("".join)
LINE = PIECES.map(lambda text: text[:1024])
LONG = st.tuples(PIECES, st.sampled_from([1, 1, 1, 5, 100, 5000])).map(lambda pair: (pair[0] * pair[1])[:65_536])
NAME = PIECES.map(lambda text: text[:128] or "a field")
ODD = st.sampled_from(IMPOSSIBLE)
ODD_LINE = st.one_of(*[LINE] * 9, ODD)
CUSTOM = st.one_of(LONG, st.none(), st.booleans(), st.integers(-(10**30), 10**30), st.floats(-1e300, 1e300), ODD)
LEADS = st.fixed_dictionaries(
    {},
    optional={
        "name": ODD_LINE,
        "phone": ODD_LINE,
        "email": ODD_LINE,
        "company": ODD_LINE,
        "comment": st.one_of(*[LONG] * 9, ODD),
        "source": ODD_LINE,
        "utm": st.one_of(
            *[st.dictionaries(st.one_of(st.sampled_from(["utm_source", "medium"]), NAME), ODD_LINE, max_size=4)] * 9,
            ODD,
        ),
        "custom": st.one_of(*[st.dictionaries(NAME, CUSTOM, max_size=4)] * 9, ODD),
        "nickname": ODD_LINE,
    },
)
EVERYTHING = "".join(FRAGMENTS)
WORST = {
    **dict.fromkeys(("name", "phone", "email", "company", "source"), EVERYTHING[:1024]),
    "comment": (EVERYTHING * 50)[:65_536],
    "utm": {EVERYTHING[:128]: EVERYTHING[:1024]},
    "custom": {f"{number}{EVERYTHING}"[:128]: EVERYTHING for number in range(200)},
}


def door(integration: str, data: Mapping[str, Any]) -> Lead:
    """The lead as a request brings it."""
    request = validate({"lead_id": "7781", "integrations": [{"type": integration}], "lead": dict(data)})
    assert request.lead is not None
    return request.lead.to_lead(request.lead_id)


def account_of(kind: str, sandbox: Sandbox) -> Account[Any]:
    """An account that the sandbox takes."""
    integration, usual = registry.get(kind), Case(says="as it should")
    [service] = [service for service in SERVICES if service.type == kind]
    credentials = credentials_of(service, usual, sandbox)
    if integration.needs_connection:
        return integration.from_connection(mail_server(usual, sandbox), credentials)
    base_url = getattr(sandbox, f"{kind}_url") if kind != "webhook" else ""
    return integration.from_inline(integration.credentials_model.model_validate(credentials), base_url=base_url)


def read(text: str) -> str:
    """A text as one reads it: runs of control characters, line breaks and spaces are one space, and « is “."""
    text = text.translate(str.maketrans("«»", "“”"))
    return re.sub(r"[\s\x00-\x1f\x7f-\x9f]+", " ", text).strip()


def values_of(lead: Lead) -> Iterator[str]:
    """Everything that the lead says, names of its own fields included."""
    yield from (lead.name, lead.phone, lead.email, lead.company, lead.source)
    for name, value in (*lead.utm.items(), *lead.custom.items()):
        if text_of(value):
            yield without_unseen(plain_text(name))
            yield text_of(value)
    yield lead.comment


def unmarked(text: str) -> str:
    """Without the marks of a stranger's lines."""
    return re.sub(r"(?m)^> ?", "", text)


def assert_says(text: str, values: Iterable[str]) -> None:
    """Every value stands in the text; of several lines each is marked as a stranger's."""
    # a value may begin with such a mark itself
    wholes = read(text), read(unmarked(text))
    missing = [value[:80] for value in values if not any(read(value) in whole for whole in wholes)]
    assert not missing


def assert_cut(text: str, value: str, *, mark: str = "…") -> None:
    """The value stands in the text, or its beginning with a mark where it was cut."""
    if value in text:
        return
    assert any(value[:size] + mark in text for size in range(min(len(value), MAX_MESSAGE_CHARS), -1, -1)), value[:80]


class Page(HTMLParser):
    """A letter's HTML part: what it says, which tags and attributes it has."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.attributes, self.links = "", set[str](), set[str](), list[str]()
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.links += [value or "" for name, value in attrs if name in ("href", "src")]
        self.text += "\n" if tag == "br" else ""

    def handle_data(self, data: str) -> None:
        self.text += data


def webhook(sandbox: Sandbox, lead: Lead) -> None:
    [received] = sandbox.received("webhook")
    data = json.loads(received["body"])["data"]
    assert data.pop("delivery_key")
    assert Lead(**data) == lead


def form(sandbox: Sandbox, lead: Lead) -> None:
    [received] = sandbox.received("webhook")
    fields = parse_qsl(received["body"], keep_blank_values=True, strict_parsing=True)
    for name in ("id", "name", "phone", "email", "company", "comment", "source"):
        assert (name, getattr(lead, name)) in fields
    for name, value in lead.utm.items():
        assert (f"utm[{name}]", value) in fields
    for name, value in lead.custom.items():
        assert (f"custom[{name}]", str(int(value)) if isinstance(value, bool) else text_of(value)) in fields


def bitrix24(sandbox: Sandbox, lead: Lead) -> None:
    [item] = sandbox.stored("bitrix24")["leads"]
    assert item["title"] == (lead.name or f"Lead {lead.id}")[:MAX_NAME_CHARS]
    assert (item["name"] or "") == lead.name[:MAX_NAME_CHARS]
    assert (item["companyTitle"] or "") == lead.company[:MAX_NAME_CHARS]
    ways = [(way["typeId"], way["value"]) for way in item["fm"] or []]
    phones = [("PHONE", phone) for phone in each_phone(lead.phone, region="RU") if phone]
    assert ways == [*phones, *(("EMAIL", address) for address in addresses_of(lead))]
    comments = item["comments"] or ""
    assert not re.search(r"[\[<][A-Za-z/*!?]", comments)
    comments = comments.replace("\u2060", "")
    if lead.email and not addresses_of(lead):  # the portal refuses an item whose address is none
        assert_says(comments, [lead.email])
    assert_note(comments, lead)


def amocrm(sandbox: Sandbox, lead: Lead) -> None:
    [item] = sandbox.stored("amocrm")["leads"]
    assert item["name"] == (lead.name or f"Lead {lead.id}")[:MAX_NAME_CHARS]
    for contact in item["contacts"]:
        assert contact["first_name"] == (lead.name or lead.phone or lead.email)[:MAX_NAME_CHARS]
        values = {entry["field_code"]: entry["values"] for entry in contact["custom_fields_values"] or []}
        kept = {code: [value["value"] for value in listed] for code, listed in values.items()}
        phones, emails = each_phone(lead.phone, region="RU"), addresses_in(lead.email) or [lead.email]
        assert kept == {code: own for code, own in (("PHONE", phones), ("EMAIL", emails)) if any(own)}
    assert bool(item["contacts"]) == bool(lead.name or lead.phone or lead.email)
    assert [company["name"] for company in item["companies"]] == (
        [lead.company[:MAX_NAME_CHARS]] if lead.company else []
    )
    assert_note("\n".join(note["params"]["text"] for note in item["notes"]), lead)


def assert_note(note: str, lead: Lead) -> None:
    """A CRM's note: the whole rest of the lead; or 10 000 characters, half of them at least for a long comment."""
    values = [lead.comment, lead.source, *(text_of(value) for value in lead.custom.values())]
    if len(note) < MAX_NOTE_CHARS:
        assert_says(note, values)
    else:
        assert len(note) == MAX_NOTE_CHARS
        assert "…" in note
        assert read(unmarked(said(lead.comment)[: MAX_NOTE_CHARS // 2 - 2])) in read(unmarked(note))


def telegram(sandbox: Sandbox, lead: Lead) -> None:
    [received] = sandbox.received("telegram")
    text, entities = parse_html(received["body"]["text"])
    text = unmarked(text)
    assert {entity["type"] for entity in entities} <= {"bold", "blockquote"}
    assert len(text) <= MAX_MESSAGE_CHARS
    values = [value for value in values_of(lead) if value]
    if all(read(value) in read(text) for value in values):
        return
    assert len(read(text)) + sum(map(len, values)) > MAX_MESSAGE_CHARS, "cut without need"
    for value in (lead.name, lead.phone, lead.email, lead.company, lead.source, lead.comment):
        assert_cut(text, value)


def email(sandbox: Sandbox, lead: Lead) -> None:
    [letter] = sandbox.received("smtp")
    assert letter["rcpt_tos"] == ["sales@example.com", "boss@example.com"]
    names = [name.lower() for name, _ in letter["mail_headers"]]
    assert len(names) == len(set(names))
    assert set(names) <= LETTER_HEADERS
    subject = read(f"New lead {lead.id}" + (f": {lead.name}" if lead.name else ""))
    said = read(letter["subject"])
    assert said == subject or (said.endswith("…") and len(lead.name) > 900)
    assert subject.startswith(said.removesuffix("…").rstrip())
    answer_to = [address for _, address in getaddresses([letter["reply_to"]] if letter["reply_to"] else [])]
    assert answer_to == [] or answer_to == [mail_address(lead.email)]
    assert_says(letter["text"], values_of(lead))
    page = Page(letter["html"])
    assert page.tags <= LETTER_TAGS
    assert page.attributes <= LETTER_ATTRIBUTES
    assert all(link.startswith(("tel:", "mailto:")) for link in page.links)
    assert_says(page.text, values_of(lead))


LETTER_HEADERS = {
    "from", "to", "reply-to", "subject", "date", "message-id", "mime-version", "content-type",
    "auto-submitted", "x-auto-response-suppress", "content-transfer-encoding",
}  # fmt: skip
LETTER_TAGS = {"html", "head", "meta", "title", "style", "body", "table", "tr", "td", "p", "a", "br"}
LETTER_ATTRIBUTES = {
    "lang", "charset", "name", "content", "class", "style", "role", "width", "cellpadding", "cellspacing", "border",
    "align", "valign", "href",
}  # fmt: skip
ARRIVED: dict[str, tuple[str, dict[str, Any], Callable[[Sandbox, Lead], None]]] = {
    "amocrm": ("amocrm", {}, amocrm),
    "bitrix24": ("bitrix24", {}, bitrix24),
    "telegram": ("telegram", {}, telegram),
    "email": ("email", {}, email),
    "webhook": ("webhook", {}, webhook),
    "webhook, a form": ("webhook", {"body": "form"}, form),
}


@pytest.mark.parametrize("name", ARRIVED)
@settings(max_examples=examples(0.25), derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=LEADS)
@example(data={})
@example(data=WORST)
@example(data={"name": "…", "comment": "x" * 65_536})
@example(data={"name": EVERYTHING[:1024], "comment": EVERYTHING})
@example(data=dict.fromkeys(("name", "phone", "email", "company", "comment", "source", "utm", "custom")))
@example(data={"name": "\u202e", "email": "anna@почта.рф", "custom": {str(number): 1 for number in range(201)}})
def test_any_lead_comes_in_and_arrives_intact(
    name: str, sandbox: Sandbox, make_call: MakeCall, data: dict[str, Any]
) -> None:
    kind, own_settings, check = ARRIVED[name]
    lead = door(kind, data)
    sandbox.reset()
    integration = registry.get(kind)
    integration.deliver(
        lead,
        settings=integration.settings_model.model_validate(own_settings),
        account=account_of(kind, sandbox),
        call=make_call(),
    )
    check(sandbox, lead)
