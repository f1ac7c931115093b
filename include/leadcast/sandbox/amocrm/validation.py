"""amoCRM's checks of what is written: `validation-errors` with a code and a path per field (vendors.md 1.4)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from leadcast.sandbox.amocrm.catalogue import PIPELINE_ID, STATUSES, USERS, CustomField, FieldType, field_of

MAX_FIELD_VALUES = 40

_TYPES = {
    "name": "string",
    "first_name": "string",
    "last_name": "string",
    "price": "int",
    "status_id": "int",
    "pipeline_id": "int",
    "responsible_user_id": "int",
    "created_by": "int",
    "updated_by": "int",
    "created_at": "int",
    "updated_at": "int",
    "closed_at": "int",
    "loss_reason_id": "int",
}
_CHOICES: dict[str, Callable[[Any], bool]] = {
    "pipeline_id": lambda value: value == PIPELINE_ID,
    "status_id": lambda value: value in STATUSES,
    "responsible_user_id": lambda value: value in USERS or value == 0,
}


@dataclass(frozen=True)
class Problem:
    """One entry of `errors`."""

    code: str
    path: str
    detail: str

    def as_json(self) -> dict[str, str]:
        return {"code": self.code, "path": self.path, "detail": self.detail}


def wrong_type(path: str, expected: str) -> Problem:
    return Problem("InvalidType", path, f"This value should be of type {expected}.")


def not_a_choice(path: str) -> Problem:
    return Problem("NotSupportedChoice", path, "The value you selected is not a valid choice.")


def missing(path: str) -> Problem:
    return Problem("FieldMissing", path, "This field is missing.")


def problems_of_lead(lead: dict[str, Any], *, is_complex: bool) -> Iterator[Problem]:
    """Everything wrong with one lead of a POST or PATCH; `is_complex` for /leads/complex."""
    yield from _problems_of_fields(lead, "leads", "")
    embedded = lead.get("_embedded") or {}
    if not isinstance(embedded, dict):
        yield wrong_type("_embedded", "array")
        return
    for index, tag in enumerate(_list(embedded.get("tags"))):
        if not isinstance(tag, dict) or not ({"name", "id"} & tag.keys()):
            yield missing(f"_embedded.tags.{index}.name")
    for entity in ("contacts", "companies"):
        yield from _problems_of_linked(embedded.get(entity), entity, is_complex=is_complex)
    metadata = embedded.get("metadata")
    if metadata is not None and (not isinstance(metadata, dict) or metadata.get("category") not in ("forms", "sip")):
        yield not_a_choice("_embedded.metadata.category")


def problems_of_contact(contact: dict[str, Any]) -> Iterator[Problem]:
    """Everything wrong with one contact of a POST or PATCH."""
    yield from _problems_of_fields(contact, "contacts", "")


def problems_of_form(form: dict[str, Any]) -> Iterator[Problem]:
    """Everything wrong with one incoming form of a POST to /leads/unsorted/forms (vendors.md 1.6)."""
    for name in ("source_name", "source_uid"):
        yield from _problems_of_text(form, name, name)
    metadata = form.get("metadata")
    if not isinstance(metadata, dict):
        yield missing("metadata")
    else:
        for name in ("form_id", "form_name", "form_page"):
            yield from _problems_of_text(metadata, name, f"metadata.{name}")
        if "form_sent_at" not in metadata:
            yield missing("metadata.form_sent_at")
        elif not _is("int", metadata["form_sent_at"]):
            yield wrong_type("metadata.form_sent_at", "int")
    if form.get("pipeline_id") is not None and not _CHOICES["pipeline_id"](form["pipeline_id"]):
        yield not_a_choice("pipeline_id")
    embedded = form.get("_embedded") or {}
    for entity in ("leads", "contacts", "companies"):
        for index, item in enumerate(_list(embedded.get(entity))):
            if not isinstance(item, dict):
                yield wrong_type(f"_embedded.{entity}.{index}", "array")
            else:
                yield from _problems_of_fields(item, entity, f"_embedded.{entity}.{index}.")


def _problems_of_text(item: dict[str, Any], name: str, path: str) -> Iterator[Problem]:
    if not item.get(name):
        yield missing(path)
    elif not isinstance(item[name], str):
        yield wrong_type(path, "string")


def problems_of_note(note: dict[str, Any], *, needs_entity_id: bool) -> Iterator[Problem]:
    """Everything wrong with one note."""
    if needs_entity_id and "entity_id" not in note:
        yield missing("entity_id")
    elif needs_entity_id and not _is("int", note["entity_id"]):
        yield wrong_type("entity_id", "int")
    kind = note.get("note_type")
    params = note.get("params")
    if kind is None:
        yield missing("note_type")
    elif kind not in ("common", "service_message", "extended_service_message"):
        yield not_a_choice("note_type")
    if not isinstance(params, dict) or "text" not in params:
        yield missing("params.text")
    elif not isinstance(params["text"], str):
        yield wrong_type("params.text", "string")
    elif kind in ("service_message", "extended_service_message") and "service" not in params:
        yield missing("params.service")


def _problems_of_linked(items: Any, entity: str, *, is_complex: bool) -> Iterator[Problem]:
    path = f"_embedded.{entity}"
    if items is None:
        return
    if not isinstance(items, list):
        yield wrong_type(path, "array")
        return
    if is_complex and len(items) > 1:
        # The limit is documented, its error is not (vendors.md 1.3).
        yield not_a_choice(path)
    for index, item in enumerate(items):
        if not isinstance(item, dict):
            yield wrong_type(f"{path}.{index}", "array")
        elif is_complex:
            yield from _problems_of_fields(item, entity, f"{path}.{index}.")
        elif not _is("int", item.get("id")):
            yield missing(f"{path}.{index}.id")


def _problems_of_fields(item: dict[str, Any], entity: str, prefix: str) -> Iterator[Problem]:
    for name, expected in _TYPES.items():
        value = item.get(name)
        if value is None:
            continue
        if not _is(expected, value):
            yield wrong_type(prefix + name, expected)
        elif name in _CHOICES and not _CHOICES[name](value):
            yield not_a_choice(prefix + name)
    values = item.get("custom_fields_values")
    if values is None:
        return
    path = f"{prefix}custom_fields_values"
    if not isinstance(values, list):
        yield wrong_type(path, "array")
    elif len(values) > MAX_FIELD_VALUES:
        yield not_a_choice(path)
    else:
        for index, value in enumerate(values):
            yield from _problems_of_custom_field(value, entity, f"{path}.{index}")


def _problems_of_custom_field(item: Any, entity: str, path: str) -> Iterator[Problem]:
    if not isinstance(item, dict):
        yield wrong_type(path, "array")
        return
    if item.get("field_id") is None and item.get("field_code") is None:
        yield missing(f"{path}.field_id")
        return
    known = field_of(entity, field_id=item.get("field_id"), field_code=item.get("field_code"))
    if known is None:
        yield not_a_choice(f"{path}.field_id" if item.get("field_id") is not None else f"{path}.field_code")
        return
    values = item.get("values")
    if values is None and "values" not in item:
        yield missing(f"{path}.values")
    elif not isinstance(values, list):
        yield wrong_type(f"{path}.values", "array")
    else:
        for index, value in enumerate(values):
            yield from _problems_of_value(value, known, f"{path}.values.{index}")


def _problems_of_value(item: Any, field: CustomField, path: str) -> Iterator[Problem]:
    if not isinstance(item, dict):
        yield wrong_type(path, "array")
        return
    if "enum_id" in item and not field.knows_enum(item["enum_id"]):
        yield not_a_choice(f"{path}.enum_id")
    if "enum_code" in item and item["enum_code"] not in field.enums:
        yield not_a_choice(f"{path}.enum_code")
    value = item.get("value")
    if value is None:
        if field.type is not FieldType.SELECT or "enum_id" not in item:
            yield missing(f"{path}.value")
        return
    match field.type:
        case FieldType.CHECKBOX:
            expected = "bool"
        case FieldType.DATE:
            expected = "int"
        case FieldType.NUMERIC:
            expected = "numeric"
        case _:
            expected = "string"
    if not _is(expected, value):
        yield wrong_type(f"{path}.value", expected)
    elif field.type is FieldType.SELECT and value not in field.enums:
        yield not_a_choice(f"{path}.value")


def _is(expected: str, value: Any) -> bool:
    match expected:
        case "int":
            return isinstance(value, int) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
        case "numeric":
            return isinstance(value, int | float) or (isinstance(value, str) and _is_number(value))
        case _:
            return isinstance(value, str)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
