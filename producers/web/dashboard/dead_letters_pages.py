"""Dead letters: the list, one with its message, and what can be done about them."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote

from aiohttp import web

from infra.errors import RetryLater
from producers.web.admin import resources as res
from producers.web.admin.letters import MessageAnswer
from producers.web.admin.lists import single
from producers.web.dashboard.bulk import BulkPage
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.lists import Cell
from producers.web.dashboard.page import HUB, SESSION, Menu, Page, may, render
from producers.web.problems import Problem
from producers.web.routes import TENANT
from schemas.reasons import EXPLANATIONS, Reason

_PATH: Final = "/ui/dead-letters"
_MOST: Final = "At most 1,000 at a time, the last that failed: repeat it until none is left."
REDRIVE: Final = Deed(
    f"{_PATH}/redrive",
    "Redrive",
    "Redrive",
    _PATH,
    "/admin/dead-letters/redrive",
    about=(
        "What is to be done is asked again in the light of today: a message goes back to its topic, a command"
        f" is issued anew, what something newer has overtaken is closed. {_MOST}"
    ),
    previews=True,
    lists=("places",),
)
DISCARD: Final = Deed(
    f"{_PATH}/discard",
    "Discard",
    "Discard",
    _PATH,
    "/admin/dead-letters/discard",
    about=f"They are taken off the list of open ones, and nothing else is done about them. {_MOST} Say why.",
    previews=True,
    danger=True,
    lists=("places",),
)
LIST: Final = BulkPage(
    _PATH,
    "Dead letters",
    res.DEAD_LETTERS,
    (
        Cell("failed_at", "When", link=f"{_PATH}/{{place}}"),
        Cell("entity", "About", code=True),
        Cell("kind", "Record"),
        Cell("role", "Failed at"),
        Cell("reason", code=True),
        Cell("error"),
        Cell("attempt"),
        Cell("state", badge=True),
    ),
    about="Messages that nobody could act on. Each ended here alone, and can be redriven.",
    choices={"state": ("OPEN", "REDRIVEN", "DISCARDED"), "reason": tuple(sorted(Reason))},
    deeds={"redrive": REDRIVE, "discard": DISCARD},
    template="dead_letters.html",
    empty="There is no dead letter that matches.",
    menu=Menu.DECIDE,
    fields={
        **{name: name for name in ("kind", "role", "entity", "reason", "ownerless")},
        "until": "failed_before",
    },
    fixed={"state": "OPEN"},
)


async def _one(request: web.Request) -> web.StreamResponse:
    hub = request.app[HUB]
    row = await single(hub.admin.desk, res.DEAD_LETTERS, request)
    message, trouble = await _message(request)
    deeds = (
        []
        if row["state"] != "OPEN"
        else [one for one in (REDRIVE, DISCARD) if may(request[SESSION], one.scope)]
    )
    return render(
        request,
        "dead_letter.html",
        title="Dead letter",
        trail=((LIST.title, LIST.path),),
        row=row,
        columns=[column for column in res.DEAD_LETTERS.columns if column.name != "message_key"],
        explanation=EXPLANATIONS.get(row["reason"], ""),
        kept=message,
        trouble=trouble,
        deeds=deeds,
        fields={
            "places": [row["place"]],
            **({} if row["tenant"] == request[TENANT] else {"ownerless": "true"}),
        },
        about=_about(row["entity"]),
    )


async def _message(request: web.Request) -> tuple[MessageAnswer | None, str]:
    """Return the message, or what is told in its place."""
    try:
        return await request.app[HUB].admin.letters.message(request), ""
    except RetryLater as error:
        return None, f"The message cannot be read now: {error}."
    except Problem as problem:
        if problem.status != HTTPStatus.NOT_FOUND:
            raise
        return None, "The topic does not keep this message any more."


def _about(entity: str) -> str:
    """Return the address of the page of what a letter is about; empty: it has none."""
    kind, _, name = entity.partition("/")
    found = {"person": "people", "course": "courses", "enrolment": "enrolments"}.get(kind)
    return f"/ui/{found}/{quote(name)}" if found and name else ""


PAGES: Final[Sequence[Page]] = (
    LIST.page,
    Page(f"{_PATH}/{{place}}", _one, "Dead letter"),
    REDRIVE.page,
    DISCARD.page,
)
