"""All tables of the hub's database. A migration brings a database to what stands here (a test compares)."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    DateTime,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    func,
    text,
)
from sqlalchemy.dialects.postgresql import JSONB

metadata = MetaData(
    naming_convention={"pk": "pk_%(table_name)s", "ix": "ix_%(table_name)s_%(column_0_N_name)s"},
)


def _time(name: str, *, nullable: bool = False) -> Column[Any]:
    return Column(name, DateTime(timezone=True), nullable=nullable)


def _text(name: str) -> Column[Any]:
    return Column(name, Text, nullable=False)


def _record_key() -> tuple[Column[Any], ...]:
    return tuple(Column(name, Text, primary_key=True) for name in ("tenant", "source", "kind", "record_id"))


source_records = Table(
    "source_records",
    metadata,
    *_record_key(),
    # Counts the changes of the record, from 1: what makes the id of each of its events its own.
    Column("revision", Integer, nullable=False),
    _time("version_time"),
    Column("version_sequence", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    # Digests that this version had before, one after the other: of equal versions the later to arrive wins,
    # once; when both are read again, the one that lost must not win in its turn.
    Column("replaced", LargeBinary, nullable=False),
    Column("content", JSONB, nullable=False),
    _time("first_seen"),
    _time("changed_at"),
    # Room for new versions of rows beside the old ones, so that the index need not change.
    postgresql_with={"fillfactor": "85"},
)

invalid_records = Table(
    "invalid_records",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _text("tenant"),
    _text("source"),
    _text("kind"),
    Column("record_id", Text),
    Column("digest", LargeBinary, nullable=False),
    Column("content", JSONB, nullable=False),
    _text("field"),
    _text("reason"),
    _time("first_seen"),
    _time("last_seen"),
    Column("times_seen", Integer, nullable=False),
    _time("solved_at", nullable=True),
    Index("ux_invalid_records", "tenant", "source", "kind", "digest", unique=True),
    Index(
        "ix_invalid_records_open",
        "tenant",
        "source",
        "kind",
        "record_id",
        postgresql_where=text("solved_at IS NULL"),
    ),
)

outbox = Table(
    "outbox",
    metadata,
    Column("seq", BigInteger, Identity(always=True), primary_key=True),
    _text("topic"),
    _text("key"),
    _text("event_id"),
    _text("source"),
    _text("record"),
    Column("traceparent", Text),
    # Set when the event can never be published as it is; it then waits for a person, others go on.
    Column("error", Text),
    Column("created_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Rows come and go: vacuum by their number, not by a share of an empty table.
    postgresql_with={"autovacuum_vacuum_scale_factor": "0", "autovacuum_vacuum_threshold": "20000"},
)

source_cursors = Table(
    "source_cursors",
    metadata,
    *(Column(name, Text, primary_key=True) for name in ("tenant", "source", "name")),
    Column("position", JSONB, nullable=False),
    _time("updated_at"),
)

source_runs = Table(
    "source_runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _text("tenant"),
    _text("source"),
    _text("state"),
    _time("started_at"),
    _time("finished_at", nullable=True),
    *(
        Column(name, BigInteger, nullable=False, server_default="0")
        for name in (
            "pages",
            "seen",
            "new",
            "unchanged",
            "updated",
            "invalid",
            "skipped",
            "errors",
            "events",
            "fresh",
        )
    ),
    Column("reason", Text),
    Column("position", JSONB),
    Index("ix_source_runs_latest", "tenant", "source", "id"),
)
