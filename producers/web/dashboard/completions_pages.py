"""Completions: what Moodle shows, what ELM is to be told of it, and what ELM said."""

from collections.abc import Sequence
from typing import Final

from producers.web.admin import resources as res
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.lists import Cell, ListPage
from producers.web.dashboard.page import Menu, Page
from producers.web.dashboard.people_pages import COURSE, PERSON
from producers.web.dashboard.records_pages import whole_of

_CALLBACKS: Final = "/ui/callbacks"
_ANSWERS: Final = "/ui/callback-results"
POST: Final = Deed(
    "/ui/completions/{person_id}/{course_id}/post",
    "Post again",
    "Post again",
    "/ui/completions",
    "/admin/completions/{person_id}/{course_id}/post",
    about="ELM is told of the completion once more, whatever it said before.",
    told=lambda _: "Asked for. ELM's answer is here within moments.",
)
COMPLETIONS: Final = ListPage(
    "/ui/completions",
    "Completions",
    res.COMPLETIONS,
    (
        PERSON,
        COURSE,
        Cell("completed_on", "Completed on"),
        Cell("observed_at", "Seen in Moodle"),
        Cell("target", "Site"),
        Cell("told", "ELM", badge=True),
        Cell("reason", code=True),
        Cell("callback_id", "Callback", link=f"{_CALLBACKS}/{{callback_id}}", code=True),
    ),
    about="Completions as Moodle shows them, and how far ELM was told of each.",
    deeds={"post": POST},
    template="completions.html",
    empty="No completion was seen in Moodle that matches.",
    menu=Menu.RECORDS,
)
CALLBACKS: Final = ListPage(
    _CALLBACKS,
    "Callbacks",
    res.CALLBACKS,
    (
        Cell("issued_at", "When", link=f"{_CALLBACKS}/{{callback_id}}"),
        PERSON,
        COURSE,
        Cell("enrolment_id", "ELM's record", code=True),
        Cell("completed_on", "Completed on"),
    ),
    about="Completions that ELM is to be told.",
    empty="No callback matches.",
)
ANSWERS: Final = ListPage(
    _ANSWERS,
    "ELM's answers",
    res.CALLBACK_RESULTS,
    (
        Cell("completed_at", "When", link=f"{_ANSWERS}/{{callback_id}}"),
        PERSON,
        COURSE,
        Cell("outcome", badge=True),
        Cell("reason", code=True),
        Cell("http_status", "HTTP", code=True),
    ),
    about="What ELM said of the completions it was told.",
    empty="ELM has said nothing that matches.",
)
PAGES: Final[Sequence[Page]] = (
    COMPLETIONS.page,
    POST.page,
    CALLBACKS.page,
    Page(f"{_CALLBACKS}/{{callback_id}}", whole_of(res.CALLBACKS, CALLBACKS), "Callback"),
    ANSWERS.page,
    Page(f"{_ANSWERS}/{{callback_id}}", whole_of(res.CALLBACK_RESULTS, ANSWERS), "ELM's answer"),
)
