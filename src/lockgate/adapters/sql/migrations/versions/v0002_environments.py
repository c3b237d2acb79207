"""A table for the environments that versions pass through."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "environments",
        sa.Column("created", sa.BigInteger().with_variant(sa.Integer, "sqlite"), nullable=False, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False),
        sa.Column("revision", sa.Integer, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        sa.PrimaryKeyConstraint("created", name="pk_environments"),
        sa.UniqueConstraint("id", name="uq_environments_id"),
    )


def downgrade() -> None:
    """Forget which environments were set; dev, test and prod hold again."""
    op.drop_table("environments")
