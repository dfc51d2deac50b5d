"""Tells what a survey saw of accounts, enrolments and grades, as far as it differs from what was last told.

The kinds of observations have their own writers, so their own transactional ids: a survey fences neither the
Moodle source nor another kind of survey. Of two surveys of one kind the later one fences the earlier.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import structlog

from connectors.moodle.client import MoodleClient
from connectors.moodle_source.observed_topic import Telling
from connectors.moodle_survey.reads import read_accounts, read_courses, read_grades, read_members
from schemas.events import EnrolmentStatus
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId, Target, TenantId
from schemas.moodle import EnrolmentObserved, GradeObserved, MoodleObserved, ObservedKind, UserObserved
from schemas.survey import AccountSeen, GradeSeen, MemberSeen

BATCH: Final = 5_000
"""Records told in one transaction."""
WRITERS: Final = {
    ObservedKind.USER: "moodle-users",
    ObservedKind.ENROLMENT: "moodle-enrolments",
    ObservedKind.GRADE: "moodle-grades",
}
"""Role of the writer of each kind."""

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Site:
    """Whose people and courses a site holds, and where observations of it go.

    Attributes:
        tenant: whose.
        target: name of the site.
        moodle: the client of the site, open.
        telling: the writer of the kind that is observed.
        now: gives the present time in UTC.
    """

    tenant: TenantId
    target: Target
    moodle: MoodleClient
    telling: Telling
    now: Callable[[], datetime] = lambda: datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Observed:
    """What one observation brought: entities seen, and records told because they differ."""

    seen: int
    told: int


async def observe_users(site: Site, people: Iterable[PersonId]) -> Observed:
    """Tell of the accounts of ``people``, found by their id numbers.

    Of several accounts of one person the oldest is told of. An account that is gone is told of no more.

    Raises:
        RetryLater: Moodle, Kafka or the registry is away; what was told before that stays.
        HubError: something is set up wrongly.
    """
    told = await _told(site, ObservedKind.USER)
    accounts = await read_accounts(site.moodle, "idnumber", [str(one) for one in people])
    seen: dict[str, MoodleObserved] = {}
    for account in sorted(accounts, key=lambda one: one.id):
        record = _record(site, user=_user(account))
        seen.setdefault(record.key, record)
    return await _tell(site, seen, told)


async def observe_enrolments(site: Site, courses: Mapping[MoodleCourseId, CourseId]) -> Observed:
    """Tell of everybody in ``courses`` who carries an id number, and of those who are there no more.

    Args:
        site: where.
        courses: the courses that the hub uses. Of one that Moodle does not have nothing is told.

    Raises:
        RetryLater, HubError: as for `observe_users`.
    """
    told = await _told(site, ObservedKind.ENROLMENT)
    there = {one.id for one in await read_courses(site.moodle)}
    sizes = dict.fromkeys((course for course in courses if course in there), 1)
    for record in told.values():
        if record.enrolment is not None and record.enrolment.moodle_course_id in sizes:
            sizes[record.enrolment.moodle_course_id] += 1
    members = await read_members(site.moodle, sizes)
    seen: dict[str, MoodleObserved] = {}
    for course, found in members.items():
        for one in found:
            if one.idnumber:
                record = _record(site, enrolment=_enrolment(one, courses[course], course))
                seen.setdefault(record.key, record)
    return await _tell(site, seen, told, _gone(site, seen, told, {courses[one] for one in members}))


async def observe_grades(
    site: Site, people: Mapping[MoodleUserId, PersonId], courses: Mapping[MoodleCourseId, CourseId]
) -> Observed:
    """Tell of the grades that ``people`` have of ``courses`` as a whole, and of those that were taken away.

    Args:
        site: where.
        people: those who have an account.
        courses: the courses that the hub uses; others are passed over.

    Raises:
        RetryLater, HubError: as for `observe_users`.
    """
    told = await _told(site, ObservedKind.GRADE)
    seen: dict[str, MoodleObserved] = {}
    for one in await read_grades(site.moodle, sorted(people)):
        if one.course_id not in courses:
            continue
        record = _record(site, grade=_grade(one, people[one.user_id], courses[one.course_id]))
        if one.score is not None or record.key in told:
            seen[record.key] = record
    return await _tell(site, seen, told)


def _gone(
    site: Site,
    seen: Mapping[str, MoodleObserved],
    told: Mapping[str, MoodleObserved],
    courses: set[CourseId],
) -> list[MoodleObserved]:
    """Return what is to be told of those who were in one of ``courses`` and are not any more."""
    return [
        _record(site, enrolment=replace(record.enrolment, status=EnrolmentStatus.REMOVED))
        for key, record in told.items()
        if record.enrolment is not None
        and key not in seen
        and record.enrolment.course_id in courses
        and record.enrolment.status is not EnrolmentStatus.REMOVED
    ]


async def _told(site: Site, kind: ObservedKind) -> dict[str, MoodleObserved]:
    """Return what was last told of each entity of ``kind``, after taking over from a former writer."""
    told: dict[str, MoodleObserved] = {}

    def learn(key: str, record: MoodleObserved | None) -> None:
        if record is None:
            told.pop(key, None)
        elif record.kind is kind and record.tenant == site.tenant:
            told[key] = record

    await site.telling.open(learn)
    return told


async def _tell(
    site: Site,
    seen: Mapping[str, MoodleObserved],
    told: Mapping[str, MoodleObserved],
    gone: Iterable[MoodleObserved] = (),
) -> Observed:
    news = [record for key, record in seen.items() if _body(record) != _body(told.get(key))]
    news += gone
    for start in range(0, len(news), BATCH):
        batch = news[start : start + BATCH]
        await site.telling.append(batch)
        _log.info("moodle_observed", kind=batch[0].kind.value, records=len(batch))
    return Observed(len(seen), len(news))


def _body(record: MoodleObserved | None) -> UserObserved | EnrolmentObserved | GradeObserved | None:
    return None if record is None else record.user or record.enrolment or record.grade


def _record(
    site: Site,
    user: UserObserved | None = None,
    enrolment: EnrolmentObserved | None = None,
    grade: GradeObserved | None = None,
) -> MoodleObserved:
    bodies = {ObservedKind.USER: user, ObservedKind.ENROLMENT: enrolment, ObservedKind.GRADE: grade}
    return MoodleObserved(
        tenant=site.tenant,
        target=site.target,
        kind=next(kind for kind, body in bodies.items() if body is not None),
        observed_at=site.now(),
        user=user,
        enrolment=enrolment,
        grade=grade,
    )


def _grade(seen: GradeSeen, person: PersonId, course: CourseId) -> GradeObserved:
    return GradeObserved(
        person_id=person,
        course_id=course,
        moodle_user_id=seen.user_id,
        moodle_course_id=seen.course_id,
        shown=seen.shown,
        score=seen.score,
    )


def _user(account: AccountSeen) -> UserObserved:
    return UserObserved(
        person_id=PersonId(account.idnumber),
        moodle_user_id=account.id,
        suspended=account.suspended,
        last_access=account.last_access,
    )


def _enrolment(member: MemberSeen, course_id: CourseId, course: MoodleCourseId) -> EnrolmentObserved:
    return EnrolmentObserved(
        person_id=PersonId(member.idnumber),
        course_id=course_id,
        moodle_user_id=member.user_id,
        moodle_course_id=course,
        status=EnrolmentStatus.ACTIVE if member.is_active else EnrolmentStatus.SUSPENDED,
        last_access=member.last_access,
    )
