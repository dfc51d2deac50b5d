"""The course stage: resolves courses, parks enrolments for want of one, issues enrolment commands. By course.

A course is looked for once when the first enrolment needs it; after that the catalogue, read at an interval
for all courses together, tells when it appears. It is made in Moodle only where its source says so.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

import msgspec

from infra.stage import Output, Table
from schemas.events import Course, EnrolmentByCourse, EnrolmentStatus, Operation, Role
from schemas.ids import (
    CommandId,
    CourseId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
    Target,
    TenantId,
    deterministic_id,
    key,
    split,
)
from schemas.moodle import (
    CommandKind,
    CourseWish,
    EnrolmentWish,
    MoodleCommand,
    MoodleObserved,
    MoodleResult,
    Outcome,
)
from schemas.reasons import Reason
from schemas.topics import TopicSet
from schemas.version import Version

_FOUND = (Outcome.APPLIED, Outcome.UNCHANGED)
Place = tuple[TenantId, CourseId, PersonId]
"""Whose enrolment in what."""


class CourseEntry(msgspec.Struct, frozen=True, array_like=True):
    """A course: wished, asked for, known.

    Attributes:
        version: of the newest event; none while only enrolments of the course have come.
        wish: what to ask for; a course without an event is only resolved.
        issued: the last command's wish; none before the first.
        generation: number of commands issued.
        moodle_course_id: the course in Moodle, once known.
        blocked: why it cannot be used; none also while the answer is still out.
    """

    wish: CourseWish
    version: Version | None = None
    issued: CourseWish | None = None
    generation: int = 0
    moodle_course_id: MoodleCourseId | None = None
    blocked: Reason | None = None


class Issued(msgspec.Struct, frozen=True, array_like=True):
    """What the last command for an enrolment wished."""

    moodle_user_id: MoodleUserId
    moodle_course_id: MoodleCourseId
    status: EnrolmentStatus
    role: Role
    starts_at: datetime | None
    ends_at: datetime | None


class EnrolmentEntry(msgspec.Struct, frozen=True, array_like=True):
    """The newest wish for a person in the course, the command for it, and what Moodle holds since.

    Attributes:
        issued: what the last command wished; none: it waits.
        generation: number of commands issued.
        applied: the status in Moodle that the last result told.
        refused: why the last command was refused.
    """

    version: Version
    moodle_user_id: MoodleUserId
    account_is_new: bool
    status: EnrolmentStatus
    role: Role
    recorded_at: datetime
    starts_at: datetime | None
    ends_at: datetime | None
    issued: Issued | None = None
    generation: int = 0
    applied: EnrolmentStatus | None = None
    refused: Reason | None = None


def course_key(tenant: TenantId, course: CourseId) -> str:
    """Return the state key of a course."""
    return key("course", tenant, course)


def enrolment_key(tenant: TenantId, course: CourseId, person: PersonId | str) -> str:
    """Return the state key of an enrolment; with person "" the prefix of all of the course."""
    return key("enrolment", tenant, course, person)


def waits(enrolment: EnrolmentEntry) -> bool:
    """Whether ``enrolment`` is parked for want of its course."""
    return enrolment.issued is None


@dataclass(frozen=True, slots=True)
class CourseStage:
    """The handlers, bound to the topics of one Moodle site."""

    target: Target
    topics: TopicSet

    def on_course(self, event: Course, table: Table) -> Iterable[Output]:
        """Take the newest wish for the course; ask for one that is to be made."""
        at = course_key(event.tenant, event.course_id)
        entry = table.get(at, CourseEntry) or CourseEntry(wish=_resolve(event.course_id))
        if entry.version and event.version < entry.version:
            return ()
        entry = msgspec.structs.replace(entry, version=event.version, wish=_wish(event))
        table.put(at, entry)
        if not entry.wish.create or entry.moodle_course_id is not None or entry.wish == entry.issued:
            return ()
        return [self._ask(event.tenant, entry, event.recorded_at, table)]

    def on_enrolment(self, event: EnrolmentByCourse, table: Table) -> Iterable[Output]:
        """Take the newest wish; issue a command if it differs from the last, or have the course sought."""
        at = enrolment_key(event.tenant, event.course_id, event.person_id)
        known = table.get(at, EnrolmentEntry)
        if known and event.version < known.version:
            return ()
        entry = _enrolment(event, known)
        course = table.get(course_key(event.tenant, event.course_id), CourseEntry)
        if course is None or (course.moodle_course_id is None and course.issued is None):
            table.put(at, entry)
            course = course or CourseEntry(wish=_resolve(event.course_id))
            return [self._ask(event.tenant, course, event.recorded_at, table)]
        if course.moodle_course_id is None:
            table.put(at, entry)
            return ()
        place = (event.tenant, event.course_id, event.person_id)
        return self._enrol(place, entry, course.moodle_course_id, event.recorded_at, table)

    def on_result(self, result: MoodleResult, table: Table) -> Iterable[Output]:
        """Take what became of a course or enrolment command."""
        if result.course_id is None or result.outcome is Outcome.SUPERSEDED:
            return ()
        if result.kind is CommandKind.COURSE:
            return self._on_course_result(result, table)
        if result.kind is CommandKind.ENROLMENT and result.person_id is not None:
            _on_enrolment_result(result, table)
        return ()

    def on_observed(self, observed: MoodleObserved, table: Table) -> Iterable[Output]:
        """Take a course from Moodle's catalogue, if somebody here wants it, and let its enrolments go on."""
        if observed.course is None:
            return ()
        at = course_key(observed.tenant, observed.course.course_id)
        entry = table.get(at, CourseEntry) or CourseEntry(wish=_resolve(observed.course.course_id))
        return self._found(at, entry, observed.course.moodle_course_id, observed.observed_at, table)

    def _on_course_result(self, result: MoodleResult, table: Table) -> Iterable[Output]:
        at = course_key(result.tenant, result.course_id or CourseId(""))
        entry = table.get(at, CourseEntry)
        if entry is None or result.generation < entry.generation:
            return ()
        if result.outcome in _FOUND and result.moodle_course_id is not None:
            return self._found(at, entry, result.moodle_course_id, result.completed_at, table)
        if entry.moodle_course_id is None:
            reason = result.reason or Reason.COURSE_NOT_FOUND
            table.put(at, msgspec.structs.replace(entry, blocked=reason))
        return ()

    def _found(
        self, at: str, entry: CourseEntry, found: MoodleCourseId, now: datetime, table: Table
    ) -> Iterable[Output]:
        if entry.moodle_course_id == found:
            return ()
        table.put(at, msgspec.structs.replace(entry, moodle_course_id=found, blocked=None))
        tenant, course = TenantId(split(at)[1]), entry.wish.course_id
        outputs: list[Output] = []
        for stored, enrolment in table.scan(enrolment_key(tenant, course, ""), EnrolmentEntry):
            place = (tenant, course, PersonId(split(stored)[-1]))
            outputs += self._enrol(place, enrolment, found, now, table)
        return outputs

    def _ask(self, tenant: TenantId, entry: CourseEntry, now: datetime, table: Table) -> Output:
        entry = msgspec.structs.replace(entry, issued=entry.wish, generation=entry.generation + 1)
        table.put(course_key(tenant, entry.wish.course_id), entry)
        command_id = deterministic_id(
            self.target, CommandKind.COURSE, tenant, entry.wish.course_id, str(entry.generation)
        )
        command = MoodleCommand(
            command_id=CommandId(command_id),
            tenant=tenant,
            target=self.target,
            kind=CommandKind.COURSE,
            generation=entry.generation,
            issued_at=now,
            course=entry.wish,
        )
        return Output(self.topics.commands, command)

    def _enrol(
        self, place: Place, entry: EnrolmentEntry, course: MoodleCourseId, now: datetime, table: Table
    ) -> Iterable[Output]:
        at = enrolment_key(*place)
        issued = Issued(
            entry.moodle_user_id, course, entry.status, entry.role, entry.starts_at, entry.ends_at
        )
        if entry.issued == issued:
            table.put(at, entry)
            return ()
        state_is_known = _state_is_known(entry)
        entry = msgspec.structs.replace(entry, issued=issued, generation=entry.generation + 1)
        table.put(at, entry)
        return [Output(self.topics.commands, self._command(place, entry, issued, state_is_known, now))]

    def _command(
        self, place: Place, entry: EnrolmentEntry, issued: Issued, state_is_known: bool, now: datetime
    ) -> MoodleCommand:
        tenant, course_id, person_id = place
        wish = EnrolmentWish(
            person_id=person_id,
            course_id=course_id,
            moodle_user_id=issued.moodle_user_id,
            moodle_course_id=issued.moodle_course_id,
            status=issued.status,
            role=issued.role,
            state_is_known=state_is_known,
            starts_at=issued.starts_at,
            ends_at=issued.ends_at,
        )
        command_id = deterministic_id(
            self.target, CommandKind.ENROLMENT, tenant, course_id, person_id, str(entry.generation)
        )
        return MoodleCommand(
            command_id=CommandId(command_id),
            tenant=tenant,
            target=self.target,
            kind=CommandKind.ENROLMENT,
            generation=entry.generation,
            issued_at=now,
            enrolment=wish,
        )


def _on_enrolment_result(result: MoodleResult, table: Table) -> None:
    at = enrolment_key(result.tenant, result.course_id or CourseId(""), result.person_id or "")
    entry = table.get(at, EnrolmentEntry)
    if entry is None or result.generation < entry.generation:
        return
    refused = None if result.outcome in _FOUND else result.reason or Reason.REFUSED
    applied = entry.applied if refused else result.status
    table.put(at, msgspec.structs.replace(entry, applied=applied, refused=refused))


def _resolve(course: CourseId) -> CourseWish:
    return CourseWish(course_id=course, create=False)


def _wish(event: Course) -> CourseWish:
    if event.operation is Operation.DELETE:
        return _resolve(event.course_id)
    return CourseWish(
        course_id=event.course_id,
        create=event.create,
        short_name=event.short_name,
        full_name=event.full_name,
        category_id=event.category_id,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
    )


def _enrolment(event: EnrolmentByCourse, known: EnrolmentEntry | None) -> EnrolmentEntry:
    entry = EnrolmentEntry(
        version=event.version,
        moodle_user_id=event.moodle_user_id,
        account_is_new=event.account_is_new,
        status=event.status,
        role=event.role,
        recorded_at=event.recorded_at,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
    )
    if known is None or known.moodle_user_id != event.moodle_user_id:
        generation = known.generation if known else 0
        return msgspec.structs.replace(entry, generation=generation)
    return msgspec.structs.replace(
        entry,
        issued=known.issued,
        generation=known.generation,
        applied=known.applied,
        refused=known.refused,
    )


def _state_is_known(entry: EnrolmentEntry) -> bool:
    """Whether the sink can do without looking the enrolment up first.

    So it is after the hub's own enrolment, and for the first one of an account that the hub has just made. To
    suspend where the hub never enrolled, the sink has to look: a suspend must not make an enrolment.
    """
    return entry.applied is not None or (entry.account_is_new and entry.status is EnrolmentStatus.ACTIVE)
