"""What Moodle was last asked for, read from the tables of the stages: the wanted side of a comparison. Pure.

It is the last command of every account, course and enrolment, not what is wished now: what waits, is disputed
or was refused has its own place, and is no difference between hub and Moodle.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from infra.mapping import TenantRules
from infra.mapping.model import Metadata
from processors import courses
from processors.accounts import AccountEntry, PersonEntry
from processors.catalogue import CatalogueEntry
from processors.catalogue import wanted as wanted_course
from processors.courses import CourseEntry, Issued
from processors.parking import Entries, entries_of
from schemas.events import EnrolmentStatus
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId, TenantId
from schemas.moodle import CommandKind, CourseWish, UserWish

Subject = tuple[CommandKind, PersonId | None, CourseId | None]
"""What a command is about: the person of an account, a course, or both of an enrolment."""


@dataclass(frozen=True, slots=True)
class AskedAccount:
    """An account as it was last asked for; ``moodle_user_id`` is none where there rightly is none."""

    person_id: PersonId
    generation: int
    wish: UserWish
    moodle_user_id: MoodleUserId | None

    @property
    def subject(self) -> Subject:
        """What its command is about."""
        return CommandKind.USER, self.person_id, None


@dataclass(frozen=True, slots=True)
class AskedCourse:
    """A course that the hub uses; ``wish`` is none where its names and dates are left to Moodle."""

    course_id: CourseId
    generation: int
    moodle_course_id: MoodleCourseId
    wish: CourseWish | None

    @property
    def subject(self) -> Subject:
        """What its command is about."""
        return CommandKind.COURSE, None, self.course_id


@dataclass(frozen=True, slots=True)
class AskedEnrolment:
    """An enrolment as it was last asked for, and the status that Moodle has told since."""

    person_id: PersonId
    course_id: CourseId
    generation: int
    issued: Issued
    applied: EnrolmentStatus | None

    @property
    def subject(self) -> Subject:
        """What its command is about."""
        return CommandKind.ENROLMENT, self.person_id, self.course_id


@dataclass(frozen=True, slots=True)
class Asked:
    """All that one tenant's site was asked for.

    Attributes:
        accounts: those that are in use.
        courses: the same.
        enrolments: those that have gone to Moodle and were not refused.
        held: accounts, courses and enrolments that wait, are disputed or were refused.
    """

    accounts: tuple[AskedAccount, ...]
    courses: tuple[AskedCourse, ...]
    enrolments: tuple[AskedEnrolment, ...]
    held: int


def asked(people: Entries, at_courses: Entries, tenant: TenantId, rules: TenantRules) -> Asked:
    """Return what Moodle was asked for.

    Args:
        people: table of the people stage, as its changelog gives it.
        at_courses: that of the course stage.
        tenant: whose.
        rules: of the tenant.
    """
    accounts = list(_accounts(people, tenant))
    found = list(_courses(at_courses, tenant, rules))
    enrolments = list(_enrolments(at_courses, tenant))
    parts = (accounts, found, enrolments)
    return Asked(
        accounts=tuple(one for one in accounts if one is not None),
        courses=tuple(one for one in found if one is not None),
        enrolments=tuple(one for one in enrolments if one is not None),
        held=sum(one is None for part in parts for one in part),
    )


def _accounts(people: Entries, tenant: TenantId) -> Iterator[AskedAccount | None]:
    """Yield the accounts; none for each that is disputed or refused."""
    wishes = {
        person: entry.issued
        for (whose, person), entry in entries_of(people, "person", PersonEntry)
        if whose == tenant and entry.issued is not None
    }
    for (whose, person), entry in entries_of(people, "account", AccountEntry):
        if whose == tenant and (wish := wishes.get(person)) is not None:
            held = entry.blocked is not None
            known = entry.moodle_user_id
            yield None if held else AskedAccount(PersonId(person), entry.generation, wish, known)


def _courses(entries: Entries, tenant: TenantId, rules: TenantRules) -> Iterator[AskedCourse | None]:
    """Yield the courses; none for each that is unknown or disputed."""
    told = {
        course: entry
        for (whose, course), entry in entries_of(entries, "catalogue", CatalogueEntry)
        if whose == tenant
    }
    for (whose, course), entry in entries_of(entries, "course", CourseEntry):
        if whose != tenant:
            continue
        course_id, known = CourseId(course), entry.moodle_course_id
        if known is None or entry.blocked is not None:
            yield None
        else:
            wish = _names(course_id, told.get(course), rules)
            yield AskedCourse(course_id, entry.generation, known, wish)


def _names(course_id: CourseId, entry: CatalogueEntry | None, rules: TenantRules) -> CourseWish | None:
    """Return the wish if an existing course follows it, by the rule for changes of names and dates."""
    if entry is None or entry.issued is None:
        return None
    follows = entry.archived or wanted_course(course_id, entry, (), rules).metadata is not Metadata.NEVER
    return entry.issued if follows else None


def _enrolments(entries: Entries, tenant: TenantId) -> Iterator[AskedEnrolment | None]:
    """Yield the enrolments; none for each that waits or was refused.

    Those of a course that has left the selection are passed over: it is left as it is.
    """
    out = {
        course
        for (whose, course), entry in entries_of(entries, "course", CourseEntry)
        if whose == tenant and entry.is_out
    }
    for (whose, course, person), entry in entries_of(entries, "enrolment", courses.EnrolmentEntry):
        if whose != tenant or course in out:
            continue
        if entry.issued is None or entry.refused is not None:
            yield None
        else:
            ids = PersonId(person), CourseId(course)
            yield AskedEnrolment(*ids, entry.generation, entry.issued, entry.applied)
