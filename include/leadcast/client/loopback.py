"""Where servers of this machine are."""

from __future__ import annotations

DEFAULT_PORT = 8080
"""Of Airflow's api-server."""


def loopback_url(port: int) -> str:
    """Base URL of a server on this machine."""
    return f"http://127.0.0.1:{port}"
