"""The Airflow of this machine that Leadcast was installed into, and the passwords of its simple auth manager.

Whoever may read Airflow's files may use them; for anybody else, and any other auth manager, there are tokens.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from leadcast.client.api import Api, ApiError
from leadcast.client.errors import StackError
from leadcast.client.loopback import DEFAULT_PORT, loopback_url

_MAY_SEND = ("user", "op", "admin")


def log_in(user: str) -> Api | None:
    """Its API as this user, or where there is none of the name, as its first user who may send. None: no Airflow here.

    Raises:
        StackError: it has another auth manager or no passwords yet, or does not answer.
    """
    if not _is_here():
        return None
    from airflow.configuration import conf

    url = _url()
    if not str(conf.get("core", "auth_manager")).endswith(".SimpleAuthManager"):
        raise _needs_token(f"The Airflow at {url} has an auth manager of its own.", url)
    try:
        passwords = json.loads(_passwords_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise _needs_token(f"The passwords of the Airflow at {url} cannot be read; has it been started?", url) from None
    users = [entry.split(":") for entry in str(conf.get("core", "simple_auth_manager_users")).split(",")]
    able = [parts[0].strip() for parts in users if parts[1:] and parts[1].strip().lower() in _MAY_SEND]
    name = next((known for known in (user, *able) if known in passwords), None)
    if name is None:
        raise _needs_token(f"The Airflow at {url} has no user {user!r}.", url)
    try:
        return Api.log_in(url, user=name, password=passwords[name])
    except ApiError as error:
        raise StackError(str(error), mend="Is Airflow's api-server running? Where: LEADCAST_URL") from error


def _is_here() -> bool:
    # looked at before Airflow is imported, which would make both
    home = Path(os.environ.get("AIRFLOW_HOME") or "~/airflow").expanduser()
    return Path(os.environ.get("AIRFLOW_CONFIG") or home / "airflow.cfg").is_file()


def _passwords_file() -> Path:
    # not asked of the auth manager's class, which brings all of FastAPI with it
    from airflow.configuration import AIRFLOW_HOME, conf

    named = conf.get("core", "simple_auth_manager_passwords_file", fallback="")
    return Path(named or Path(AIRFLOW_HOME, "simple_auth_manager_passwords.json.generated"))


def _url() -> str:
    from airflow.configuration import conf

    default = loopback_url(DEFAULT_PORT)
    named = conf.get("leadcast", "api_url", fallback=default)
    if named == default:
        named = conf.get("api", "base_url", fallback="") or loopback_url(conf.getint("api", "port"))
    return str(named).rstrip("/")


def _needs_token(what: str, url: str) -> StackError:
    return StackError(what, mend=f"POST {url}/auth/token with username and password, then set LEADCAST_TOKEN.")
