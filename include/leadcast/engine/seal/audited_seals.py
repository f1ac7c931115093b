"""What lies sealed in Airflow's audit log: copies of what a door was given. Nothing opens them any more, so those that
are not sealed with the first key for somebody are taken out, not sealed anew."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

from leadcast.core.sealed_form import SEALED
from leadcast.engine.seal.logged_requests import words_of
from leadcast.engine.seal.sealed_conf import is_sealed
from leadcast.store.upkeep.rotation import Advance, Tally

if TYPE_CHECKING:
    from sqlalchemy import CursorResult

    from leadcast.store.sealing import Sealer

AUDIT_LOG = "audit log, taken out"
TAKEN_OUT = "taken out"
_PAGE_IDS = 5000
"""How many rows one look at the log goes through."""
_COMMAND = "full_command"
"""Under which Airflow logs a command: a list of words, as Python writes it."""
_A_SEAL = "gAAAA"
"""How Fernet's texts begin until the year 2106."""


def count() -> int:
    """How many rows the log has, about: it is looked through from its first id to its last."""
    first, last = _ends()
    return last - first + 1 if last else 0


def take_out(sealer: Sealer, advance: Advance) -> Tally:
    """Takes out of the log what is sealed with another key than the first one, or by a version that bound nothing."""
    tally = Tally(AUDIT_LOG)
    for rows, looked_at in _pages():
        for row_id, extra in rows:
            bare, kept, taken = _bare(extra, sealer.is_current)
            tally.already += kept
            if taken and _replace(row_id, extra, bare):
                tally.resealed += taken
        advance(looked_at)
    return tally


def _bare(text: str, is_current: Callable[[str], bool]) -> tuple[str, int, int]:
    """A row, or the JSON in an argument of a command, without what is not current; how many seals stay, and how many
    were taken out."""
    try:
        logged = json.loads(text)
    except (ValueError, RecursionError):
        return text, 0, 0
    kept = taken = 0
    for conf in _sealed_confs(logged):
        if is_current(conf["credentials"][SEALED]):
            kept += 1
        else:
            conf["credentials"][SEALED] = TAKEN_OUT
            taken += 1
    for holder, name in _texts(logged):
        command = words_of(holder[name]) if name == _COMMAND else None
        words, before_it = command or [holder[name]], taken
        for index, word in enumerate(words):
            before, brace, rest = word.partition("{")  # `{…}`, `--conf={…}`, or a text that somebody wrote around it
            bare, kept_there, taken_there = _bare(brace + rest, is_current)
            words[index] = before + bare
            kept, taken = kept + kept_there, taken + taken_there
        if taken > before_it:
            holder[name] = str(words) if command else words[0]
    return json.dumps(logged) if taken else text, kept, taken


def _sealed_confs(data: Any) -> Iterator[dict[str, Any]]:
    """The sealed confs in this, at any depth."""
    left = [data]
    while left:
        item = left.pop()
        if isinstance(item, dict):
            if is_sealed(item) and item["credentials"][SEALED] != TAKEN_OUT:
                yield item
            left += item.values()
        elif isinstance(item, list):
            left += item


def _texts(data: Any) -> Iterator[tuple[Any, Any]]:
    """Where texts stand that may hold a sealed conf, at any depth: in what, and under which name or number."""
    left = [data]
    while left:
        item = left.pop()
        if not isinstance(item, dict | list):
            continue
        for name, inner in item.items() if isinstance(item, dict) else enumerate(item):
            if isinstance(inner, str) and _A_SEAL in inner and "{" in inner:
                yield item, name
            left.append(inner)


def _ends() -> tuple[int, int]:
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import func, select

    with create_session() as session:
        first, last = session.execute(select(func.min(Log.id), func.max(Log.id))).one()
    return first or 0, last or 0


def _pages() -> Iterator[tuple[Sequence[tuple[int, str]], int]]:
    """The rows with something sealed in them, and how many rows were looked at for them."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import select

    first, last = _ends()
    for start in range(first, last + 1, _PAGE_IDS) if last else ():
        end = min(start + _PAGE_IDS - 1, last)
        page = select(Log.id, Log.extra).where(Log.id.between(start, end), Log.extra.contains(_A_SEAL))
        with create_session() as session:
            rows = [(row.id, row.extra) for row in session.execute(page.order_by(Log.id))]
        yield rows, end - start + 1


def _replace(row_id: int, extra: str, anew: str) -> bool:
    """Whether it still held what was read."""
    from airflow.models.log import Log
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        changed = session.execute(update(Log).where(Log.id == row_id, Log.extra == extra).values(extra=anew))
        return bool(cast("CursorResult[Any]", changed).rowcount)
