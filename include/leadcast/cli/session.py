"""What a command of the command line means: which stack, which API; and how it says what went wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer
from rich.console import Console

from leadcast.cli import airflow_here, show
from leadcast.cli.root import has_local_stack
from leadcast.client.api import Api, ApiError
from leadcast.client.errors import StackError
from leadcast.client.loopback import DEFAULT_PORT, loopback_url
from leadcast.core.errors import LeadcastError

_TOKEN = "LEADCAST_TOKEN"  # noqa: S105  # a name
_ADMIN = "admin"
"""The local stack's user who operates: others' batches, too."""
_FORBIDDEN = 403
_LONGEST_TOKEN = 64 * 1024


def given_token(file: Path | None) -> str:
    """The token that a person has given: in a file, or in LEADCAST_TOKEN; empty: none.

    Never as an argument: every account of a machine sees those of all processes.

    Args:
        file: `-` is standard input.

    Raises:
        StackError: the file cannot be read, or it holds no token.
    """
    if file is None:
        return _checked(os.environ.get(_TOKEN, ""), source=_TOKEN)
    try:
        token = sys.stdin.read(_LONGEST_TOKEN) if str(file) == "-" else file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise StackError(f"The token file {file} cannot be read ({type(error).__name__}).") from None
    return _checked(token, source=str(file)) or _nothing(file)


def refuse_two_readers(request: str, token_file: Path | None) -> None:
    """Standard input holds one thing.

    Raises:
        StackError: both the request and the token are to come from it.
    """
    if token_file is not None and str(token_file) == "-" and request in ("-", "<stdin>"):
        raise StackError(
            "Request and token cannot both come from standard input.", mend=f"Set {_TOKEN}, or name a token file."
        )


def _checked(token: str, *, source: str) -> str:
    token = token.strip()
    if not token.isascii() or not token.isprintable() or " " in token:
        raise StackError(
            f"What is in {source} is no token: one is a single word of letters, digits, '.', '-' and '_'.",
            mend="leadcast token prints one of the local stack; for another Airflow: POST /auth/token",
        )
    return token


def _nothing(file: Path) -> str:
    raise StackError(f"The token file {file} is empty.")


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
    if not has_local_stack():
        raise StackError(
            "No token is given, and there is no Airflow here to sign in at.",
            mend="POST /auth/token of your Airflow with username and password, then set LEADCAST_TOKEN.",
        )
    from leadcast.local import here

    return here.log_in(user)


@contextmanager
def changing(command: str, *, url: str, token_file: Path | None, user: str) -> Iterator[Api]:
    """The API, for a command that changes a batch. Where that is somebody else's, it is said how to go on, if that is
    known: on the local stack there is an admin.

    Args:
        command: as it may be typed again.

    Raises:
        StackError: as `given_token` and `connect` do.
    """
    token = given_token(token_file)
    api = connect(url, token=token, user=user)
    try:
        yield api
    except ApiError as error:
        if error.status == _FORBIDDEN and not token and user != _ADMIN and _has_stack():
            error.mend = f"It was signed in as {user}. As the local stack's admin: {command} --user {_ADMIN}"
        raise


def _has_stack() -> bool:
    """Whether a local stack was ever started here."""
    if not has_local_stack():
        return False
    from leadcast.local import here

    return here.was_started()


def adopt_stack() -> None:
    """Takes on the local stack's settings, where the environment names no store and a stack was started here.

    Raises:
        UntrustedFolder: somebody else may write the project, or what the stack keeps.
    """
    if any(f"AIRFLOW__LEADCAST__STORE_URL{suffix}" in os.environ for suffix in ("", "_CMD", "_SECRET")):
        return
    if not has_local_stack():
        return
    from leadcast.local import here

    os.environ.update(here.settings())  # none: then Airflow's own configuration decides


def refuse_wrong_settings() -> None:
    """What Airflow's servers do when they start, for a command that does without Airflow: looks at the variables.

    Raises:
        SettingsError: one of `[leadcast]` is wrong.
    """
    from leadcast.engine.settings import read_settings

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
