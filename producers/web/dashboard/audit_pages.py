"""The audit: who changed what, when and why."""

from collections.abc import Sequence
from typing import Final

from aiohttp import web

from producers.web.admin import resources as res
from producers.web.admin.lists import single
from producers.web.dashboard.lists import Cell, ListPage
from producers.web.dashboard.page import HUB, Menu, Page, render

LIST: Final = ListPage(
    "/ui/audit",
    "Audit",
    res.AUDIT,
    (
        Cell("at", "When", link="/ui/audit/{audit_id}"),
        Cell("actor", "Who", code=True),
        Cell("action", "What", code=True),
        Cell("subject", "To what", code=True),
        Cell("why"),
    ),
    about="What people have changed. Nobody can change or remove an entry.",
    empty="Nobody has changed anything that matches.",
    menu=Menu.MANAGE,
)


async def _one(request: web.Request) -> web.StreamResponse:
    row = await single(request.app[HUB].admin.desk, res.AUDIT, request)
    trail = [(LIST.title, LIST.path)]
    return render(request, "facts.html", row=row, columns=res.AUDIT.columns, trail=trail)


PAGES: Final[Sequence[Page]] = (LIST.page, Page("/ui/audit/{audit_id}", _one, "Audit entry"))
