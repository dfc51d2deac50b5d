"""Intake by hand: a piece of ELM's feed, what each record would do, and those chosen taken in."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

import msgspec
from aiohttp import web

from infra.errors import BadArgument, RetryLater
from producers.elm.preview import MOST, Standing
from producers.web.admin.preview import ChoiceBody, PreviewRow, shown
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.lists import asked_of
from producers.web.dashboard.page import HUB, Menu, Page, render
from producers.web.problems import Problem
from producers.web.routes import TENANT, Scope

_PATH: Final = "/ui/preview"
_FIELDS: Final = ("learner", "course", "since", "until")
_USUAL: Final = frozenset({Standing.READY, Standing.NEW_USER})
"""What is chosen unless people choose otherwise."""
APPLY: Final = Deed(
    f"{_PATH}/apply",
    "Take in",
    "Take in",
    _PATH,
    "/admin/intake/elm/apply",
    about=(
        "The records are read from ELM again, and taken in as a poll would: what is known already stays, and"
        " nothing newer is replaced."
    ),
    previews=True,
    lists=("records",),
)


async def _show(request: web.Request) -> web.StreamResponse:
    asked = {name: values[0] for name, values in asked_of(request).items() if name in _FIELDS}
    rows: list[PreviewRow] = []
    more, trouble, status = False, "", int(HTTPStatus.OK)
    if asked:
        try:
            body = msgspec.convert(asked, ChoiceBody, strict=False)
            found, more = await request.app[HUB].admin.preview.look(request[TENANT], body.choice)
            rows = [shown(one) for one in found]
        except (BadArgument, RetryLater) as error:
            trouble = str(error)
        except msgspec.ValidationError as error:
            trouble, status = str(error), HTTPStatus.UNPROCESSABLE_ENTITY
        except Problem as problem:
            trouble, status = problem.detail, problem.status
    return render(
        request,
        "preview.html",
        status,
        asked={name: asked.get(name, "") for name in _FIELDS},
        rows=rows,
        more=more,
        most=MOST,
        trouble=trouble,
        is_asked=bool(asked),
        usual=_USUAL,
        apply=APPLY,
    )


PAGES: Final[Sequence[Page]] = (
    Page(_PATH, _show, "Intake by hand", Scope.OPERATOR, menu=Menu.OPERATE),
    APPLY.page,
)
