"""Deliveries that wait without a run; limits, circuits and memory of the accounts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def _time(name: str, *, required: bool = False) -> sa.Column[object]:
    default = sa.text("now()") if required else None
    return sa.Column(name, sa.DateTime(timezone=True), server_default=default, nullable=not required)


_IN_ORDER = (("leads", "data"), ("batches", "lead"), ("deliveries", "settings"))


def upgrade() -> None:
    for table, column in _IN_ORDER:
        op.alter_column(table, column, type_=postgresql.JSON(), postgresql_using=f"{column}::json")
    op.add_column("batches", sa.Column("let_go", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("deliveries", sa.Column("tries", sa.Integer(), server_default="0", nullable=False))
    op.add_column("deliveries", _time("round_at"))
    op.add_column("deliveries", sa.Column("asked", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("waits_for", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("account", sa.Text(), nullable=True))
    op.add_column("deliveries", sa.Column("kept", postgresql.JSONB(astext_type=sa.Text()), nullable=True))
    op.create_index(
        "ix_deliveries_waiting",
        "deliveries",
        ["next_attempt_at"],
        unique=False,
        postgresql_where=sa.text("waits_for IS NOT NULL"),
    )
    op.create_table(
        "limits",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        _time("updated_at", required=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_limits")),
        prefixes=["UNLOGGED"],
    )
    op.create_table(
        "circuits",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("type", sa.Text(), nullable=False),
        sa.Column("label", sa.Text(), nullable=False),
        sa.Column("failures", sa.Integer(), server_default="0", nullable=False),
        sa.Column("openings", sa.Integer(), server_default="0", nullable=False),
        _time("opened_at"),
        _time("open_until"),
        sa.Column("code", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        _time("updated_at", required=True),
        sa.PrimaryKeyConstraint("account", name=op.f("pk_circuits")),
    )
    op.create_table(
        "memory",
        sa.Column("account", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        _time("good_until"),
        _time("updated_at", required=True),
        sa.PrimaryKeyConstraint("account", "name", name=op.f("pk_memory")),
    )


def downgrade() -> None:
    op.drop_table("memory")
    op.drop_table("circuits")
    op.drop_table("limits")
    op.drop_index("ix_deliveries_waiting", table_name="deliveries", postgresql_where=sa.text("waits_for IS NOT NULL"))
    for table, column in _IN_ORDER:
        op.alter_column(table, column, type_=postgresql.JSONB(), postgresql_using=f"{column}::jsonb")
    for name in ("kept", "account", "waits_for", "asked", "round_at", "tries"):
        op.drop_column("deliveries", name)
    op.drop_column("batches", "let_go")
