"""Policy files that were applied, and waivers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "policies",
        *_head(),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        *_foot("policies"),
        sa.UniqueConstraint("name", "number", name="uq_policies_name_number"),
    )
    for name in ("number", "active", "created_at"):
        op.create_index(f"ix_policies_{name}", "policies", [name])
    op.create_table(
        "waivers",
        *_head(),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("model", "environment", "state")),
        sa.Column("created_at", sa.BigInteger, nullable=False),
        *_foot("waivers"),
    )
    for name in ("model", "environment", "state", "created_at"):
        op.create_index(f"ix_waivers_{name}", "waivers", [name])


def downgrade() -> None:
    """Drop them."""
    op.drop_table("waivers")
    op.drop_table("policies")


def _head() -> list[sa.Column[object]]:
    growing = sa.BigInteger().with_variant(sa.Integer, "sqlite")
    return [
        sa.Column("created", growing, nullable=False, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
    ]


def _foot(table: str) -> list[sa.schema.SchemaItem]:
    return [
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("created", name=f"pk_{table}"),
        sa.UniqueConstraint("id", name=f"uq_{table}_id"),
    ]
