"""The user's own callables: `then`, `catch` and `finally`, as a batch of the Laravel system has them.

They come from the entry-point group `leadcast.hooks` (an entry's name is the moment, or begins with it: `then.crm`) and
from a file, `include/hooks.py`, with functions `then(batch)`, `catch(batch, reason)`, `finally_(batch)`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from functools import cache
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from leadcast.core.errors import SettingsError
from leadcast.engine.tell.hooks_file import may_define
from leadcast.flow.told import Moment
from leadcast.store.batches.views import BatchView

GROUP = "leadcast.hooks"
_IN_FILE = {"then": "then", "catch": "catch", "finally": "finally_"}


def run(moment: str, batch: BatchView | None, *, reason: str, hooks_file: str) -> None:
    """Calls every callable registered for this moment, in order.

    Args:
        moment: then, catch or finally.
        reason: why the batch could not be run; given to `catch`.

    Raises:
        Exception: what a callable raised, after all of them were called.
    """
    if batch is None:
        return
    arguments: tuple[Any, ...] = (batch, reason) if moment == "catch" else (batch,)
    failures: list[Exception] = []
    for hook in registered(moment, hooks_file=hooks_file):
        try:
            hook(*arguments)
        except SystemExit:  # it ends itself, not the worker
            failures.append(RuntimeError("a hook called sys.exit()"))
        except Exception as error:
            failures.append(error)
    if failures:
        raise failures[0]


def moments(*, hooks_file: str) -> Collection[Moment]:
    """The moments for which there may be hooks. None of the user's code is run for it: where the file may have one, it
    counts as having it."""
    in_file = may_define(Path(hooks_file), _IN_FILE.values()) if hooks_file else ()
    return {moment for moment in Moment if moment in _installed() or _IN_FILE[moment] in in_file}


@cache
def _installed() -> Collection[str]:
    """The moments that installed distributions name."""
    return {point.name.split(".")[0] for point in entry_points(group=GROUP)}


def registered(moment: str, *, hooks_file: str) -> Iterator[Callable[..., Any]]:
    """The callables for this moment.

    Raises:
        SettingsError: the file cannot be loaded.
    """
    for point in entry_points(group=GROUP):
        if point.name.split(".")[0] == moment:
            yield point.load()
    if hooks_file:
        found = getattr(_load(Path(hooks_file)), _IN_FILE[moment], None)
        if callable(found):
            yield found


def _load(path: Path) -> ModuleType:
    spec = spec_from_file_location("leadcast_user_hooks", path)
    if spec is None or spec.loader is None:
        raise SettingsError(f"[leadcast] hooks_file: {path} is not a Python file.")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
