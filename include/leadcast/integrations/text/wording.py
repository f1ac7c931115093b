"""Our own sentences in the language of who reads them.

Errors and reasons are written in English where they arise, and are kept so: one language for logs, ledger and API.
Where a person reads them, each is found in the catalogue of that language by its shape. The catalogue is
`templates/<language>/sentences.toml`: the English sentence, with `{names}` for what varies, and beside it the same in
that language. What is not in there (a service's own words, a user's own integration) stays as it is.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from leadcast.core.secret_forms import WORD
from leadcast.core.setting_choices import Language

_TEMPLATES = Path(__file__).parents[2] / "templates"
_NAME = re.compile(r"\{([a-z_]{1,32})\}")
_DEEPEST = 6
"""Sentences within sentences, as in: The token was not renewed: Cannot reach …: no connection in time."""
_LONGEST_CHARS = 2000
_A_SERVICES = frozenset({"words", "detail", "problems"})
"""Values that are a service's words, whatever they sound like."""
Shown = Callable[[str, str], str]
"""What is shown in place of a value, by its name and its text."""


@dataclass(frozen=True)
class _Sentence:
    """A sentence taken apart: what stands fast, and the names of what stands between; one name less than pieces."""

    pieces: Sequence[str]
    names: Sequence[str]

    @classmethod
    def of(cls, text: str) -> _Sentence:
        parts = _NAME.split(text)
        return cls(pieces=parts[::2], names=parts[1::2])

    @property
    def weight(self) -> int:
        """How much of it stands fast: the more, the surer that it is meant."""
        return sum(map(len, self.pieces))

    @property
    def has_words(self) -> bool:
        """Whether there is a letter in it that stands fast."""
        return _has_letters(self.pieces)

    def values_in(self, text: str) -> dict[str, str] | None:
        """What stands between its pieces in `text`; None: this is another sentence."""
        places = self.places_in(text)
        if places is None:
            return None
        return {name: text[at:end] for name, (at, end) in zip(self.names, places, strict=True)}

    def places_in(self, text: str) -> list[tuple[int, int]] | None:
        """From where to before where each of its values stands in `text`; None: this is another sentence."""
        if not self.names:
            return [] if text == self.pieces[0] else None
        first, *between, last = self.pieces
        if not text.startswith(first) or not text.endswith(last) or len(text) < len(first) + len(last):
            return None
        at, end = len(first), len(text) - len(last)
        places: list[tuple[int, int]] = []
        for piece in between:
            found = text.find(piece, at, end)
            if found < 0:
                return None
            places.append((at, found))
            at = found + len(piece)
        return [*places, (at, end)]

    def begun_in(self, text: str) -> list[tuple[str, int]]:
        """As many of its pieces as are there from the beginning of `text` on, and where each of them stands."""
        found: list[tuple[str, int]] = []
        at = 0
        for piece in self.pieces:
            place = text.find(piece, at)
            if place < 0 or (place and not found):
                break
            found.append((piece, place))
            at = place + len(piece)
        return found

    def with_values(self, values: Mapping[str, str]) -> str:
        """The sentence, with these between its pieces."""
        filled = [piece + values[name] for piece, name in zip(self.pieces, self.names, strict=False)]
        return "".join(filled) + self.pieces[-1]


class Wording:
    """Finds sentences again by their shape, and says them in another language.

    Args:
        sentences: English → the other language, both with the same `{names}`.
    """

    def __init__(self, sentences: Mapping[str, str]) -> None:
        pairs = [(_Sentence.of(english), _Sentence.of(own)) for english, own in sentences.items()]
        self._pairs = sorted(pairs, key=lambda pair: pair[0].weight, reverse=True)

    @classmethod
    @cache
    def of(cls, language: Language) -> Wording:
        """What is spoken in this language; English needs no catalogue."""
        return cls(catalogue(language))

    @classmethod
    @cache
    def english(cls) -> Wording:
        """Our sentences as they are kept."""
        return cls({english: english for language in Language for english in catalogue(language)})

    def fixed_in(self, text: str) -> list[tuple[int, int]]:
        """From where to before where our own words stand in `text`, and so nothing of what they are about."""
        return list(self._fixed(text, _DEEPEST)) if len(text) <= _LONGEST_CHARS else []

    def say(self, text: str) -> str:
        """`text` in this language, as far as it is ours."""
        return self._said(text, _DEEPEST) if len(text) <= _LONGEST_CHARS else text

    def masked(self, text: str, shown: Shown, *, hidden: str) -> str | None:
        """`text` with our own words as they are, and its values as they may be shown; None: there is no word of ours.

        Args:
            shown: asked for each value that is no sentence of ours itself.
            hidden: stands for the rest of a sentence that is known by its beginning alone: it was cut, or is one of
                an older version's.
        """
        if len(text) > _LONGEST_CHARS:
            return None
        return self._masked(text, shown, _DEEPEST) or self._beginning(text, shown, hidden)

    def _masked(self, text: str, shown: Shown, depth: int) -> str | None:
        if not depth or not text.strip():
            return None
        for english, own in self._pairs:
            values = english.values_in(text)
            if values is None:
                continue
            ours = {
                name: None if name in _A_SERVICES else self._masked(value, shown, depth - 1)
                for name, value in values.items()
            }
            if english.has_words or any(ours.values()):
                return own.with_values({name: ours[name] or shown(name, value) for name, value in values.items()})
        return None

    def _beginning(self, text: str, shown: Shown, hidden: str) -> str | None:
        begun, names = max(
            ((english.begun_in(text), english.names) for english, _ in self._pairs if english.has_words),
            key=lambda found: sum(len(piece) for piece, _ in found[0]),
            default=([], ()),
        )
        if not _has_letters(piece for piece, _ in begun):
            return None
        said = ""
        ends = [place for _, place in begun[1:]]
        for (piece, place), name, end in zip(begun, names, ends, strict=False):
            value = text[place + len(piece) : end]
            said += piece + (self._masked(value, shown, _DEEPEST) or shown(name, value))
        return said + begun[-1][0] + hidden

    def _said(self, text: str, depth: int) -> str:
        if not depth or not text.strip():
            return text
        for english, own in self._pairs:
            values = english.values_in(text)
            if values is not None:
                return own.with_values({name: self._said(value, depth - 1) for name, value in values.items()})
        return text

    def _fixed(self, text: str, depth: int, *, offset: int = 0) -> Iterator[tuple[int, int]]:
        if not depth or not text.strip():
            return
        for english, _ in self._pairs:
            places = english.places_in(text)
            if places is None:
                continue
            at = 0
            for start, end in [*places, (len(text), len(text))]:
                if at < start:
                    yield offset + at, offset + start
                yield from self._fixed(text[start:end], depth - 1, offset=offset + start)
                at = end
            return


def _has_letters(pieces: Iterable[str]) -> bool:
    return any(map(str.isalpha, "".join(pieces)))


@cache
def vocabulary() -> frozenset[str]:
    """The words that our own sentences are made of, in all languages, in small letters."""
    sentences = (sentence for language in Language for pair in catalogue(language).items() for sentence in pair)
    return frozenset(word.casefold() for text in sentences for word in WORD.findall(_NAME.sub(" ", text)))


def catalogue(language: Language) -> Mapping[str, str]:
    """The sentences of a language; none for English."""
    path = _TEMPLATES / language.value / "sentences.toml"
    if not path.exists():
        return {}
    read: dict[str, dict[str, str]] = tomllib.loads(path.read_text(encoding="utf-8"))
    return {english: own for sentences in read.values() for english, own in sentences.items()}
