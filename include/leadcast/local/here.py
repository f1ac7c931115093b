"""The local stack that a command means: that of the environment and the working folder."""

from __future__ import annotations

import os
from pathlib import Path

from leadcast.client.api import Api
from leadcast.client.errors import StackError
from leadcast.local import stack
from leadcast.local.home import Home
from leadcast.local.trust import UntrustedFolder


def home() -> Home:
    """Its home.

    Raises:
        StackError: there is no project here, or its folder cannot be used.
    """
    return Home.find(os.environ, cwd=Path.cwd())


def was_started() -> bool:
    """Whether it was ever started."""
    try:
        return home().keys_file.exists()
    except StackError:
        return False


def log_in(user: str) -> Api:
    """Its API, as one of its users.

    Raises:
        StackError: it has no such user, or does not answer.
    """
    return stack.log_in(home(), user=user)


def settings() -> dict[str, str]:
    """Its environment; empty where none was started.

    Raises:
        UntrustedFolder: somebody else may write the project, or what the stack keeps.
    """
    try:
        return stack.environment(home(), inherited=os.environ)
    except UntrustedFolder:
        raise
    except StackError:
        return {}
