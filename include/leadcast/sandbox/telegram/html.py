"""Telegram's HTML mode: which tags, which errors, at which byte offset (vendors.md 3.3)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

_TYPE_OF_TAG = {
    "b": "bold",
    "strong": "bold",
    "i": "italic",
    "em": "italic",
    "u": "underline",
    "ins": "underline",
    "s": "strikethrough",
    "strike": "strikethrough",
    "del": "strikethrough",
    "code": "code",
    "pre": "pre",
    "a": "text_link",
    "blockquote": "blockquote",
    "span": "spoiler",
    "tg-spoiler": "spoiler",
    "tg-emoji": "custom_emoji",
    "tg-time": "date_time",
}
_NAMED = {"lt": "<", "gt": ">", "amp": "&", "quot": '"'}
_REFERENCE = re.compile(r"&(?:#x([0-9a-fA-F]+)|#([0-9]+)|([A-Za-z]+));?")
_MAX_REFERENCE_CHARS = 9
_START_TAG = re.compile(rb"<([^\s>]*)")
_END_TAG = re.compile(rb"</([^\s>]*)\s*")
_SPACES = re.compile(rb"\s*")
_ATTRIBUTE_NAME = re.compile(rb"[^\s=>]*")
_NAME_TOKEN = re.compile(rb"[A-Za-z0-9.-]*")


class EntityError(ValueError):
    """The text cannot be parsed; the message is Telegram's, without its prefix."""


@dataclass(frozen=True)
class _Open:
    tag: str
    attributes: dict[str, str]
    offset: int
    text_position: int


def utf16_length(text: str) -> int:
    """Telegram counts offsets of entities in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def parse_html(source: str) -> tuple[str, list[dict[str, Any]]]:
    """The visible text and its entities; raises `EntityError`."""
    return _Parser(source.encode("utf-8")).parse()


class _Parser:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0
        self._text = ""
        self._offset = 0
        self._open: list[_Open] = []
        self._entities: list[dict[str, Any]] = []

    def parse(self) -> tuple[str, list[dict[str, Any]]]:
        while self._at < len(self._data):
            tag_at = self._data.find(b"<", self._at)
            self._take_text(len(self._data) if tag_at < 0 else tag_at)
            if tag_at < 0:
                break
            if self._data.startswith(b"</", tag_at):
                self._take_end_tag(tag_at)
            else:
                self._take_start_tag(tag_at)
        if self._open:
            raise EntityError(f'Can\'t find end tag corresponding to start tag "{self._open[-1].tag}"')
        return self._text, sorted(self._entities, key=lambda entity: (entity["offset"], -entity["length"]))

    def _take_text(self, end: int) -> None:
        piece = _REFERENCE.sub(_decoded, self._data[self._at : end].decode("utf-8"))
        self._text += piece
        self._offset += utf16_length(piece)
        self._at = end

    def _take_start_tag(self, begin: int) -> None:
        match = _START_TAG.match(self._data, begin)
        assert match is not None
        if match.end() >= len(self._data):
            raise EntityError(f"Unclosed start tag at byte offset {begin}")
        tag = match[1].decode("utf-8", "replace").lower()
        if tag not in _TYPE_OF_TAG:
            raise EntityError(f'Unsupported start tag "{tag}" at byte offset {begin}')
        self._at = match.end()
        attributes = self._take_attributes(tag, begin)
        if tag == "span" and attributes.get("class") != "tg-spoiler":
            raise EntityError(f'Tag "span" must have class "tg-spoiler" at byte offset {begin}')
        self._open.append(_Open(tag, attributes, self._offset, len(self._text)))

    def _take_attributes(self, tag: str, begin: int) -> dict[str, str]:
        attributes: dict[str, str] = {}
        while True:
            self._skip_spaces()
            if self._next() == b">":
                self._at += 1
                return attributes
            name = self._take(_ATTRIBUTE_NAME).decode("utf-8", "replace")
            if not name:
                if not self._next():
                    raise EntityError(f"Unclosed start tag at byte offset {begin}")
                raise EntityError(f'Empty attribute name in the tag "{tag}" at byte offset {begin}')
            self._skip_spaces()
            if self._next() != b"=":
                attributes[name] = ""
                continue
            self._at += 1
            self._skip_spaces()
            attributes[name] = self._take_value(tag, begin)

    def _take_value(self, tag: str, begin: int) -> str:
        quote = self._next()
        if not quote:
            raise EntityError(f'Unclosed start tag "{tag}" at byte offset {begin}')
        if quote in (b"'", b'"'):
            end = self._data.find(quote, self._at + 1)
            if end < 0 or end + 1 >= len(self._data):
                raise EntityError(f"Unclosed start tag at byte offset {begin}")
            value = self._data[self._at + 1 : end].decode("utf-8")
            self._at = end + 1
            return _REFERENCE.sub(_decoded, value)
        token_at = self._at
        value = self._take(_NAME_TOKEN).decode("ascii").lower()
        if not self._next():
            raise EntityError(f"Unclosed start tag at byte offset {begin}")
        if self._next() != b">" and not self._next().isspace():
            raise EntityError(f"Unexpected end of name token at byte offset {token_at}")
        return value

    def _take_end_tag(self, begin: int) -> None:
        if not self._open:
            raise EntityError(f"Unexpected end tag at byte offset {begin}")
        match = _END_TAG.match(self._data, begin)
        assert match is not None
        self._at = match.end()
        if self._next() != b">":
            raise EntityError(f"Unclosed end tag at byte offset {begin}")
        self._at += 1
        found = match[1].decode("utf-8", "replace").lower()
        opened = self._open.pop()
        if found and found != opened.tag:
            raise EntityError(
                f'Unmatched end tag at byte offset {begin}, expected "</{opened.tag}>", found "</{found}>"'
            )
        if self._offset > opened.offset:
            self._add_entity(opened)

    def _add_entity(self, opened: _Open) -> None:
        length = self._offset - opened.offset
        entity: dict[str, Any] = {"offset": opened.offset, "length": length, "type": _TYPE_OF_TAG[opened.tag]}
        match opened.tag:
            case "a":
                url = opened.attributes.get("href") or self._text[opened.text_position :]
                if not re.match(r"^([a-z][a-z0-9+.-]*:|[^\s/]+\.[^\s/])", url, re.IGNORECASE):
                    return  # a link that leads nowhere is dropped, its text stays
                entity["url"] = url
            case "tg-emoji":
                emoji_id = opened.attributes.get("emoji-id", "")
                if not emoji_id.isdigit() or int(emoji_id) == 0:
                    raise EntityError("Invalid custom emoji identifier specified")
                entity["custom_emoji_id"] = emoji_id
            case "blockquote" if "expandable" in opened.attributes:
                entity["type"] = "expandable_blockquote"
            case "code" if opened.attributes.get("class", "").startswith("language-"):
                entity["language"] = opened.attributes["class"].removeprefix("language-")
            case "pre":
                self._absorb_code(entity)
        if opened.tag == "code" and not (self._open and self._open[-1].tag == "pre"):
            entity.pop("language", None)
        self._entities.append(entity)

    def _absorb_code(self, entity: dict[str, Any]) -> None:
        """<pre><code class="language-x"> is one entity: a block in a language."""
        last = self._entities[-1] if self._entities else {}
        is_same_place = (last.get("offset"), last.get("length")) == (entity["offset"], entity["length"])
        if last.get("type") == "code" and is_same_place:
            entity |= {"language": last["language"]} if "language" in last else {}
            if "language" in last:
                self._entities.pop()

    def _next(self) -> bytes:
        return self._data[self._at : self._at + 1]

    def _skip_spaces(self) -> None:
        self._take(_SPACES)

    def _take(self, pattern: re.Pattern[bytes]) -> bytes:
        match = pattern.match(self._data, self._at)
        assert match is not None
        self._at = match.end()
        return match[0]


def _decoded(match: re.Match[str]) -> str:
    """A character reference as its character; one that Telegram does not know stays as it is."""
    hexadecimal, decimal, name = match.groups()
    if name is not None:
        return _NAMED.get(name, match[0])
    if len(match[0].rstrip(";")) > _MAX_REFERENCE_CHARS:
        return match[0]
    code = int(hexadecimal, 16) if hexadecimal is not None else int(decimal)
    if code == 0 or code >= 0x10FFFF:
        return match[0]
    if 0xD800 <= code <= 0xDFFF:
        raise EntityError(
            "Text contains invalid Unicode characters after decoding HTML entities, check for unmatched surrogate "
            "code units"
        )
    return chr(code)
