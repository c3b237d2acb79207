"""Alembic's entry: runs the migrations on the connection that `lockgate.adapters.sql.schema` hands over."""

from __future__ import annotations

from alembic import context

from lockgate.adapters.sql.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    # SQLite changes a column by making the table anew.
    render_as_batch=True,
    # The caller began the transaction, and commits the new schema and its number together.
    transactional_ddl=False,
)
context.run_migrations()
