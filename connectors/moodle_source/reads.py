"""The calls to Moodle: catalogue, reports, completion statuses; each read whole, however many pages."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, TypeVar

import msgspec
import structlog

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import Params
from connectors.moodle_source.catalogue import Catalogue, CourseEntry, catalogue
from connectors.moodle_source.report import Columns, Completions, Page, columns, merge, page
from connectors.moodle_source.settings import MoodleSourceSettings
from connectors.moodle_source.statuses import completion
from infra.errors import HubError, Stop
from schemas.ids import CourseId, MoodleCourseId, PersonId
from schemas.moodle import CourseObserved

_LOG = structlog.get_logger()
_T = TypeVar("_T")

_READINGS: Final = 3
"""How often a report is read when it changes while it is read; what was seen in any of them counts."""

_COURSES_AT_ONCE: Final = 20
_LISTED_AT_ONCE: Final = 100

COURSES: Final = "core_course_get_courses"
RETRIEVE: Final = "core_reportbuilder_retrieve_report"
LIST: Final = "core_reportbuilder_list_reports"
ENROLLED: Final = "core_enrol_get_enrolled_users"
STATUS: Final = "core_completion_get_course_completion_status"

FUNCTIONS: Final = (COURSES, RETRIEVE, LIST, ENROLLED, STATUS)
"""Web service functions that the service user must be allowed to call."""


class _Row(msgspec.Struct):
    columns: list[str | None]


class _Data(msgspec.Struct):
    headers: list[str]
    rows: list[_Row]
    totalrowcount: int


class _ReportAnswer(msgspec.Struct):
    data: _Data


class _Report(msgspec.Struct):
    id: int
    name: str


class _ReportList(msgspec.Struct):
    reports: list[_Report]


class _Learner(msgspec.Struct):
    id: int
    idnumber: str = ""


@dataclass(slots=True)
class Read:
    """What one read brought.

    Attributes:
        completions: those of the courses wanted.
        rows: rows or statuses looked at.
        unreadable: rows with a time in no known form.
        whole: nothing moved while it was read.
    """

    completions: Completions = field(default_factory=dict)
    rows: int = 0
    unreadable: int = 0
    whole: bool = True


async def read_catalogue(client: MoodleClient, settings: MoodleSourceSettings) -> Catalogue:
    """Read the whole course catalogue, which Moodle gives in one answer."""
    answer = await client.call(COURSES, {}, settings.read_timeout)
    courses = _read(answer, list[CourseEntry], COURSES)
    return catalogue(courses, settings.opt_in_field)


async def find_report(client: MoodleClient, name: str) -> int | None:
    """Return the id of the custom report called ``name``, or none if the service user sees no such report.

    Raises:
        Stop: several have this name.
    """
    found: list[int] = []
    number = 0
    while True:
        params: Params = {"page": number, "perpage": _LISTED_AT_ONCE}
        listed = _read(await client.call(LIST, params), _ReportList, LIST).reports
        found += [report.id for report in listed if report.name == name]
        number += 1
        if len(listed) < _LISTED_AT_ONCE:
            break
    if len(found) > 1:
        msg = f"several reports are called '{name}' (ids {', '.join(map(str, sorted(found)))}): set the id"
        raise Stop(msg)
    return found[0] if found else None


async def check_report(client: MoodleClient, report_id: int, settings: MoodleSourceSettings) -> None:
    """Read one row to see that the report is there and has the columns needed.

    Raises:
        Stop: a column is missing (the text names it), or there is no such report.
    """
    try:
        data = await _page(client, report_id, 0, 1, settings.read_timeout)
    except Refused as refusal:
        msg = f"report {report_id} cannot be read: {refusal.code}"
        raise Stop(msg) from None
    _columns(data, report_id, settings)


async def read_report(
    client: MoodleClient,
    report_id: int,
    courses: Collection[CourseId],
    settings: MoodleSourceSettings,
    enough: Callable[[Page], bool],
) -> Read:
    """Read a report page by page.

    Without a sorted column Moodle's pages are cuts through an order that may change, so the report is read
    again when its length changed meanwhile.

    Args:
        client: of the site.
        report_id: the report.
        courses: the courses whose completions are wanted.
        settings: headings, forms of times, zone and page size.
        enough: tells after a page whether those behind it can be left unread.
    """
    union = Read()
    for _ in range(_READINGS):
        once = await _read_once(client, report_id, courses, settings, enough)
        if once.whole:
            return once
        merge(union.completions, once.completions)
        union.rows, union.unreadable = once.rows, once.unreadable
    _LOG.warning("report_moved_while_read", report_id=report_id, rows=union.rows)
    union.whole = False
    return union


async def _read_once(
    client: MoodleClient,
    report_id: int,
    courses: Collection[CourseId],
    settings: MoodleSourceSettings,
    enough: Callable[[Page], bool],
) -> Read:
    read = Read()
    readable, totals, number, done = 0, set(), 0, False
    while not done:
        data = await _page(client, report_id, number, settings.page_size, settings.read_timeout)
        where = _columns(data, report_id, settings)
        seen = page([row.columns for row in data.rows], where, courses, settings.zone, settings.time_formats)
        merge(read.completions, seen.completions)
        read.rows += len(data.rows)
        read.unreadable += seen.unreadable
        readable += seen.readable
        totals.add(data.totalrowcount)
        number += 1
        stopped = enough(seen)
        done = stopped or not data.rows or read.rows >= data.totalrowcount
    read.whole = len(totals) == 1 and (stopped or {read.rows} == totals)
    if read.unreadable and not readable:
        msg = f"report {report_id} shows times in an unknown form: is the service user's language English?"
        raise Stop(msg)
    return read


async def read_statuses(
    client: MoodleClient,
    courses: Sequence[CourseObserved],
    settings: MoodleSourceSettings,
    is_known: Callable[[PersonId, CourseId], bool],
    now: datetime,
) -> Read:
    """Ask for the completion of every active learner who is not known to be complete.

    Args:
        client: of the site.
        courses: the courses wanted.
        settings: zone and size of a request.
        is_known: tells whom to leave out.
        now: the present time.
    """
    read = Read()
    for group in _chunks(courses, _COURSES_AT_ONCE):
        for course, learners in zip(group, await _learners(client, group, settings), strict=True):
            asked = [one for one in learners if not is_known(PersonId(one.idnumber), course.course_id)]
            await _ask(client, course, asked, settings, now, read)
    return read


async def _ask(
    client: MoodleClient,
    course: CourseObserved,
    learners: Sequence[_Learner],
    settings: MoodleSourceSettings,
    now: datetime,
    read: Read,
) -> None:
    today = now.astimezone(settings.zone).date()
    # A course without completion criteria refuses every learner: the first alone shows it.
    for group in (learners[:1], *_chunks(learners[1:], settings.status_batch)):
        calls = [_status_call(course.moodle_course_id, learner.id) for learner in group]
        answers = await client.multiplex(calls)
        read.rows += len(answers)
        for learner, answer in zip(group, answers, strict=True):
            if isinstance(answer, Refused):
                if answer.code == "nocriteriaset":
                    return
                continue
            person = PersonId(learner.idnumber)
            seen = completion(answer, person, course.course_id, settings.zone, today)
            if seen is not None:
                merge(read.completions, {(person, course.course_id): seen})


async def _learners(
    client: MoodleClient, courses: Sequence[CourseObserved], settings: MoodleSourceSettings
) -> Iterator[list[_Learner]]:
    calls = [(ENROLLED, _enrolled_params(course.moodle_course_id)) for course in courses]
    answers = await client.multiplex(calls, settings.read_timeout)
    return (
        []
        if isinstance(answer, Refused)
        else [one for one in _read(answer, list[_Learner], ENROLLED) if one.idnumber]
        for answer in answers
    )


def _enrolled_params(course: MoodleCourseId) -> Params:
    # Moodle refuses the status of suspended learners; every further field makes the call slower.
    options: list[Mapping[str, str]] = [
        {"name": "onlyactive", "value": "1"},
        {"name": "userfields", "value": "id,idnumber"},
    ]
    return {"courseid": course, "options": options}


def _status_call(course: MoodleCourseId, user: int) -> tuple[str, Params]:
    return STATUS, {"courseid": course, "userid": user}


async def _page(client: MoodleClient, report_id: int, number: int, size: int, timeout: float) -> _Data:
    params: Params = {"reportid": report_id, "page": number, "perpage": size}
    return _read(await client.call(RETRIEVE, params, timeout), _ReportAnswer, RETRIEVE).data


def _columns(data: _Data, report_id: int, settings: MoodleSourceSettings) -> Columns:
    try:
        return columns(data.headers, settings.headings)
    except Stop as error:
        msg = f"report {report_id}: {error}"
        raise Stop(msg) from None


def _read(answer: Any, kind: type[_T], function: str) -> _T:
    """Return an answer in its form; the complaint names the place in it, never a value."""
    try:
        return msgspec.convert(answer, kind, strict=False)
    except msgspec.ValidationError as error:
        msg = f"{function} answered in another form than expected: {error}"
        raise HubError(msg) from None


def _chunks(items: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (items[start : start + size] for start in range(0, len(items), size))
