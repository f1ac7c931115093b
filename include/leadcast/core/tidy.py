"""A lead as people send it, made into one that can be sent on. Nothing in a lead is worth losing the lead for: what
does not fit is mended, with a note. Done once, when it is accepted, so what is sent later is what was checked.

Whether it comes with a request, from a table or from our own store, it comes through here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from leadcast.core import blanks
from leadcast.core.absent import is_none
from leadcast.core.json_body import Repeating
from leadcast.core.meant import as_list
from leadcast.core.model import Lead
from leadcast.core.notes import MAX_NAME_CHARS, Note, Notes, Way
from leadcast.core.values import first_values, is_deep, is_sendable, plain, text_of

FIELDS = ("name", "phone", "email", "company", "comment", "source")
"""The fields that are one text each."""
_OWN_NAMES = frozenset({*FIELDS, "utm", "custom"})
MAX_TEXT_CHARS = 1024
MAX_LONG_TEXT_CHARS = 65_536
"""Of a comment, and of a custom field."""
MAX_UTM_FIELDS = 50
MAX_CUSTOM_FIELDS = 200
MAX_VALUES = 20_000
"""Of a lead, at every depth."""
NAMELESS = "no name"
"""How a field is called whose own name is empty."""
_SCHEMES: Mapping[str, re.Pattern[str]] = {
    "phone": re.compile(r"(?:\s*tel:)+", re.IGNORECASE),
    "email": re.compile(r"(?:\s*mailto:)+", re.IGNORECASE),
}
"""What stands before a phone and an address in a link."""
_WITHOUT_DIRECTIONS = frozenset({"name", "phone", "email", "company"})
"""A name that turns the line around it is a trick, and a number or an address has one direction."""


@dataclass(frozen=True, kw_only=True)
class Tidied:
    """A lead's data, each field of it, and what was mended."""

    data: Mapping[str, Any] = field(repr=False)
    notes: tuple[Note, ...] = ()

    def lead(self, lead_id: str) -> Lead:
        """The lead with this data."""
        return Lead(id=lead_id, **self.data)


def tidy(data: Mapping[Any, Any], *, above: Way = ("lead",)) -> Tidied:
    """A lead's data without what could not be sent or stored. Tidied again, it stays as it is.

    Text is freed of what nobody sees at its ends, of control characters and halves of characters, and cut where it is
    too long. null is nothing, another value is written as text, and a list of plain values with commas. A field is
    known in any case of its letters. What is no field of a lead goes to `custom`; `utm_…` to `utm`.

    Args:
        data: by field, as a caller or a database gave it.
        above: the way to it, for the notes.
    """
    tidying = _Tidying(Notes(above=above))
    for way in data.repeated if isinstance(data, Repeating) else ():
        tidying.notes.add(way, "stood there more than once: the last one was kept")
    kept = first_values(data, MAX_VALUES)
    if kept is not data:
        tidying.notes.add((), f"more than {MAX_VALUES} values: those that lie less deep were kept")
    return Tidied(data=tidying.fields(kept), notes=tuple(tidying.notes))


@dataclass(frozen=True)
class _Tidying:
    notes: Notes

    def fields(self, data: Mapping[Any, Any]) -> dict[str, Any]:
        data = self.by_own_names(data)
        utm, custom = self.group(data.get("utm"), "utm"), self.group(data.get("custom"), "custom")
        for name, value in data.items():
            if name in _OWN_NAMES or value is None or value == "":
                continue
            is_utm = isinstance(name, str) and name.lower().startswith("utm_")
            self.notes.add((str(name),), f"no field of a lead: taken into {'utm' if is_utm else 'custom'}")
            (utm if is_utm else custom).append((name, value))
        return {
            **{name: self.text(data.get(name), (name,)) for name in FIELDS},
            "utm": {
                name: self.text(value, ("utm", name)) for name, value in self.named(utm, "utm", at_most=MAX_UTM_FIELDS)
            },
            "custom": {
                name: self.custom_value(value, ("custom", name))
                for name, value in self.named(custom, "custom", at_most=MAX_CUSTOM_FIELDS)
            },
        }

    def by_own_names(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        """The data with `Name` or `PHONE` for the field that is meant, where that is not given."""
        given = {name for name, value in data.items() if name in _OWN_NAMES and not is_none(value)}
        named = dict(data)
        for name, value in data.items():
            own = blanks.bare(name).lower() if isinstance(name, str) else ""
            if name not in _OWN_NAMES and own in _OWN_NAMES - given and not is_none(value):
                self.notes.add((name,), f"taken for {own}")
                given.add(own)
                named[own] = named.pop(name)
        return named

    def group(self, given: Any, name: str) -> list[tuple[Any, Any]]:
        """The pairs of `utm` or `custom`, which may have come as something else than an object."""
        if isinstance(given, Mapping):
            return list(given.items())
        if given in (None, "", False) or given == []:
            return []
        self.notes.add((name,), "no object: its values were taken as fields of it")
        if isinstance(given, list | tuple):
            return [(str(number), value) for number, value in enumerate(given, start=1)]
        return [(name, given)]

    def named(self, pairs: list[tuple[Any, Any]], group: str, *, at_most: int) -> Iterator[tuple[str, Any]]:
        """The first fields of a group, each with a name of its own."""
        if len(pairs) > at_most:
            self.notes.add((group,), f"the first {at_most} fields were kept, {len(pairs) - at_most} left out")
        taken: set[str] = set()
        for given, value in pairs[:at_most]:
            name = self.own_name(given, taken, group)
            taken.add(_meant(name, group))
            yield name, value

    def own_name(self, given: Any, taken: set[str], group: str) -> str:
        full = blanks.bare(blanks.as_line(self.whole(str(given), (group, str(given)))))
        name = blanks.bare(full[:MAX_NAME_CHARS]) or NAMELESS
        number = 1
        while _meant(name, group) in taken:
            number += 1
            name = f"{(full or NAMELESS)[: MAX_NAME_CHARS - 10]} ({number})"
        if name != full:
            self.notes.add((group, name), "kept under this name, since its own was empty, too long or taken")
        return name

    def custom_value(self, value: Any, loc: Way) -> Any:
        """A value of `custom`: numbers, true, false and null stay what they are."""
        value = plain(value) if self.can_be_sent(value, loc) else None
        if value is None or isinstance(value, bool | int | float):
            return value
        return self.written(value, loc, at_most=MAX_LONG_TEXT_CHARS)

    def text(self, value: Any, loc: Way) -> str:
        """A value of a field that is one text."""
        if value is False:  # what PHP says for "there is none"
            self.notes.add(loc, "false: taken for nothing")
            return ""
        if not self.can_be_sent(value, loc):
            return ""
        at_most = MAX_LONG_TEXT_CHARS if loc == ("comment",) else MAX_TEXT_CHARS
        value = plain(value)
        return self.written(self.value_within(value, loc) if loc[0] in _SCHEMES else value, loc, at_most=at_most)

    def value_within(self, value: Any, loc: Way) -> Any:
        """A phone or an address as CRMs write them: `[{"VALUE": "+7…", "VALUE_TYPE": "WORK"}]`."""
        value = as_list(value)
        if isinstance(value, list):
            return [_value_of(item) for item in value]
        taken = _value_of(value)
        if taken is not value:
            self.notes.add(loc, "an object: its value was taken")
        return taken

    def can_be_sent(self, value: Any, loc: Way) -> bool:
        if not is_sendable(value):
            self.notes.add(loc, "too large a number, or none: left out")
        elif is_deep(value):
            self.notes.add(loc, "nested too deeply: left out")
        else:
            return True
        return False

    def written(self, value: Any, loc: Way, *, at_most: int) -> str:
        """A plain value as text that is neat and not too long."""
        if isinstance(value, list):
            self.notes.add(loc, "a list: written as one text")
        elif isinstance(value, dict):
            self.notes.add(loc, "an object: written as JSON")
        text = _neat(self.whole(text_of(value), loc), loc)
        if len(text) > at_most:
            self.notes.add(loc, f"cut to {at_most} characters (had {len(text)})")
            text = blanks.bare(text[:at_most])
        return text

    def whole(self, text: str, loc: Way) -> str:
        """Text without what no database and no service takes."""
        whole = blanks.with_whole_characters(text)
        if whole.count(blanks.REPLACEMENT) > text.count(blanks.REPLACEMENT):
            self.notes.add(loc, "held what is no character: U+FFFD stands for it")
        kept = blanks.without_controls(whole)
        if len(kept) < len(whole):
            self.notes.add(loc, "held control characters: they were taken out")
        return kept


def _value_of(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    return next((value for name, value in item.items() if name.lower() == "value"), item)


def _meant(name: str, group: str) -> str:
    """What a field's name stands for: `id`, `utm_id` and `UTM_ID` of `utm` are one."""
    return name.lower().removeprefix("utm_") if group == "utm" else name


def _neat(text: str, loc: Way) -> str:
    """Text without what nobody sees of it, where it cannot be meant."""
    own = str(loc[0]) if len(loc) == 1 else ""
    if own == "comment" or loc[0] == "custom":
        return blanks.bare(blanks.as_lines(text))
    text = blanks.as_line(text)
    if own in _WITHOUT_DIRECTIONS:
        text = blanks.without_directions(text)
    if own in _SCHEMES:
        text = _without_scheme(blanks.without_zero_width(text), own)
    return blanks.bare(text)


def _without_scheme(text: str, name: str) -> str:
    """A phone or an address that was copied out of a link: `mailto:anna@example.com?subject=Hi`."""
    link = _SCHEMES[name].match(text)
    return text if link is None else text[link.end() :].partition("?")[0]
