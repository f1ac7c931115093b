"""What `leadcast doctor` says of seals: whether the keys that this process has open what lies in the store."""

from __future__ import annotations

from collections.abc import Iterator

from leadcast.core.errors import StoreError
from leadcast.engine.settings import config
from leadcast.engine.setup.finding import Finding, Level
from leadcast.store.upkeep import rotation


def examine() -> Iterator[Finding]:
    """Some seals of each place, and those of what waits: with a wrong key, none of them opens."""
    try:
        looked_at, lost = rotation.look(config.store())
    except StoreError:
        return  # said by the check of the store
    if not lost:
        yield Finding(Level.OK, f"seals: {looked_at} looked at, all of them open")
        return
    yield Finding(
        Level.WARN,
        f"seals: of {looked_at} looked at, {lost} cannot be opened with fernet_key here, or not where they lie",
        'Put their key behind the others, then run: leadcast rotate-keys. See docs/running.md, "Changing keys"',
    )
