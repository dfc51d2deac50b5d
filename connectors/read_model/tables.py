"""The tables of the read model that hold what records say. Each generation has them in a schema of its own.

Every row also tells the message it was made of: ``place`` is ``topic/partition/offset``.
"""

from typing import Any

from sqlalchemy import (
    BigInteger,
    Column,
    Date,
    DateTime,
    Identity,
    Integer,
    Numeric,
    SmallInteger,
    Table,
    Text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB

from connectors.read_model.projection import Projection, flag, metadata, number, table, text, time

_NEWEST = ("version_time", "version_sequence")


def _version() -> list[Column[Any]]:
    return [*time("version_time"), *number("version_sequence"), *time("recorded_at")]


def _verdict() -> list[Column[Any]]:
    return [
        *text("outcome", "action", "reason", "status"),
        *number("moodle_user_id", "moodle_course_id", "other_moodle_user_id"),
        *time("completed_at"),
    ]


PEOPLE = Projection(
    table(
        "people",
        ("tenant", "person_id", "source"),
        *flag("deleted"),
        *text("source_record_id", "source_status", "username", "email", "first_name", "last_name"),
        *_version(),
    ),
    order=_NEWEST,
    indexes=(
        "(recorded_at, person_id)",
        "(tenant, email)",
        "(tenant, person_id text_pattern_ops)",
        "(tenant, lower(last_name) text_pattern_ops)",
        "(tenant, lower(first_name) text_pattern_ops)",
        "(tenant, lower(email) text_pattern_ops)",
        "(tenant, lower(username) text_pattern_ops)",
    ),
)
COURSES = Projection(
    table(
        "courses",
        ("tenant", "course_id", "source", "source_record_id"),
        *flag("deleted"),
        *text("source_status", "short_name", "full_name", "term_id", "program_id"),
        *time("starts_at", "ends_at"),
        *number("moodle_course_id"),
        *_version(),
    ),
    order=_NEWEST,
    indexes=(
        "(recorded_at, course_id)",
        "(tenant, short_name)",
        "(tenant, course_id text_pattern_ops)",
        "(tenant, lower(short_name) text_pattern_ops)",
        "(tenant, lower(full_name) text_pattern_ops)",
    ),
)
ENROLMENTS = Projection(
    table(
        "enrolments",
        ("tenant", "person_id", "course_id"),
        *flag("deleted"),
        *text("enrolment_id", "source", "source_record_id", "status", "source_status", "role"),
        *time("starts_at", "ends_at"),
        *_version(),
    ),
    order=_NEWEST,
    indexes=("(tenant, course_id, person_id)",),
)
COMMANDS = Projection(
    table(
        "commands",
        ("command_id",),
        *text("tenant", "target", "kind", "person_id", "course_id"),
        *number("generation"),
        *time("issued_at"),
        Column("wish", JSONB),
    ),
    order=("issued_at",),
    indexes=("(issued_at, command_id)", "(tenant, person_id)", "(tenant, course_id)"),
)
RESULTS = Projection(
    table(
        "results",
        ("command_id",),
        *text("tenant", "target", "kind", "person_id", "course_id"),
        *number("generation"),
        *_verdict(),
    ),
    order=("completed_at",),
    indexes=(
        "(completed_at, command_id)",
        "(tenant, person_id)",
        "(tenant, course_id)",
        "(tenant, reason, completed_at) WHERE reason IS NOT NULL",
    ),
)
STANDING = Projection(
    table(
        "standing",
        ("tenant", "kind", "person_id", "course_id", "target"),
        *number("generation"),
        *_verdict(),
    ),
    order=("generation",),
)
"""The newest result about each account, course and enrolment; person or course is empty where it has none."""
OBSERVED_COURSES = Projection(
    table(
        "observed_courses",
        ("tenant", "course_id", "target"),
        *number("moodle_course_id"),
        *text("short_name"),
        *flag("visible", "completion_opt_in"),
        *time("observed_at"),
    ),
    order=("observed_at",),
)
OBSERVED_USERS = Projection(
    table(
        "observed_users",
        ("tenant", "person_id", "target"),
        *number("moodle_user_id"),
        *flag("suspended"),
        *time("last_access", "observed_at"),
    ),
    order=("observed_at",),
)
OBSERVED_ENROLMENTS = Projection(
    table(
        "observed_enrolments",
        ("tenant", "person_id", "course_id", "target"),
        *number("moodle_user_id", "moodle_course_id"),
        *text("status"),
        *time("last_access", "observed_at"),
    ),
    order=("observed_at",),
    indexes=("(tenant, course_id)",),
)
COMPLETIONS = Projection(
    table(
        "completions",
        ("tenant", "person_id", "course_id"),
        *text("target"),
        Column("completed_on", Date),
        *time("completed_at", "observed_at"),
    ),
    order=("observed_at",),
    indexes=("(observed_at, person_id, course_id)", "(tenant, course_id)"),
)
GRADES = Projection(
    table(
        "grades",
        ("tenant", "person_id", "course_id", "target"),
        *number("moodle_user_id", "moodle_course_id"),
        *text("shown"),
        Column("score", Numeric),
        *time("observed_at"),
    ),
    order=("observed_at",),
    indexes=("(observed_at, person_id, course_id)", "(tenant, course_id)"),
)
CALLBACKS = Projection(
    table(
        "callbacks",
        ("callback_id",),
        *text("tenant", "enrolment_id", "person_id", "course_id"),
        Column("completed_on", Date),
        *time("issued_at"),
    ),
    order=("issued_at",),
    indexes=("(issued_at, callback_id)", "(tenant, person_id)", "(tenant, enrolment_id)"),
)
CALLBACK_RESULTS = Projection(
    table(
        "callback_results",
        ("callback_id",),
        *text("tenant", "enrolment_id", "person_id", "course_id", "outcome", "reason"),
        Column("http_status", Integer),
        *time("completed_at"),
    ),
    order=("completed_at",),
    indexes=("(completed_at, callback_id)", "(tenant, person_id)"),
)
CALLS = Projection(
    table(
        "calls",
        ("call_id",),
        *text("system", "target", "role", "function"),
        *time("started_at"),
        *number("duration_ms"),
        *text("code"),
        *number("http_status", "attempt", "entries", "request_bytes", "response_bytes"),
        *text("tenant"),
        Column("references_", ARRAY(Text)),
    ),
    order=("started_at",),
    indexes=("(started_at, call_id)", "(code, started_at) WHERE code <> 'ok'", "USING gin (references_)"),
)
RATES = Projection(
    Table(
        "rates",
        metadata,
        *(
            Column(name, Text, primary_key=True)
            for name in ("kind", "tenant", "system", "target", "function")
        ),
        Column("minute", DateTime(timezone=True), primary_key=True),
        *number("total", "failed", "auth_failed"),
        Column("buckets", ARRAY(BigInteger)),
        Column("place", Text, nullable=False),
    ),
    indexes=("(minute, kind, system, target, function)",),
)
"""How many calls and results there were in each minute; the last message of a key is the newest."""
AUDIT = Projection(
    table(
        "audit",
        ("audit_id",),
        *text("tenant"),
        *time("at"),
        *text("actor", "action", "subject", "why"),
        Column("details", JSONB),
    ),
    order=("at",),
    indexes=("(at, audit_id)", "(tenant, subject)"),
)
DIRECTIVES = Projection(
    table(
        "directives",
        ("directive_id",),
        *text("tenant", "kind", "subject", "person_id", "course_id", "resolution"),
        *number("moodle_user_id", "moodle_course_id"),
        *time("issued_at"),
        *text("actor", "why"),
    ),
    order=("issued_at",),
    indexes=(
        "(issued_at, directive_id)",
        "(tenant, person_id)",
        "(tenant, course_id)",
        "(tenant, subject) WHERE kind = 'RESOLVE'",
    ),
)
LETTERS = Projection(
    table(
        "letters",
        ("place",),
        *text("role", "topic"),
        Column("partition", Integer),
        *number("message_offset"),
        *text("message_key", "tenant", "kind", "entity", "step", "reason", "error_class", "error"),
        *number("attempt"),
        *time("failed_at"),
    ),
    order=("failed_at",),
    indexes=("(failed_at, place)", "(tenant, reason, failed_at)", "(tenant, entity)"),
)
"""Dead letters; what people have done about them is in `LETTER_DECISIONS`."""
LETTER_DECISIONS = Projection(
    table("letter_decisions", ("subject",), *text("action"), *time("at"), *text("actor")),
    order=("at",),
)
"""The newest decision of a person about each dead letter, by the letter's place."""
HISTORY = Projection(
    Table(
        "messages",
        metadata,
        *text("tenant", "person_id", "course_id"),
        Column("topic", SmallInteger, nullable=False),
        Column("partition", Integer, nullable=False),
        *number("message_offset"),
        *time("at"),
    ),
    indexes=("(tenant, person_id, course_id)", "(tenant, course_id) WHERE coalesce(person_id, '') = ''"),
)
"""Which messages are about a person or a course; rows are only ever added.

Those about a course alone are few; an index on all of a course would be as large as the table.
"""
TOPICS = Table(
    "topics",
    metadata,
    Column("id", SmallInteger, Identity(always=True), primary_key=True),
    Column("name", Text, nullable=False, unique=True),
)
"""Topics that `HISTORY` names by number, for there are many messages."""
OFFSETS = Table(
    "offsets",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    *number("next_offset"),
)
RECORDED = (
    PEOPLE,
    COURSES,
    ENROLMENTS,
    COMMANDS,
    RESULTS,
    STANDING,
    OBSERVED_COURSES,
    OBSERVED_USERS,
    OBSERVED_ENROLMENTS,
    COMPLETIONS,
    GRADES,
    CALLBACKS,
    CALLBACK_RESULTS,
    CALLS,
    RATES,
    AUDIT,
    DIRECTIVES,
    LETTERS,
    LETTER_DECISIONS,
    HISTORY,
)
