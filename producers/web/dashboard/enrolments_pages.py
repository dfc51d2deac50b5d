"""Enrolments: the list of what is wanted beside what Moodle has, and all about one enrolment."""

from collections.abc import Mapping, Sequence
from typing import Final

from producers import entities
from producers.web.admin import resources as res
from producers.web.admin.lists import DETAILS
from producers.web.admin.reads import Row
from producers.web.dashboard.entities import EntityPage, Lead, Part, sync_deed
from producers.web.dashboard.lists import Cell, linked
from producers.web.dashboard.page import Menu, Page
from producers.web.dashboard.people_pages import COMPLETIONS, COURSE, PERSON, held
from producers.web.dashboard.search import SearchPage

_PATH: Final = "/ui/enrolments"
_ONE: Final = f"{_PATH}/{{person_id}}/{{course_id}}"
_STATES: Final = ("ACTIVE", "SUSPENDED", "REMOVED")
LIST: Final = SearchPage(
    _PATH,
    "Enrolments",
    res.ENROLMENTS,
    (
        PERSON,
        COURSE,
        Cell("wanted", badge=True, link=_ONE),
        Cell("actual", "Moodle has", badge=True),
        Cell("as_wanted", "As wanted"),
        Cell("reason", code=True),
        Cell("role"),
        Cell("source"),
        Cell("last_access"),
        Cell("synced_at", "Synced"),
    ),
    about="What the sources want beside what Moodle has.",
    choices={"wanted": _STATES, "actual": _STATES},
    empty="No enrolment matches.",
    menu=Menu.RECORDS,
    finds="Beginning of the person's id",
)


def _lead(found: Mapping[str, Sequence[Row]]) -> Lead:
    rows = [row for rows in found.values() for row in rows]
    row, names = next(iter(found["records"]), None), rows[0]
    links = [
        ("The person", linked("/ui/people/{person_id}", names)),
        ("The course", linked("/ui/courses/{course_id}", names)),
    ]
    if row is None:
        return Lead(states=[("not wanted by any source", "plain")], links=links)
    states = [("as wanted", "good") if row["as_wanted"] else ("not as wanted", "warn")]
    facts = {
        "Wanted": row["wanted"],
        "Moodle has": row["actual"],
        "Why": row["reason"],
        "Role": row["role"],
        "Source": row["source"],
        "ELM's enrolment": row["enrolment_id"],
        "Last access": row["last_access"],
        "Synced": row["synced_at"],
    }
    return Lead("", states, facts, links)


ONE: Final = EntityPage(
    _ONE,
    "Enrolment",
    next(one for one in DETAILS if one.name == "enrolments"),
    (
        *held(),
        Part(
            "results",
            "What came of it",
            (
                Cell("completed_at", "When", link="/ui/results/{command_id}"),
                Cell("outcome", badge=True),
                Cell("action"),
                Cell("reason", code=True),
                Cell("generation"),
                Cell("target", "Site"),
            ),
        ),
        COMPLETIONS,
        Part(
            "callback_results",
            "What ELM said of the completion",
            (
                Cell("completed_at", "When"),
                Cell("outcome", badge=True),
                Cell("http_status", "HTTP"),
                Cell("reason", code=True),
                Cell("enrolment_id", "Enrolment", code=True),
            ),
        ),
    ),
    entities.enrolment,
    sync_deed(_ONE, "enrolment", _PATH),
    _lead,
    ((LIST.title, LIST.path),),
)
PAGES: Final[Sequence[Page]] = (LIST.page, ONE.page, ONE.sync.page)
