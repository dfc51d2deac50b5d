"""The records that are kept, one for each (tenant, source, kind, id): read, inserted, locked and updated.

All in bulk, in the transaction of the driver's connection that is handed in. Lists go as binary arrays:
COPY is no faster for some thousand rows, and JSON several times slower.
"""

from collections.abc import Mapping, Sequence

import psycopg

from producers.candidates import Origin, State
from schemas.version import Version

Key = tuple[str, str]
"""Kind and id of a record."""

_READ = """
    SELECT k.n::int4, r.revision, r.version_time, r.version_sequence, r.digest, r.replaced, {content}
    FROM unnest(%b::text[], %b::text[]) WITH ORDINALITY AS k(kind, record_id, n)
    CROSS JOIN LATERAL (
        SELECT * FROM source_records s
        WHERE s.tenant = %s AND s.source = %s AND s.kind = k.kind AND s.record_id = k.record_id LIMIT 1
    ) AS r
"""
_STATES = _READ.format(content="NULL::text")
_STATES_AND_CONTENT = _READ.format(content="r.content::text")
_ROWS = """
    INSERT INTO source_records AS s
        (tenant, source, kind, record_id, revision, replaced, version_time, version_sequence, digest, content,
         first_seen, changed_at)
    SELECT %s, %s, k.kind, k.record_id, {marks}, k.version_time, k.version_sequence, k.digest,
           k.content::jsonb, now(), now()
    FROM unnest(%b::text[], %b::text[], %b::timestamptz[], %b::int8[], %b::bytea[], %b::text[]{arrays})
        WITH ORDINALITY AS k(kind, record_id, version_time, version_sequence, digest, content{names}, n)
    ORDER BY k.n
    ON CONFLICT (tenant, source, kind, record_id) DO UPDATE SET
"""
# Inserts what is missing and locks what is there, in one pass in the order given: rows that conflict are
# locked although the condition keeps them as they are.
_INSERT_OR_LOCK = (
    _ROWS.format(marks="1, ''", arrays="", names="")
    + "digest = s.digest WHERE false RETURNING s.kind, s.record_id"
)
# The rows are there and locked; going by the key needs no plan that could turn out a scan of the table.
_UPDATE = (
    _ROWS.format(
        marks="k.revision, k.replaced", arrays=", %b::int4[], %b::bytea[]", names=", revision, replaced"
    )
    + """
    revision = excluded.revision, version_time = excluded.version_time,
    version_sequence = excluded.version_sequence, digest = excluded.digest, replaced = excluded.replaced,
    content = excluded.content,
    changed_at = CASE WHEN s.revision = excluded.revision THEN s.changed_at ELSE excluded.changed_at END
"""
)


def read(
    driver: psycopg.Connection, origin: Origin, keys: Sequence[Key], *, with_content: bool = False
) -> dict[Key, State]:
    """Return the records of ``keys`` that are kept, with their content only if that is asked for."""
    if not keys:
        return {}
    arguments = [[kind for kind, _ in keys], [name for _, name in keys], origin.tenant, origin.source]
    with driver.cursor(binary=True) as cursor:
        cursor.execute(_STATES_AND_CONTENT if with_content else _STATES, arguments, prepare=True)
        return {
            keys[n - 1]: State(revision, Version(moment, sequence), digest, replaced, content)
            for n, revision, moment, sequence, digest, replaced, content in cursor
        }


def insert_or_lock(driver: psycopg.Connection, origin: Origin, states: Mapping[Key, State]) -> set[Key]:
    """Insert the records that are not there yet, lock the others; return the keys of those inserted.

    The mapping must be in the order of its keys: then writers wait for each other instead of blocking one
    another. Whoever meets a record that another transaction is inserting waits for its end.
    """
    arguments = [origin.tenant, origin.source, *_columns(states)]
    return set(driver.execute(_INSERT_OR_LOCK, arguments, prepare=True).fetchall())


def update(driver: psycopg.Connection, origin: Origin, states: Mapping[Key, State]) -> None:
    """Replace records that were inserted or locked in this transaction."""
    marks = [[state.revision for state in states.values()], [state.replaced for state in states.values()]]
    driver.execute(_UPDATE, [origin.tenant, origin.source, *_columns(states), *marks], prepare=True)


def _columns(states: Mapping[Key, State]) -> list[list[object]]:
    return [
        [kind for kind, _ in states],
        [name for _, name in states],
        [state.version.time for state in states.values()],
        [state.version.sequence for state in states.values()],
        [state.digest for state in states.values()],
        [state.content for state in states.values()],
    ]
