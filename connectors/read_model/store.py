"""Generations of the read model in PostgreSQL: made, written in bulk with the offsets read, switched.

The tables of generation 7 are in the schema ``read_model_7``. Everybody reads the views in ``read_model``,
which lead to the generation that is live.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

import psycopg
from sqlalchemy import Connection, text
from sqlalchemy.schema import CreateTable

from connectors.read_model.rows import Row, Values
from connectors.read_model.tables import Projection, metadata
from infra.db.connect import raw
from infra.scan import Place

VIEWS: Final = "read_model"
_OFFSETS: Final = """
    INSERT INTO {schema}.offsets (topic, partition, next_offset)
    SELECT * FROM unnest(%b::text[], %b::int4[], %b::int8[])
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
"""


def schema_of(generation: int) -> str:
    """Return the name of the schema of ``generation``."""
    return f"{VIEWS}_{generation}"


def live(connection: Connection) -> int | None:
    """Return the generation that is read, and keep it so until the end of the transaction; none at first."""
    query = text("SELECT generation FROM read_models WHERE live_at IS NOT NULL FOR SHARE")
    found = connection.scalar(query)
    return None if found is None else int(found)


def make(connection: Connection) -> int:
    """Make the empty tables of a new generation and return its number."""
    number = connection.scalar(text("INSERT INTO read_models DEFAULT VALUES RETURNING generation"))
    generation = int(number or 0)
    connection.execute(text(f"CREATE SCHEMA {schema_of(generation)}"))
    connection.execute(text(f"SET LOCAL search_path TO {schema_of(generation)}, public"))
    for table in metadata.sorted_tables:
        connection.execute(CreateTable(table))
    connection.execute(text("SET LOCAL search_path TO DEFAULT"))
    return generation


def switch(connection: Connection, generation: int) -> None:
    """Let everybody read ``generation``, and drop the others.

    A projector that writes holds the row of the live one, and is waited for.
    """
    connection.execute(text("UPDATE read_models SET live_at = NULL WHERE live_at IS NOT NULL"))
    chosen = text("UPDATE read_models SET live_at = now() WHERE generation = :number")
    connection.execute(chosen, {"number": generation})
    connection.execute(text(f"DROP SCHEMA IF EXISTS {VIEWS} CASCADE"))
    connection.execute(text(f"CREATE SCHEMA {VIEWS}"))
    for table in metadata.sorted_tables:
        source = f"{schema_of(generation)}.{table.name}"
        connection.execute(text(f"CREATE VIEW {VIEWS}.{table.name} AS SELECT * FROM {source}"))  # noqa: S608 - names of ours
    drop_all_but(connection, generation)


def drop_all_but(connection: Connection, generation: int | None) -> None:
    """Drop all generations but one, such as what rebuilds that were interrupted have left."""
    left = text("DELETE FROM read_models WHERE generation IS DISTINCT FROM :number RETURNING generation")
    for (number,) in connection.execute(left, {"number": generation}).all():
        connection.execute(text(f"DROP SCHEMA IF EXISTS {schema_of(number)} CASCADE"))


def positions(connection: Connection, generation: int) -> dict[Place, int]:
    """Return the next offset to be read of each partition that has been read."""
    query = f"SELECT topic, partition, next_offset FROM {schema_of(generation)}.offsets"  # noqa: S608 - names of ours
    rows = connection.execute(text(query))
    return {(topic, partition): offset for topic, partition, offset in rows}


def write(connection: Connection, generation: int, rows: Iterable[Row], read: Mapping[Place, int]) -> None:
    """Write ``rows``, given in the order in which they were read, and how far was read, in bulk."""
    driver, schema = raw(connection), schema_of(generation)
    for projection, chosen in _newest(rows):
        arrays = [list(column) for column in zip(*chosen, strict=True)]
        driver.execute(projection.statement(schema), arrays)
    if read:
        _write_offsets(driver, schema, read)


def _write_offsets(driver: psycopg.Connection, schema: str, read: Mapping[Place, int]) -> None:
    topics, partitions = zip(*read, strict=True)
    driver.execute(_OFFSETS.format(schema=schema), [list(topics), list(partitions), list(read.values())])


def _newest(rows: Iterable[Row]) -> Iterator[tuple[Projection, Sequence[Values]]]:
    """Yield the newest row of each key, by projection, in an order of the keys that is the same for all."""
    found: dict[Projection, dict[Values, Values]] = {}
    for projection, values in rows:
        table = found.get(projection)
        if table is None:
            table = found[projection] = {}
        key = projection.key_of(values)
        known = table.get(key)
        if known is None or projection.order_of(known) <= projection.order_of(values):
            table[key] = values
    for projection, table in found.items():
        yield projection, [table[key] for key in sorted(table)]
