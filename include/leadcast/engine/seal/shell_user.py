"""Who runs a command, by the name that Airflow's own command line notes beside a run."""

from __future__ import annotations

import getpass


def shell_user() -> str | None:
    """As `airflow.utils.platform.getuser` (3.3.2) has it, which cannot be imported as early; None: he has no name."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return None
