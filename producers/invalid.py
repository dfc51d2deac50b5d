"""Records that could not be used, kept as they came until a usable one takes their place."""

from collections.abc import Mapping, Sequence
from typing import Any

import psycopg

from producers.candidates import Candidate, Invalid, Origin, canonical, digest_of, storable

_KEEP = """
    INSERT INTO invalid_records AS i
        (tenant, source, kind, record_id, digest, content, field, reason, first_seen, last_seen,
         times_seen, solved_at)
    SELECT %s, %s, k.kind, k.record_id, k.digest, k.content::jsonb, k.field, k.reason, now(), now(),
           k.times, CASE WHEN k.solved THEN now() END
    FROM unnest(%b::text[], %b::text[], %b::bytea[], %b::text[], %b::text[], %b::text[], %b::int4[],
        %b::bool[]) AS k(kind, record_id, digest, content, field, reason, times, solved)
    ORDER BY k.kind, k.digest
    ON CONFLICT (tenant, source, kind, digest) DO UPDATE SET
        last_seen = now(), times_seen = i.times_seen + excluded.times_seen,
        field = excluded.field, reason = excluded.reason,
        solved_at = coalesce(i.solved_at, excluded.solved_at)
    RETURNING i.kind, i.digest, i.first_seen < now()
"""
_ANY_OPEN = """
    SELECT EXISTS (SELECT FROM invalid_records WHERE tenant = %s AND source = %s AND solved_at IS NULL)
"""
_SOLVE = """
    UPDATE invalid_records SET solved_at = now() WHERE id IN (
        SELECT i.id FROM unnest(%b::text[], %b::text[]) AS k(kind, record_id)
        JOIN invalid_records i ON i.tenant = %s AND i.source = %s AND i.solved_at IS NULL
            AND i.kind = k.kind AND i.record_id = k.record_id
        ORDER BY i.id FOR UPDATE OF i
    )
"""


def keep(
    driver: psycopg.Connection,
    origin: Origin,
    candidates: Sequence[Candidate],
    changed: Mapping[tuple[str, str], int],
) -> set[int]:
    """Keep the invalid ones of ``candidates``; return the places of those that had come before.

    Args:
        driver: connection with the open transaction.
        origin: their tenant and source.
        candidates: the whole batch.
        changed: kind and id of each record that came usable and new in the batch, with its last place; an
            invalid one at an earlier place is solved as soon as it is kept.
    """
    rows: dict[tuple[str, bytes], list[Any]] = {}
    places: dict[tuple[str, bytes], list[int]] = {}
    for place, record in enumerate(candidates):
        if isinstance(record, Invalid):
            name = storable(record.record_id)
            content = canonical(storable(record.content))
            mark = (record.kind, digest_of(f"{name}\n{content}"))
            places.setdefault(mark, []).append(place)
            solved = changed.get((record.kind, record.record_id or ""), -1) > place
            columns = [record.kind, name, mark[1], content, record.field, record.reason]
            rows[mark] = [*columns, len(places[mark]), solved]
    if not rows:
        return set()
    arrays = [list(column) for column in zip(*rows.values(), strict=True)]
    found = driver.execute(_KEEP, [origin.tenant, origin.source, *arrays]).fetchall()
    return {place for kind, digest, known in found if known for place in places[kind, bytes(digest)]}


def solve(driver: psycopg.Connection, origin: Origin, keys: Sequence[tuple[str, str]]) -> None:
    """Mark as solved what was kept of records (kind and id) that now came usable."""
    if not keys:
        return
    row = driver.execute(_ANY_OPEN, [origin.tenant, origin.source], prepare=True).fetchone()
    if row and row[0]:
        columns = [[kind for kind, _ in keys], [name for _, name in keys]]
        driver.execute(_SOLVE, [*columns, origin.tenant, origin.source])
