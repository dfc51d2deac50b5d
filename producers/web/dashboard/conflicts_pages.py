"""Conflicts: the list, and both sides of one, with what each resolution does."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, Final

from aiohttp import web

from producers.web.admin import resources as res
from producers.web.admin.conflicts import SideAnswer
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.lists import Cell, ListPage
from producers.web.dashboard.page import HUB, SESSION, Menu, Page, may, render
from producers.web.dashboard.people_pages import COURSE, PERSON
from producers.web.dashboard.telling import conflict_address
from producers.web.problems import Problem
from producers.web.routes import TENANT
from schemas.reasons import CONFLICTS

_PATH: Final = "/ui/conflicts"
_LIVE: Final = "moodle"
RESOLVE: Final = Deed(
    f"{_PATH}/resolve",
    "Settle the conflict",
    "Settle",
    _PATH,
    "/admin/conflicts/resolve",
    about=(
        "The decision is applied at once, kept with the person or course, and holds for all later commands"
        " until another takes its place."
    ),
    told=lambda answer: (
        f"The conflict of {answer['entity']} is settled by {answer['resolution']}."
        " The story tells what came of it within moments."
    ),
)


class _ConflictsPage(ListPage):
    """The list of conflicts; each row leads to both sides of it."""

    address = staticmethod(conflict_address)


LIST: Final = _ConflictsPage(
    _PATH,
    "Conflicts",
    res.CONFLICTS,
    (
        Cell("subject", "What"),
        PERSON,
        COURSE,
        Cell("reason", code=True),
        Cell("moodle_user_id", "Account", code=True),
        Cell("other_moodle_user_id", "Other account", code=True),
        Cell("moodle_course_id", "Course in Moodle", code=True),
        Cell("state", badge=True),
        Cell("since"),
    ),
    about="Two claims stand against each other, and a person has to decide. Nothing is changed until then.",
    choices={
        "subject": ("USER", "COURSE"),
        "state": ("OPEN", "IGNORED"),
        "reason": tuple(sorted(CONFLICTS)),
    },
    template="conflicts.html",
    empty="There is no conflict.",
    menu=Menu.DECIDE,
)


def fields(side: SideAnswer) -> dict[str, Any]:
    """Return the fields of ``side`` as people read them: Moodle tells times in seconds since 1970."""
    found = dict(side.fields)
    if isinstance(at := found.get("lastaccess"), int):
        found["lastaccess"] = datetime.fromtimestamp(at, UTC) if at else None
    return found


async def _one(request: web.Request) -> web.StreamResponse:
    conflicts, live = request.app[HUB].admin.conflicts, request.query.get(_LIVE) == "true"
    entity, trouble = request.match_info["entity"], ""
    try:
        found = await conflicts.whole(request[TENANT], entity, live=live)
    except Problem as problem:
        if not live:
            raise
        found, trouble = await conflicts.whole(request[TENANT], entity, live=False), problem.detail
    return render(
        request,
        "conflict.html",
        title=f"Conflict of {found.entity}",
        trail=((LIST.title, LIST.path),),
        conflict=found,
        fields=fields,
        moodle_trouble=trouble,
        address=request.rel_url.raw_path,
        resolve=RESOLVE if may(request[SESSION], RESOLVE.scope) else None,
    )


PAGES: Final[Sequence[Page]] = (LIST.page, Page(f"{_PATH}/{{entity}}", _one, "Conflict"), RESOLVE.page)
