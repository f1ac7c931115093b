"""The command `leadcast`. Each command imports what it needs, so that asking for help is quick."""

# ruff: noqa: I001  # in the order that `leadcast --help` shows
from importlib import import_module

from leadcast.cli import without_stack
from leadcast.cli.root import EXIT_FAILED, EXIT_NOT_RUNNING, app, has_local_stack

if has_local_stack():
    import_module("leadcast.cli.stack.commands")
else:
    without_stack.register()
from leadcast.cli import leads, seal, connection, setup, prune

__all__ = ["EXIT_FAILED", "EXIT_NOT_RUNNING", "app", "connection", "leads", "prune", "seal", "setup"]
