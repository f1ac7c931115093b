"""Looks at section `[leadcast]` when one of Airflow's servers starts: a wrong value ends it there, with one line."""

from __future__ import annotations

import sys
from pathlib import Path

SERVERS = ("api-server", "dag-processor", "scheduler", "standalone", "triggerer")
EXECUTORS = ("celery", "edge")
# `-m` is what argv begins with while Python still looks for the module of `python -m airflow`
_AIRFLOW = ("airflow", "__main__.py", "-m")


def check_start(argv: list[str]) -> None:
    """Checks the settings if these are the arguments of a server. For anything else it compares a few words.

    Raises:
        SystemExit: a setting is wrong; says which one.
    """
    if not _starts_server(argv):
        return
    from airflow.sdk.configuration import initialize_config

    from leadcast.core.errors import SettingsError
    from leadcast.engine.settings import read_settings

    try:
        # not the process's own `conf`: on its first start Airflow has still to write the airflow.cfg that it reads
        read_settings.check(read_settings.read(initialize_config()))
    except SettingsError as error:
        what = str(error)
        end = "" if what.endswith((".", "?")) else "."
        sys.exit(f"leadcast: {what}{end} Mend it and start again; see docs/settings.md")


def _starts_server(argv: list[str]) -> bool:
    is_server = argv[1:2] in [[name] for name in SERVERS] or argv[1:3] in [[name, "worker"] for name in EXECUTORS]
    if not is_server or Path(argv[0]).name not in _AIRFLOW or {"-h", "--help"} & set(argv):
        return False
    from multiprocessing import parent_process

    # the workers that uvicorn spawns are given the server's arguments, and the server has looked
    return parent_process() is None
