"""Bitrix24's `batch`: up to 50 commands, in order, each may use earlier results (vendors.md 2.8)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from leadcast.sandbox.bitrix24.methods import Outcome
from leadcast.sandbox.bitrix24.php import map_or_list, parse_query
from leadcast.sandbox.bitrix24.store import BitrixError

MAX_COMMANDS = 50

_REFERENCE = re.compile(r"\$result((?:\[[^\[\]]*\])+)")
_PART = re.compile(r"\[([^\[\]]*)\]")

Run = Callable[[str, Mapping[str, Any]], Outcome]


def run_batch(params: Mapping[str, Any], run: Run, times: Callable[[Outcome], dict[str, Any]]) -> Outcome:
    """Run the commands; the answer is a success even if every one of them failed."""
    results: dict[str, Any] = {}
    errors: dict[str, Any] = {}
    totals: dict[str, Any] = {}
    nexts: dict[str, Any] = {}
    spent: dict[str, Any] = {}
    stored: list[dict[str, Any]] = []
    for position, (key, command) in enumerate(_commands(params)):
        try:
            if position >= MAX_COMMANDS:
                raise BitrixError("ERROR_BATCH_LENGTH_EXCEEDED", "Max batch length exceeded")
            outcome = _run_one(command, run, results)
        except BitrixError as error:
            errors[key] = error.as_json()
            if _is_halting(params):
                break
            continue
        results[key] = outcome.result
        spent[key] = times(outcome)
        stored += outcome.stored
        if outcome.total is not None:
            totals[key] = outcome.total
        if outcome.next is not None:
            nexts[key] = outcome.next
    result = {
        "result": map_or_list(results),
        "result_error": map_or_list(errors),
        "result_total": map_or_list(totals),
        "result_next": map_or_list(nexts),
        "result_time": map_or_list(spent),
    }
    return Outcome(result, stored=stored)


def _commands(params: Mapping[str, Any]) -> list[tuple[str, str]]:
    commands = params.get("cmd")
    if isinstance(commands, list):
        return [(str(index), str(command)) for index, command in enumerate(commands)]
    return [(str(key), str(command)) for key, command in commands.items()] if isinstance(commands, dict) else []


def _is_halting(params: Mapping[str, Any]) -> bool:
    return str(params.get("halt", "0")).lower() in ("1", "true", "y")


def _run_one(command: str, run: Run, results: Mapping[str, Any]) -> Outcome:
    method, _, query = command.partition("?")
    method = method.strip().lower().removesuffix(".json")
    if method == "batch":
        raise BitrixError("ERROR_BATCH_METHOD_NOT_ALLOWED", "Method is not allowed for batch usage", status=405)
    try:
        params = parse_query(query)
    except ValueError:
        raise BitrixError("INVALID_REQUEST", "Too many parameters in a command") from None
    return run(method, _filled_in(params, results))


def _filled_in(value: Any, results: Mapping[str, Any]) -> Any:
    if isinstance(value, dict):
        return {key: _filled_in(item, results) for key, item in value.items()}
    if isinstance(value, list):
        return [_filled_in(item, results) for item in value]
    if isinstance(value, str):
        return _REFERENCE.sub(lambda match: _looked_up(_PART.findall(match[1]), results), value)
    return value


def _looked_up(path: list[str], results: Any) -> str:
    for part in path:
        if isinstance(results, Mapping):
            results = results.get(part)
        elif isinstance(results, list) and part.isdigit() and int(part) < len(results):
            results = results[int(part)]
        else:
            return ""
    return "" if results is None or isinstance(results, dict | list) else str(results)
