"""Rows of a custom report as completions."""

import html
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from zoneinfo import ZoneInfo

from connectors.moodle_source.settings import COURSE, PERSON, TIME
from infra.errors import Stop
from schemas.ids import CourseId, PersonId
from schemas.moodle import CompletionObserved

Completions = dict[tuple[PersonId, CourseId], CompletionObserved]


@dataclass(frozen=True, slots=True)
class Columns:
    """Where the columns needed stand in a row."""

    person: int
    course: int
    time: int


@dataclass(frozen=True, slots=True)
class Page:
    """What one page of a report says.

    Attributes:
        completions: by person and course; of several accounts or enrolments of a person the earliest counts.
        readable: rows with a time, of whatever course.
        unreadable: rows with a time in no known form.
        newest_first: the rows stand in falling order of time, and not all at one time.
    """

    completions: Completions
    readable: int
    unreadable: int
    newest_first: bool


def columns(headers: Sequence[str], headings: Mapping[str, str]) -> Columns:
    """Return where the columns stand.

    Args:
        headers: the headings of the report.
        headings: the headings wanted, by the names of `settings.HEADINGS`.

    Raises:
        Stop: some are missing; the text names them.
    """
    missing = [heading for heading in headings.values() if heading not in headers]
    if missing:
        names = ", ".join(f"'{heading}'" for heading in missing)
        msg = f"the report lacks the columns {names}"
        raise Stop(msg)
    return Columns(*(headers.index(headings[name]) for name in (PERSON, COURSE, TIME)))


def page(
    rows: Iterable[Sequence[str | None]],
    where: Columns,
    courses: Collection[CourseId],
    zone: ZoneInfo,
    formats: tuple[str, ...],
) -> Page:
    """Return the completions among the ``rows`` in the given ``courses``.

    Passed over: rows without a person's id number, without a time of completion, or of another course.
    """
    found: Completions = {}
    times: list[datetime] = []
    unreadable = 0
    for row in rows:
        person, course, text = (_cell(row, at) for at in (where.person, where.course, where.time))
        if not text:
            continue
        when = read_time(text, zone, formats)
        if when is None:
            unreadable += 1
            continue
        times.append(when)
        if person and CourseId(course) in courses:
            _keep_earliest(found, PersonId(person), CourseId(course), when, zone)
    return Page(found, len(times), unreadable, _falls(times))


@lru_cache(maxsize=65_536)
def read_time(text: str, zone: ZoneInfo, formats: tuple[str, ...]) -> datetime | None:
    """Return a time as a report shows it (local, to the minute) in UTC, or none if no form fits.

    In the hour that is repeated when summer time ends, the first of the two is taken: always the same, so
    that a completion does not seem to change, and of the right day either way.
    """
    plain = " ".join(text.split())
    for form in formats:
        try:
            local = datetime.strptime(plain, form).replace(tzinfo=zone, fold=0)
        except ValueError:
            continue
        return local.astimezone(UTC)
    return None


def merge(into: Completions, more: Completions) -> None:
    """Add completions; where a person has several in one course, the earliest stays."""
    for place, seen in more.items():
        kept = into.get(place)
        if kept is None or _time(seen) < _time(kept):
            into[place] = seen


def _keep_earliest(
    found: Completions, person: PersonId, course: CourseId, when: datetime, zone: ZoneInfo
) -> None:
    day = when.astimezone(zone).date()
    seen = CompletionObserved(person_id=person, course_id=course, completed_on=day, completed_at=when)
    merge(found, {(person, course): seen})


def _time(seen: CompletionObserved) -> datetime:
    return seen.completed_at or datetime.max.replace(tzinfo=UTC)


def _cell(row: Sequence[str | None], at: int) -> str:
    return html.unescape(row[at] or "").strip()


def _falls(times: Sequence[datetime]) -> bool:
    falling = all(one >= other for one, other in pairwise(times))
    return falling and len(times) > 1 and times[0] != times[-1]
