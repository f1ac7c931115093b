"""What a value of the wrong kind was meant for: one reading for every model, a user's own included."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from pydantic import BaseModel, Field, SecretStr, ValidationError

from leadcast.core.meant import AsMeant, as_list, as_meant
from leadcast.core.request_errors import InvalidRequest
from leadcast.flow.request import validate
from leadcast.integrations import registry
from leadcast.integrations.base import RequestModel
from leadcast.integrations.text.mapping import merged


class Colour(StrEnum):
    """A choice."""

    RED = "red"
    DARK_BLUE = "Dark-Blue"


class Inner(BaseModel):
    """An object."""

    a: int = 0


class Own(RequestModel):
    """Settings as a user writes them."""

    text: str = "default"
    secret: SecretStr = SecretStr("")
    key: Annotated[str, Field(max_length=5)] | None = None
    flag: bool = True
    count: int = Field(default=7, ge=1)
    user_id: Annotated[int, Field(gt=0)] | None = None
    zero_counts: int = Field(default=7, ge=0)
    ratio: float | None = None
    either: Annotated[int, Field(gt=0)] | str = ""
    colour: Colour = Colour.RED
    size: Literal["S", "M"] | None = None
    words: tuple[str, ...] = ("default",)
    numbers: list[int] = Field(default_factory=list)
    objects: list[Inner] = Field(default_factory=list)
    names: Sequence[Annotated[str, Field(min_length=1)]] = ()
    values: dict[str, SecretStr] = Field(default_factory=dict)
    free: Mapping[str, Any] = Field(default_factory=dict)
    inner: Inner = Inner()
    anything: Any = "default"


class Required(AsMeant):
    """What cannot be left out."""

    id: str
    items: list[str]
    values: dict[str, str]


NOTHING: tuple[Any, ...] = (None, "", " ", "\u200b", False, 0, 0.0, [], {})
ZEROS = (0, 0.0)


@pytest.mark.parametrize("none", NOTHING, ids=repr)
@pytest.mark.parametrize("name", sorted(Own.model_fields))
def test_what_says_none_is_not_given(name: str, none: Any) -> None:
    fields = Own.model_fields
    is_value = (
        (name == "flag" and none in (False, 0))
        or (name in ("zero_counts", "ratio") and none in ZEROS and not isinstance(none, bool))
        or (name in ("words", "numbers", "objects", "names") and none in ([], {}))
    )
    if name == "anything":
        is_value = none not in (None, "", " ", "\u200b")
    read = getattr(Own.model_validate({name: none}), name)
    if not is_value:
        assert read == fields[name].get_default(call_default_factory=True)
    elif name in ("words", "numbers", "objects", "names"):
        assert list(read) == []
    else:
        assert read == none


@pytest.mark.parametrize(
    ("name", "given", "read"),
    [
        ("text", 5, "5"),
        ("text", -100123.0, "-100123"),
        ("text", " a\u200b", "a"),
        ("text", "0", "0"),
        ("key", 12, "12"),
        ("flag", "on", True),
        ("flag", " no ", False),
        ("count", "0", 7),
        ("count", " 12\xa0", 12),
        ("count", 12.0, 12),
        ("user_id", "0", None),
        ("user_id", "15", 15),
        ("zero_counts", "0", 0),
        ("ratio", 0.5, 0.5),
        ("either", 5, 5),
        ("either", "0", ""),
        ("either", "UTM", "UTM"),
        ("colour", " RED ", Colour.RED),
        ("colour", "dark-blue", Colour.DARK_BLUE),
        ("size", "m", "M"),
        ("words", "a, b;c\n d ,,", ("a", "b", "c", "d")),
        ("words", ["", None, " a ", 1, 2.0, 1.5, "\u200b"], ("a", "1", "2", "1.5")),
        ("words", [False, "a", [], {}], ("a",)),
        ("words", {"0": "a", "2": "b"}, ("a", "b")),
        ("words", {0: "a", 2: None}, ("a",)),
        ("numbers", {"1": 5, "3": "6"}, [5, 6]),
        ("numbers", [None, 0, "7"], [0, 7]),
        ("objects", {"0": {"a": 1}, "2": {"a": 2}}, [Inner(a=1), Inner(a=2)]),
        ("objects", [None, False, {"a": 1}, {}], [Inner(a=1), Inner()]),
        ("names", "a", ["a"]),
        ("free", {"a": 5, "b": None}, {"a": 5, "b": None}),
        ("anything", 0, 0),
        ("anything", " a ", " a "),
        ("anything", [None], [None]),
    ],
)
def test_a_value_is_read_as_it_was_meant(name: str, given: Any, read: Any) -> None:
    assert getattr(Own.model_validate({name: given}), name) == read


def test_numbers_in_an_object_of_texts_are_text_and_zero_is_one() -> None:
    read = Own.model_validate({"values": {"a": 5, "b": 0, "c": 1.5, "d": "x"}}).values
    assert {name: secret.get_secret_value() for name, secret in read.items()} == {
        "a": "5",
        "b": "0",
        "c": "1.5",
        "d": "x",
    }


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("text", True), ("text", ["a"]), ("text", {"a": 1}), ("text", float("inf")), ("text", 1.5), ("flag", "да"),
        ("flag", [1]), ("count", "5 items"), ("count", 1.5), ("count", -1), ("count", "00.0"), ("user_id", -5),
        ("colour", "blue"), ("colour", 5), ("size", ["S"]), ("words", 5), ("words", {"a": "b"}), ("words", True),
        ("words", [["a"]]), ("words", [True]), ("numbers", "1,2"), ("objects", "a"), ("objects", {"a": 1}),
        ("objects", [5]), ("values", "a"), ("values", ["a"]), ("values", {"a": True}), ("values", {"a": None}),
        ("free", 5), ("inner", "a"), ("inner", [1]), ("unknown", 1), ("unknown", False),
    ],
)  # fmt: skip
def test_what_may_be_a_mistake_is_refused(name: str, wrong: Any) -> None:
    with pytest.raises(ValidationError):
        Own.model_validate({name: wrong})


@pytest.mark.parametrize("none", NOTHING, ids=repr)
def test_what_is_required_is_not_left_out_for_a_none(none: Any) -> None:
    given = {"id": "1", "items": ["a"], "values": {"a": "b"}}
    for name in given:
        taken = {"items": ([], {}), "values": ([], {}), "id": ZEROS}[name]
        if none in taken and not isinstance(none, bool):
            Required.model_validate({**given, name: none})
        else:
            with pytest.raises(ValidationError):
                Required.model_validate({**given, name: none})


def unsorted(**settings: Any) -> dict[str, Any]:
    return {"unsorted": True, **settings}


@pytest.mark.parametrize(
    ("kind", "given", "name", "read"),
    [
        ("amocrm", {"tags": ["", None]}, "tags", ()),
        ("amocrm", {"tags": [1, 2]}, "tags", ("1", "2")),
        ("amocrm", {"tags": "vip"}, "tags", ("vip",)),
        ("amocrm", {"tags": {"0": "a", "2": "b"}}, "tags", ("a", "b")),
        ("amocrm", {"price": "1 000"}, "price", 1000),
        ("amocrm", {"price": "1\xa0000,50"}, "price", 1001),
        ("amocrm", {"price": 1000.5}, "price", 1001),
        ("amocrm", {"price": 0}, "price", 0),
        ("amocrm", {"price": "0"}, "price", 0),
        ("amocrm", {"price": False}, "price", None),
        ("amocrm", {"pipeline_id": 0}, "pipeline_id", None),
        ("amocrm", {"status_id": "0"}, "status_id", None),
        ("amocrm", {"responsible_user_id": "0"}, "responsible_user_id", None),
        ("amocrm", {"priority": "High"}, "priority", "high"),
        ("amocrm", {"key_field": 0}, "key_field", ""),
        ("amocrm", {"key_field": "123"}, "key_field", 123),
        ("amocrm", {"find_contact": 0}, "find_contact", False),
        ("amocrm", unsorted(form_id=5), "form_id", "5"),
        ("bitrix24", {"category_id": 0}, "category_id", 0),
        ("bitrix24", {"category_id": False}, "category_id", None),
        ("bitrix24", {"assigned_by_id": "0"}, "assigned_by_id", None),
        ("bitrix24", {"entity": " Deal "}, "entity", "deal"),
        ("bitrix24", {"fields": False}, "fields", {}),
        ("telegram", {"chat_id": -100123.0}, "chat_id", "-100123"),
        ("telegram", {"chat_id": " @sales\u200b"}, "chat_id", "@sales"),
        ("telegram", {"chat_id": 0}, "chat_id", None),
        ("telegram", {"language": "RU"}, "language", "ru"),
        ("telegram", {"on_unknown": False}, "on_unknown", None),
        ("telegram", {"message_thread_id": 0}, "message_thread_id", None),
        ("email", {"subject": 5, "template": []}, "template", None),
        ("webhook", {"body": "JSON", "fields": []}, "body", "json"),
    ],
)
def test_settings_are_read_as_they_were_meant(kind: str, given: dict[str, Any], name: str, read: Any) -> None:
    validate({"lead_id": 1, "integrations": [{"type": kind, "settings": given}]})
    assert getattr(registry.get(kind).settings_model.model_validate(given), name) == read


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("amocrm", {"price": "1000 руб"}),
        ("amocrm", {"price": -1}),
        ("amocrm", {"price": True}),
        ("amocrm", {"price": [5]}),
        ("amocrm", {"tags": 5}),
        ("amocrm", {"tags": {"name": "vip"}}),
        ("amocrm", {"priority": "urgent"}),
        ("amocrm", {"pipeline_id": -1}),
        ("telegram", {"language": "de"}),
        ("telegram", {"chat_id": ["@a"]}),
        ("telegram", {"silent": "да"}),
        ("webhook", {"fields": "all"}),
    ],
)
def test_a_mistake_in_settings_is_refused(kind: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate({"lead_id": 1, "integrations": [{"type": kind, "settings": wrong}]})
    assert caught.value.errors[0].loc[:4] == ("integrations", 0, "settings", next(iter(wrong)))


WEBHOOK = {"url": "https://example.com/hook"}


@pytest.mark.parametrize(
    ("kind", "given", "name", "read"),
    [
        ("email", {"emails": "a@example.com"}, "emails", ("a@example.com",)),
        ("email", {"emails": "a@example.com; b@example.com,"}, "emails", ("a@example.com", "b@example.com")),
        ("email", {"emails": {"0": "a@example.com", "3": None}}, "emails", ("a@example.com",)),
        ("telegram", {"bot_token": "1:a\u200b", "chat_id": -100123.0}, "chat_id", "-100123"),
        ("webhook", WEBHOOK | {"headers": []}, "headers", {}),
        ("webhook", WEBHOOK | {"headers": {"X": 5}}, "headers", {"X": SecretStr("5")}),
        ("webhook", WEBHOOK | {"secret": False}, "secret", None),
    ],
)
def test_credentials_are_read_as_they_were_meant(kind: str, given: dict[str, Any], name: str, read: Any) -> None:
    request = validate({"lead_id": 1, "integrations": [{"type": kind}], "credentials": {kind: given}})
    model = registry.get(kind).credentials_model
    assert getattr(model.model_validate(request.credentials[kind]), name) == read


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        ("email", {"emails": ["Anna <a@example.com>"]}),
        ("email", {"emails": False}),
        ("telegram", {"chat_id": "@a"}),
        ("telegram", {"bot_token": True, "chat_id": "@a"}),
        ("webhook", WEBHOOK | {"headers": [{"name": "X", "value": "y"}]}),
        ("webhook", WEBHOOK | {"headers": {"X": "Привет"}}),
        ("webhook", {"secret": "whsec_"}),
    ],
)
def test_credentials_that_do_not_suffice_are_refused(kind: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(InvalidRequest) as caught:
        validate({"lead_id": 1, "integrations": [{"type": kind}], "credentials": {kind: wrong}})
    assert {error.loc[:2] for error in caught.value.errors} == {("credentials", kind)}


def test_read_again_it_stays_as_it_is() -> None:
    given = {"text": 5, "words": "a,b", "colour": "RED", "objects": {"0": {"a": 1}}, "values": {"a": 5}, "user_id": "0"}
    once = as_meant(Own, given)
    assert as_meant(Own, once) == once
    assert Own.model_validate(once) == Own.model_validate(given)


def test_what_is_no_object_is_left_to_the_model() -> None:
    for wrong in ("a", 5, ["a"], None):
        with pytest.raises(ValidationError):
            Own.model_validate(wrong)
    assert Own.model_validate(Own(text="a")) == Own(text="a")


def test_no_error_repeats_what_was_sent() -> None:
    secret = 7_301_993_551
    with pytest.raises(ValidationError) as caught:
        Own.model_validate({"key": secret, "values": {"a": [secret]}, "colour": secret, "objects": [secret]})
    assert str(secret) not in str(caught.value)


def test_a_none_of_a_requests_leaves_what_the_installation_has_set() -> None:
    defaults = {"user_id": 5, "words": ["a"], "colour": "dark-blue"}
    assert merged(Own, defaults, {"user_id": 0, "words": False, "colour": []}) == {
        "user_id": 5, "words": ["a"], "colour": "Dark-Blue",
    }  # fmt: skip
    model = registry.get("webhook").settings_model
    fields = {"fields": {"a": 1}}
    for none in NOTHING:
        assert merged(model, fields, {"fields": none}) == fields
    assert merged(model, fields, {"fields": {"b": 2}}) == {"fields": {"a": 1, "b": 2}}


@pytest.mark.parametrize("value", [{}, {"a": 1}, {"0": 1, "a": 2}, "a", None, [1]])
def test_an_object_with_other_names_is_no_list(value: Any) -> None:
    assert as_list(value) == ([] if value == {} else value)
