"""Alerts: incidents, each taken on or silenced, and the silences."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from aiohttp import web

from producers.alerts.model import Alert, Severity
from producers.web.admin import listing as listings
from producers.web.admin import resources as res
from producers.web.admin.lists import single
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.lists import Cell, ListPage, View
from producers.web.dashboard.page import HUB, SESSION, Menu, Page, may, render
from producers.web.dashboard.shown import machine_moment
from producers.web.routes import TENANT

_PATH: Final = "/ui/incidents"
_ONE: Final = f"{_PATH}/{{id}}"
_SILENCES: Final = "/ui/silences"
_SPANS: Final = (
    ("an hour", timedelta(hours=1)),
    ("four hours", timedelta(hours=4)),
    ("a day", timedelta(days=1)),
    ("a week", timedelta(days=7)),
)
_MOST_SILENCES: Final = 100
INCIDENTS: Final = ListPage(
    _PATH,
    "Alerts",
    res.INCIDENTS,
    (
        Cell("opened_at", "Since", link=_ONE),
        Cell("severity", badge=True),
        Cell("state", badge=True),
        Cell("alert", link=_ONE),
        Cell("subject", "About", code=True),
        Cell("message"),
        Cell("resolved_at", "Ended"),
        Cell("acknowledged_by", "Taken on by", code=True),
    ),
    about="Incidents: what is wrong, once each, and what was. They end by themselves when it is well again.",
    choices={
        "state": ("OPEN", "ACKNOWLEDGED", "RESOLVED"),
        "severity": tuple(Severity),
        "alert": tuple(Alert),
    },
    empty="There is no incident that matches. The role “alerts” of the hub looks every half minute.",
    menu=Menu.WATCH,
)
ACKNOWLEDGE: Final = Deed(
    f"{_ONE}/acknowledge",
    "Take it on",
    "Take it on",
    _PATH,
    "/admin/incidents/{id}/acknowledge",
    about="Everybody sees that you are at it. It ends by itself when it is well again.",
    told=lambda answer: f"You have taken on: {answer['message']}",
)
SILENCE: Final = Deed(
    f"{_ONE}/silence",
    "Silence",
    "Silence",
    _PATH,
    "/admin/incidents/{id}/silence",
    about="Nothing new is told of this incident until then, nor of later ones of its alert and subject.",
    told=lambda answer: f"Silent until {answer['until']}.",
)
END: Final = Deed(
    f"{_SILENCES}/{{id}}/end",
    "End",
    "End the silence",
    _SILENCES,
    "/admin/silences/{id}",
    about="What happens from now on is told again.",
    method="DELETE",
    told=lambda _: "The silence has ended.",
)
SILENCES: Final = ListPage(
    _SILENCES,
    "Silences",
    res.SILENCES,
    (
        Cell("until"),
        Cell("alert"),
        Cell("subject", "About", code=True),
        Cell("made_at", "Made"),
        Cell("made_by", "Who", code=True),
        Cell("why"),
        Cell("ended_at", "Ended"),
    ),
    about="Of what nothing new is told, and until when. An empty alert or subject stands for all.",
    deeds={"end": END},
    template="silences.html",
    empty="Nothing was ever silenced.",
)


async def _one(request: web.Request) -> web.StreamResponse:
    hub, now = request.app[HUB], datetime.now(UTC)
    row = await single(hub.admin.desk, res.INCIDENTS, request)
    same = {"alert": [row["alert"]], "subject": [row["subject"]]}
    wanted = listings.read(res.INCIDENTS, same, request[TENANT], hub.admin.desk.default)
    page = await hub.admin.desk.fetch(res.INCIDENTS, wanted, 10)
    is_mine = may(request[SESSION], ACKNOWLEDGE.scope) and row["state"] != "RESOLVED"
    return render(
        request,
        "incident.html",
        title=row["message"],
        trail=((INCIDENTS.title, _PATH),),
        row=row,
        columns=[one for one in res.INCIDENTS.columns if one.name != "message"],
        view=View(INCIDENTS, _PATH, same, [one for one in page.rows if one["id"] != row["id"]], ""),
        acknowledge=ACKNOWLEDGE if is_mine and row["state"] == "OPEN" else None,
        silence=SILENCE if is_mine else None,
        spans=[(name, machine_moment(now + span)) for name, span in _SPANS],
        is_known=row["alert"] in frozenset(Alert),
    )


PAGES: Final[Sequence[Page]] = (
    INCIDENTS.page,
    Page(_ONE, _one, "Incident"),
    ACKNOWLEDGE.page,
    SILENCE.page,
    SILENCES.page,
    END.page,
)
