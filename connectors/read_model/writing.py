"""Writes the rows of a batch and how far was read, in bulk and in one transaction."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import psycopg
import structlog
from psycopg.errors import DataError, ProgramLimitExceeded
from sqlalchemy import Connection, Engine

from connectors.read_model import snapshot, store
from connectors.read_model.projection import Projection, Values
from connectors.read_model.rows import Row
from infra.db.connect import database_trouble, raw
from infra.scan import Place

_OFFSETS: Final = """
    INSERT INTO {schema}.offsets (topic, partition, next_offset)
    SELECT * FROM unnest(%b::text[], %b::int4[], %b::int8[])
    ON CONFLICT (topic, partition) DO UPDATE SET next_offset = excluded.next_offset
"""
_LONGEST: Final = 600
"""Bytes of a text that an index can hold together with three more of them."""
_log = structlog.get_logger()


def save(
    pool: Engine, generation: int, rows: Sequence[Row], read: Mapping[Place, int], *, live: bool
) -> bool:
    """Write ``rows``, in the order in which they were read, and the offsets; all or nothing.

    What PostgreSQL cannot hold is made to fit, or left out and said so: one such row must not stop the rest.

    Args:
        pool: of the database.
        generation: whose tables.
        rows: what was read.
        read: the next offset of each partition that was read.
        live: write only if everybody reads this generation; otherwise it is being built, and a crash of the
            database may lose what was written last, together with the offsets.

    Returns:
        False if nothing was written, for another generation is live.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble():
        try:
            return _save(pool, generation, rows, read, live)
        except (DataError, ProgramLimitExceeded):
            return _save(pool, generation, [*_presentable(rows)], read, live)


def _save(pool: Engine, generation: int, rows: Iterable[Row], read: Mapping[Place, int], live: bool) -> bool:
    with pool.begin() as connection:
        if live and store.live(connection) != generation:
            return False
        if not live:
            raw(connection).execute("SET LOCAL synchronous_commit TO off")
        write(connection, generation, rows, read, live=live)
    return True


def write(
    connection: Connection,
    generation: int,
    rows: Iterable[Row],
    read: Mapping[Place, int],
    *,
    live: bool = True,
) -> None:
    """Write ``rows`` and offsets within the transaction of ``connection``.

    The snapshot of a generation that is being built is left for its end.
    """
    driver, schema = raw(connection), store.schema_of(generation)
    found: dict[Projection, list[Row]] = {}
    for row in rows:
        found.setdefault(row.projection, []).append(row)
    if staging := [projection.staging() for projection in found if projection.key]:
        driver.execute("; ".join(staging))  # all at once: each question to the database is a pause
    for projection, own in found.items():
        if projection.key:
            _upsert(driver, schema, projection, own)
        else:
            _copy(driver, projection, f"{schema}.{projection.name}", [row.values for row in own])
    if live:
        snapshot.keep(driver, schema, found)
    if read:
        topics, partitions = zip(*read, strict=True)
        values = [list(topics), list(partitions), list(read.values())]
        driver.execute(_OFFSETS.format(schema=schema), values)


def _upsert(driver: psycopg.Connection, schema: str, projection: Projection, rows: Iterable[Row]) -> None:
    """Let the rows that count after all of ``rows`` take the places of former ones."""
    standing, gone = _settled(projection, rows)
    if gone:
        driver.execute(projection.deletion(schema), [list(column) for column in zip(*gone, strict=True)])
    if standing:
        _copy(driver, projection, f"pg_temp.new_{projection.name}", standing.values())
        driver.execute(projection.upsert(schema))


def _settled(projection: Projection, rows: Iterable[Row]) -> tuple[dict[Values, Values], set[Values]]:
    """Return the row that counts of each key, and the keys whose former rows are gone."""
    standing: dict[Values, Values] = {}
    gone: set[Values] = set()
    for _, values, is_gone in rows:
        if is_gone:
            standing.pop(values, None)
            gone.add(values)
            continue
        key = projection.key_of(values)
        known = standing.get(key)
        if known is None:
            standing[key] = values
            continue
        standing[key], is_new = projection.merged(known, values)
        if is_new:
            gone.add(key)
    return standing, gone


def _copy(driver: psycopg.Connection, projection: Projection, into: str, rows: Iterable[Values]) -> None:
    with driver.cursor() as cursor, cursor.copy(projection.copy(into)) as copy:
        copy.set_types(projection.copied_types)
        write_row = copy.write_row
        for values in rows:
            write_row(values)


def _presentable(rows: Iterable[Row]) -> Iterable[Row]:
    for row in rows:
        values = tuple(map(_without_nul, row.values))
        indexed = values if row.is_gone else [values[place] for place in row.projection.indexed]
        if any(isinstance(one, str) and len(one.encode()) > _LONGEST for one in indexed):
            _log.warning("row_left_out", table=row.projection.name, reason="a value is too long for an index")
        else:
            yield row._replace(values=values)


def _without_nul(value: Any) -> Any:
    """Return ``value`` with another character for NUL, which PostgreSQL does not hold, not even escaped."""
    if isinstance(value, list):
        return [_without_nul(one) for one in value]
    if not isinstance(value, str):
        return value
    return value.replace("\x00", "\ufffd").replace("\\u0000", "\\ufffd")
