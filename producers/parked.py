"""Records that wait for another record of their source: kept as they came, the newest of each.

All in bulk, in the transaction of the driver's connection that is handed in.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

import psycopg

from producers.candidates import Origin, canonical, storable
from producers.kept import Key
from schemas.ids import TenantId
from schemas.version import Version

_PARK = """
    INSERT INTO parked_records AS p
        (tenant, source, kind, record_id, missing_kind, missing_id, reason, version_time, version_sequence,
         content, received_at, parked_at)
    SELECT %s, %s, k.kind, k.record_id, k.missing_kind, k.missing_id, k.reason, k.version_time,
           k.version_sequence, k.content::jsonb, k.received_at, now()
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[], %b::text[], %b::timestamptz[], %b::int8[],
        %b::text[], %b::timestamptz[])
        AS k(kind, record_id, missing_kind, missing_id, reason, version_time, version_sequence, content,
             received_at)
    ORDER BY k.kind, k.record_id
    ON CONFLICT (tenant, source, kind, record_id) DO UPDATE SET
        missing_kind = excluded.missing_kind, missing_id = excluded.missing_id, reason = excluded.reason,
        version_time = excluded.version_time, version_sequence = excluded.version_sequence,
        content = excluded.content, received_at = excluded.received_at
    WHERE (p.version_time, p.version_sequence) <= (excluded.version_time, excluded.version_sequence)
"""
_REMOVE = """
    DELETE FROM parked_records WHERE (tenant, source, kind, record_id) IN (
        SELECT p.tenant, p.source, p.kind, p.record_id
        FROM unnest(%b::text[], %b::text[], %b::timestamptz[], %b::int8[])
            AS k(kind, record_id, version_time, version_sequence)
        JOIN parked_records p ON p.tenant = %s AND p.source = %s
            AND p.kind = k.kind AND p.record_id = k.record_id
            AND (p.version_time, p.version_sequence) <= (k.version_time, k.version_sequence)
        ORDER BY p.kind, p.record_id FOR UPDATE OF p
    )
"""
_COLUMNS = """
    p.kind, p.record_id, p.missing_kind, p.missing_id, p.reason, p.version_time, p.version_sequence,
    p.content, p.received_at
"""
_WAITING_FOR = f"""
    SELECT {_COLUMNS} FROM unnest(%b::text[], %b::text[]) AS k(kind, record_id)
    JOIN parked_records p ON p.tenant = %s AND p.source = %s
        AND p.missing_kind = k.kind AND p.missing_id = k.record_id
    ORDER BY p.parked_at
"""  # noqa: S608 - a constant
_RIPE = f"""
    SELECT {_COLUMNS} FROM parked_records p
    JOIN source_records s ON s.tenant = p.tenant AND s.source = p.source
        AND s.kind = p.missing_kind AND s.record_id = p.missing_id AND NOT s.content ? 'deleted'
    WHERE p.tenant = %s AND p.source = %s AND (p.kind, p.record_id) > (%s, %s)
    ORDER BY p.kind, p.record_id LIMIT %s
"""  # noqa: S608 - a constant
_TENANTS = "SELECT DISTINCT tenant FROM parked_records WHERE source = %s ORDER BY tenant"


class Parked(NamedTuple):
    """One record that waits.

    Attributes:
        kind: its kind.
        record_id: its id.
        missing_kind: the kind of the record that it waits for.
        missing_id: the id of that record.
        reason: why it waits, as it was answered.
        version: of the record; a lower one does not take its place.
        content: the record as it came.
        received_at: when it came.
    """

    kind: str
    record_id: str
    missing_kind: str
    missing_id: str
    reason: str
    version: Version
    content: Any
    received_at: datetime


def park(driver: psycopg.Connection, origin: Origin, records: Sequence[Parked]) -> None:
    """Keep ``records`` (one of each kind and id) until what they wait for comes."""
    if not records:
        return
    columns = [
        [record.kind for record in records],
        [record.record_id for record in records],
        [record.missing_kind for record in records],
        [record.missing_id for record in records],
        [record.reason for record in records],
        [record.version.time for record in records],
        [record.version.sequence for record in records],
        [canonical(storable(record.content)) for record in records],
        [record.received_at for record in records],
    ]
    driver.execute(_PARK, [origin.tenant, origin.source, *columns])


def remove(driver: psycopg.Connection, origin: Origin, versions: Mapping[Key, Version]) -> None:
    """Take out the records of these keys whose version is no higher than the one given."""
    if not versions:
        return
    columns = [
        [kind for kind, _ in versions],
        [name for _, name in versions],
        [version.time for version in versions.values()],
        [version.sequence for version in versions.values()],
    ]
    driver.execute(_REMOVE, [*columns, origin.tenant, origin.source], prepare=True)


def waiting_for(driver: psycopg.Connection, origin: Origin, keys: Sequence[Key]) -> list[Parked]:
    """Return the records that wait for one of ``keys``, the longest waiting first."""
    if not keys:
        return []
    columns = [[kind for kind, _ in keys], [name for _, name in keys]]
    return list(_rows(driver, _WAITING_FOR, [*columns, origin.tenant, origin.source]))


def ripe(driver: psycopg.Connection, origin: Origin, after: Key, limit: int) -> list[Parked]:
    """Return up to ``limit`` records that need not wait any longer, by their keys, from behind ``after``."""
    return list(_rows(driver, _RIPE, [origin.tenant, origin.source, *after, limit]))


def tenants(driver: psycopg.Connection, source: str) -> list[TenantId]:
    """Return the tenants that have records waiting."""
    return [TenantId(row[0]) for row in driver.execute(_TENANTS, [source]).fetchall()]


def _rows(driver: psycopg.Connection, query: str, arguments: Sequence[object]) -> Iterator[Parked]:
    for row in driver.execute(query, arguments, prepare=True).fetchall():
        kind, name, missing_kind, missing_id, reason, time, sequence, content, received_at = row
        version = Version(time, sequence)
        yield Parked(kind, name, missing_kind, missing_id, reason, version, content, received_at)
