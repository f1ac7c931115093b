"""The command `leadcast`. Each command imports what it needs, so that asking for help is quick."""

from leadcast.cli import stack, leads, seal, connection, setup, prune  # noqa: I001  # in the order that `leadcast --help` shows
from leadcast.cli.root import EXIT_FAILED, EXIT_NOT_RUNNING, app

__all__ = ["EXIT_FAILED", "EXIT_NOT_RUNNING", "app", "connection", "leads", "prune", "seal", "setup", "stack"]
