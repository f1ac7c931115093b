"""Alembic's environment: the connection comes from `store.upkeep.migrate`, so that one transaction holds it all."""

from __future__ import annotations

from alembic import context

from leadcast.store.schema import metadata
from leadcast.store.upkeep.migrate import VERSION_TABLE

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, version_table=VERSION_TABLE
)
with context.begin_transaction():
    context.run_migrations()
