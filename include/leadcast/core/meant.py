"""What a caller meant by a value that is not of the kind that a field takes, where it can have meant one thing only. A
form has nobody to read a refusal, and PHP has one word for many things: false, 0 and `[]` are its "none", a list that
lost an item is an object with numbers for names, a number is text and text a number.

One base for all models of requests, settings and credentials, a user's own included. What may be a mistake stays as it
came, and is refused by the field.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cache
from types import UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, SecretStr, model_validator

from leadcast.core import blanks
from leadcast.core.absent import as_object, is_blank, is_none
from leadcast.core.budget import PER_VALUE, spend
from leadcast.core.values import is_sendable, is_whole, text_of

_NOT_GIVEN = object()
_NUMBER = re.compile(r"[0-9]{1,9}")
_SEPARATORS = ",;\n"
_BETWEEN = re.compile(f"[{_SEPARATORS}]")
_LISTS = (list, tuple, set, frozenset, Sequence)
_OBJECTS = (dict, Mapping)


class AsMeant(BaseModel):
    """Base of models: values are taken as they were meant. Unknown fields are refused, and no error text repeats what
    was sent."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _as_meant(cls, data: Any) -> Any:
        return as_meant(cls, data) if isinstance(data, Mapping) else data


def as_meant(model: type[BaseModel], data: Mapping[str, Any]) -> dict[str, Any]:
    """The members of an object as this model's fields take them, without those that are not given. Done again, it
    changes nothing; what lies further down is left to the models there.
    """
    wants = _wants(model)
    read = {name: _read(value, wants.get(name, _ANYTHING)) for name, value in data.items()}
    return {name: value for name, value in read.items() if value is not _NOT_GIVEN}


def as_list(value: Any) -> Any:
    """The values of a list of PHP's that is written as an object, since an item of it was taken out
    (`{"0": …, "2": …}`); anything else as it is."""
    if isinstance(value, Mapping) and all(_NUMBER.fullmatch(str(name)) for name in value):
        return list(value.values())
    return value


@dataclass(frozen=True, kw_only=True)
class _Want:
    """What a field takes. `values`: of the members of an object whose names are free."""

    anything: bool = False
    flag: bool = False
    number: bool = False
    above_zero: bool = False
    text: bool = False
    words: tuple[str, ...] = ()
    items: _Want | None = None
    an_object: bool = False
    values: _Want | None = None
    required: bool = False


_ANYTHING = _Want(anything=True)


def _read(value: Any, want: _Want) -> Any:
    if is_blank(value):
        return _NOT_GIVEN
    if want.anything:
        return value
    if is_none(value) and not want.required and not _is_meant(value, want):
        return _NOT_GIVEN
    if isinstance(value, str):
        return _read_text(value, want)
    if want.items is not None:
        return _read_list(as_list(value), want.items)
    if want.an_object:
        return _read_object(as_object(value), want.values)
    return _text_for(value, want) if isinstance(value, int | float) and is_whole(value) else value


def _is_meant(value: Any, want: _Want) -> bool:
    """Whether false, 0 or an empty list or object is a value of this field."""
    if isinstance(value, bool):
        return want.flag
    if isinstance(value, int | float):
        return want.flag or (want.number and not want.above_zero)
    return want.items is not None or want.an_object


def _read_text(text: str, want: _Want) -> Any:
    if want.items is not None and want.items.text and not want.text:
        # before it is taken apart, as a list is spent for before it is looked at
        spend(PER_VALUE * sum(map(text.count, _SEPARATORS)))
        return _read_list(_BETWEEN.split(text), want.items)
    text = blanks.bare(text)
    if want.above_zero and text == "0":
        return _NOT_GIVEN
    return next((word for word in want.words if word.lower() == text.lower()), text)


def _read_list(value: Any, want: _Want) -> Any:
    if want.anything or not isinstance(value, list | tuple):
        return value
    given = [item for item in value if not is_blank(item) and not _says_nothing(item, want)]
    return [blanks.bare(item) if isinstance(item, str) else _text_for(item, want) for item in given]


def _read_object(value: Any, want: _Want | None) -> Any:
    if want is None or want.anything or not isinstance(value, Mapping):
        return value
    return {name: _text_for(item, want) for name, item in value.items() if not _says_nothing(item, want)}


def _says_nothing(item: Any, want: _Want) -> bool:
    """Whether it is PHP's "none" within a list or an object. There, 0 is a number like any other."""
    return (item is False or item in ([], {})) and not _is_meant(item, want)


def _text_for(value: Any, want: _Want) -> Any:
    """A number as text, where it is wanted."""
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return text_of(value) if is_number and want.text and not want.number and is_sendable(value) else value


@cache
def _wants(model: type[BaseModel]) -> Mapping[str, _Want]:
    return {
        called: _want(field.annotation, field.metadata, required=field.is_required())
        for name, field in model.model_fields.items()
        for called in {name, field.alias or name}
    }


def _want(annotation: Any, metadata: Iterable[Any] = (), *, required: bool = False) -> _Want:
    kinds = list(_kinds(annotation, tuple(metadata)))

    def first(of: Callable[[_Want], _Want | None]) -> _Want | None:
        return next((found for kind in kinds if (found := of(kind)) is not None), None)

    return _Want(
        anything=any(kind.anything for kind in kinds),
        flag=any(kind.flag for kind in kinds),
        number=any(kind.number for kind in kinds),
        above_zero=any(kind.above_zero for kind in kinds),
        text=any(kind.text for kind in kinds),
        words=tuple(word for kind in kinds for word in kind.words),
        items=first(lambda kind: kind.items),
        an_object=any(kind.an_object for kind in kinds),
        values=first(lambda kind: kind.values),
        required=required,
    )


def _kinds(annotation: Any, metadata: tuple[Any, ...]) -> Iterable[_Want]:
    """What each part of a union takes."""
    origin, args = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        yield from _kinds(args[0], (*metadata, *args[1:]))
    elif origin in (Union, UnionType):
        for arg in args:
            yield from _kinds(arg, metadata)
    elif annotation is not type(None):
        yield _kind(annotation, origin or annotation, args, metadata)


def _kind(annotation: Any, kind: Any, args: tuple[Any, ...], metadata: tuple[Any, ...]) -> _Want:
    if kind is Literal:
        return _Want(words=tuple(word for word in args if isinstance(word, str)))
    if kind in _LISTS:
        return _Want(items=_want(args[0]) if args else _ANYTHING)
    if kind in _OBJECTS:
        return _Want(an_object=True, values=_want(args[1]) if args else None)
    if not isinstance(annotation, type):
        return _ANYTHING
    if issubclass(annotation, Enum):
        return _Want(words=tuple(member.value for member in annotation if isinstance(member.value, str)))
    if issubclass(annotation, BaseModel):
        return _Want(an_object=True)
    if issubclass(annotation, bool):
        return _Want(flag=True)
    if issubclass(annotation, int | float):
        return _Want(number=True, above_zero=_is_above_zero(metadata))
    return _Want(text=True) if issubclass(annotation, str | SecretStr) else _ANYTHING


def _is_above_zero(metadata: Iterable[Any]) -> bool:
    for rule in metadata:
        least, above = getattr(rule, "ge", None), getattr(rule, "gt", None)
        if (least is not None and least > 0) or (above is not None and above >= 0):
            return True
        if _is_above_zero(getattr(rule, "metadata", ())):  # of a Field within
            return True
    return False
