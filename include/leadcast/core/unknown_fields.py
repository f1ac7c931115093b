"""What is said of a field that there is none of: where it belongs, which one may be meant, or which ones there are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, get_args

from pydantic import BaseModel

from leadcast.core.field_words import SENTENCES

_LONGEST_NAME = 80
UNKNOWN_FIELD = "extra_forbidden"
"""Pydantic's type of this error."""


def nearest(name: str, known: Iterable[str]) -> str:
    """The one of these that may have been meant; empty: none."""
    near = get_close_matches(name[:_LONGEST_NAME], list(known), n=1)
    return near[0] if near else ""


def unknown_field(model: type[BaseModel], loc: Sequence[str | int], *, elsewhere: Mapping[str, Collection[str]]) -> str:
    """Says so without the name, which came from outside.

    Args:
        model: what was validated.
        loc: pydantic's way to the field.
        elsewhere: the fields that stand in other places of the request, by the name of the place.
    """
    name, owner = str(loc[-1]), _model_at(model, loc[:-1])
    if owner is None:
        return SENTENCES[UNKNOWN_FIELD]
    if len(loc) == 1:
        for place, fields in elsewhere.items():
            if name in fields:
                return f"there is no such field here; it belongs to {place}"
    near = nearest(name, owner.model_fields)
    if near:
        return f"there is no such field; is {near} meant?"
    return f"there is no such field; there are: {', '.join(owner.model_fields) or 'none'}"


def _model_at(model: type[BaseModel], way: Sequence[str | int]) -> type[BaseModel] | None:
    """The model that these steps lead to; None: there is none, or more than one."""
    here: type[BaseModel] | None = model
    for step in way:
        if isinstance(step, int):
            continue  # of a list
        field = here.model_fields.get(step) if here is not None else None
        if field is None:
            return None
        found = list(_models_in(field.annotation))
        here = found[0] if len(found) == 1 else None
    return here


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and not get_args(annotation):
        if issubclass(annotation, BaseModel):
            yield annotation
        return
    for part in get_args(annotation):
        yield from _models_in(part)
