"""What is shown of an error to those who may not see its lead: our words, not addresses, nor a service's words."""

from __future__ import annotations

import pytest

from leadcast.control.shown import words
from leadcast.integrations import registry
from tests.unit.test_wording import SAMPLE, SENTENCES


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        (
            "Cannot reach http://127.0.0.1:1: connection refused; nothing was sent.",
            "Cannot reach …: connection refused; nothing was sent.",
        ),
        (
            "https://h.example:8443 did not answer in time; it may have taken the request.",
            "… did not answer in time; it may have taken the request.",
        ),
        (
            "No time was left to reach https://h.example; nothing was sent.",
            "No time was left to reach …; nothing was sent.",
        ),
        (
            "h.example is left alone after 3 failures in a row, the last: Cannot reach http://h.example: no route to "
            "host; nothing was sent.",
            "… is left alone after 3 failures in a row, the last: Cannot reach …: no route to host; nothing was sent.",
        ),
        (
            "Cannot talk to mail server m.example:25: connection closed unexpectedly: host is down; nothing was sent.",
            "Cannot talk to mail server …: connection closed unexpectedly: host is down; nothing was sent.",
        ),
        ("The limit of webhook h.example #abc is reached; it waits for its turn.", None),
        ("The receiver answered 503.", "The receiver answered 503."),
        (
            "Its settings do not fit together: settings.x: Field required",
            "Its settings do not fit together: …: Field required",
        ),
    ],
)
def test_an_address_is_hidden_and_our_words_are_not(message: str, shown: str | None) -> None:
    assert words("webhook", message) == (shown or "The limit of … is reached; it waits for its turn.")


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Telegram refuses the message: Bad Request.", "Telegram refuses the message: …"),
        ("Telegram refuses the message: it has expired.", "Telegram refuses the message: …"),
        ("Bitrix24 refused the lead (ERROR_X): Ann: Needle.", "Bitrix24 refused the lead (ERROR_X): …"),
        ("Bitrix24 refused the lead (79990000007): no.", "Bitrix24 refused the lead (…): …"),
    ],
)
def test_a_services_words_are_hidden(message: str, shown: str) -> None:
    assert words("bitrix24", message) == shown


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("Telegram refuses the message: Bad Request, and much mo…", "Telegram refuses the message: …"),
        ("Cannot reach https://h.example: as it was said once", "Cannot reach …: …"),
        ("https://h.example: as it was said once", "…"),
        ("h.example", "…"),
        ("", ""),
        (None, None),
    ],
)
def test_of_what_was_cut_or_said_by_an_older_version_the_beginning_is_shown(
    message: str | None, shown: str | None
) -> None:
    assert words("webhook", message) == shown


@pytest.mark.parametrize(("where", "sentence"), SENTENCES)
def test_no_value_of_any_sentence_is_shown(where: str, sentence: str) -> None:
    told = sentence.replace(SAMPLE, "http://needle.example:81")
    shown = words("webhook", told)
    assert shown is not None
    assert "needle" not in shown, where


def test_of_a_foreign_integrations_error_nothing_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "get_if_sound", lambda kind: None)
    assert words("fax", "Cannot reach h.example: connection refused; nothing was sent.") == "…"
