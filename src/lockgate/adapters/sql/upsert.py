"""Insert, or when the key is there already: leave it, or replace the row. The same on both engines."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from sqlalchemy import Connection, Table


def insert_new(connection: Connection, table: Table, values: dict[str, Any]) -> bool:
    """Insert unless a key is taken; gives whether it was inserted. Neither way spoils the transaction."""
    statement = _insert(connection)(table).values(values).on_conflict_do_nothing()
    return connection.execute(statement.returning(*table.primary_key)).first() is not None


def upsert(connection: Connection, table: Table, values: dict[str, Any]) -> None:
    """Insert, or replace every column of the row with the same primary key."""
    keys = [column.name for column in table.primary_key]
    rest = {name: value for name, value in values.items() if name not in keys}
    statement = _insert(connection)(table).values(values)
    connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=rest))


def _insert(connection: Connection) -> Any:
    # Only the engine in use is imported; the other one is a tenth of a second that a start does not have.
    return import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert
