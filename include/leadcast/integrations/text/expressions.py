"""Texts with placeholders and expressions, as a caller writes them in a field mapping.

The language is Jinja's, read by Jinja's own parser: lookups in `lead`, comparisons, and/or/not, if-else, `~`, + and -
of numbers, a few filters and tests. What was read is never turned into code: it is walked, and what the walk does not
know does not exist. So nothing can be called, no object has attributes, there is no loop, and every step is counted.
"""

from __future__ import annotations

import inspect
import operator
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from jinja2 import Environment, TemplateSyntaxError, nodes

from leadcast.core.budget import PER_EXPRESSION, spend
from leadcast.core.model import Lead
from leadcast.core.redact import one_line
from leadcast.core.tidy import FIELDS
from leadcast.integrations.text.expression_filters import FILTERS, TESTS, NotComputableError, Work, joined, number
from leadcast.integrations.text.template_files import UNSENDABLE, placeholders_to_jinja

MAX_SOURCE_CHARS = 4096
MAX_STEPS = 200
MAX_DEPTH = 30
_PLACEHOLDERS, _LEAD = "placeholders", "lead"
_KNOWN = ("id", *FIELDS)
_UTM, _CUSTOM = "utm", "custom"
_COMPARISONS: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "eq": operator.eq,
        "ne": operator.ne,
        "lt": operator.lt,
        "lteq": operator.le,
        "gt": operator.gt,
        "gteq": operator.ge,
        "in": lambda item, whole: item in whole,
        "notin": lambda item, whole: item not in whole,
    }
)
_SIGNATURES = {use: inspect.signature(use) for use in (*FILTERS.values(), *TESTS.values())}
_PLAIN = (
    nodes.Const, nodes.List, nodes.Tuple, nodes.Compare, nodes.Operand, nodes.And, nodes.Or, nodes.Not, nodes.CondExpr,
    nodes.Concat, nodes.Add, nodes.Sub, nodes.Neg, nodes.Pos, nodes.Keyword,
)  # fmt: skip
JINJA = Environment(keep_trailing_newline=True)  # noqa: S701 - it only parses: nothing is rendered, nothing to escape
"""Reads what callers write. What it has read is walked, never compiled."""

Part = str | nodes.Expr


def parsed(source: str) -> tuple[Part, ...]:
    """The text as its constant parts and its expressions, in order.

    Raises:
        ValueError: it is none that can be filled in; says what is in the way.
        SpentError: there is too much of them in this request.
    """
    if "{" not in source:
        return (source,) if source else ()
    # also for one that is remembered: what a request may bring does not depend on others
    spend(PER_EXPRESSION + len(source))
    return _parsed(source)


@lru_cache(maxsize=256)
def _parsed(source: str) -> tuple[Part, ...]:
    if len(source) > MAX_SOURCE_CHARS:
        raise ValueError(f"at most {MAX_SOURCE_CHARS} characters with braces in them")
    try:
        parts = tuple(_parts(JINJA.parse(placeholders_to_jinja(source))))
        steps = sum(_steps(part) for part in parts if not isinstance(part, str))
    except TemplateSyntaxError as error:
        raise ValueError(f"not an expression: {one_line(error.message or '', limit=160)}") from None
    except (RecursionError, MemoryError, OverflowError):
        raise ValueError("nested too deeply") from None
    if steps > MAX_STEPS:
        raise ValueError(f"at most {MAX_STEPS} steps in one text")
    return parts


def value_of(source: str, *, lead: Lead, work: Work) -> Any:
    """The text filled in. One that is a single expression and nothing else keeps its value's type.

    Raises:
        NotComputableError: not for this lead; never holds its data.
    """
    parts = parsed(source)
    try:
        values = [part if isinstance(part, str) else _value(part, lead, work) for part in parts]
        result = values[0] if len(values) == 1 else joined(values)
    except NotComputableError:
        raise
    except (TypeError, ValueError, ArithmeticError):
        # their words may hold the lead's
        raise NotComputableError("its values do not go together, or are of the wrong kind") from None
    work.spend(result)
    return result


def _parts(template: nodes.Template) -> Iterator[Part]:
    for output in template.body:
        if not isinstance(output, nodes.Output):
            raise ValueError(f"only expressions in {{{{ }}}}: no {_name(output)} here")
        for node in output.nodes:
            if isinstance(node, nodes.TemplateData):
                yield node.data
            else:
                yield node


def _steps(node: nodes.Node, depth: int = 1) -> int:
    """How many steps an expression takes.

    Raises:
        ValueError: a step is not allowed.
    """
    if depth > MAX_DEPTH:
        raise ValueError("nested too deeply")
    if isinstance(node, (nodes.Name, nodes.Getattr, nodes.Getitem)):
        _path(node)
        return 1
    if isinstance(node, nodes.Filter):
        _check_use(node, FILTERS, "filter")
    elif isinstance(node, nodes.Test):
        _check_use(node, TESTS, "test")
    elif not isinstance(node, _PLAIN):
        raise ValueError(f"no {_name(node)} here")
    elif isinstance(node, nodes.Const):
        _check_constant(node.value)
    return 1 + sum(_steps(child, depth + 1) for child in node.iter_child_nodes())


def _check_constant(value: Any) -> None:
    if isinstance(value, str):
        if UNSENDABLE.search(value):
            raise ValueError("holds a NUL character or half a surrogate pair")
    elif value is not None and not isinstance(value, bool):
        number(value)


def _check_use(node: nodes.Filter | nodes.Test, known: Mapping[str, Callable[..., Any]], what: str) -> None:
    if node.name not in known:
        raise ValueError(f"no {what} {one_line(node.name, limit=40)!r}; there are {', '.join(known)}")
    if node.node is None or node.dyn_args is not None or node.dyn_kwargs is not None:
        raise ValueError(f"{what} {node.name}: no * in its arguments")
    try:
        _SIGNATURES[known[node.name]].bind(None, *node.args, **{str(word.key): word.value for word in node.kwargs})
    except TypeError:
        raise ValueError(f"{what} {node.name}: not with these arguments") from None


def _path(node: nodes.Node) -> tuple[str, ...]:
    """The way of a lookup: `("name",)`, `("custom", "roof area")`, or `("placeholders", "lead_name")`."""
    names: list[str] = []
    while isinstance(node, (nodes.Getattr, nodes.Getitem)):
        key = node.attr if isinstance(node, nodes.Getattr) else getattr(node.arg, "value", None)
        if not isinstance(key, str):
            raise ValueError("in [ ] stands the name of a field, in quotes")
        names.insert(0, key)
        node = node.node
    if not isinstance(node, nodes.Name):
        raise ValueError("only a lead has fields to look up")
    root = node.name
    if root == _PLACEHOLDERS and len(names) == 1:
        return (root, *names)
    if root != _LEAD:
        raise ValueError(f"no {one_line(root, limit=40)!r} here; there is lead")
    if (len(names) == 1 and names[0] in _KNOWN) or (len(names) == 2 and names[0] in (_UTM, _CUSTOM)):
        return tuple(names)
    way = one_line(".".join((root, *names)), limit=80)
    raise ValueError(f"no {way!r}; there are lead.{', lead.'.join(_KNOWN)}, lead.utm.<name>, lead.custom.<name>")


def _value(node: nodes.Node, lead: Lead, work: Work) -> Any:
    result = _step(node, lead, work)
    work.spend(result)
    return result


def _step(node: nodes.Node, lead: Lead, work: Work) -> Any:
    def of(inner: nodes.Node) -> Any:
        return _value(inner, lead, work)

    match node:
        case nodes.Const():
            return node.value
        case nodes.Getattr() | nodes.Getitem():
            return _looked_up(_path(node), lead)
        case nodes.List() | nodes.Tuple():
            return [of(item) for item in node.items]
        case nodes.And():
            return of(node.left) and of(node.right)
        case nodes.Or():
            return of(node.left) or of(node.right)
        case nodes.Not():
            return not of(node.node)
        case nodes.CondExpr():
            if of(node.test):
                return of(node.expr1)
            return None if node.expr2 is None else of(node.expr2)
        case nodes.Compare():
            return _compared(node, of)
        case nodes.Concat():
            return joined([of(item) for item in node.nodes])
        case nodes.Add():
            return number(number(of(node.left)) + number(of(node.right)))
        case nodes.Sub():
            return number(number(of(node.left)) - number(of(node.right)))
        case nodes.Neg():
            return -number(of(node.node))
        case nodes.Pos():
            return number(of(node.node))
        case nodes.Filter() if node.node is not None:
            words = {str(word.key): of(word.value) for word in node.kwargs}
            return FILTERS[node.name](of(node.node), *map(of, node.args), **words)
        case nodes.Test():
            return TESTS[node.name](of(node.node))
    raise NotComputableError(f"no {_name(node)} here")


def _compared(node: nodes.Compare, of: Callable[[nodes.Node], Any]) -> bool:
    left = of(node.expr)
    for operand in node.ops:
        right = of(operand.expr)
        if not _COMPARISONS[operand.op](left, right):
            return False
        left = right
    return True


def _looked_up(path: tuple[str, ...], lead: Lead) -> Any:
    """What the lead has there; None: nothing."""
    first, *rest = path
    if first == _PLACEHOLDERS:
        name = rest[0].removeprefix("lead_")
        if name in _KNOWN:
            return getattr(lead, name)
        found = _utm(lead, name) if name.startswith("utm_") else None
        return lead.custom.get(name) if found is None else found
    if not rest:
        return getattr(lead, first)
    return _utm(lead, rest[0]) if first == _UTM else lead.custom.get(rest[0])


def _utm(lead: Lead, name: str) -> str | None:
    """`source` and `utm_source` are the same, whichever of them the lead and the text use."""
    bare = name.removeprefix("utm_")
    return lead.utm.get(name, lead.utm.get(bare, lead.utm.get(f"utm_{bare}")))


def _name(node: nodes.Node) -> str:
    return type(node).__name__.lower()
