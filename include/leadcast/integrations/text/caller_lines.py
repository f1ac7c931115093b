"""A caller's line with placeholders, say a subject. Read by Jinja's own parser, then walked: it never becomes code.

Only lookups are known (`{lead_name}`, `{{ lead.custom.city }}`), in constant names. Jinja's code generator is not for
strangers: what it does with a line of 600 characters can take ten seconds.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from functools import lru_cache
from typing import Annotated, Any

from jinja2 import TemplateSyntaxError, nodes
from pydantic import AfterValidator, StringConstraints, ValidationInfo

from leadcast.core.budget import PER_EXPRESSION, spend
from leadcast.core.model import Lead
from leadcast.core.redact import one_line
from leadcast.core.tidy import FIELDS
from leadcast.integrations.text.expressions import JINJA
from leadcast.integrations.text.template_files import UNSENDABLE, placeholders_to_jinja
from leadcast.integrations.text.template_values import text_of, values_of

MAX_LINE_CHARS = 998
MAX_LOOKUPS = 30
"""How far one lookup may lead: `lead.custom.city` are two."""
_ROOTS = ("lead", "placeholders")
_GIVEN = "given"
_KNOWN = frozenset({"id", *FIELDS, "utm", "custom"})

Way = tuple[str | int, ...]
"""The names of a lookup, the root first."""
Part = str | Way


def at_the_door(given: Collection[str]) -> dict[str, Any]:
    """The context to validate a model in while its caller can still be told what is wrong.

    Args:
        given: the fields that he has given himself; the installation's own are not his to mend.
    """
    return {_GIVEN: frozenset(given)}


def check_line(source: str, *, knows_names: bool = True) -> str:
    """`source` itself, if it can be filled in: at most 998 characters, placeholders and plain lookups only.

    Args:
        knows_names: whether each lookup must begin with a name that there is; else what it finds is nothing.

    Raises:
        ValueError: says what is in the way.
    """
    spend(PER_EXPRESSION + len(source))
    for part in _parsed(source):
        if knows_names and not isinstance(part, str) and part[0] not in _ROOTS:
            raise ValueError(f"no {one_line(str(part[0]), limit=40)!r} here; there is lead")
    return source


def filled_line(source: str, *, lead: Lead) -> str:
    """The line for this lead. What the lead does not have is nothing.

    Raises:
        ValueError: it holds more than placeholders and lookups; says what is in the way.
    """
    values = values_of(lead)
    text = "".join(part if isinstance(part, str) else _looked_up(part, values) for part in _parsed(source))
    return one_line(text, limit=MAX_LINE_CHARS)


@lru_cache(maxsize=256)
def _parsed(source: str) -> tuple[Part, ...]:
    if len(source) > MAX_LINE_CHARS:
        raise ValueError(f"at most {MAX_LINE_CHARS} characters")
    if "{" not in source:
        return (source,)
    try:
        return tuple(_parts(JINJA.parse(placeholders_to_jinja(source))))
    except TemplateSyntaxError as error:
        what = one_line(error.message or "", limit=160)
        raise ValueError(f"not a line with placeholders like {{lead_name}}: {what}") from None
    except (RecursionError, MemoryError, OverflowError):
        raise ValueError("nested too deeply") from None


def _parts(template: nodes.Template) -> Iterator[Part]:
    for output in template.body:
        if not isinstance(output, nodes.Output):
            raise _not_here(output)
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                yield node.data
            elif isinstance(node, nodes.Const):
                yield _constant(node)
            else:
                yield _way(node)


def _constant(node: nodes.Const) -> str:
    text = text_of(node.value)
    if UNSENDABLE.search(text):
        raise ValueError("holds a NUL character or half a surrogate pair")
    return text


def _way(node: nodes.Node) -> Way:
    names: list[str | int] = []
    while isinstance(node, (nodes.Getattr, nodes.Getitem)):
        if len(names) == MAX_LOOKUPS:
            raise ValueError("nested too deeply")
        names.append(node.attr if isinstance(node, nodes.Getattr) else _key(node.arg))
        node = node.node
    if not isinstance(node, nodes.Name):
        raise _not_here(node)
    return (node.name, *reversed(names))


def _key(node: nodes.Node) -> str | int:
    if not isinstance(node, nodes.Const):
        raise _not_here(node)
    if not isinstance(node.value, str | int):
        raise ValueError("in [ ] stands the name of a field, in quotes")
    if isinstance(node.value, str):
        _constant(node)
    return node.value


def _not_here(node: nodes.Node) -> ValueError:
    what = type(node).__name__.lower()
    return ValueError(f"only placeholders like {{lead_name}} and {{{{ lead.name }}}}: no {what} here")


def _looked_up(way: Way, values: Mapping[str, Any]) -> str:
    found: Any = values
    for name in way:
        if isinstance(found, Mapping):
            found = found.get(name)
        elif isinstance(found, Lead) and name in _KNOWN:
            found = getattr(found, str(name))
        else:
            return ""
    return "" if isinstance(found, Lead) else text_of(found)


def _line(source: str, info: ValidationInfo) -> str:
    # what an older version has accepted, and the installation's own, goes out as it did
    return check_line(source, knows_names=info.field_name in (info.context or {}).get(_GIVEN, ()))


Line = Annotated[str, StringConstraints(max_length=MAX_LINE_CHARS), AfterValidator(_line)]
"""A caller's line with placeholders. A name that there is none of is refused `at_the_door` only."""
