"""Cursors: up to where a source has been read, moved in the transaction that stores what was read."""

from collections.abc import Mapping
from typing import Any

from sqlalchemy import Connection, func, select
from sqlalchemy.dialects.postgresql import insert

from infra.db.tables import source_cursors as cursors
from producers.candidates import Origin


def position(connection: Connection, origin: Origin, name: str) -> dict[str, Any] | None:
    """Return the cursor ``name`` of a source, or none when it was never moved."""
    found = select(cursors.c.position).where(
        cursors.c.tenant == origin.tenant, cursors.c.source == origin.source, cursors.c.name == name
    )
    value: dict[str, Any] | None = connection.execute(found).scalar_one_or_none()
    return value


def move(connection: Connection, origin: Origin, name: str, to: Mapping[str, Any]) -> None:
    """Set the cursor ``name`` of a source to ``to`` (JSON)."""
    row = {"position": dict(to), "updated_at": func.clock_timestamp()}
    key = {"tenant": origin.tenant, "source": origin.source, "name": name}
    upsert = insert(cursors).values(**key, **row)
    connection.execute(upsert.on_conflict_do_update(index_elements=list(key), set_=row))
