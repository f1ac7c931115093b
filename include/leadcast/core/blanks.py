"""What of a text nobody sees, and where it can go.

Within a text some of it is meant: ZERO WIDTH JOINER holds an emoji together (👩‍👧), ZERO WIDTH NON-JOINER parts a
Persian word (می‌خواهم), VARIATION SELECTOR-16 makes a heart red (❤️).
"""

from __future__ import annotations

import re

REPLACEMENT = "\ufffd"
"""What stands for a character that cannot be read."""
_DIRECTIONS = "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"
_ZERO_WIDTH = "\u00ad\u180e\u200b-\u200d\u2060-\u2064\ufeff"
_FILLERS = (
    "\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180d\u180f\u2065\u206a-\u206f\u2800\u3164\ufe00-\ufe0f\uffa0\ufff9-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e01ef"
)
_SHAPING = "\u200c\u200d\ufe00-\ufe0f\U000e0020-\U000e007f\U000e0100-\U000e01ef"
"""What joins letters and emoji, parts them, and chooses how they look."""
_SPACES = "".join(character for character in map(chr, range(0x3001)) if character.isspace())


def _each(ranges: str) -> str:
    """The characters of a class of a regular expression, one by one."""
    return re.sub("(.)-(.)", lambda pair: "".join(map(chr, range(ord(pair[1]), ord(pair[2]) + 1))), ranges)


AT_ENDS = _SPACES + _each(_DIRECTIONS + _ZERO_WIDTH)
"""What nobody sees at the ends of a text."""
_UNSEEN = AT_ENDS + _each(_FILLERS)
_ANY_DIRECTION = re.compile(f"[{_DIRECTIONS}]")
_ANY_ZERO_WIDTH = re.compile(f"[{_ZERO_WIDTH}]")
_ANY_UNSEEN = re.compile(f"(?![{_SHAPING}])[{_DIRECTIONS}{_ZERO_WIDTH}{_FILLERS}]")
_CONTROLS = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f]")
_BREAKS = re.compile(r"[\t\n\x0b\x0c\r\x85\u2028\u2029]+")
_LINE_ENDS = re.compile(r"\r\n|[\r\x0b\x0c\x85\u2028\u2029]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def bare(text: str) -> str:
    """`text` without what nobody sees at its ends; empty where nobody sees anything of it."""
    text = text.strip(AT_ENDS)
    return text if text.strip(_UNSEEN) else ""


def without_directions(text: str) -> str:
    """`text` without the controls that turn the direction of writing around (U+202E and its like)."""
    return _ANY_DIRECTION.sub("", text)


def without_zero_width(text: str) -> str:
    """`text` without characters of no width, where none can be meant: in a phone, in an address."""
    return _ANY_ZERO_WIDTH.sub("", text)


def without_unseen(text: str) -> str:
    """`text` without characters that nobody sees, but those that may be meant within a word or an emoji."""
    return _ANY_UNSEEN.sub("", text)


def with_whole_characters(text: str) -> str:
    """`text` with both halves of a character joined, and U+FFFD for a half that is alone."""
    if not _SURROGATE.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def without_controls(text: str) -> str:
    """`text` without control characters but tabs and what ends a line."""
    return _CONTROLS.sub("", text)


def as_line(text: str) -> str:
    """`text` with a space where a line ends."""
    return _BREAKS.sub(" ", text)


def as_lines(text: str) -> str:
    """`text` with each end of a line as `\\n`."""
    return _LINE_ENDS.sub("\n", text)
