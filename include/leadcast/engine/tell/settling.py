"""Who settles batches where the user's hooks are."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from leadcast.flow.settle import Settler


def settler() -> Settler:
    """Who settles batches where the user's hooks are: on a worker, or in the dag-processor."""
    from leadcast.engine.settings import config
    from leadcast.engine.tell import hooks
    from leadcast.flow.settle import Settler

    settings = config.settings()
    return Settler(store=config.store(), settings=settings, hooks=hooks.moments(hooks_file=settings.hooks_file))
