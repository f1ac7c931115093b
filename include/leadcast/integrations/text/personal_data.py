"""What of a lead no text may repeat that is kept, logged or told: a service's words quote what it was sent."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from typing import Any

from leadcast.core.model import Lead
from leadcast.core.secret_forms import WORD, Number, Phrase, Word
from leadcast.core.values import text_of
from leadcast.integrations.text.common_words import is_common
from leadcast.integrations.text.ways import address_forms, digits_of, number_forms, phones_in

_FEWEST_LETTERS = 3
"""Of a name's word: Анн, Лев, Kim. Two are too often another word."""
_FEWEST_LETTERS_OF_A_COMPANY = 4
"""Three are mostly its legal form: ООО, LLC."""
_FEWEST_DIGITS = 6
"""In what was typed: a town's short number has six. Fewer are a status, a year, an amount."""
_MOST_WORDS = 32
_MOST_NUMBERS = 32
_NUMBER = re.compile(r"\d(?:[ \u00a0().\-\u2011-\u2014/]{0,3}\d){6,19}")


def personal_data(lead: Lead, *, region: str) -> list[str]:
    """For `scrub`: the lead's values as they were typed, its ways as they are sent, its numbers however they are
    grouped, and each word of its name and company. Not what is common: it says nothing of anybody, and a service's
    words would say nothing any more.

    Args:
        region: where a phone number without its country is from.
    """
    own = [lead.name, lead.phone, lead.email, lead.company, lead.comment, *_texts(lead.custom.values())]
    phones = phones_in(lead.phone, region=region)
    words = [*_words(lead.name, _FEWEST_LETTERS), *_words(lead.company, _FEWEST_LETTERS_OF_A_COMPANY)]
    return [
        *telling(own),
        *(form for number in phones for form in number_forms(number)),
        *address_forms(lead.email),
        *map(Number, phones),
        *_numbers(own),
        *words,
    ]


def telling(texts: Iterable[str]) -> Iterator[Phrase]:
    """Those of these texts that tell of somebody. A comment "blocked", a name "Bad Request", a phone "400" and a field
    "true" do not."""
    for text in texts:
        is_way = "@" in text or sum(sign.isdigit() for sign in text) >= _FEWEST_DIGITS
        if is_way or not all(len(word) < 2 or is_common(word) for word in WORD.findall(text)):
            yield Phrase(text)


def _texts(values: Iterable[Any]) -> Iterator[str]:
    """Each of them as it is sent, and what stands within."""
    for value in values:
        if value is None or isinstance(value, bool):
            continue
        yield text_of(value)
        if isinstance(value, list):
            yield from _texts(value)
        elif isinstance(value, Mapping):
            yield from _texts(value.values())


def _numbers(texts: Iterable[str]) -> Iterator[Number]:
    found = (number for text in texts for number in _NUMBER.findall(text))
    for number in islice(found, _MOST_NUMBERS):
        yield Number(digits_of(number))


def _words(text: str, fewest: int) -> list[Word]:
    words = [word for word in WORD.findall(text) if len(word) >= fewest and not is_common(word)]
    return [Word(word) for word in words[:_MOST_WORDS]]
