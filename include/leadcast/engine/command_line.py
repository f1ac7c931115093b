"""What Airflow's command line is looked at for: seals what a shell hands to `airflow dags trigger send_lead --conf …`.

Airflow writes the whole command line into its audit log before the command runs, so the arguments themselves are
sealed, as early as Airflow is imported: this module is an entry point of the group `airflow.policy`. For any other
command, and in every process that is no command, it compares two words and is done. Commands that start a server have
their settings checked here, too (`start_check`).
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator

from leadcast.core.errors import LeadcastError
from leadcast.engine.conf_guard import DAG_ID
from leadcast.engine.sealed_conf import by_caller, has_secrets, open_conf, seal_conf
from leadcast.engine.start_check import check_start

_LONG_OPTIONS = ("--conf", "--dag-run-conf")


def seal_arguments(argv: list[str]) -> None:
    """Replaces, in place, the conf among the arguments of a command for `send_lead` by a sealed one.

    Raises:
        SystemExit: it cannot be sealed, and goes no further.
    """
    is_ours = any(argument == DAG_ID or argument.endswith(f"={DAG_ID}") for argument in argv)
    if argv[1:2] not in (["dags"], ["backfill"]) or not is_ours:
        return
    for index, before, conf in list(_confs(argv)):
        argv[index] = before + _sealed(conf, caller=_caller(argv))


def _confs(argv: list[str]) -> Iterator[tuple[int, str, str]]:
    """Where confs stand: the index, what stands before it in the same argument, and the conf."""
    for index, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if _is_conf_option(name):
            if equals:
                yield index, name + equals, value
            elif index + 1 < len(argv):
                yield index + 1, "", argv[index + 1]
        elif argument.startswith("-c") and not argument.startswith("--"):
            yield index, "-c", argument[2:]


def _is_conf_option(name: str) -> bool:
    # argparse takes any beginning of a long option for the whole
    return name == "-c" or (len(name) > len("--") and any(option.startswith(name) for option in _LONG_OPTIONS))


def _caller(argv: list[str]) -> str | None:
    """Whom Airflow will note beside the run (3.3.2)."""
    from leadcast.engine.shell_user import shell_user

    return "dag_test" if argv[2:3] == ["test"] else shell_user()


def _sealed(text: str, *, caller: str | None) -> str:
    try:
        conf = json.loads(text)
    except ValueError:
        sys.exit("leadcast: --conf is not JSON. Nothing was triggered.")
    if not isinstance(conf, dict) or not has_secrets(conf):
        return text
    from airflow.configuration import conf as airflow_conf

    from leadcast.store.sealing import Sealer

    keys = airflow_conf.get("leadcast", "fernet_key", fallback="") or airflow_conf.get("core", "fernet_key")
    try:
        sealer, for_ = Sealer(keys), by_caller(caller)
        return json.dumps(seal_conf(open_conf(conf, sealer, for_=for_, only_bound=True), sealer, for_=for_))
    except LeadcastError as error:
        sys.exit(f"leadcast: the credentials in --conf cannot be sealed, so nothing was triggered. {error}")


seal_arguments(sys.argv)
check_start(sys.argv)
