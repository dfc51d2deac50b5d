"""What is to be done about a course: a pure comparison of the wish with what Moodle has."""

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from connectors.moodle.form import Value
from connectors.moodle_sink.verdicts import Verdict
from schemas.ids import MoodleCourseId
from schemas.moodle import CourseWish, Outcome
from schemas.reasons import Reason

WIDTHS: Final = {"shortname": 255, "fullname": 254, "idnumber": 100}
"""Characters that the columns of Moodle's course table hold."""

_SHORT_NAME: Final = re.compile(r"[A-Za-z0-9_-]+")

Fields = Mapping[str, Value]


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A course as Moodle shows it; names as they were before Moodle escaped them for HTML."""

    id: MoodleCourseId
    idnumber: str
    shortname: str
    fullname: str
    category: int
    visible: bool
    startdate: int
    enddate: int
    customfields: Mapping[str, str]
    """Raw values by short name, of every field that the site has."""


@dataclass(frozen=True, slots=True)
class Make:
    """There is no such course, and it shall be made."""


def course(row: Mapping[str, Any]) -> Course:
    """Return a row of one of Moodle's course look-ups as a course."""
    return Course(
        id=MoodleCourseId(row["id"]),
        idnumber=row.get("idnumber") or "",
        shortname=html.unescape(row["shortname"]),
        fullname=html.unescape(row["fullname"]),
        category=row["categoryid"],
        visible=bool(row.get("visible", 1)),
        startdate=row.get("startdate") or 0,
        enddate=row.get("enddate") or 0,
        customfields={one["shortname"]: _raw(one) for one in row.get("customfields") or ()},
    )


def _raw(field: Mapping[str, Any]) -> str:
    value = field.get("valueraw")
    return "" if value is None else html.unescape(str(value))


def step(wish: CourseWish, named: Course | None, found: Sequence[Course]) -> Verdict | Make | Course:
    """Decide which course is meant.

    Args:
        wish: the course as it shall be.
        named: the course that the wish names by Moodle's id, if there is one.
        found: the courses that carry the wish's id number.

    Returns:
        The course to be used, or that one is to be made, or how the command ends.
    """
    if wish.moodle_course_id is not None:
        return _named(wish, named, found)
    if len(found) > 1:
        return Verdict(outcome=Outcome.CONFLICT, reason=Reason.COURSE_AMBIGUOUS)
    if found:
        return found[0]
    return Make() if wish.create else Verdict(outcome=Outcome.NOT_FOUND, reason=Reason.COURSE_NOT_FOUND)


def _named(wish: CourseWish, named: Course | None, found: Sequence[Course]) -> Verdict | Course:
    if named is None:
        return Verdict(outcome=Outcome.NOT_FOUND, reason=Reason.COURSE_NOT_FOUND)
    if named.idnumber == wish.course_id:
        return named
    if named.idnumber:
        return mismatch(named.id)
    if found:  # two courses for one id: only one can carry it
        return Verdict(outcome=Outcome.CONFLICT, reason=Reason.COURSE_AMBIGUOUS, moodle_course_id=named.id)
    return named


def mismatch(course_id: MoodleCourseId) -> Verdict:
    """Return the verdict on a wish for a Moodle course that is another one's already."""
    return Verdict(outcome=Outcome.CONFLICT, reason=Reason.COURSE_ID_MISMATCH, moodle_course_id=course_id)


def new_fields(wish: CourseWish, category_id: int) -> Fields:
    """Return the fields of a new course; the required ones last, so that a cut entry is refused."""
    dates = {"startdate": wish.starts_at, "enddate": wish.ends_at}
    short_name = (wish.short_name or "").strip()
    return {
        "idnumber": wish.course_id,
        **{name: _seconds(moment) for name, moment in dates.items() if moment},
        **({} if wish.visible is None else {"visible": int(wish.visible)}),
        **_custom({name: value for name, value in wish.custom_fields.items() if value}),
        "shortname": short_name,
        "fullname": (wish.full_name or short_name).strip(),
        "categoryid": category_id,
    }


def changes(wish: CourseWish, there: Course, category_id: int | None) -> Fields:
    """Return the fields of an existing course that are to be changed.

    Its id number is given to a course without one in any case, everything else only where the wish says so.

    Args:
        wish: the course as it shall be.
        there: the course as it is.
        category_id: the category wished for, or none.
    """
    idnumber = {} if there.idnumber == wish.course_id else {"idnumber": wish.course_id}
    if not wish.update:
        return idnumber
    custom = {
        name: value
        for name, value in wish.custom_fields.items()
        if there.customfields.get(name, value) != value
    }
    wished = {
        "shortname": None if wish.short_name is None else wish.short_name.strip(),
        "fullname": None if wish.full_name is None else wish.full_name.strip(),
        "visible": None if wish.visible is None else int(wish.visible),
        "categoryid": category_id,
    }
    shown = {
        "shortname": there.shortname.strip(),
        "fullname": there.fullname.strip(),
        "visible": int(there.visible),
        "categoryid": there.category,
    }
    differing = {name: value for name, value in wished.items() if value is not None and value != shown[name]}
    return {**idnumber, **differing, **_dates(wish, there), **_custom(custom)}


def _dates(wish: CourseWish, there: Course) -> Fields:
    """Return both dates if one differs: Moodle refuses an end without a start in the same call."""
    start = _seconds(wish.starts_at) if wish.starts_at else there.startdate
    end = _seconds(wish.ends_at) if wish.ends_at else there.enddate
    same = (start, end) == (there.startdate, there.enddate)
    return {} if same else {"startdate": start, "enddate": end}


def _seconds(moment: datetime) -> int:
    return int(moment.timestamp())


def _custom(fields: Mapping[str, str]) -> Fields:
    values = [{"shortname": name, "value": value} for name, value in fields.items()]
    return {"customfields": values} if values else {}


def fault_of(fields: Fields, custom: Mapping[str, str]) -> Reason | None:
    """Return why Moodle would surely refuse one of these fields, or the name of a custom one; or none."""
    texts = {name: value for name, value in fields.items() if isinstance(value, str)}
    if any(len(value) > WIDTHS[name] for name, value in texts.items()):
        return Reason.VALUE_TOO_LONG
    if not all(texts.values()) or not all(map(_SHORT_NAME.fullmatch, custom)):
        return Reason.INVALID_FIELD
    return None
