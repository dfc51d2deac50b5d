"""What differs between what Moodle was asked for and what it shows. Pure.

What the hub never asked for is left alone: other members of its courses are told only where that is wanted,
and never changed. No value of a field is told, only the field's name.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from processors.asked import AskedAccount, AskedCourse, AskedEnrolment, Subject
from schemas.events import EnrolmentStatus, Role
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId
from schemas.moodle import CommandKind, CourseWish, UserWish
from schemas.survey import AccountSeen, CourseSeen, MemberSeen

Roles = Mapping[Role, int]
"""Moodle's role id of each role."""


class DriftKind(StrEnum):
    """In which way something is not as it was asked for."""

    MISSING = "MISSING"
    """It was made, and is not there."""
    EXTRA = "EXTRA"
    """It is there though it was removed, or nobody asked for it."""
    DIFFERS = "DIFFERS"
    """Fields differ."""
    SUSPENDED_ELSEWHERE = "SUSPENDED_ELSEWHERE"
    """Somebody else has suspended it."""
    ORPHANED = "ORPHANED"
    """The account or course that the hub knows is gone, or is another one's now."""
    DUPLICATE = "DUPLICATE"
    """Several accounts or courses carry the id number."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """One difference.

    Attributes:
        kind: which.
        subject: whether an account, a course or an enrolment.
        person_id: of an account or enrolment, if Moodle shows one.
        course_id: of a course or enrolment.
        fields: names of the fields that differ.
        moodle_user_id: the account that the hub knows, or the one seen.
        moodle_course_id: the same of the course.
        is_fixable: issuing the last command once more may mend it; the others need a person.
    """

    kind: DriftKind
    subject: CommandKind
    person_id: PersonId | None = None
    course_id: CourseId | None = None
    fields: tuple[str, ...] = ()
    moodle_user_id: MoodleUserId | None = None
    moodle_course_id: MoodleCourseId | None = None
    is_fixable: bool = True

    @property
    def entity(self) -> Subject:
        """What is to be asked for once more."""
        return self.subject, self.person_id, self.course_id


@dataclass(slots=True)
class Accounts:
    """The accounts that were seen, by Moodle's id and by the id number that they carry."""

    by_id: dict[MoodleUserId, AccountSeen] = field(default_factory=dict)
    by_idnumber: dict[str, list[AccountSeen]] = field(default_factory=dict)

    def add(self, seen: Iterable[AccountSeen]) -> None:
        """Take accounts, each once."""
        for one in seen:
            if one.id not in self.by_id:
                self.by_id[one.id] = one
                self.by_idnumber.setdefault(one.idnumber, []).append(one)


def of_account(asked: AskedAccount, seen: Accounts) -> Drift | None:
    """Return how a person's account differs, or none."""
    carrying = seen.by_idnumber.get(asked.person_id, ())
    known = seen.by_id.get(asked.moodle_user_id) if asked.moodle_user_id is not None else None
    if len(carrying) > 1:
        return _account(DriftKind.DUPLICATE, asked, is_fixable=False)
    if carrying:
        return _of_carrying(asked, carrying[0])
    if known is not None and not known.idnumber:
        return _account(DriftKind.DIFFERS, asked, ("idnumber", *_differing_account(asked.wish, known)))
    if asked.moodle_user_id is not None:
        return _account(DriftKind.ORPHANED, asked)
    return _account(DriftKind.MISSING, asked) if asked.wish.create else None


def _of_carrying(asked: AskedAccount, there: AccountSeen) -> Drift | None:
    if asked.moodle_user_id is None:
        return _account(DriftKind.EXTRA, asked, moodle_user_id=there.id)
    if there.id != asked.moodle_user_id:
        return _account(DriftKind.ORPHANED, asked)
    fields = tuple(_differing_account(asked.wish, there))
    if there.suspended and not asked.wish.suspended:
        # Where the hub has never wished anything of it, a command leaves the suspension as it is.
        mends = asked.wish.suspended is False or bool(fields)
        return _account(DriftKind.SUSPENDED_ELSEWHERE, asked, fields, is_fixable=mends)
    return _account(DriftKind.DIFFERS, asked, fields) if fields else None


def _differing_account(wish: UserWish, there: AccountSeen) -> Iterator[str]:
    """Yield the names of the fields that a command would change, or that would make it a conflict."""
    if not wish.keep_email and _differs(wish.email, there.email, ignore_case=True):
        yield "email"
    if _differs(wish.first_name, there.first_name):
        yield "first_name"
    if _differs(wish.last_name, there.last_name):
        yield "last_name"
    if wish.suspended and not there.suspended:
        yield "suspended"
    profile = there.profile_fields
    if any(_differs(value, profile.get(name, "")) for name, value in wish.profile_fields.items()):
        yield "profile_fields"


def _account(
    kind: DriftKind,
    asked: AskedAccount,
    fields: tuple[str, ...] = (),
    *,
    moodle_user_id: MoodleUserId | None = None,
    is_fixable: bool = True,
) -> Drift:
    return Drift(
        kind=kind,
        subject=CommandKind.USER,
        person_id=asked.person_id,
        fields=fields,
        moodle_user_id=moodle_user_id or asked.moodle_user_id,
        is_fixable=is_fixable,
    )


def of_course(
    asked: AskedCourse, carrying: Sequence[CourseSeen], by_id: Mapping[MoodleCourseId, CourseSeen]
) -> Drift | None:
    """Return how a course differs, or none.

    Args:
        asked: the course that the hub uses.
        carrying: the courses that carry its id number.
        by_id: all courses.
    """
    known = by_id.get(asked.moodle_course_id)
    if len(carrying) > 1:
        return _course(DriftKind.DUPLICATE, asked, is_fixable=False)
    if carrying and carrying[0].id != asked.moodle_course_id:
        return _course(DriftKind.ORPHANED, asked)
    if known is None or (not carrying and known.idnumber):
        return _course(DriftKind.ORPHANED, asked)
    lost = () if carrying else ("idnumber",)
    fields = (*lost, *(_differing_course(asked.wish, known) if asked.wish else ()))
    return _course(DriftKind.DIFFERS, asked, fields) if fields else None


def _differing_course(wish: CourseWish, there: CourseSeen) -> Iterator[str]:
    if _differs(wish.short_name, there.short_name):
        yield "short_name"
    if _differs(wish.full_name, there.full_name):
        yield "full_name"
    if wish.visible is not None and wish.visible != there.visible:
        yield "visible"
    if wish.starts_at is not None and not _is_same_second(wish.starts_at, there.starts_at):
        yield "starts_at"
    if wish.ends_at is not None and not _is_same_second(wish.ends_at, there.ends_at):
        yield "ends_at"
    custom = there.custom_fields  # a field that the site does not have cannot differ
    if any(custom.get(name, value) != value for name, value in wish.custom_fields.items()):
        yield "custom_fields"


def _course(
    kind: DriftKind, asked: AskedCourse, fields: tuple[str, ...] = (), *, is_fixable: bool = True
) -> Drift:
    return Drift(
        kind=kind,
        subject=CommandKind.COURSE,
        course_id=asked.course_id,
        fields=fields,
        moodle_course_id=asked.moodle_course_id,
        is_fixable=is_fixable,
    )


def of_enrolment(
    asked: AskedEnrolment, there: MemberSeen | None, roles: Roles, now: datetime
) -> Drift | None:
    """Return how an enrolment differs, or none.

    Args:
        asked: the enrolment.
        there: the person among the members of the course, if so.
        roles: Moodle's role ids; these are the hub's, others are nobody's concern.
        now: the time of the reading.
    """
    status = asked.issued.status
    if there is None:
        is_missed = status is EnrolmentStatus.ACTIVE or (
            status is EnrolmentStatus.SUSPENDED and asked.applied is EnrolmentStatus.SUSPENDED
        )
        return _enrolment(DriftKind.MISSING, asked) if is_missed else None
    if status is EnrolmentStatus.REMOVED:
        return _enrolment(DriftKind.EXTRA, asked)
    if status is EnrolmentStatus.SUSPENDED:
        return _enrolment(DriftKind.DIFFERS, asked, ("status",)) if there.is_active else None
    fields = tuple(_differing_enrolment(asked, there, roles, now))
    if not there.is_active and _is_open(asked, now):
        return _enrolment(DriftKind.SUSPENDED_ELSEWHERE, asked, fields)
    return _enrolment(DriftKind.DIFFERS, asked, fields) if fields else None


def _differing_enrolment(
    asked: AskedEnrolment, there: MemberSeen, roles: Roles, now: datetime
) -> Iterator[str]:
    if there.is_active and not _is_open(asked, now):
        yield "dates"
    if there.roles & set(roles.values()) != {roles[asked.issued.role]}:
        yield "role"


def _is_open(asked: AskedEnrolment, now: datetime) -> bool:
    starts_at, ends_at = asked.issued.starts_at, asked.issued.ends_at
    return (starts_at is None or starts_at <= now) and (ends_at is None or now < ends_at)


def _enrolment(kind: DriftKind, asked: AskedEnrolment, fields: tuple[str, ...] = ()) -> Drift:
    return Drift(
        kind=kind,
        subject=CommandKind.ENROLMENT,
        person_id=asked.person_id,
        course_id=asked.course_id,
        fields=fields,
        moodle_user_id=asked.issued.moodle_user_id,
        moodle_course_id=asked.issued.moodle_course_id,
    )


def others(
    course_id: CourseId,
    moodle_course_id: MoodleCourseId,
    members: Iterable[MemberSeen],
    ours: frozenset[MoodleUserId],
) -> Iterator[Drift]:
    """Yield the members of a course whom the hub has not asked for: to be looked at, never to be changed."""
    for one in members:
        if one.user_id not in ours:
            yield Drift(
                kind=DriftKind.EXTRA,
                subject=CommandKind.ENROLMENT,
                person_id=PersonId(one.idnumber) if one.idnumber else None,
                course_id=course_id,
                moodle_user_id=one.user_id,
                moodle_course_id=moodle_course_id,
                is_fixable=False,
            )


def _differs(wished: str | None, there: str, *, ignore_case: bool = False) -> bool:
    if wished is None:
        return False
    one, other = wished.strip(), there.strip()
    return one.lower() != other.lower() if ignore_case else one != other


def _is_same_second(one: datetime, other: datetime | None) -> bool:
    return other is not None and int(one.timestamp()) == int(other.timestamp())
