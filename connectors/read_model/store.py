"""Generations of the read model in PostgreSQL: made, found, switched, dropped.

The tables of generation 7 are in the schema ``read_model_7``, whose comment tells their layout. Everybody
reads the views in ``read_model``, which lead to the generation that is live.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from sqlalchemy import Connection, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from connectors.read_model import snapshot
from connectors.read_model.projection import Projection, metadata
from connectors.read_model.snapshot import SNAPSHOT
from connectors.read_model.state_tables import STATE
from connectors.read_model.tables import RECORDED
from connectors.read_model.views import VIEWS, views
from infra.db.connect import raw
from infra.scan import Place

PROJECTIONS: Final = (*RECORDED, *STATE)
_REVISION: Final = 1
"""Raised when the same tables are to be filled otherwise."""
_SORT_MEMORY: Final = "256MB"


def schema_of(generation: int) -> str:
    """Return the name of the schema of ``generation``."""
    return f"{VIEWS}_{generation}"


def layout() -> str:
    """Return a digest of what this code makes of a generation: its tables, indexes and views."""
    parts = [
        str(_REVISION),
        *_tables(),
        *_indexes("x", (*PROJECTIONS, SNAPSHOT)),
        *views("x"),
        snapshot.filling("x"),
    ]
    return hashlib.blake2b("\n".join(parts).encode(), digest_size=8).hexdigest()


def live(connection: Connection) -> int | None:
    """Return the generation that is read, and keep it so until the end of the transaction; none at first."""
    query = text("SELECT generation FROM read_models WHERE live_at IS NOT NULL FOR SHARE")
    found = connection.scalar(query)
    return None if found is None else int(found)


def is_current(connection: Connection, generation: int) -> bool:
    """Tell whether ``generation`` is what this code makes; another release may have made it otherwise."""
    query = text("SELECT obj_description(to_regnamespace(:name), 'pg_namespace')")
    return bool(connection.scalar(query, {"name": schema_of(generation)}) == layout())


def make(connection: Connection) -> int:
    """Make the empty tables of a new generation, without their further indexes, and return its number."""
    number = connection.scalar(text("INSERT INTO read_models DEFAULT VALUES RETURNING generation"))
    generation = int(number or 0)
    driver, schema = raw(connection), schema_of(generation)
    driver.execute(f"CREATE SCHEMA {schema}")
    driver.execute(f"COMMENT ON SCHEMA {schema} IS '{layout()}'")
    driver.execute(f"SET LOCAL search_path TO {schema}, public")
    for statement in _tables():
        driver.execute(statement)
    driver.execute("SET LOCAL search_path TO DEFAULT")
    return generation


def finish(connection: Connection, generation: int) -> Iterator[None]:
    """Make the further indexes and the snapshot of ``generation``, gather its statistics; yield each step."""
    driver, schema = raw(connection), schema_of(generation)
    driver.execute(f"SET LOCAL maintenance_work_mem TO '{_SORT_MEMORY}'")
    told, shown = _finishing(schema, PROJECTIONS), _finishing(schema, [SNAPSHOT])
    for statement in (*told, snapshot.filling(schema), *shown):
        driver.execute(statement)
        yield


def _finishing(schema: str, projections: Sequence[Projection]) -> list[str]:
    return [*_indexes(schema, projections), *(f"ANALYZE {schema}.{one.name}" for one in projections)]


def switch(connection: Connection, generation: int) -> None:
    """Let everybody read ``generation``, and drop the others.

    A projector that writes holds the row of the live one, and is waited for. The schema of the views stays,
    and with it who may use it and what may be read in it by default.
    """
    connection.execute(text("UPDATE read_models SET live_at = NULL WHERE live_at IS NOT NULL"))
    chosen = text("UPDATE read_models SET live_at = now() WHERE generation = :number")
    connection.execute(chosen, {"number": generation})
    driver = raw(connection)
    driver.execute(f"CREATE SCHEMA IF NOT EXISTS {VIEWS}")
    for (name,) in driver.execute("SELECT viewname FROM pg_views WHERE schemaname = %b", [VIEWS]).fetchall():
        driver.execute(f"DROP VIEW IF EXISTS {VIEWS}.{name} CASCADE")
    for statement in views(schema_of(generation)):
        driver.execute(statement)
    drop_all_but(connection, generation)


def take_over(connection: Connection, generation: int) -> None:
    """Let ``generation`` know since when things have been so, as far as the live one of its layout knows."""
    before = live(connection)
    if before is None or not is_current(connection, before):
        return
    for projection in STATE:
        raw(connection).execute(projection.sinces(schema_of(generation), schema_of(before)))


def drop_all_but(connection: Connection, generation: int | None) -> None:
    """Drop all generations but one, such as what rebuilds that were interrupted have left."""
    left = text("DELETE FROM read_models WHERE generation IS DISTINCT FROM :number RETURNING generation")
    for (number,) in connection.execute(left, {"number": generation}).all():
        raw(connection).execute(f"DROP SCHEMA IF EXISTS {schema_of(number)} CASCADE")


def positions(connection: Connection, generation: int) -> dict[Place, int]:
    """Return the next offset to be read of each partition that has been read."""
    query = f"SELECT topic, partition, next_offset FROM {schema_of(generation)}.offsets"  # noqa: S608 - names of ours
    return {(topic, partition): offset for topic, partition, offset in raw(connection).execute(query)}


def topic_numbers(connection: Connection, generation: int, names: Iterable[str]) -> dict[str, int]:
    """Return the number of each topic in the history of ``generation``; new ones get theirs."""
    driver, topics = raw(connection), f"{schema_of(generation)}.topics"
    driver.execute(
        f"INSERT INTO {topics} (name) SELECT name FROM unnest(%b::text[]) AS n (name)"  # noqa: S608 - names of ours
        " ON CONFLICT DO NOTHING",
        [sorted(names)],
    )
    return dict(driver.execute(f"SELECT name, id FROM {topics}").fetchall())  # noqa: S608 - names of ours


def _tables() -> list[str]:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]  # SQLAlchemy has no types for it
    return [str(CreateTable(table).compile(dialect=dialect)) for table in metadata.sorted_tables]


def _indexes(schema: str, projections: Sequence[Projection]) -> list[str]:
    return [f"CREATE INDEX ON {schema}.{one.name} {index}" for one in projections for index in one.indexes]
