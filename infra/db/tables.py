"""All tables of the hub's database. A migration brings a database to what stands here (a test compares)."""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Double,
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
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

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

parked_records = Table(
    "parked_records",
    metadata,
    *_record_key(),
    # What it waits for, of the same tenant and source.
    _text("missing_kind"),
    _text("missing_id"),
    _text("reason"),
    _time("version_time"),
    Column("version_sequence", BigInteger, nullable=False),
    Column("content", JSONB, nullable=False),
    _time("received_at"),
    _time("parked_at"),
    Index("ix_parked_records_missing", "tenant", "source", "missing_kind", "missing_id"),
)

webhook_events = Table(
    "webhook_events",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _text("tenant"),
    _text("source"),
    # The sender's id of the event: kept for good, so that an event that is sent again is done once.
    _text("event_id"),
    _text("kind"),
    _text("operation"),
    _text("status"),
    Column("content", JSONB, nullable=False),
    Column("record_ids", ARRAY(Text), nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    # Of what waits: when it is tried again; of what is being done: when it is taken for abandoned.
    _time("due_at"),
    Column("reason", Text),
    _time("received_at"),
    _time("finished_at", nullable=True),
    Index("ux_webhook_events", "tenant", "source", "event_id", unique=True),
    Index("ix_webhook_events_open", "source", "due_at", postgresql_where=text("finished_at IS NULL")),
)

api_keys = Table(
    "api_keys",
    metadata,
    # Public part of the key, by which people know it.
    Column("key_id", Text, primary_key=True),
    # SHA-256 of the key; see producers/web/keys.py for why that is enough.
    Column("digest", LargeBinary, nullable=False),
    _text("name"),
    Column("tenants", ARRAY(Text), nullable=False),
    Column("scopes", ARRAY(Text), nullable=False),
    _time("created_at"),
    _time("expires_at", nullable=True),
    _time("revoked_at", nullable=True),
    # To within some minutes.
    _time("last_used_at", nullable=True),
    Index("ux_api_keys_digest", "digest", unique=True),
)

idempotency = Table(
    "idempotency",
    metadata,
    *(Column(name, Text, primary_key=True) for name in ("tenant", "route", "key")),
    # SHA-256 of the request's body.
    Column("digest", LargeBinary, nullable=False),
    # The answer that is given again.
    Column("answer", LargeBinary, nullable=False),
    _time("expires_at"),
    Index("ix_idempotency_expires_at", "expires_at"),
)

# The generations of the read model; the tables of each are in a schema of its own.
read_models = Table(
    "read_models",
    metadata,
    Column("generation", Integer, Identity(always=True), primary_key=True),
    Column("made_at", DateTime(timezone=True), nullable=False, server_default=func.now()),
    # Of the one that is read.
    _time("live_at", nullable=True),
    Index(
        "ux_read_models_live",
        text("(live_at IS NOT NULL)"),
        unique=True,
        postgresql_where=text("live_at IS NOT NULL"),
    ),
)

schedules = Table(
    "schedules",
    metadata,
    # `site` is empty where the target is not of a Moodle site.
    *(Column(name, Text, primary_key=True) for name in ("tenant", "target", "site")),
    Column("enabled", Boolean, nullable=False),
    # One of both.
    Column("every_seconds", Double),
    Column("cron", Text),
    Column("only_hours", Text),
    Column("quiet_hours", Text),
    _text("zone"),
    _time("next_run_at", nullable=True),
    # Of "run now", until that run has ended.
    _time("requested_at", nullable=True),
    Column("requested_by", Text),
    # By a person; without it the row follows the settings.
    _time("updated_at", nullable=True),
    Column("updated_by", Text),
)

schedule_runs = Table(
    "schedule_runs",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    *(_text(name) for name in ("tenant", "target", "site", "state", "trigger")),
    # Who asked for it.
    Column("actor", Text),
    _time("started_at"),
    _time("finished_at", nullable=True),
    Column("counts", JSONB, nullable=False),
    Column("error", Text),
    # Key of the advisory lock that the process holds as long as it runs.
    Column("lock_key", BigInteger, nullable=False),
    Index("ix_schedule_runs_latest", "tenant", "target", "site", "id"),
    Index("ix_schedule_runs_running", "lock_key", postgresql_where=text("state = 'RUNNING'")),
)

replays = Table(
    "replays",
    metadata,
    Column("replay_id", Text, primary_key=True),
    # OPEN: something is left to do; PAUSED: the same, on purpose; DONE.
    *(_text(name) for name in ("tenant", "state", "made_by", "why")),
    # What was asked for, such as the topic.
    Column("chosen", JSONB, nullable=False),
    Column("rate", Integer, nullable=False),
    Column("total", BigInteger, nullable=False),
    Column("done", BigInteger, nullable=False, server_default="0"),
    _time("made_at"),
    _time("updated_at"),
)

# What replays still have to do; a row goes when it is done.
replay_items = Table(
    "replay_items",
    metadata,
    Column("replay_id", Text, primary_key=True),
    Column("number", BigInteger, primary_key=True, autoincrement=False),
    _text("kind"),
    Column("person_id", Text),
    Column("course_id", Text),
    # Messages to be published again, as `topic/partition/offset`; none: the entity is asked for once more.
    Column("places", ARRAY(Text), nullable=False),
)

# What rehearsals have found: of each tenant the last that were kept.
rehearsals = Table(
    "rehearsals",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    *(_text(name) for name in ("tenant", "made_by", "why")),
    _time("made_at"),
    Column("differences", BigInteger, nullable=False),
    # What was asked for, such as the topic.
    Column("chosen", JSONB, nullable=False),
    # Counts by kind and verdict, and the first differences, with ids alone.
    Column("report", JSONB, nullable=False),
    Index("ix_rehearsals_latest", "tenant", "id"),
)

users = Table(
    "users",
    metadata,
    Column("name", Text, primary_key=True),
    # viewer, operator or admin.
    _text("role"),
    Column("tenants", ARRAY(Text), nullable=False),
    # Issuer and subject at the identity provider; none: a local user.
    Column("subject", Text),
    # Argon2id, with its parameters; none: not invited people cannot log in.
    Column("password_hash", Text),
    # SHA-256 of the text by which the user may choose a password, once.
    Column("invitation", LargeBinary),
    _time("invitation_until", nullable=True),
    _time("created_at"),
    _time("disabled_at", nullable=True),
    _time("last_login_at", nullable=True),
    Index("ux_users_subject", "subject", unique=True),
    Index("ux_users_invitation", "invitation", unique=True),
)

user_sessions = Table(
    "user_sessions",
    metadata,
    # SHA-256 of what the cookie holds.
    Column("digest", LargeBinary, primary_key=True),
    _text("user_name"),
    # The one whose records are shown.
    _text("tenant"),
    _time("created_at"),
    # Right to a minute.
    _time("seen_at"),
    _time("expires_at"),
    Index("ix_user_sessions_user_name", "user_name"),
    Index("ix_user_sessions_expires_at", "expires_at"),
)

login_failures = Table(
    "login_failures",
    metadata,
    # SHA-256 of the name that was tried, or of the address it came from.
    Column("digest", LargeBinary, primary_key=True),
    # One after the other, since the last success or the last long pause.
    Column("failures", Integer, nullable=False),
    _time("last_at"),
)

# What is not, or was not, as it should be; at most one of a name is not resolved.
incidents = Table(
    "incidents",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    *(_text(name) for name in ("tenant", "alert", "subject", "severity")),
    # OPEN, ACKNOWLEDGED or RESOLVED.
    _text("state"),
    _text("message"),
    # Figures, without personal data.
    Column("details", JSONB, nullable=False),
    _time("opened_at"),
    _time("seen_at"),
    _time("resolved_at", nullable=True),
    _time("acknowledged_at", nullable=True),
    Column("acknowledged_by", Text),
    _time("silenced_until", nullable=True),
    # The severity with which it was last told.
    Column("told", Text),
    Index("ix_incidents_latest", "tenant", "id"),
    Index(
        "ux_incidents_open",
        "tenant",
        "alert",
        "subject",
        unique=True,
        postgresql_where=text("state <> 'RESOLVED'"),
    ),
)

silences = Table(
    "silences",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _text("tenant"),
    # Without one: of every alert, about every subject.
    Column("alert", Text),
    Column("subject", Text),
    _time("until"),
    _time("made_at"),
    _text("made_by"),
    _text("why"),
    _time("ended_at", nullable=True),
    Index("ix_silences_latest", "tenant", "id"),
)

# What each channel is told; decided once, sent at least once.
notifications = Table(
    "notifications",
    metadata,
    Column("id", BigInteger, Identity(always=True), primary_key=True),
    _text("channel"),
    # Such as `incident/12`, and what is told of it.
    _text("about"),
    _text("news"),
    Column("notice", JSONB, nullable=False),
    Column("attempts", Integer, nullable=False, server_default="0"),
    _time("created_at"),
    _time("next_try_at"),
    _time("sent_at", nullable=True),
    _time("given_up_at", nullable=True),
    # Of the last try: a short code.
    Column("error", Text),
    Index("ux_notifications", "channel", "about", "news", unique=True),
    Index(
        "ix_notifications_open",
        "channel",
        "id",
        postgresql_where=text("sent_at IS NULL AND given_up_at IS NULL"),
    ),
)
