"""What stories are made of: rows of the read model about a person, a course or an enrolment. SQL only."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from schemas.moodle import CommandKind


@dataclass(frozen=True, slots=True)
class Part:
    """Rows of one relation that are part of stories.

    Attributes:
        what: they are called.
        relation: they are in.
        at: when they happened.
        id: tells them apart.
        told: columns that they tell.
        where: condition by the kind of the entity; of a kind that is left out, none are part of its story.
        place: column of the place.
    """

    what: str
    relation: str
    at: str
    id: str
    told: str
    where: Mapping[CommandKind, str]
    place: str = "place"

    def query(self, kind: CommandKind) -> str:
        """Return the query of the rows of an entity of ``kind``."""
        pairs = ", ".join(f"'{name}', {name}" for name in self.told.split())
        return (
            f"SELECT {self.at} AS at, '{self.what}' AS what, ({self.id})::text AS id,"  # noqa: S608 - names of ours
            f" {self.place}::text AS place, jsonb_strip_nulls(jsonb_build_object({pairs})) AS told"
            f" FROM {self.relation} WHERE {self.where[kind]}"
        )


_U, _C, _E = CommandKind.USER, CommandKind.COURSE, CommandKind.ENROLMENT
_MINE: Final = "tenant = %(tenant)s AND person_id = %(person)s"
_OURS: Final = f"{_MINE} AND coalesce(course_id, '') IN ('', %(course)s)"
_PAIR: Final = f"{_MINE} AND course_id = %(course)s"
_TAUGHT: Final = "tenant = %(tenant)s AND course_id = %(course)s"
_ALONE: Final = f"{_TAUGHT} AND coalesce(person_id, '') = ''"
_SUBJECTS: Final = "tenant = %(tenant)s AND {} = ANY(%(subjects)s)"
_ABOUT_COURSE: Final = f"{_TAUGHT} AND {{}} = 'COURSE'"


def _both(of_course: str) -> dict[CommandKind, str]:
    return {_U: _MINE, _E: _OURS, _C: of_course}


def _of_subjects(column: str) -> dict[CommandKind, str]:
    return dict.fromkeys(CommandKind, _SUBJECTS.format(column))


_ENDS: Final = "reason person_id course_id"
_IDS: Final = "moodle_user_id moodle_course_id other_moodle_user_id"
PARTS: Final = (
    Part(
        "record",
        "read_model.people",
        "coalesce(recorded_at, version_time)",
        "'person/' || source",
        "source source_record_id source_status deleted version_time person_id",
        {_U: _MINE, _E: _MINE},
    ),
    Part(
        "record",
        "read_model.courses",
        "coalesce(recorded_at, version_time)",
        "source || '/' || source_record_id",
        "source source_record_id source_status deleted version_time course_id",
        {_C: _TAUGHT},
    ),
    Part(
        "record",
        "read_model.enrolments",
        "coalesce(recorded_at, version_time)",
        "'enrolment/' || course_id",
        "source source_record_id source_status status role deleted version_time person_id course_id",
        {_U: _MINE, _E: _PAIR},
    ),
    Part(
        "command",
        "read_model.commands",
        "issued_at",
        "command_id",
        "kind target generation person_id course_id",
        _both(_ABOUT_COURSE.format("kind")),
    ),
    Part(
        "result",
        "read_model.results",
        "completed_at",
        "command_id",
        f"kind target generation outcome action status {_IDS} {_ENDS}",
        _both(_ABOUT_COURSE.format("kind")),
    ),
    Part(
        "completion",
        "read_model.completions",
        "observed_at",
        "course_id",
        "target completed_on completed_at person_id course_id",
        {_U: _MINE, _E: _PAIR},
    ),
    Part(
        "callback",
        "read_model.callbacks",
        "issued_at",
        "callback_id",
        "enrolment_id completed_on person_id course_id",
        {_U: _MINE, _E: _PAIR},
    ),
    Part(
        "callback result",
        "read_model.callback_results",
        "completed_at",
        "callback_id",
        f"enrolment_id outcome http_status {_ENDS}",
        {_U: _MINE, _E: _PAIR},
    ),
    Part(
        "directive",
        "read_model.directives",
        "issued_at",
        "directive_id",
        "kind subject resolution moodle_user_id moodle_course_id actor why person_id course_id",
        _both(_ABOUT_COURSE.format("subject")),
    ),
    Part(
        "audit",
        "read_model.audit",
        "at",
        "audit_id",
        "actor action subject why details",
        _of_subjects("subject"),
    ),
    Part(
        "dead letter",
        "read_model.dead_letters",
        "failed_at",
        "place",
        "role topic step entity reason error state attempt",
        _of_subjects("entity"),
    ),
    Part(
        "call",
        "read_model.calls",
        "started_at",
        "call_id",
        "system target function code http_status duration_ms attempt entries",
        dict.fromkeys(CommandKind, "references_ && %(references)s::text[]"),
    ),
    Part(
        "parked",
        "read_model.parked",
        "since",
        "concat_ws('/', what, person_id, course_id, waits_for)",
        f"what waits_for {_ENDS}",
        _both(f"{_ABOUT_COURSE.format('upper(what)')}"),
        place="NULL",
    ),
    Part(
        "conflict",
        "read_model.conflicts",
        "since",
        "concat_ws('/', subject, person_id, course_id)",
        f"subject state {_IDS} {_ENDS}",
        _both(_ABOUT_COURSE.format("subject")),
        place="NULL",
    ),
    Part(
        "refused",
        "read_model.refused",
        "since",
        "concat_ws('/', what, person_id, course_id)",
        f"what {_ENDS}",
        _both(_ABOUT_COURSE.format("upper(what)")),
        place="NULL",
    ),
)
MESSAGES: Final = Part(
    "message",
    "read_model.history",
    "at",
    "concat_ws('/', topic, partition, message_offset)",
    "topic person_id course_id",
    _both(_ALONE),
    place="concat_ws('/', topic, partition, message_offset)",
)

_STORY: Final = """
    WITH told AS MATERIALIZED ({parts}), messages AS ({messages})
    SELECT * FROM (
        SELECT * FROM told
        UNION ALL
        SELECT * FROM messages AS m WHERE NOT EXISTS (SELECT FROM told WHERE told.place = m.place)
    ) AS story
    WHERE at IS NOT NULL AND (
        %(at)s::timestamptz IS NULL OR (at, what, id) < (%(at)s::timestamptz, %(what)s::text, %(id)s::text)
    )
    ORDER BY at DESC, what DESC, id DESC LIMIT %(limit)s
"""


def query_of(kind: CommandKind) -> str:
    """Return the query of the story of an entity of ``kind``.

    Its parameters are tenant, person and course; subjects and references, which are the names of the entity
    in the audit and in the log of calls; at, what and id of the event before, or none; and limit.
    """
    parts = " UNION ALL ".join(part.query(kind) for part in PARTS if kind in part.where)
    return _STORY.format(parts=parts, messages=MESSAGES.query(kind))
