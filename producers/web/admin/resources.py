"""What can be listed: one table of resources, each a view of the read model or a table of the hub's own."""

from collections.abc import Sequence
from typing import Final

from producers.web.admin.resource import (
    Column,
    Kind,
    Resource,
    booleans,
    dates,
    integers,
    json,
    texts,
    times,
)

PLACE: Final = texts("place")
_EITHER: Final = frozenset({"person_id", "course_id"})
_OF_RESULT: Final = ("target", "kind", "person_id", "course_id", "outcome", "action", "reason", "status")

PEOPLE: Final = Resource(
    "people",
    "read_model.people",
    "A person as one source tells of them; `deleted`: the source has them no more",
    (
        *texts("person_id", "source"),
        *booleans("deleted"),
        *texts("source_record_id", "source_status", "username", "email", "first_name", "last_name"),
        *times("version_time"),
        *integers("version_sequence"),
        *times("recorded_at"),
        *PLACE,
    ),
    key=("person_id", "source"),
    sorts=("person_id", "-person_id", "-recorded_at", "recorded_at"),
    filters=("person_id", "source", "deleted", "source_status", "username", "email", "source_record_id"),
    moment="recorded_at",
    search="person_id",
)
ACCOUNTS: Final = Resource(
    "accounts",
    "read_model.accounts",
    "A person's account in Moodle, or why there is none",
    (
        *texts("person_id"),
        *integers("moodle_user_id"),
        *booleans("missing"),
        *texts("blocked"),
        *integers("other_moodle_user_id", "generation"),
        *times("since"),
    ),
    key=("person_id",),
    sorts=("person_id", "-person_id"),
    filters=("person_id", "moodle_user_id", "missing", "blocked"),
    search="person_id",
)
COURSES: Final = Resource(
    "courses",
    "read_model.courses",
    "A course as one record of a source tells of it",
    (
        *texts("course_id", "source", "source_record_id"),
        *booleans("deleted"),
        *texts("source_status", "short_name", "full_name", "term_id", "program_id"),
        *times("starts_at", "ends_at"),
        *integers("moodle_course_id"),
        *times("version_time"),
        *integers("version_sequence"),
        *times("recorded_at"),
        *PLACE,
    ),
    key=("course_id", "source", "source_record_id"),
    sorts=("course_id", "-course_id", "-recorded_at", "recorded_at"),
    filters=("course_id", "source", "deleted", "source_status", "short_name", "term_id", "program_id"),
    moment="recorded_at",
    search="course_id",
)
ENROLMENTS: Final = Resource(
    "enrolments",
    "read_model.enrolment_snapshot",
    "An enrolment: what is wanted, what Moodle has, when it was brought there",
    (
        *texts("person_id", "course_id", "wanted", "actual"),
        *integers("moodle_user_id", "moodle_course_id"),
        *times("last_access", "synced_at"),
        *texts("reason", "role", "source", "enrolment_id"),
    ),
    key=("person_id", "course_id"),
    sorts=("person_id", "-person_id"),
    filters=("person_id", "course_id", "wanted", "actual"),
    search="person_id",
)
COMMANDS: Final = Resource(
    "commands",
    "read_model.commands",
    "What Moodle was asked for",
    (
        *texts("command_id", "target", "kind", "person_id", "course_id"),
        *integers("generation"),
        *times("issued_at"),
        *json("wish"),
        *PLACE,
    ),
    key=("command_id",),
    sorts=("-issued_at", "issued_at"),
    filters=("target", "kind", "person_id", "course_id"),
    moment="issued_at",
)
RESULTS: Final = Resource(
    "results",
    "read_model.results",
    "What came of a command",
    (
        *texts("command_id", "target", "kind", "person_id", "course_id"),
        *integers("generation"),
        *texts("outcome", "action", "reason", "status"),
        *integers("moodle_user_id", "moodle_course_id", "other_moodle_user_id"),
        *times("completed_at"),
        *PLACE,
    ),
    key=("command_id",),
    sorts=("-completed_at", "completed_at"),
    filters=_OF_RESULT,
    moment="completed_at",
)
RUNS: Final = Resource(
    "runs",
    "source_runs",
    "One reading of a source, failed ones included",
    (
        *integers("id"),
        *texts("source", "state"),
        *times("started_at", "finished_at"),
        *integers("pages", "seen", "new", "unchanged", "updated", "invalid", "skipped", "errors"),
        *integers("events", "fresh"),
        *texts("reason"),
    ),
    key=("id",),
    sorts=("-id", "id"),
    filters=("source", "state"),
    moment="started_at",
)
SCHEDULE_RUNS: Final = Resource(
    "schedule-runs",
    "schedule_runs",
    "One run of a schedule",
    (
        *integers("id"),
        *texts("target", "site", "state", "trigger", "actor"),
        *times("started_at", "finished_at"),
        *json("counts"),
        *texts("error"),
    ),
    key=("id",),
    sorts=("-id", "id"),
    filters=("target", "site", "state", "trigger", "actor"),
    moment="started_at",
)
PARKED: Final = Resource(
    "parked",
    "read_model.parked",
    "What waits, for what and since when",
    (*texts("what", "person_id", "course_id", "waits_for", "reason"), *times("since")),
    key=("what", "person_id", "course_id", "waits_for"),
    sparse=_EITHER,
    sorts=("-since", "since"),
    filters=("what", "person_id", "course_id", "waits_for", "reason"),
    moment="since",
)
CONFLICTS: Final = Resource(
    "conflicts",
    "read_model.conflicts",
    "What a person has to decide; see the resolutions",
    (
        *texts("subject", "person_id", "course_id", "reason"),
        *integers("moodle_user_id", "moodle_course_id", "other_moodle_user_id"),
        *times("since"),
        *texts("state"),
    ),
    key=("subject", "person_id", "course_id"),
    sparse=_EITHER,
    sorts=("-since", "since"),
    filters=("subject", "person_id", "course_id", "reason", "state"),
    moment="since",
)
REFUSED: Final = Resource(
    "refused",
    "read_model.refused",
    "What Moodle or ELM does not take as it is",
    (*texts("what", "person_id", "course_id", "reason"), *times("since")),
    key=("what", "person_id", "course_id"),
    sparse=_EITHER,
    sorts=("-since", "since"),
    filters=("what", "person_id", "course_id", "reason"),
    moment="since",
)
DEAD_LETTERS: Final = Resource(
    "dead-letters",
    "read_model.dead_letters",
    "A message nobody could act on; `topic`, `partition` and `message_offset` are those of the message",
    (
        *texts("place", "role", "topic"),
        *integers("partition", "message_offset"),
        *texts("message_key", "kind", "entity", "step", "reason", "error_class", "error"),
        *integers("attempt"),
        *times("failed_at"),
        *texts("state"),
        *times("decided_at"),
        *texts("decided_by"),
    ),
    key=("place",),
    sorts=("-failed_at", "failed_at"),
    filters=("role", "topic", "kind", "entity", "reason", "state"),
    moment="failed_at",
    ownerless=True,
)
COMPLETIONS: Final = Resource(
    "completions",
    "read_model.completions",
    "A completion seen in Moodle",
    (
        *texts("person_id", "course_id", "target"),
        *dates("completed_on"),
        *times("completed_at", "observed_at"),
        *PLACE,
    ),
    key=("person_id", "course_id"),
    sorts=("-observed_at", "observed_at", "person_id"),
    filters=("person_id", "course_id", "target"),
    moment="observed_at",
)
CALLBACKS: Final = Resource(
    "callbacks",
    "read_model.callbacks",
    "A completion to be told to ELM",
    (
        *texts("callback_id", "enrolment_id", "person_id", "course_id"),
        *dates("completed_on"),
        *times("issued_at"),
        *PLACE,
    ),
    key=("callback_id",),
    sorts=("-issued_at", "issued_at"),
    filters=("person_id", "course_id", "enrolment_id"),
    moment="issued_at",
)
CALLBACK_RESULTS: Final = Resource(
    "callback-results",
    "read_model.callback_results",
    "What ELM said of a completion",
    (
        *texts("callback_id", "enrolment_id", "person_id", "course_id", "outcome", "reason"),
        *integers("http_status"),
        *times("completed_at"),
        *PLACE,
    ),
    key=("callback_id",),
    sorts=("-completed_at", "completed_at"),
    filters=("person_id", "course_id", "outcome", "reason"),
    moment="completed_at",
)
CALLS: Final = Resource(
    "calls",
    "read_model.calls",
    "A request to Moodle or ELM, without its content",
    (
        *texts("call_id", "system", "target", "role", "function"),
        *times("started_at"),
        *integers("duration_ms"),
        *texts("code"),
        *integers("http_status", "attempt", "entries", "request_bytes", "response_bytes"),
        Column("references", Kind.TEXTS, stored_as="references_"),
        *PLACE,
    ),
    key=("call_id",),
    sorts=("-started_at", "started_at"),
    filters=("system", "target", "role", "function", "code", "references"),
    moment="started_at",
    ownerless=True,
)
AUDIT: Final = Resource(
    "audit",
    "read_model.audit",
    "What a person has changed: who, when, what, why",
    (
        *texts("audit_id"),
        *times("at"),
        *texts("actor", "action", "subject", "why"),
        *json("details"),
        *PLACE,
    ),
    key=("audit_id",),
    sorts=("-at", "at"),
    filters=("actor", "action", "subject"),
    moment="at",
)
DIRECTIVES: Final = Resource(
    "directives",
    "read_model.directives",
    "What the stages were told to do about one entity",
    (
        *texts("directive_id", "kind", "subject", "person_id", "course_id", "resolution"),
        *integers("moodle_user_id", "moodle_course_id"),
        *times("issued_at"),
        *texts("actor", "why"),
        *PLACE,
    ),
    key=("directive_id",),
    sorts=("-issued_at", "issued_at"),
    filters=("kind", "subject", "person_id", "course_id", "resolution", "actor"),
    moment="issued_at",
)
INVALID: Final = Resource(
    "invalid-records",
    "invalid_records",
    "A record of a source that could not be taken, with the field and the reason",
    (
        *integers("id"),
        *texts("source", "kind", "record_id", "field", "reason"),
        *times("first_seen", "last_seen"),
        *integers("times_seen"),
        *times("solved_at"),
    ),
    key=("id",),
    sorts=("-id", "id"),
    filters=("source", "kind", "record_id", "field", "reason"),
    moment="last_seen",
)

RESOURCES: Final[Sequence[Resource]] = (
    PEOPLE,
    ACCOUNTS,
    COURSES,
    ENROLMENTS,
    COMMANDS,
    RESULTS,
    RUNS,
    SCHEDULE_RUNS,
    PARKED,
    CONFLICTS,
    REFUSED,
    DEAD_LETTERS,
    COMPLETIONS,
    CALLBACKS,
    CALLBACK_RESULTS,
    CALLS,
    AUDIT,
    DIRECTIVES,
    INVALID,
)
