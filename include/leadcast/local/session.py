"""What a command of the command line means: which stack, which API; and how it says what went wrong."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from leadcast.core.errors import LeadcastError
from leadcast.local import airflow_here, show, stack
from leadcast.local.client import Api, ApiError
from leadcast.local.errors import StackError
from leadcast.local.home import Home
from leadcast.local.ports import DEFAULT_PORT, loopback_url


def home_here() -> Home:
    """The home that the environment and the working folder mean."""
    return Home.find(os.environ, cwd=Path.cwd())


def connect(url: str, *, token: str, user: str) -> Api:
    """The API that a command speaks to: with a token whichever it names, without one that of this machine's Airflow.

    That is the local stack, or else an Airflow with the simple auth manager.

    Raises:
        StackError: no token, and neither is meant, or it does not answer.
    """
    if token:
        return Api(url or os.environ.get("AIRFLOW__LEADCAST__API_URL") or loopback_url(DEFAULT_PORT), token)
    api = _log_in(user)
    if url and url.rstrip("/") != api.url:
        raise StackError(
            f"{url} is not the Airflow of this machine, and no token is given.",
            mend=f"POST {url.rstrip('/')}/auth/token with username and password, then set LEADCAST_TOKEN.",
        )
    return api


def _log_in(user: str) -> Api:
    if not _has_stack() and (api := airflow_here.log_in(user)) is not None:
        return api
    return stack.log_in(home_here(), user=user)


def _has_stack() -> bool:
    """Whether a local stack was ever started here."""
    try:
        return home_here().keys_file.exists()
    except StackError:
        return False


def adopt_stack() -> None:
    """Takes on the local stack's settings, where the environment names no store and a stack was started here."""
    if any(f"AIRFLOW__LEADCAST__STORE_URL{suffix}" in os.environ for suffix in ("", "_CMD", "_SECRET")):
        return
    try:
        os.environ.update(stack.environment(home_here(), inherited=os.environ))
    except StackError:
        return  # then Airflow's own configuration decides


def refuse_wrong_settings() -> None:
    """What Airflow's servers do when they start, for a command that does without Airflow: looks at the variables.

    Raises:
        SettingsError: one of `[leadcast]` is wrong.
    """
    from leadcast.engine import read_settings

    read_settings.check(read_settings.from_environment(os.environ))


@contextmanager
def plain_errors() -> Iterator[None]:
    """Turns what can go wrong into lines that a person can use, and exit code 1."""
    console = Console(stderr=True)
    try:
        yield
    except ApiError as error:
        show.refusal(error, console)
        raise typer.Exit(1) from error
    except StackError as error:
        show.trouble(error, console)
        raise typer.Exit(1) from error
    except LeadcastError as error:
        console.print(f"✗ {error}", style="red", markup=False, highlight=False, soft_wrap=True)
        raise typer.Exit(1) from error
