"""Courses: the list, and all about one course."""

from collections.abc import Mapping, Sequence
from typing import Final
from urllib.parse import quote

from producers import entities
from producers.web.admin import resources as res
from producers.web.admin.lists import DETAILS
from producers.web.admin.reads import Row
from producers.web.dashboard.entities import EntityPage, Lead, Part, sync_deed
from producers.web.dashboard.lists import Cell
from producers.web.dashboard.page import Menu, Page
from producers.web.dashboard.people_pages import COURSE, PERSON, RECORDS, held
from producers.web.dashboard.search import SearchPage

_PATH: Final = "/ui/courses"
_ONE: Final = f"{_PATH}/{{course_id}}"
LIST: Final = SearchPage(
    _PATH,
    "Courses",
    res.COURSES,
    (
        COURSE,
        Cell("short_name", "Short name"),
        Cell("full_name", "Full name"),
        Cell("term_id", "Term", code=True),
        Cell("source"),
        Cell("source_status", "Status"),
        Cell("deleted", "Gone"),
        Cell("starts_at", "Begins"),
        Cell("ends_at", "Ends"),
        Cell("recorded_at", "Told"),
    ),
    about="Every course as the records of the sources tell of it.",
    empty="No course matches. A source may not have told of it yet.",
    filters=("source", "source_status", "deleted", "short_name", "term_id", "program_id", "course_id"),
    menu=Menu.RECORDS,
    finds="Beginnings of short name, full name or id",
)


def _lead(found: Mapping[str, Sequence[Row]]) -> Lead:
    records = found["records"]
    here = [row for row in records if not row["deleted"]] or records
    first = next(iter(here), None)
    if first is None:
        return Lead(states=[("no source tells of it", "warn")], links=_links(found))
    states = [("gone from all sources", "warn")] if first["deleted"] else []
    facts = {
        "Short name": first["short_name"],
        "Term": first["term_id"],
        "Course in Moodle": str(first["moodle_course_id"] or ""),
        "Begins": first["starts_at"],
        "Ends": first["ends_at"],
    }
    return Lead(first["full_name"] or "", states, facts, _links(found))


def _links(found: Mapping[str, Sequence[Row]]) -> list[tuple[str, str]]:
    rows = [row for name in ("records", "parked", "conflicts", "refused") for row in found[name]]
    course = quote(str(rows[0]["course_id"]), safe="")
    return [
        ("Enrolments in it", f"/ui/enrolments?course_id={course}"),
        ("What waits for it", f"/ui/parked?course_id={course}"),
        ("Completions", f"/ui/completions?course_id={course}"),
        ("Commands", f"/ui/commands?course_id={course}"),
    ]


ONE: Final = EntityPage(
    _ONE,
    "Course",
    next(one for one in DETAILS if one.name == "courses"),
    (
        *held(PERSON),
        Part(
            "records",
            "Records",
            (
                *RECORDS,
                Cell("short_name", "Short name"),
                Cell("full_name", "Full name"),
                Cell("term_id", "Term", code=True),
                Cell("starts_at", "Begins"),
                Cell("ends_at", "Ends"),
                Cell("deleted", "Gone"),
                Cell("version_time", "Version of"),
            ),
            always=True,
        ),
    ),
    entities.course,
    sync_deed(_ONE, "course", _PATH),
    _lead,
    ((LIST.title, LIST.path),),
)
PAGES: Final[Sequence[Page]] = (LIST.page, ONE.page, ONE.sync.page)
