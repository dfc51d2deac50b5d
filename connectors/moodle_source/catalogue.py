"""The course catalogue as Moodle answers it, as observations."""

import html
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import msgspec

from schemas.ids import CourseId, MoodleCourseId
from schemas.moodle import CourseObserved


class CustomField(msgspec.Struct):
    """A custom field of a course, as far as it is needed."""

    shortname: str
    valueraw: int | float | str | None = None


class CourseEntry(msgspec.Struct):
    """A course of an answer, as far as it is needed."""

    id: int
    shortname: str
    idnumber: str = ""
    visible: int = 1
    customfields: list[CustomField] | None = None


@dataclass(frozen=True, slots=True)
class Catalogue:
    """The courses that the hub can speak of.

    Attributes:
        courses: those with an id number of their own.
        ambiguous: id numbers that several courses carry, with the Moodle ids of these.
    """

    courses: Mapping[CourseId, CourseObserved]
    ambiguous: Mapping[CourseId, tuple[MoodleCourseId, ...]]

    @property
    def opted_in(self) -> frozenset[CourseId]:
        """The courses whose completions are wanted."""
        return frozenset(course for course, seen in self.courses.items() if seen.completion_opt_in)


def catalogue(answer: Iterable[CourseEntry], opt_in_field: str) -> Catalogue:
    """Return the courses of an answer of ``core_course_get_courses`` that carry an id number."""
    found: dict[CourseId, list[CourseObserved]] = {}
    for entry in answer:
        if entry.idnumber:
            course = _course(entry, opt_in_field)
            found.setdefault(course.course_id, []).append(course)
    return Catalogue(
        courses={course: seen[0] for course, seen in found.items() if len(seen) == 1},
        ambiguous={
            course: tuple(sorted(one.moodle_course_id for one in seen))
            for course, seen in found.items()
            if len(seen) > 1
        },
    )


def _course(entry: CourseEntry, opt_in_field: str) -> CourseObserved:
    return CourseObserved(
        course_id=CourseId(html.unescape(entry.idnumber)),
        moodle_course_id=MoodleCourseId(entry.id),
        # Moodle escapes names for HTML.
        short_name=html.unescape(entry.shortname),
        visible=bool(entry.visible),
        completion_opt_in=_opted_in(entry.customfields or (), opt_in_field),
    )


def _opted_in(fields: Iterable[CustomField], name: str) -> bool:
    # ``value`` is the word for it in the reader's language; ``valueraw`` is 1 or "1".
    return any(field.shortname == name and str(field.valueraw) == "1" for field in fields)
