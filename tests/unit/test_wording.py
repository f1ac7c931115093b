"""What people read of our errors and reasons is in their language: the catalogue, and that it lacks nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterable, Iterator
from itertools import chain, product
from pathlib import Path

import pytest

import leadcast
from leadcast.core import errors
from leadcast.core.settings import Language, Occasion
from leadcast.integrations.templating import Templates
from leadcast.integrations.wording import Wording, catalogue

PACKAGE = Path(leadcast.__file__).parent
SAMPLE = "X9"
NOT_FOR_PEOPLE = ("sandbox", "local", "cli")
ERRORS = {name for name in dir(errors) if isinstance(getattr(errors, name), type)} & {
    kind.__name__ for kind in (errors.DeliveryError, *errors.DeliveryError.__subclasses__())
} | {"RateLimited", "CredentialsError", "Gone", "Unsendable", "kind"}
"""`kind`: a variable that holds one of them."""
REASONS = {"critical", "reason"}
PARTS = {"UnfitUrlError", "TunnelError"}
"""What is said within a sentence of another file's."""
FOR_THE_LOG = {"warning", "info", "error", "_unheard"}


Named = dict[str, ast.expr]


def texts_of(node: ast.expr, named: Named) -> Iterator[str]:
    """What an expression may read, with a sample for each value; nothing where it is not ours to say.

    Args:
        named: what the names in reach stand for, as far as it is written there.
    """
    match node:
        case ast.Constant():
            yield str(node.value)
        case ast.IfExp():
            yield from texts_of(node.body, named)
            yield from texts_of(node.orelse, named)
        case ast.JoinedStr():
            yield from map("".join, product(*(list(texts_of(part, named)) for part in node.values)))
        case ast.FormattedValue():
            yield from list(texts_of(node.value, named)) or [SAMPLE]
        case ast.BoolOp():
            yield SAMPLE
            yield from texts_of(node.values[-1], named)
        case ast.Name() if node.id in named:
            yield from texts_of(named[node.id], {name: value for name, value in named.items() if name != node.id})
        case ast.Subscript(value=ast.Name() as table) if isinstance(named.get(table.id), ast.Dict):
            for value in named[table.id].values:  # type: ignore[attr-defined]  # a Dict, by the line above
                yield from texts_of(value, named)


def names_in(body: Iterable[ast.AST]) -> Named:
    """What is assigned to plain names in there."""
    assigned = (node for node in body if isinstance(node, ast.Assign))
    return {target.id: node.value for node in assigned for target in node.targets if isinstance(target, ast.Name)}


def sentences_in(path: Path) -> Iterator[str]:
    """What a file tells people: the first argument of each error that it makes, and each reason that it gives."""
    module = ast.parse(path.read_text(encoding="utf-8"))
    for function in ast.walk(module):
        if isinstance(function, ast.FunctionDef):
            named = names_in(module.body) | names_in(ast.walk(function))
            calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
            for told in chain.from_iterable(map(told_by, calls)):
                yield from (text for text in texts_of(told, named) if " " in text)


def told_by(call: ast.Call) -> list[ast.expr]:
    """The arguments of a call that people may read."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    told = call.args[:1] if name in ERRORS | PARTS or isinstance(call.func, ast.IfExp) else []
    if name == "failure":  # smtp_replies: the server and what it does
        told = call.args[1:2]
    if name not in FOR_THE_LOG:
        told = [*told, *(keyword.value for keyword in call.keywords if keyword.arg in REASONS)]
    return told


SENTENCES = sorted(
    {
        (str(path.relative_to(PACKAGE)), text)
        for path in PACKAGE.rglob("*.py")
        if not set(path.relative_to(PACKAGE).parts) & set(NOT_FOR_PEOPLE)
        for text in sentences_in(path)
    }
)


@pytest.mark.parametrize(("where", "sentence"), SENTENCES)
def test_each_sentence_of_ours_is_said_in_russian(where: str, sentence: str) -> None:
    said = Wording.of(Language.RU).say(sentence)

    assert said != sentence, f"{where}: add it to templates/ru/sentences.toml"
    assert said.count(SAMPLE) == sentence.count(SAMPLE)


def test_the_catalogue_has_the_same_names_on_both_sides() -> None:
    for english, russian in catalogue(Language.RU).items():
        names = [sorted(part.split("}")[0] for part in text.split("{")[1:]) for text in (english, russian)]

        assert names[0] == names[1], english


def test_a_sentence_within_a_sentence_is_translated_too() -> None:
    text = "The token was not renewed: Cannot reach https://a.amocrm.ru: connection refused; nothing was sent."

    assert Wording.of(Language.RU).say(text) == (
        "Токен не обновлён: Не удаётся соединиться с https://a.amocrm.ru: в соединении отказано; ничего не отправлено."
    )


@pytest.mark.parametrize(
    "text", ["", " ", "Bad Request: chat not found", "Наше собственное слово", "a" * 5000, "The receiver", "{status}"]
)
def test_what_is_not_ours_stays_as_it_is(text: str) -> None:
    assert Wording.of(Language.RU).say(text) == text


def test_values_are_never_taken_for_names() -> None:
    said = Wording.of(Language.RU).say("amoCRM refused the lead (400): {code} {problems}.")

    assert said == "amoCRM отклонила заявку (400): {code} {problems}."


def test_in_english_everything_stays() -> None:
    assert Wording.of(Language.EN).say("The receiver answered 503.") == "The receiver answered 503."


def test_a_russian_letter_has_its_errors_and_reasons_in_russian() -> None:
    letter = Templates().notification(
        Occasion.CRITICAL,
        values={
            "batch": {"id": "b1", "lead_id": "7"},
            "deliveries": [
                {"type": "webhook", "state": "failed", "attempts": 3, "error": "The receiver answered 503."},
                {"type": "email", "state": "delivered", "attempts": 1, "error": None},
            ],
            "reason": "the run timed out",
        },
        language=Language.RU,
    )

    for part in (letter.text, letter.html):
        assert "Получатель ответил 503." in part
        assert "превышено время выполнения запуска" in part
        assert "receiver" not in part
