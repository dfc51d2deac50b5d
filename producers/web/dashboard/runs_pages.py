"""Runs: of the sources and of the schedules, each target with its history, its settings, and "run now"."""

from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import urlencode

from aiohttp import web

from producers.schedule_runs import Trigger
from producers.web.admin import listing as listings
from producers.web.admin import resources as res
from producers.web.admin.bodies import ScheduleAnswer
from producers.web.admin.reads import Row
from producers.web.dashboard.deeds import Deed, perform
from producers.web.dashboard.lists import Cell, ListPage, View
from producers.web.dashboard.page import HUB, SESSION, Menu, Page, may, render
from producers.web.dashboard.records_pages import whole_of
from producers.web.problems import Problem
from producers.web.routes import TENANT, Scope

_RUNS: Final = "/ui/runs"
_SCHEDULES: Final = "/ui/schedules"
_SCHEDULE_RUNS: Final = "/ui/schedule-runs"
_STATES: Final = ("RUNNING", "SUCCESS", "FAILED", "SKIPPED")
_HISTORY: Final = 100
_NONE: Final = "none"
"""What a form says for hours that are not limited; a field that is left empty stays as it is."""
SOURCE_RUNS: Final = ListPage(
    _RUNS,
    "Runs of the sources",
    res.RUNS,
    (
        Cell("started_at", "Begun", link=f"{_RUNS}/{{id}}"),
        Cell("source"),
        Cell("state", badge=True),
        Cell("finished_at", "Ended"),
        Cell("seen"),
        Cell("new"),
        Cell("updated"),
        Cell("unchanged"),
        Cell("invalid"),
        Cell("skipped"),
        Cell("events"),
        Cell("reason"),
    ),
    about="Each reading of a source, failed ones included: what it saw, and what came of it.",
    choices={"state": _STATES},
    empty="No run of a source matches.",
    menu=Menu.OPERATE,
)
SCHEDULE_RUNS: Final = ListPage(
    _SCHEDULE_RUNS,
    "Runs of the schedules",
    res.SCHEDULE_RUNS,
    (
        Cell("started_at", "Begun", link=f"{_SCHEDULE_RUNS}/{{id}}"),
        Cell("target"),
        Cell("site"),
        Cell("state", badge=True),
        Cell("trigger"),
        Cell("actor", "Who", code=True),
        Cell("finished_at", "Ended"),
        Cell("counts"),
        Cell("error"),
    ),
    about="Each run of a schedule, by the clock or because somebody asked for it.",
    choices={"state": _STATES, "trigger": tuple(Trigger)},
    empty="No run of a schedule matches.",
)
RUN: Final = Deed(
    f"{_SCHEDULES}/{{target}}/run",
    "Run now",
    "Run now",
    _SCHEDULES,
    "/admin/schedules/{target}/run",
    about=(
        "It runs within seconds, whether it is enabled or not, and whatever the hours; if a run is under way,"
        " when that has ended."
    ),
    told=lambda answer: f"{answer['target']} is asked for.",
)


async def _change(request: web.Request, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    wanted = {name: None if value == _NONE else value for name, value in fields.items()}
    answer: Mapping[str, Any] = await perform(request, "PUT", "/admin/schedules/{target}", wanted)
    return answer


CHANGE: Final = Deed(
    f"{_SCHEDULES}/{{target}}/change",
    "Change the schedule",
    "Change",
    _SCHEDULES,
    about="What was left empty stays as it is. A run under way goes on.",
    act=_change,
    scope=Scope.ADMIN,
    told=lambda answer: f"{answer['target']}: {answer['told']}.",
)


async def _schedules(request: web.Request) -> web.StreamResponse:
    found = await request.app[HUB].admin.schedules.items(request[TENANT])
    rows = [(one, address(one)) for one in found]
    return render(request, "schedules.html", rows=rows, run=_mine(request, RUN))


async def _one(request: web.Request) -> web.StreamResponse:
    hub, target, site = request.app[HUB], request.match_info["target"], request.query.get("site")
    found = [one for one in await hub.admin.schedules.items(request[TENANT]) if one.target == target]
    schedule = next((one for one in found if site in (None, one.site)), None)
    if schedule is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such schedule of this tenant.")
    filters = {"target": [schedule.target], "site": [schedule.site]}
    wanted = listings.read(res.SCHEDULE_RUNS, filters, request[TENANT], hub.admin.desk.default)
    page = await hub.admin.desk.fetch(res.SCHEDULE_RUNS, wanted, _HISTORY)
    return render(
        request,
        "schedule.html",
        title=schedule.target.replace("_", " ").capitalize(),
        trail=[(_TITLE, _SCHEDULES)],
        schedule=schedule,
        chart=chart(page.rows),
        view=View(SCHEDULE_RUNS, _SCHEDULE_RUNS, filters, page.rows[:20], ""),
        site=urlencode({"site": schedule.site}),
        run=_mine(request, RUN),
        change=_mine(request, CHANGE),
    )


def _mine(request: web.Request, deed: Deed) -> Deed | None:
    return deed if may(request[SESSION], deed.scope) else None


def address(schedule: ScheduleAnswer) -> str:
    """Return the address of the page of ``schedule``."""
    return f"{_SCHEDULES}/{schedule.target}?{urlencode({'site': schedule.site})}"


def chart(runs: Sequence[Row]) -> dict[str, Any] | None:
    """Return how long ``runs``, newest first, took, as data for `charts.js`; none for fewer than two."""
    ended = [run for run in reversed(runs) if run["finished_at"] is not None]
    if len(ended) <= 1:
        return None
    took = [round((run["finished_at"] - run["started_at"]).total_seconds(), 3) for run in ended]
    fails = [run["state"] == "FAILED" for run in ended]
    told = list(zip(took, fails, strict=True))
    series = [
        {"name": "did not fail", "values": [None if failed else seconds for seconds, failed in told]},
        {"name": "failed", "values": [seconds if failed else None for seconds, failed in told]},
    ]
    return {"times": [int(run["started_at"].timestamp()) for run in ended], "series": series, "unit": " s"}


_TITLE: Final = "Schedules"
PAGES: Final[Sequence[Page]] = (
    Page(_SCHEDULES, _schedules, _TITLE, menu=Menu.OPERATE),
    Page(f"{_SCHEDULES}/{{target}}", _one),
    RUN.page,
    CHANGE.page,
    SCHEDULE_RUNS.page,
    Page(f"{_SCHEDULE_RUNS}/{{id}}", whole_of(res.SCHEDULE_RUNS, SCHEDULE_RUNS), "Run of a schedule"),
    SOURCE_RUNS.page,
    Page(f"{_RUNS}/{{id}}", whole_of(res.RUNS, SOURCE_RUNS), "Run of a source"),
)
