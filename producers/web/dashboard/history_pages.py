"""Rehearsals and replays; what reconciliations found, run by run."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

from aiohttp import web

from infra.turns import Work
from producers.figures import DRIFTED
from producers.web.admin import listing as listings
from producers.web.admin import resources as res
from producers.web.admin.lists import single
from producers.web.admin.reads import Row
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.lists import Cell, ListPage
from producers.web.dashboard.page import HUB, SESSION, Menu, Page, may, render
from producers.web.dashboard.runs_pages import RUN
from producers.web.routes import TENANT

_REPLAYS: Final = "/ui/replays"
_REHEARSALS: Final = "/ui/rehearsals"
_RECONCILE: Final = "/ui/reconcile"
_HISTORY: Final = 100
_KINDS: Final = ("MISSING", "EXTRA", "DIFFERS", "SUSPENDED_ELSEWHERE", "ORPHANED", "DUPLICATE")
_SUBJECTS: Final = ("USER", "COURSE", "ENROLMENT")
REPLAYS: Final = ListPage(
    _REPLAYS,
    "Replays",
    res.REPLAYS,
    (
        Cell("made_at", "When", link=f"{_REPLAYS}/{{replay_id}}"),
        Cell("state", badge=True),
        Cell("done"),
        Cell("total", "Of"),
        Cell("rate", "A second"),
        Cell("made_by", "Who", code=True),
        Cell("why"),
    ),
    about="Replays that are applied: what today's rules make of the past, asked for once more.",
    choices={"state": ("OPEN", "PAUSED", "DONE")},
    template="replays.html",
    empty="Nothing was replayed yet.",
    menu=Menu.OPERATE,
)
REHEARSALS: Final = ListPage(
    _REHEARSALS,
    "Rehearsals",
    res.REHEARSALS,
    (
        Cell("made_at", "When", link=f"{_REHEARSALS}/{{id}}"),
        Cell("differences"),
        Cell("chosen", "Of what"),
        Cell("made_by", "Who", code=True),
        Cell("why"),
    ),
    about="What today's rules would make of the past otherwise; nothing of it was done.",
    template="replays.html",
    empty="No rehearsal was kept yet.",
    menu=Menu.OPERATE,
)
PAUSE: Final = Deed(
    f"{_REPLAYS}/{{replay_id}}/pause",
    "Let it rest",
    "Let it rest",
    _REPLAYS,
    "/admin/replays/{replay_id}/pause",
    about="It rests after what it is just doing. What was done stays done.",
    told=lambda _: "The replay rests.",
)


async def _replay(request: web.Request) -> web.StreamResponse:
    row = await single(request.app[HUB].admin.desk, res.REPLAYS, request)
    is_mine = may(request[SESSION], PAUSE.scope) and row["state"] == "OPEN"
    trail = ((REPLAYS.title, REPLAYS.path),)
    pause = PAUSE if is_mine else None
    return render(request, "replay.html", row=row, columns=res.REPLAYS.columns, trail=trail, pause=pause)


async def _rehearsal(request: web.Request) -> web.StreamResponse:
    row = await single(request.app[HUB].admin.desk, res.REHEARSALS, request)
    report = row["report"]
    verdicts = list(next(iter(report["counts"].values()), {}))
    return render(
        request,
        "rehearsal.html",
        row=row,
        columns=[one for one in res.REHEARSALS.columns if one.name != "report"],
        counts=report["counts"],
        verdicts=verdicts,
        sample=[(one, _address(one)) for one in report["sample"]],
        trail=((REHEARSALS.title, _REHEARSALS),),
    )


def _address(difference: Mapping[str, Any]) -> str:
    """Return the page of what differs."""
    names = [difference[name] for name in ("person_id", "course_id") if difference[name]]
    kind = {"person": "people", "course": "courses"}.get(difference["kind"], "enrolments")
    return "/".join(["/ui", kind, *(quote(name, safe="") for name in names)])


@dataclass(frozen=True, slots=True)
class Compared:
    """What one reconciliation found.

    Attributes:
        run_id: of the run.
        site: the Moodle site.
        at: when it ended.
        counts: differences by subject and kind.
        compared: accounts, courses and enrolments that were compared.
    """

    run_id: int
    site: str
    at: datetime
    counts: Mapping[tuple[str, str], int]
    compared: int

    @property
    def total(self) -> int:
        """All differences."""
        return sum(self.counts.values())


async def _reconcile(request: web.Request) -> web.StreamResponse:
    hub = request.app[HUB]
    asked = {"target": [Work.RECONCILE.value], "state": ["SUCCESS"]}
    wanted = listings.read(res.SCHEDULE_RUNS, asked, request[TENANT], hub.admin.desk.default)
    page = await hub.admin.desk.fetch(res.SCHEDULE_RUNS, wanted, _HISTORY)
    found = [compared(row) for row in page.rows]
    plans = [
        one for one in await hub.admin.schedules.items(request[TENANT]) if one.target == Work.RECONCILE.value
    ]
    return render(
        request,
        "reconcile.html",
        latest=latest(found),
        chart=chart(found),
        runs=found[:20],
        subjects=_SUBJECTS,
        kinds=_KINDS,
        plans=plans,
        run=RUN if may(request[SESSION], RUN.scope) else None,
    )


def compared(row: Row) -> Compared:
    """Return what the run ``row`` found; see `infra.cli.reconciling`."""
    counts = {
        _named(name): count for name, count in row["counts"].items() if name.startswith(DRIFTED) and count
    }
    return Compared(row["id"], row["site"], row["finished_at"], counts, row["counts"].get("compared", 0))


def _named(name: str) -> tuple[str, str]:
    subject, _, kind = name.removeprefix(DRIFTED).upper().partition("_")
    return subject, kind


def latest(found: Iterable[Compared]) -> list[Compared]:
    """Return the newest of each site; ``found`` has the newest first."""
    newest: dict[str, Compared] = {}
    for one in found:
        newest.setdefault(one.site, one)
    return [newest[site] for site in sorted(newest)]


def chart(found: Sequence[Compared]) -> dict[str, Any] | None:
    """Return how many differences there were, by site, as data for `charts.js`; none for one run."""
    if len(found) <= 1:
        return None
    runs, sites = list(reversed(found)), sorted({one.site for one in found})
    series = [
        {"name": site, "values": [one.total if one.site == site else None for one in runs]} for site in sites
    ]
    return {"times": [int(one.at.timestamp()) for one in runs], "series": series}


PAGES: Final[Sequence[Page]] = (
    Page(_RECONCILE, _reconcile, "Reconciliation", menu=Menu.OPERATE),
    REHEARSALS.page,
    Page(f"{_REHEARSALS}/{{id}}", _rehearsal, "Rehearsal"),
    REPLAYS.page,
    Page(f"{_REPLAYS}/{{replay_id}}", _replay, "Replay"),
    PAUSE.page,
)
