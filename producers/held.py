"""What does not go on by itself, as the read model tells: what is parked, and what is in conflict."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final

import psycopg
from psycopg.errors import InvalidSchemaName, UndefinedTable
from psycopg.rows import dict_row
from sqlalchemy import Engine

from infra.db.connect import reading
from infra.errors import RetryLater
from producers.entities import Entity, NotFound, course, person
from schemas.convert import from_record
from schemas.directives import ADMITTED, Resolution
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId, TenantId
from schemas.moodle import CommandKind
from schemas.reasons import Reason

_PARKED: Final = """
    SELECT what, tenant, NULLIF(person_id, '') AS person_id, NULLIF(course_id, '') AS course_id, waits_for,
           reason, since
    FROM read_model.parked
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
      AND (%(what)s::text IS NULL OR what = %(what)s)
      AND (%(reason)s::text IS NULL OR reason = %(reason)s)
      AND (%(waits_for)s::text IS NULL OR waits_for = %(waits_for)s)
      AND (%(person_id)s::text IS NULL OR person_id = %(person_id)s)
      AND (%(course_id)s::text IS NULL OR course_id = %(course_id)s)
      AND (%(before)s::timestamptz IS NULL OR since < %(before)s)
    ORDER BY since, tenant, what, person_id, course_id LIMIT %(limit)s
"""
_CONFLICTS: Final = """
    SELECT subject, tenant, NULLIF(person_id, '') AS person_id, NULLIF(course_id, '') AS course_id, reason,
           moodle_user_id, moodle_course_id, other_moodle_user_id, since, state
    FROM read_model.conflicts
    WHERE (%(tenant)s::text IS NULL OR tenant = %(tenant)s)
      AND (%(what)s::text IS NULL OR subject = %(what)s)
      AND (%(reason)s::text IS NULL OR reason = %(reason)s)
      AND (%(person_id)s::text IS NULL OR person_id = %(person_id)s)
      AND (%(course_id)s::text IS NULL OR course_id = %(course_id)s)
      AND (%(before)s::timestamptz IS NULL OR since < %(before)s)
      AND (%(state)s::text IS NULL OR state = %(state)s)
    ORDER BY since, tenant, subject, person_id, course_id LIMIT %(limit)s
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which rows are meant; what is none does not matter.

    Attributes:
        tenant: whose.
        what: of parked: "enrolment", "course" or "completion"; of conflicts: "USER", "COURSE" or "ENROLMENT".
        reason: a reason code.
        waits_for: of parked: "account", "course", "term", "program", "learner or enrolment".
        person_id: of whom.
        course_id: of which course.
        before: so since before then.
        state: of conflicts: "OPEN" or "IGNORED".
    """

    tenant: TenantId | None = None
    what: str | None = None
    reason: str | None = None
    waits_for: str | None = None
    person_id: PersonId | None = None
    course_id: CourseId | None = None
    before: datetime | None = None
    state: str | None = None


@dataclass(frozen=True, slots=True)
class Parked:
    """What waits for something; the fields are the columns of ``read_model.parked``."""

    what: str
    tenant: TenantId
    person_id: PersonId | None
    course_id: CourseId | None
    waits_for: str
    reason: Reason | None
    since: datetime

    @property
    def needs(self) -> Entity | None:
        """The account or course that it waits for; none if only a source can tell of what it waits for."""
        if self.waits_for == "account" and self.person_id is not None:
            return person(self.tenant, self.person_id)
        if self.waits_for == "course" and self.course_id is not None:
            return course(self.tenant, self.course_id)
        return None


@dataclass(frozen=True, slots=True)
class Conflict:
    """What a person has to decide; the fields are the columns of ``read_model.conflicts``.

    Attributes:
        subject: what is in conflict.
        tenant: whose.
        person_id: of whom, if of one person.
        course_id: of which course, if of one.
        reason: why.
        moodle_user_id: the account found under the person's id, if there is one.
        moodle_course_id: the course found, if there is one.
        other_moodle_user_id: the account that owns the e-mail address or username.
        since: when it came into conflict.
        state: "OPEN" or "IGNORED".
    """

    subject: CommandKind
    tenant: TenantId
    person_id: PersonId | None
    course_id: CourseId | None
    reason: Reason
    moodle_user_id: MoodleUserId | None
    moodle_course_id: MoodleCourseId | None
    other_moodle_user_id: MoodleUserId | None
    since: datetime
    state: str

    @property
    def entity(self) -> Entity:
        """What is in conflict."""
        return Entity(self.tenant, self.subject, self.person_id, self.course_id)

    @property
    def admitted(self) -> tuple[Resolution, ...]:
        """The resolutions that can settle it.

        Somebody else's address is kept out of the account that the person has, or its owner is taken over
        where the person has none.
        """
        can = ADMITTED.get(self.reason, ())
        if self.reason is not Reason.EMAIL_TAKEN:
            return can
        useless = Resolution.KEEP if self.moodle_user_id is None else Resolution.TAKE_OVER
        return tuple(one for one in can if one is not useless)


def parked(pool: Engine, chosen: Filter, limit: int | None = None) -> list[Parked]:
    """Return what waits and matches ``chosen``, what has waited longest first.

    Raises:
        RetryLater: the database is away, or there is no read model yet.
    """
    return [from_record(row, Parked) for row in _rows(pool, _PARKED, chosen, limit)]


def conflicts(pool: Engine, chosen: Filter, limit: int | None = None) -> list[Conflict]:
    """Return what is in conflict and matches ``chosen``, the oldest first.

    Raises:
        RetryLater: the database is away, or there is no read model yet.
    """
    return [from_record(row, Conflict) for row in _rows(pool, _CONFLICTS, chosen, limit)]


def conflict_of(pool: Engine, entity: Entity) -> Conflict:
    """Return the conflict of ``entity``.

    Raises:
        NotFound: it is in none.
        RetryLater: the database is away, or there is no read model yet.
    """
    wanted = Filter(
        tenant=entity.tenant, what=entity.kind.value, person_id=entity.person_id, course_id=entity.course_id
    )
    found = conflicts(pool, wanted, limit=1)
    if not found:
        msg = f"{entity}: is in no conflict"
        raise NotFound(msg)
    return found[0]


def _rows(pool: Engine, query: str, chosen: Filter, limit: int | None) -> list[dict[str, Any]]:
    with read_model(pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
        return cursor.execute(query, {**asdict(chosen), "limit": limit}).fetchall()


@contextmanager
def read_model(pool: Engine) -> Iterator[psycopg.Connection]:
    """Give a connection that reads the read model.

    Raises:
        RetryLater: the database is away, or there is no read model yet.
    """
    try:
        with reading(pool) as connection:
            yield connection
    except (UndefinedTable, InvalidSchemaName):
        msg = "there is no read model yet: the role projector of `hub run` makes it"
        raise RetryLater(msg) from None
