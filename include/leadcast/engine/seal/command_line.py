"""What Airflow's command line is looked at for: seals what a shell hands to `airflow dags trigger send_lead --conf …`.

Airflow writes the whole command line into its audit log before the command runs, so the arguments themselves are
sealed, as early as Airflow is imported: this module is an entry point of the group `airflow.policy`. What looks like a
request and is not for `send_lead` (a DAG's id mistyped, say) goes no further. In every process that is not Airflow's
command it compares a word or two and is done: another program's arguments are its own. Commands that start a server
have their settings checked here, too (`start_check`), what is logged of those about connections is looked at by
`shown_rows`, and tasks of DAG files by `triggering_tasks`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

from leadcast.core.errors import LeadcastError
from leadcast.engine.dag_ids import DAG_ID
from leadcast.engine.seal.conf_guard import checked
from leadcast.engine.seal.request_shape import holds_request
from leadcast.engine.seal.sealed_conf import body_of, kept
from leadcast.engine.seal.triggering_tasks import task_policy
from leadcast.engine.settings.start_check import check_start

__all__ = ["seal_arguments", "task_policy"]

_COMMANDS = {"airflow", "airflow.exe"}
_MAIN = "airflow.__main__"
"""In code that calls it."""
_MODULE = re.compile(r"(?:-[A-Za-z]{0,20}m)?airflow(?:\.__main__)?")
"""What follows Python's `-m`, in the same argument or in the next."""
_TAKES_CONF = ("backfill", "dags")
_LONG_OPTIONS = ("--conf", "--dag-run-conf")
_FLAGS = "hv"
"""Short options without a value: others may follow in the same argument."""
_NOTHING_DONE = "Nothing was triggered."


def seal_arguments(argv: list[str], *, started_as: Sequence[str] = ()) -> None:
    """Seals, in place, the conf among the arguments of a command for `send_lead`.

    Args:
        started_as: how Python itself was started, as `sys.orig_argv` has it.

    Raises:
        SystemExit: it is wrong or cannot be sealed, or a request is among the arguments of another command. Nothing
            goes any further.
    """
    if len(argv) < 3 or not _is_airflows(argv, started_as):
        return
    is_ours = any(_names_us(argument) for argument in argv)
    confs = dict(_confs(argv)) if is_ours and argv[1] in _TAKES_CONF else {}
    for index, argument in enumerate(argv):
        start = confs.get(index, _json_start(argument))
        if start is None or not argument[start:].strip():
            continue
        if index in confs:
            argv[index] = argument[:start] + _sealed(argument[start:], caller=_caller(argv))
        elif holds_request(argument[start:]):
            _refuse(is_ours)


def watch_connections(argv: list[str], *, started_as: Sequence[str] = ()) -> None:
    """Has what Airflow logs of a command about connections written without the secrets of ours. The arguments stay as
    they are: the command needs them."""
    if "connections" in argv[1:3] and _is_airflows(argv, started_as):
        from leadcast.engine.seal import shown_rows

        shown_rows.watch_commands()


def _is_airflows(argv: list[str], started_as: Sequence[str]) -> bool:
    """Whether these are the arguments of Airflow's command."""
    program = Path(argv[0])
    # the module, for which Python still looks, and whose package has imported us; or the code
    started = started_as[-len(argv)] if len(started_as) > len(argv) else ""
    if program.name == "-m":
        return _MODULE.fullmatch(started) is not None
    if program.name == "-c":
        return _MAIN in started
    # it may be called by another name
    return {program.name, program.resolve().name} & _COMMANDS != set() or (
        program.name == "__main__.py" and program.parent.name == "airflow"
    )


def _names_us(argument: str) -> bool:
    return argument in (DAG_ID, f"-d{DAG_ID}") or argument.endswith(f"={DAG_ID}")


def _confs(argv: list[str]) -> Iterator[tuple[int, int]]:
    """Where confs stand: the index of the argument, and where in it the conf begins."""
    for index, argument in enumerate(argv[1:], start=1):
        if (start := _conf_start(argument)) is None:
            continue
        if start < len(argument):
            yield index, start
        elif index + 1 < len(argv):
            yield index + 1, 0


def _conf_start(argument: str) -> int | None:
    """Where the conf begins in an option for one; its length: it is the next argument. None: it is no such option."""
    name, equals, _ = argument.partition("=")
    if name.startswith("--"):
        # argparse takes any beginning of a long option for the whole
        is_conf = len(name) > len("--") and any(option.startswith(name) for option in _LONG_OPTIONS)
        return len(name) + len(equals) if is_conf else None
    options = argument[1:].lstrip(_FLAGS)
    if not argument.startswith("-") or not options.startswith("c"):
        return None
    start = len(argument) - len(options) + 1
    return start + argument[start:].startswith("=")


def _json_start(argument: str) -> int | None:
    found = [at for at in (argument.find("{"), argument.find("[")) if at >= 0]
    return min(found) if found else None


def _caller(argv: list[str]) -> str | None:
    """Whom Airflow will note beside the run (3.3.2)."""
    from leadcast.engine.seal.shell_user import shell_user

    return "dag_test" if argv[2:3] == ["test"] else shell_user()


def _sealed(text: str, *, caller: str | None) -> str:
    from leadcast.core.json_body import parse_body

    try:
        conf: Any = parse_body(text.encode("utf-8", "surrogateescape"))
    except LeadcastError as error:
        _end(f"--conf cannot be read: {error} {_NOTHING_DONE}")
    if not isinstance(conf, dict):
        if holds_request(conf):
            _end(f"--conf must be an object. {_NOTHING_DONE}")
        return text
    try:
        # what was checked, not what else the text may mean
        return json.dumps(kept(conf) if body_of(conf) is None else checked(conf, _sealer(), caller=caller))
    except LeadcastError as error:
        _end(f"--conf: {error} {_NOTHING_DONE}")


def _sealer() -> Any:
    from airflow.configuration import conf as airflow_conf

    from leadcast.core.errors import SettingsError
    from leadcast.store.sealing import Sealer

    keys = airflow_conf.get("leadcast", "fernet_key", fallback="") or airflow_conf.get("core", "fernet_key")
    try:
        return Sealer(keys)
    except SettingsError as error:
        _end(f"the credentials in --conf cannot be sealed, so nothing was triggered. {error}")


def _refuse(is_ours: bool) -> NoReturn:
    what = "an argument other than --conf holds" if is_ours else f"this command is not for {DAG_ID}, and holds"
    _end(
        f"{what} what looks like a request to Leadcast. Airflow would write it into its audit log, secrets and all, so "
        f"nothing was done. To send it: airflow dags trigger {DAG_ID} --conf …, or POST /api/integrations/send-batch."
    )


def _end(what: str) -> NoReturn:
    sys.exit(f"leadcast: {what}")


seal_arguments(sys.argv, started_as=sys.orig_argv)
watch_connections(sys.argv, started_as=sys.orig_argv)
check_start(sys.argv)
