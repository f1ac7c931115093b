"""Where in a text one phone number ends and the next begins, as the tables of `phonenumbers` have it.

People put blanks between numbers as they do within one, and times, flats and extensions behind them. So the groups of
digits that stand together are divided in the way that makes the most of them numbers that are given out somewhere.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from phonenumbers import (
    NumberParseException,
    PhoneNumber,
    PhoneNumberFormat,
    ValidationResult,
    format_number,
    is_possible_number_with_reason,
    is_valid_number,
    national_significant_number,
    parse,
)

FEWEST_DIGITS = 7
"""Fewer are an extension, a short number, or one that other cities have, too."""
NATIONAL_DIGITS = 10
"""Of a number without its country, in Russia and most other countries with long numbers."""
_MOST_DIGITS = 18
"""15 at most (E.164), and what is dialled before them."""
_MOST_GROUPS = 40
"""So many groups of digits of a text are looked at: three numbers with a blank behind every digit."""
_PARTS = re.compile(r"[^\W_]|[,;:#=&|\r\n]")
"""What stands between two numbers, or before an extension, and never within a number."""
_WHEN = re.compile(
    r"(?<!\d)(?:\d{1,2}:\d\d|\d{1,2}[./]\d{1,2}[./](?:19|20)\d\d|(?:19|20)\d\d-\d\d-\d\d)(?!\d)", re.ASCII
)
"""A time or a date: together with a digit of something else it can have as many as a number."""
_OF_SOMETHING_ELSE = re.compile(
    r"\b(?:инн|иин|бин|огрн|огрнип|снилс|паспорт|договора?|заказа?|order|passport)\W{0,3}(?:no\W{0,2})?$",
    re.IGNORECASE,
)
_LONGEST_LABEL = 24
_DIALLED_8 = frozenset({"AM", "AZ", "GE", "KG", "MD", "TJ", "UA", "UZ"})
"""Where 8 was dialled before a number, and no longer is: the library knows it of those who still do."""
_ABROAD = "00"
"""How most of the world dials out. What a country itself dials, and what it dials within, the library knows."""
_CODES_OF_ONE_DIGIT = "17"
_FEWEST_WITH_COUNTRY = 11
"""A number of so many digits may have its country without a +."""
_COUNTED = ("01234567890123456789", "12345678901234567890")


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What some groups of digits stand for.

    typed: the digits, behind a + where there was one.
    is_valid: such numbers are given out, as far as the library knows.
    """

    number: PhoneNumber
    typed: str
    is_valid: bool

    @property
    def digits(self) -> str:
        """All of them, with the country."""
        return format_number(self.number, PhoneNumberFormat.E164).removeprefix("+")

    @property
    def is_made_up(self) -> bool:
        """Whether it is what people type to get past a form. One that is given out may well count up
        (+44 1234 567890), and who writes it with its country means it."""
        is_meant = self.is_valid and self.typed.startswith(("+", _ABROAD))
        return is_one_digit(national_significant_number(self.number)) or (not is_meant and is_counted(self.typed))


def is_one_digit(digits: str) -> bool:
    """Whether it is one digit all over."""
    return len(set(digits)) == 1


def is_counted(typed: str) -> bool:
    """Whether a number, or what a country's code and an 8 before it leave of it, counts up from 0 or 1."""
    return any(counted.startswith(own) for counted in _COUNTED for own in (typed, typed[-NATIONAL_DIGITS:]))


def numbers_in(text: str, *, region: str) -> list[Reading]:
    """The numbers in a text with digits 0-9, in order: those that are given out or have a +, or else all that can be.

    Beside a number, a customer's or an order's number is none; alone, it may be a phone that the library knows not yet.

    Args:
        region: where a number without its country is from, two letters (ISO 3166).
    """
    stretches = list(_stretches(_WHEN.sub(";", text), region))
    for is_strict in (True, False):
        found = [number for stretch in stretches for number in stretch.divided(is_strict=is_strict)]
        if found:
            return found
    return []


@dataclass(frozen=True, kw_only=True)
class _Division:
    """score: the greater the better. Digits in numbers that are given out, digits in others, and one number of them
    rather than two."""

    score: tuple[int, int, int] = (0, 0, 0)
    numbers: tuple[Reading, ...] = ()

    def behind(self, number: Reading, *, size: int) -> _Division:
        given_out, others, count = self.score
        score = (given_out + size, others, count - 1) if number.is_valid else (given_out, others + size, count - 1)
        return _Division(score=score, numbers=(number, *self.numbers))


@dataclass(frozen=True, kw_only=True)
class _Group:
    """Digits side by side.

    is_bracketed: an opening bracket stands before them.
    """

    digits: str
    is_bracketed: bool


@dataclass(frozen=True, kw_only=True)
class _Stretch:
    """Groups of digits with nothing between them that parts two numbers for sure.

    has_plus: a + stands before the first.
    is_labelled: a word before them says that they are something else.
    """

    groups: Sequence[_Group]
    has_plus: bool
    is_labelled: bool
    region: str

    def divided(self, *, is_strict: bool) -> tuple[Reading, ...]:
        best = [_Division()] * (len(self.groups) + 1)  # of the groups from there on
        for start in reversed(range(len(self.groups))):
            options = list(self._beginning(start, best, is_strict))
            if not options or not self._is_in_full(start):  # of +49 999 000 00 01 nobody means 999 000 00 01
                options.append(best[start + 1])
            best[start] = max(options, key=lambda one: one.score)
        return best[0].numbers

    def _is_in_full(self, start: int) -> bool:
        """Whether a number that begins with this group is written with its country."""
        return start == 0 and (self.has_plus or self.groups[0].digits.startswith(_ABROAD))

    def _beginning(self, start: int, best: Sequence[_Division], is_strict: bool) -> Iterator[_Division]:
        """The divisions whose first number begins with this group."""
        digits = ""
        for end, group in enumerate(self.groups[start:], start=start + 1):
            is_behind = group.is_bracketed and len(digits) >= FEWEST_DIGITS  # an extension, or of the next number
            digits += group.digits
            if is_behind or len(digits) > _MOST_DIGITS:
                return
            if len(digits) >= FEWEST_DIGITS and (number := self._read(digits, start, end, is_strict)):
                yield best[end].behind(number, size=len(digits))

    def _read(self, digits: str, start: int, end: int, is_strict: bool) -> Reading | None:
        has_plus = self.has_plus and start == 0
        if is_strict and self.is_labelled and start == 0:
            return None
        possible: Reading | None = None
        for spelled in self._spelled(digits, has_plus=has_plus, is_one_group=end == start + 1):
            if len(spelled.removeprefix("+")) < FEWEST_DIGITS:
                continue
            try:
                number = parse(spelled, self.region)
            except NumberParseException:
                continue
            if is_possible_number_with_reason(number) != ValidationResult.IS_POSSIBLE:
                continue
            typed = f"+{digits}" if has_plus else digits
            reading = Reading(number=number, typed=typed, is_valid=is_valid_number(number))
            if reading.is_valid or (self._is_in_full(start) and spelled.startswith("+")):
                return reading
            if possible is None and (self._is_in_full(start) or not is_strict):
                possible = reading
        return possible

    def _spelled(self, digits: str, *, has_plus: bool, is_one_group: bool) -> Iterator[str]:
        """How it may have been meant, likeliest first."""
        first = self.groups[0].digits
        is_slip = has_plus and len(first) == 1 and first not in _CODES_OF_ONE_DIGIT
        if digits.startswith(_ABROAD):
            yield f"+{digits[len(_ABROAD) :]}"
        elif has_plus and not is_slip:
            yield f"+{digits}"
        yield digits
        if digits.startswith("0") or (digits.startswith("8") and self.region in _DIALLED_8):
            yield digits[1:]
        if is_slip or (is_one_group and len(digits) >= _FEWEST_WITH_COUNTRY):
            yield f"+{digits}"


def _stretches(text: str, region: str) -> Iterator[_Stretch]:
    groups: list[_Group] = []
    has_plus = is_labelled = False
    end = 0
    for found in islice(re.finditer(r"[0-9]+", text), _MOST_GROUPS):
        before = text[end : found.start()]
        _, plus, behind = before.rpartition("+")
        if groups and (plus or _PARTS.search(before)):
            yield _Stretch(groups=groups, has_plus=has_plus, is_labelled=is_labelled, region=region)
            groups = []
        if not groups:
            has_plus = bool(plus) and not _PARTS.search(behind)
            label = text[max(0, found.start() - _LONGEST_LABEL) : found.start()]
            is_labelled = not has_plus and bool(_OF_SOMETHING_ELSE.search(label))
        groups.append(_Group(digits=found[0], is_bracketed=before.endswith(("(", "["))))
        end = found.end()
    if groups:
        yield _Stretch(groups=groups, has_plus=has_plus, is_labelled=is_labelled, region=region)
