"""Secrets and lead data are found in what services say, in whatever form they repeat them."""

from __future__ import annotations

import html
import json
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable
from time import perf_counter
from urllib.parse import quote, quote_plus

import pytest

from leadcast.core.redact import scrub
from leadcast.core.secret_forms import Number, Word

SECRET = "tok-SECRET-1"


def coded(text: str) -> str:
    return b64encode(text.encode()).decode()


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("bad tok-SECRET-1!", "bad ***!"),
        ("token=tok%2DSECRET%2D1&x=1", "token=***&x=1"),
        ("token=tok%2dSECRET%2d1", "token=***"),
        ("token=%74%6f%6b%2d%53%45%43%52%45%54%2d%31", "token=***"),
        ("twice: tok%252DSECRET%252D1", "twice: ***"),
        (r'{"token":"tok\u002dSECRET\u002d1"}', '{"token":"***"}'),
        (r'"{\"token\":\"tok\\u002dSECRET\\u002d1\"}"', r'"{\"token\":\"***\"}"'),
        (r"b'tok\x2dSECRET\x2d1'", "b'***'"),
        ("tok&#45;SECRET&#x2D;1", "***"),
        (f"Basic {coded('user:tok-SECRET-1')}", "Basic ***"),
        (f"AUTH {coded(chr(0) + 'u' + chr(0) + SECRET)} {coded(SECRET)}", "AUTH *** ***"),
        (f"AUTH={quote(coded('ab' + SECRET), safe='')}.", "AUTH=***."),
        (f"jwt {urlsafe_b64encode(('??>' + SECRET + '??>>').encode()).decode()}", "jwt ***"),
        ("tok-secret-1 tok-SECRET-2", "tok-secret-1 tok-SECRET-2"),
    ],
)
def test_a_secret_is_hidden_in_every_common_form(said: str, shown: str) -> None:
    assert scrub(said, secrets=[SECRET]) == shown


@pytest.mark.parametrize("secret", ['p"w/1\\2', "пароль 1", "a b&c<d>", "%41%42", "😀pass", "=?*[]()"])
@pytest.mark.parametrize(
    "form",
    [
        str,
        quote,
        quote_plus,
        lambda text: quote(text, safe=""),
        lambda text: json.dumps(text)[1:-1],
        lambda text: json.dumps(text, ensure_ascii=False)[1:-1],
        lambda text: json.dumps(text)[1:-1].replace("/", r"\/"),
        html.escape,
        coded,
        lambda text: coded("12" + text),
        lambda text: quote(json.dumps(text)),
        lambda text: json.dumps(json.dumps(text)),
    ],
)
def test_no_form_of_it_is_left_whatever_signs_it_has(secret: str, form: Callable[[str], str]) -> None:
    shown = scrub(f"before {form(secret)} after", secrets=[secret])

    quotes_of_the_form = '"\\%2'
    assert shown.removeprefix("before ").removesuffix(" after").strip(quotes_of_the_form) == "***"


def test_what_holds_no_secret_is_left_as_it_is() -> None:
    said = r"100% of %41 \u0041 &amp; dGVzdCB0ZXN0 %ff%fe \ud83d &#9999999; C:\new"

    assert scrub(said, secrets=[SECRET, "", "abc", Word("Анна"), Number("79990000001")]) == said


def test_values_too_short_to_be_told_from_words_are_left() -> None:
    assert scrub("abc 123456", secrets=["abc", Number("123456")]) == "abc 123456"


@pytest.mark.parametrize(
    "said",
    [
        "+7 (999) 000-00-01",
        "8 (999) 000-00-01",
        "8-999-000-00-01",
        "7.999.000.00.01",
        "9990000001",
        "+7\u00a0999\u00a0000\u201100\u201101",
        "999_000_00_01",
        "%2B7%20%28999%29%20000-00-01",
    ],
)
def test_a_number_is_hidden_however_it_is_grouped(said: str) -> None:
    shown = scrub(f"phone {said}!", secrets=[Number("79990000001")])

    assert "999" not in shown.replace("***", "")
    assert "000" not in shown
    assert shown.endswith("***!")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Петрова Анна", "*** ***"),
        ("ПЕТРОВА, анна.", "***, ***."),
        ("Аннам Петровская", "Аннам Петровская"),
        ("%D0%90%D0%BD%D0%BD%D0%B0", "***"),
        (r"\u0410\u043d\u043d\u0430", "***"),
        ("姓名王小明无效", "姓名***无效"),
    ],
)
def test_words_of_a_name_are_hidden_in_any_order_and_case(said: str, shown: str) -> None:
    assert scrub(said, secrets=[Word("Анна"), Word("Петрова"), Word("王小明")]) == shown


@pytest.mark.parametrize(
    "said",
    [
        "%41" * 300_000,
        "\\u0041" * 200_000,
        "&amp;" * 200_000,
        "\\" * 1_000_000,
        "a" * 1_000_000,
        "9 " * 500_000,
        "%25" * 300_000,
        "A" * 3 + "=" * 1_000_000,
    ],
)
def test_it_takes_no_longer_for_what_is_meant_to_take_long(said: str) -> None:
    secrets = [SECRET, "a" * 100, *(f"value {number}" for number in range(200)), Number("9" * 12), Word("aaaa")]
    begun = perf_counter()

    assert len(scrub(said, secrets=secrets)) <= 20_000
    assert perf_counter() - begun < 2
