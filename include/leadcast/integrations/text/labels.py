"""What stands before a value's colon in notes, comments, letters and messages.

How a custom field is called, a stranger says: it must not pass for a label of ours ("Источник: VIP").
"""

from __future__ import annotations

import unicodedata
from collections.abc import Collection, Mapping

from leadcast.core.blanks import bare, without_unseen
from leadcast.core.redact import one_line
from leadcast.core.setting_choices import Language
from leadcast.core.tidy import NAMELESS

MAX_LABEL_CHARS = 128
LABELS: Mapping[Language, Mapping[str, str]] = {
    Language.RU: {
        "name": "Имя",
        "phone": "Телефон",
        "email": "E-mail",
        "company": "Компания",
        "comment": "Комментарий",
        "source": "Источник",
    },
    Language.EN: {
        "name": "Name",
        "phone": "Phone",
        "email": "E-mail",
        "company": "Company",
        "comment": "Comment",
        "source": "Source",
    },
}
"""Ours, by the lead's fields; besides, all that begin with `utm`."""
_PREFIX = "utm_"
_UTM = "utm"
"""What is read of it."""
_COLONS = frozenset(":\u02d0\u02f8\u0589\u05c3\u0703\u0704\u16ec\u1803\u1809\u205a\u2236\ua4fd\ua789\ufe30")
"""What looks like a colon, besides what Unicode itself takes for one (`：`)."""
_ALIKE = str.maketrans("авеіјкмнорсѕтухαβεηικμνορτυχ", "abeijkmhopcstyxabehikmnoptyx")
"""Cyrillic and Greek letters that are drawn like Latin ones, as capitals or as small ones."""
_WITHIN = str.maketrans("«»", "“”")


def label_of(name: str, *, ours: Collection[str] = ()) -> str:
    """A custom field's name as a label: one line of at most 128 characters, with nothing hidden in it. Where it could
    pass for one of ours, in either language, or holds a colon, it stands in «quotation marks».

    Args:
        ours: further labels that are ours.
    """
    label = plain_label(name)
    read = _read(label)
    return _marked(label, is_strange=read.startswith(_UTM) or read in _OURS or read in map(_read, ours))


def utm_label(name: str) -> str:
    """The same for the name of a UTM field, which may be called `utm_source`: only what holds a colon is marked."""
    label = plain_label(name)
    own = label[len(_PREFIX) :] if label.lower().startswith(_PREFIX) else label
    return _marked(_PREFIX + own, is_strange=False)


def plain_label(name: str) -> str:
    """A label as it was given, for one whose giver is trusted: on one line, bounded, with nothing hidden in it."""
    return one_line(bare(without_unseen(name)), limit=MAX_LABEL_CHARS)


def utm_name(name: str) -> str:
    """`source` and `utm_source` are the same."""
    return _PREFIX + name.lower().removeprefix(_PREFIX)


def _marked(label: str, *, is_strange: bool) -> str:
    has_colon = not _COLONS.isdisjoint(label) or ":" in unicodedata.normalize("NFKC", label)
    return f"«{label.translate(_WITHIN) or NAMELESS}»" if is_strange or has_colon or not label else label


def _read(label: str) -> str:
    """The letters and digits that people read in it, whichever case, script or accents they were put in."""
    letters = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", label).casefold())
    return "".join(filter(str.isalnum, letters)).translate(_ALIKE)


_OURS = frozenset(_read(label) for labels in LABELS.values() for label in labels.values())
