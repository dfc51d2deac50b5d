"""Commands, results, and records of sources that could not be taken: plain lists, and one of each whole."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from producers.web.admin import resources as res
from producers.web.admin.lists import single
from producers.web.admin.resource import Resource
from producers.web.dashboard.lists import Cell, ListPage
from producers.web.dashboard.page import HUB, Menu, Page, render
from producers.web.dashboard.people_pages import COURSE, PERSON
from producers.web.routes import Handler
from schemas.reasons import Reason

_KINDS: Final = ("USER", "COURSE", "ENROLMENT")
COMMANDS: Final = ListPage(
    "/ui/commands",
    "Commands",
    res.COMMANDS,
    (
        Cell("issued_at", "When", link="/ui/commands/{command_id}"),
        Cell("kind"),
        PERSON,
        COURSE,
        Cell("generation"),
        Cell("target", "Site"),
    ),
    about="What Moodle was asked for.",
    choices={"kind": _KINDS},
    empty="No command matches.",
    menu=Menu.WATCH,
)
RESULTS: Final = ListPage(
    "/ui/results",
    "Results",
    res.RESULTS,
    (
        Cell("completed_at", "When", link="/ui/results/{command_id}"),
        Cell("kind"),
        PERSON,
        COURSE,
        Cell("outcome", badge=True),
        Cell("action"),
        Cell("reason", code=True),
        Cell("generation"),
        Cell("target", "Site"),
    ),
    about="What came of the commands.",
    choices={"kind": _KINDS, "reason": tuple(sorted(Reason))},
    empty="No result matches.",
    menu=Menu.WATCH,
)
INVALID: Final = ListPage(
    "/ui/invalid-records",
    "Invalid records",
    res.INVALID,
    (
        Cell("last_seen", "Last seen", link="/ui/invalid-records/{id}"),
        Cell("source"),
        Cell("kind"),
        Cell("record_id", "Record", code=True),
        Cell("field", code=True),
        Cell("reason"),
        Cell("times_seen", "Times"),
        Cell("solved_at", "Solved"),
    ),
    about="Records of sources that could not be taken, with the field and why. Each is solved at its source.",
    empty="Every record could be taken.",
    menu=Menu.DECIDE,
)


def whole_of(resource: Resource, above: ListPage) -> Handler:
    """Return the handler that shows one row of ``resource`` column by column, below the list ``above``."""

    async def show(request: web.Request) -> web.StreamResponse:
        row = await single(request.app[HUB].admin.desk, resource, request)
        trail = ((above.title, above.path),)
        return render(request, "facts.html", row=row, columns=resource.columns, trail=trail)

    return show


PAGES: Final[Sequence[Page]] = (
    COMMANDS.page,
    Page("/ui/commands/{command_id}", whole_of(res.COMMANDS, COMMANDS), "Command"),
    RESULTS.page,
    Page("/ui/results/{command_id}", whole_of(res.RESULTS, RESULTS), "Result"),
    INVALID.page,
    Page("/ui/invalid-records/{id}", whole_of(res.INVALID, INVALID), "Invalid record"),
)
