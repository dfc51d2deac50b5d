"""All that a site was asked for against all that it shows; what is still on its way is left out. Pure."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from processors.asked import Asked, AskedAccount, AskedCourse, AskedEnrolment, Subject
from processors.drift import Accounts, Drift, Roles, of_account, of_course, of_enrolment, others
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId
from schemas.survey import CourseSeen, MemberSeen


class Kind(StrEnum):
    """What is compared."""

    USERS = "users"
    COURSES = "courses"
    ENROLMENTS = "enrolments"


@dataclass(frozen=True, slots=True)
class Seen:
    """What a site shows; ``courses`` and ``members`` by Moodle's course id."""

    at: datetime
    accounts: Accounts
    courses: Mapping[MoodleCourseId, CourseSeen]
    members: Mapping[MoodleCourseId, Sequence[MemberSeen]]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far commands have come, by what they are about.

    Attributes:
        issued: newest generation of those issued of late; at least of all that were issued after the tables
            were read.
        answered: generation of the newest result.
    """

    issued: Mapping[Subject, int]
    answered: Mapping[Subject, int]

    def is_settled(self, one: AskedAccount | AskedCourse | AskedEnrolment) -> bool:
        """Whether Moodle has had the last command about it, and nothing newer was on its way meanwhile."""
        subject, generation = one.subject, one.generation
        return self.issued.get(subject, 0) <= generation == self.answered.get(subject, 0)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What came of it.

    Attributes:
        compared: how many of each kind.
        in_flight: left out, because commands about them are on their way.
        unread: enrolments that could not be compared, because Moodle does not have their course.
        drifts: what differs.
    """

    compared: Mapping[Kind, int]
    in_flight: int
    unread: int
    drifts: tuple[Drift, ...]


def compare(
    asked: Asked,
    seen: Seen,
    progress: Progress,
    roles: Roles,
    kinds: Collection[Kind],
    *,
    with_others: bool = False,
) -> Comparison:
    """Compare.

    Args:
        asked: what the site was asked for.
        seen: what it shows.
        progress: of the commands.
        roles: Moodle's role ids of the hub's roles.
        kinds: what is to be compared.
        with_others: tell the members of courses too whom the hub has not asked for.
    """
    accounts = asked.accounts if Kind.USERS in kinds else ()
    courses = asked.courses if Kind.COURSES in kinds else ()
    enrolments = asked.enrolments if Kind.ENROLMENTS in kinds else ()
    settled = [one for one in accounts if progress.is_settled(one)]
    settled_courses = [one for one in courses if progress.is_settled(one)]
    settled_enrolments = [one for one in enrolments if progress.is_settled(one)]
    read = [one for one in settled_enrolments if one.issued.moodle_course_id in seen.members]
    drifts = [
        *(of_account(one, seen.accounts) for one in settled),
        *_of_courses(settled_courses, seen.courses),
        *_of_enrolments(read, seen, roles),
    ]
    if with_others and Kind.ENROLMENTS in kinds:
        drifts += _others(asked, seen)
    everything = len(accounts) + len(courses) + len(enrolments)
    taken = len(settled) + len(settled_courses) + len(settled_enrolments)
    return Comparison(
        compared={
            kind: count
            for kind, count in zip(Kind, (len(settled), len(settled_courses), len(read)), strict=True)
            if kind in kinds
        },
        in_flight=everything - taken,
        unread=len(settled_enrolments) - len(read),
        drifts=tuple(one for one in drifts if one is not None),
    )


def _of_courses(
    courses: Iterable[AskedCourse], seen: Mapping[MoodleCourseId, CourseSeen]
) -> Iterator[Drift | None]:
    carrying: dict[str, list[CourseSeen]] = {}
    for one in seen.values():
        carrying.setdefault(one.idnumber, []).append(one)
    return (of_course(course, carrying.get(course.course_id, ()), seen) for course in courses)


def _of_enrolments(enrolments: Iterable[AskedEnrolment], seen: Seen, roles: Roles) -> Iterator[Drift | None]:
    members = {course: {one.user_id: one for one in found} for course, found in seen.members.items()}
    for one in enrolments:
        there = members[one.issued.moodle_course_id].get(one.issued.moodle_user_id)
        yield of_enrolment(one, there, roles, seen.at)


def _others(asked: Asked, seen: Seen) -> Iterator[Drift]:
    ours: dict[MoodleCourseId, set[MoodleUserId]] = {}
    for one in asked.enrolments:
        ours.setdefault(one.issued.moodle_course_id, set()).add(one.issued.moodle_user_id)
    for course, members in sorted(seen.members.items()):
        course_id = CourseId(seen.courses[course].idnumber)
        yield from others(course_id, course, members, frozenset(ours.get(course, ())))
