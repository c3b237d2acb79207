"""Queues, priorities, forms and slots of jobs; schedules; who leads what."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and make the two tables."""
    # SQLite cannot add a column before its constraints, so there the table is made anew and its rows copied.
    with op.batch_alter_table("jobs", recreate="auto") as jobs:
        jobs.add_column(sa.Column("queue", sa.Text, nullable=False, server_default="models"))
        jobs.add_column(sa.Column("priority", sa.Integer, nullable=False, server_default="0"))
        jobs.add_column(sa.Column("form", sa.Integer, nullable=False, server_default="1"))
        jobs.add_column(sa.Column("slot", sa.Text, nullable=False, server_default=""))
        jobs.add_column(sa.Column("at_once", sa.Integer, nullable=False, server_default="1"))
    op.create_index("ix_jobs_slot_state", "jobs", ["slot", "state"])
    growing = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    op.create_table(
        "schedules",
        sa.Column("created", growing, nullable=False, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("kind", sa.Text, nullable=False),
        sa.Column("paused", sa.Boolean, nullable=False),
        sa.Column("removed", sa.Boolean, nullable=False),
        sa.Column("next_at", sa.BigInteger, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("created", name="pk_schedules"),
        sa.UniqueConstraint("id", name="uq_schedules_id"),
    )
    for name in ("kind", "paused", "removed", "next_at"):
        op.create_index(f"ix_schedules_{name}", "schedules", [name])
    op.create_table(
        "leaders",
        sa.Column("concern", sa.Text, nullable=False),
        sa.Column("holder", sa.Text, nullable=False),
        sa.Column("token", sa.BigInteger, nullable=False),
        sa.Column("since", sa.BigInteger, nullable=False),
        sa.Column("until", sa.BigInteger, nullable=False),
        sa.PrimaryKeyConstraint("concern", name="pk_leaders"),
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_table("leaders")
    op.drop_table("schedules")
    op.drop_index("ix_jobs_slot_state", "jobs")
    with op.batch_alter_table("jobs") as jobs:
        for name in ("queue", "priority", "form", "slot", "at_once"):
            jobs.drop_column(name)
