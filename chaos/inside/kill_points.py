"""The kill points: wraps named functions of Leadcast when their modules are imported, so that no product code knows.

Runs inside the stack's processes, so it imports the standard library only. A fault is a file in the folder `armed`,
named `<point>~<type>~<number>`: whoever passes that point and gets the file by renaming it does what it says, once.
"""

import asyncio
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from importlib.machinery import ModuleSpec, PathFinder
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

ROOT = Path(os.environ.get("CHAOS_FAULTS", "/nonexistent"))
ARMED, TAKEN, FIRED, DONE = (ROOT / name for name in ("armed", "taken", "fired", "done"))
LONGEST_WAIT_S = 90.0
_WRITES = re.compile(r"crm\.item\.add|/api/v4/leads|/sendMessage", re.IGNORECASE)
_here = threading.local()


def install() -> None:
    """From now on, modules that hold kill points are wrapped as they are imported."""
    sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds nothing of its own: it lets the usual finder look, and wraps what that one has found."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """The module as found anywhere else, to be wrapped after it is executed."""
        wrap_all = _MODULES.get(name)
        spec = PathFinder.find_spec(name, path) if wrap_all else None
        if wrap_all is None or spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            wrap_all(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


def passing(point: str, *, kind: str = "", **facts: Any) -> None:
    """A process passes a point: does what is armed for it, if anything is."""
    try:
        names = sorted(os.listdir(ARMED))
    except OSError:
        return
    kind = kind or getattr(_here, "kind", "any")
    known = getattr(_here, "facts", {}) | {name: value for name, value in facts.items() if value}
    for name in names:
        at, of, _ = name.split("~")
        if at == point and of in ("any", kind) and (fault := _claimed(name, known)) is not None:
            _happen(fault, point, known)
            return


def _claimed(name: str, facts: dict[str, Any]) -> dict[str, Any] | None:
    """The fault, if it is meant for this delivery, run or batch, and nobody else has got it."""
    try:
        fault: dict[str, Any] = json.loads((ARMED / name).read_text())
        if fault["only"] and fault["only"] not in facts.values():
            return None
        (ARMED / name).rename(TAKEN / name)
    except OSError:
        return None
    return fault


def _happen(fault: dict[str, Any], point: str, facts: dict[str, Any]) -> None:
    record = {"at": time.time(), "pid": os.getpid(), "point": point, "facts": facts}
    written = ROOT / f"{fault['id']}.new"
    written.write_text(json.dumps(record))
    written.rename(FIRED / f"{fault['id']}.json")
    match fault["action"]:
        case "die":
            os.kill(os.getpid(), signal.SIGKILL)
        case "die_with_parent":
            os.kill(os.getppid(), signal.SIGKILL)
            os.kill(os.getpid(), signal.SIGKILL)
        case "wait":  # the harness kills somebody else now
            until = time.monotonic() + LONGEST_WAIT_S
            while not (DONE / fault["id"]).exists() and time.monotonic() < until:
                time.sleep(0.02)


# --- how functions are wrapped


def _nothing() -> dict[str, Any]:
    return {}


def _wrap(owner: Any, name: str, point: str, facts: Callable[..., dict[str, Any]] = _nothing) -> None:
    """Makes `<point>.before` and `<point>.after` of a function or method.

    Args:
        facts: what is known of who passes, from those arguments that it names, however they are handed over.

    Raises:
        TypeError: it names one that the function does not have.
    """
    function = getattr(owner, name)
    own, named = signature(function), signature(facts).parameters
    if strange := named.keys() - own.parameters.keys():
        raise TypeError(f"{name} takes no {', '.join(sorted(strange))}")

    @wraps(function)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        given = own.bind(*args, **kwargs)
        given.apply_defaults()
        known = facts(**{name: given.arguments[name] for name in named})
        passing(f"{point}.before", **known)
        result = function(*args, **kwargs)
        passing(f"{point}.after", **known)
        return result

    setattr(owner, name, wrapped)


def _wrap_async(owner: Any, name: str, point: str) -> None:
    function = getattr(owner, name)

    @wraps(function)
    async def wrapped(*args: Any, **kwargs: Any) -> Any:
        await asyncio.to_thread(passing, f"{point}.before", run_id=args[0])
        result = await function(*args, **kwargs)
        await asyncio.to_thread(passing, f"{point}.after", run_id=args[0])
        return result

    setattr(owner, name, wrapped)


@contextmanager
def _at_work_on(kind: str, **facts: Any) -> Iterator[None]:
    before = getattr(_here, "kind", "any"), getattr(_here, "facts", {})
    _here.kind, _here.facts = kind, facts
    try:
        yield
    finally:
        _here.kind, _here.facts = before


# --- the points, module by module


def _inbox(module: Any) -> None:
    _wrap(module.Inbox, "accept", "accept", lambda idempotency_key: {"key": idempotency_key})


def _bell(module: Any) -> None:
    _wrap_async(module, "ring", "ring")


def _lanes(module: Any) -> None:
    _wrap(module, "lock", "look", lambda run_id: {"run_id": run_id})
    _wrap(module, "take", "lane", lambda kind: {"kind": kind})


def _plan(module: Any) -> None:
    _wrap(module, "plan", "plan", lambda run_id: {"run_id": run_id})


def _mapping(module: Any) -> None:
    _wrap(
        module,
        "feed",
        "feed",
        lambda context: {"run_id": context["run_id"], "kind": getattr(context["ti"], "dag_id", "")},
    )


def _deliverer(module: Any) -> None:
    deliver = module.Deliverer.deliver

    @wraps(deliver)
    def deliver_known(self: Any, delivery_id: str, *, integration: Any, **known: Any) -> Any:
        batch_id = delivery_id.rpartition("-")[0]
        with _at_work_on(integration.type, delivery_id=delivery_id, batch_id=batch_id):
            return deliver(self, delivery_id, integration=integration, **known)

    module.Deliverer.deliver = deliver_known


def _begin(module: Any) -> None:
    _wrap(module.Beginning, "begin", "begin")


def _send(module: Any) -> None:
    _wrap(module, "reconcile", "find")


def _outcome(module: Any) -> None:
    _wrap(module.Endings, "end", "end")


def _exchange(module: Any) -> None:
    exchange = module.exchange

    @wraps(exchange)
    def exchanged(line: Any, target: Any, method: str, *args: Any, **kwargs: Any) -> Any:
        kind = getattr(_here, "kind", "any")
        is_write = method == "POST" and (kind in ("webhook", "callback") or bool(_WRITES.search(target.path)))
        _here.writes = is_write
        try:
            if is_write:
                passing("call.before")
            answer = exchange(line, target, method, *args, **kwargs)
            if is_write:
                passing("call.answered")
        finally:
            _here.writes = False
        return answer

    module.exchange = exchanged
    plain = module.HTTPConnection
    module.HTTPConnection = type("HTTPConnection", (plain,), {"getresponse": _reading(plain.getresponse)})


def _reading(getresponse: Callable[..., Any]) -> Callable[..., Any]:
    """The request is out, its answer unread."""

    @wraps(getresponse)
    def read(self: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(_here, "writes", False):
            passing("call.sent")
        return getresponse(self, *args, **kwargs)

    return read


def _smtp(module: Any) -> None:
    transferred = module._transferred

    @wraps(transferred)
    def transferring(client: Any, *args: Any, **kwargs: Any) -> Any:
        replies = 0
        getreply = client.getreply

        def counted() -> Any:
            nonlocal replies
            replies += 1
            if replies == 2:  # the first one answers DATA, the second one the final dot
                passing("call.sent")
            return getreply()

        client.getreply = counted
        passing("call.before")
        try:
            outcome = transferred(client, *args, **kwargs)
        finally:
            client.getreply = getreply
        passing("call.answered")
        return outcome

    module._transferred = transferring


def _settle(module: Any) -> None:
    _wrap(module.Settler, "so_far", "settle", lambda batch_ids: {"batch_id": min(batch_ids, default="")})
    _wrap(module.Settler, "wave", "settle_wave", lambda run_id: {"run_id": run_id})


def _sending(module: Any) -> None:
    take = module.take

    @wraps(take)
    def taken(*args: Any, **kwargs: Any) -> Any:
        found = take(*args, **kwargs)
        for row in found.rows:
            passing("take.after", kind=str(row.channel), batch_id=row.batch_id)
        return found

    module.take = taken
    _wrap(module, "sent", "sent", lambda row: {"kind": str(row.channel), "batch_id": row.batch_id})


def _senders(module: Any) -> None:
    for name, kind in (("email", "notification"), ("hook", "hook"), ("callback_url", "callback")):
        send = getattr(module.Senders, name)
        setattr(module.Senders, name, _telling(send, kind))


def _telling(send: Callable[..., None], kind: str) -> Callable[..., None]:
    @wraps(send)
    def told(self: Any, story: Any, **kwargs: Any) -> None:
        with _at_work_on(kind, batch_id=story.batch.id if story.batch else ""):
            passing("tell.before")
            send(self, story, **kwargs)
            passing("tell.after")

    return told


def _callbacks(module: Any) -> None:
    _wrap(module, "after_run", "run_callback", lambda context: {"run_id": context.get("run_id", "")})


def _sweep(module: Any) -> None:
    _wrap(module, "pick_up", "sweep")


def _supervisor(module: Any) -> None:
    _wrap(
        module,
        "supervise_task",
        "worker",
        lambda ti: {"kind": ti.task_id.removeprefix("deliver_"), "run_id": ti.run_id},
    )


_MODULES: dict[str, Callable[[Any], None]] = {
    "airflow.sdk.execution_time.supervisor": _supervisor,
    "leadcast.flow.deliver.begin": _begin,
    "leadcast.flow.deliver.deliverer": _deliverer,
    "leadcast.flow.deliver.outcome": _outcome,
    "leadcast.flow.deliver.send": _send,
    "leadcast.engine.runs.bell": _bell,
    "leadcast.engine.dags.callbacks": _callbacks,
    "leadcast.engine.dags.mapping": _mapping,
    "leadcast.engine.tell.senders": _senders,
    "leadcast.engine.dags.sweep_steps": _sweep,
    "leadcast.flow.inbox": _inbox,
    "leadcast.integrations.http.exchange": _exchange,
    "leadcast.integrations.email.smtp": _smtp,
    "leadcast.flow.plan": _plan,
    "leadcast.flow.settle": _settle,
    "leadcast.store.batches.lanes": _lanes,
    "leadcast.store.sending": _sending,
}
