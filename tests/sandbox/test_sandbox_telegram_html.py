"""Telegram's HTML: what is text, what is an entity, what is an error and where."""

from __future__ import annotations

from typing import Any

import pytest

from leadcast.sandbox.telegram.html import EntityError, parse_html


@pytest.mark.parametrize(
    ("source", "text", "entities"),
    [
        ("plain", "plain", []),
        ("<B>x</b>", "x", [{"offset": 0, "length": 1, "type": "bold"}]),
        ("<b>x</>", "x", [{"offset": 0, "length": 1, "type": "bold"}]),
        ("a &lt;b&gt; &amp; &quot; &#39; &#x41;", "a <b> & \" ' A", []),
        ("&nbsp;&copy &", "&nbsp;&copy &", []),
        (
            '<a href="https://x.ru/?a=1&amp;b=2">l</a>',
            "l",
            [{"offset": 0, "length": 1, "type": "text_link", "url": "https://x.ru/?a=1&b=2"}],
        ),
        ("<span class='tg-spoiler'>s</span>", "s", [{"offset": 0, "length": 1, "type": "spoiler"}]),
        (
            '<pre><code class="language-python">x=1</code></pre>',
            "x=1",
            [{"offset": 0, "length": 3, "type": "pre", "language": "python"}],
        ),
        ("<blockquote expandable>q</blockquote>", "q", [{"offset": 0, "length": 1, "type": "expandable_blockquote"}]),
        (
            "<b>a<i>b</i></b>",
            "ab",
            [{"offset": 0, "length": 2, "type": "bold"}, {"offset": 1, "length": 1, "type": "italic"}],
        ),
    ],
)
def test_html_becomes_text_with_entities(source: str, text: str, entities: list[dict[str, Any]]) -> None:
    assert parse_html(source) == (text, entities)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("ab<br>", 'Unsupported start tag "br" at byte offset 2'),
        ("я<p>", 'Unsupported start tag "p" at byte offset 2'),
        ("1 < 2", 'Unsupported start tag "" at byte offset 2'),
        ("1 <2", "Unclosed start tag at byte offset 2"),
        ("</b>", "Unexpected end tag at byte offset 0"),
        ("<i>x</em>", 'Unmatched end tag at byte offset 4, expected "</i>", found "</em>"'),
        ("<b>x", 'Can\'t find end tag corresponding to start tag "b"'),
        ("<b>x</b", "Unclosed end tag at byte offset 4"),
        ("<span>x</span>", 'Tag "span" must have class "tg-spoiler" at byte offset 0'),
        ('<a ="x">y</a>', 'Empty attribute name in the tag "a" at byte offset 0'),
        ('<a href="x', "Unclosed start tag at byte offset 0"),
        ("<a href=x/y>z</a>", "Unexpected end of name token at byte offset 8"),
        ("&#xd800;", "Text contains invalid Unicode characters after decoding HTML entities"),
    ],
)
def test_an_error_names_the_tag_and_its_byte_offset(source: str, error: str) -> None:
    with pytest.raises(EntityError) as caught:
        parse_html(source)
    assert str(caught.value).startswith(error)
