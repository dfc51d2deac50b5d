"""The events that webhooks brought: stored before they are answered, done afterwards, remembered for good."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import msgspec
from sqlalchemy import Connection, Engine, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.connect import database_trouble
from infra.db.tables import webhook_events as events
from producers.candidates import storable
from producers.zoho.to_events import SOURCE
from producers.zoho.webhooks import Notice
from schemas.events import Operation
from schemas.ids import TenantId

LEASE: Final = timedelta(seconds=90)
"""An event that is being done for longer is taken for abandoned, and done again."""
_RECENT: Final = 10

_CLAIM = text("""
    UPDATE webhook_events SET status = 'processing', attempts = attempts + 1, due_at = now() + :lease
    WHERE id IN (
        SELECT id FROM webhook_events
        WHERE source = :source AND finished_at IS NULL AND due_at <= now()
        ORDER BY due_at, id LIMIT :limit FOR UPDATE SKIP LOCKED
    )
    RETURNING id, tenant, kind, operation, content, record_ids, attempts, received_at
""")


class EventStatus(StrEnum):
    """How an event stands."""

    PENDING = "pending"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    """Nothing of it could be used; what it brought is kept with the reason."""
    SKIPPED = "skipped"
    """It is about something that the hub does not deal with."""


@dataclass(frozen=True, slots=True)
class StoredEvent:
    """One event to be done.

    Attributes:
        number: its own in the table.
        tenant: whose it is.
        kind: name of the records' kind in the sync API.
        operation: whether the records are there or were deleted.
        records: that came with it.
        ids: of records to be fetched, or that were deleted.
        time: when it happened (UTC), if that was said.
        attempts: how often it was tried, this time included.
        received_at: UTC.
    """

    number: int
    tenant: TenantId
    kind: str
    operation: Operation
    records: tuple[dict[str, Any], ...]
    ids: tuple[str, ...]
    time: datetime | None
    attempts: int
    received_at: datetime


def store(
    engine: Engine, tenant: TenantId, kind: str, notice: Notice, status: EventStatus = EventStatus.PENDING
) -> bool:
    """Keep an event; return whether it is new.

    Raises:
        RetryLater: the database is away; the event was not stored.
    """
    finished = func.now() if status is not EventStatus.PENDING else None
    row = {
        "tenant": tenant,
        "source": SOURCE,
        "event_id": storable(notice.event_id),
        "kind": kind,
        "operation": notice.operation.value,
        "status": status.value,
        "content": storable(
            {"records": notice.records, "time": notice.time.isoformat() if notice.time else None}
        ),
        "record_ids": storable(notice.ids),
        "due_at": func.now(),
        "received_at": func.clock_timestamp(),
        "finished_at": finished,
    }
    adding = insert(events).values(row).on_conflict_do_nothing().returning(events.c.id)
    with database_trouble(), engine.begin() as connection:
        return connection.execute(adding).first() is not None


def claim(engine: Engine, limit: int) -> list[StoredEvent]:
    """Take events to be done, oldest first; nobody else gets them while the lease lasts."""
    wanted = {"source": SOURCE, "limit": limit, "lease": LEASE}
    with database_trouble(), engine.begin() as connection:
        found = connection.execute(_CLAIM, wanted).mappings().all()
    return sorted((_stored(row) for row in found), key=lambda event: event.number)


def _stored(row: Mapping[Any, Any]) -> StoredEvent:
    content = row["content"]
    return StoredEvent(
        number=row["id"],
        tenant=TenantId(row["tenant"]),
        kind=row["kind"],
        operation=Operation(row["operation"]),
        records=tuple(content.get("records", ())),
        ids=tuple(row["record_ids"]),
        time=datetime.fromisoformat(content["time"]) if content.get("time") else None,
        attempts=row["attempts"],
        received_at=row["received_at"].astimezone(UTC),
    )


def finish(connection: Connection, number: int, status: EventStatus, reason: str | None = None) -> None:
    """Close an event, in the transaction that took its records in.

    What it held goes with that, people's data as it is; a failed one keeps it, to be tried again.
    """
    values: dict[str, Any] = {
        "status": status.value,
        "reason": reason,
        "finished_at": func.clock_timestamp(),
    }
    if status is not EventStatus.FAILED:
        values["content"] = {}
    connection.execute(update(events).where(events.c.id == number).values(**values))


def postpone(engine: Engine, number: int, seconds: float, reason: str) -> None:
    """Let an event be tried again in ``seconds``; ``reason`` has no personal data."""
    later = func.now() + timedelta(seconds=seconds)
    values = {"status": EventStatus.PENDING.value, "reason": reason, "due_at": later}
    with database_trouble(), engine.begin() as connection:
        connection.execute(update(events).where(events.c.id == number).values(**values))


class RecentEvent(msgspec.Struct, frozen=True):
    """One event as the statistics show it."""

    event_id: str
    source: str
    kind: str
    operation: str
    status: str
    reason: str | None
    received_at: datetime


class Stats(msgspec.Struct, frozen=True):
    """What webhooks brought.

    Attributes:
        total_events: ever stored for the tenant.
        by_status: how they stand.
        by_source: where they came from.
        recent_events: the last ten, newest first.
    """

    total_events: int
    by_status: dict[str, int]
    by_source: dict[str, int]
    recent_events: list[RecentEvent]


def stats(engine: Engine, tenant: TenantId) -> Stats:
    """Return the statistics of one tenant."""
    ours = events.c.tenant == tenant
    columns = [events.c[name] for name in RecentEvent.__struct_fields__]
    with database_trouble(), engine.connect() as connection:
        counts = connection.execute(
            select(events.c.status, events.c.source, func.count())
            .where(ours)
            .group_by(events.c.status, events.c.source)
        ).all()
        newest = connection.execute(
            select(*columns).where(ours).order_by(events.c.id.desc()).limit(_RECENT)
        ).all()
    recent = [RecentEvent(*row) for row in newest]
    by_status = _sums((status, count) for status, _, count in counts)
    by_source = _sums((source, count) for _, source, count in counts)
    return Stats(sum(by_status.values()), by_status, by_source, recent)


def _sums(pairs: Iterable[tuple[str, int]]) -> dict[str, int]:
    found: Counter[str] = Counter()
    for name, count in pairs:
        found[name] += count
    return dict(found)


def waiting(engine: Engine) -> int:
    """Return how many events are still to be done."""
    query = select(func.count()).select_from(events).where(events.c.finished_at.is_(None))
    with database_trouble(), engine.connect() as connection:
        return int(connection.execute(query).scalar_one())
