"""The flow: the parts of the hub as a picture, what is before each and how fast it goes; one part whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import web

from producers.web.admin.flow import Arrow, PartAnswer
from producers.web.dashboard.flow_picture import WIDTH, Box, Node, drawn
from producers.web.dashboard.page import HUB, Menu, Page, render
from producers.web.problems import Problem

_PATH: Final = "/ui/flow"
_COLUMNS: Final[Mapping[str, int]] = {
    "relay": 0,
    "clock": 0,
    "moodle-source": 0,
    "references": 1,
    "people": 1,
    "courses": 2,
    "completions": 2,
    "moodle-sink": 3,
    "elm-sink": 3,
}
"""Where the roles stand in the picture, from left to right; those of several sites below each other."""
_BEHIND: Final = 1_000
"""So many offsets before a part are worth a look."""
_SEE: Final[Mapping[str, tuple[tuple[str, str], ...]]] = {
    "relay": (("Runs of the sources", "/ui/runs"), ("Invalid records", "/ui/invalid-records")),
    "moodle-source": (("Completions", "/ui/completions"), ("Calls", "/ui/calls?role=moodle-source")),
    "people": (("People", "/ui/people"), ("Accounts", "/ui/accounts"), ("Parked", "/ui/parked")),
    "courses": (("Courses", "/ui/courses"), ("Enrolments", "/ui/enrolments"), ("Commands", "/ui/commands")),
    "completions": (("Completions", "/ui/completions"), ("Callbacks", "/ui/callbacks")),
    "moodle-sink": (("Results", "/ui/results"), ("Calls", "/ui/calls?system=MOODLE")),
    "elm-sink": (("ELM's answers", "/ui/callback-results"), ("Calls", "/ui/calls?system=ELM")),
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A part in the picture.

    Attributes:
        box: where.
        lag: offsets before it; none: not known, or it reads nothing.
    """

    box: Box
    lag: int | None

    @property
    def tone(self) -> str:
        """How it is doing."""
        return "plain" if self.lag is None else "warn" if self.lag >= _BEHIND else "good"

    @property
    def role(self) -> str:
        """Its name, without the Moodle site."""
        return role_of(self.box.name)

    @property
    def site(self) -> str:
        """The Moodle site, if it is of one."""
        return self.box.name.partition(".")[2]


async def _show(request: web.Request) -> web.StreamResponse:
    found = await request.app[HUB].admin.flow.answer()
    flows, lags = between(found.parts), {part.name: lag_of(part) for part in found.parts}
    picture = drawn([Node(name, _COLUMNS.get(role_of(name), 1)) for name in lags], flows)
    return render(
        request,
        "flow.html",
        flow=found,
        picture=picture,
        boxes=[Shown(box, lags[box.name]) for box in picture.boxes],
        lines=[(line, flows[line.begin, line.end]) for line in picture.lines],
        lags=lags,
        label_of=label_of,
        wide=WIDTH,
    )


async def _one(request: web.Request) -> web.StreamResponse:
    found = await request.app[HUB].admin.flow.answer()
    name = request.match_info["part"]
    part = next((one for one in found.parts if one.name == name), None)
    if part is None:
        raise Problem(HTTPStatus.NOT_FOUND, "There is no such part.")
    see, trail = _SEE.get(role_of(name), ()), ((_TITLE, _PATH),)
    return render(
        request, "flow_part.html", title=name, part=part, trouble=found.trouble, see=see, trail=trail
    )


def role_of(name: str) -> str:
    """Return the role of a part, without the Moodle site."""
    return name.partition(".")[0]


def lag_of(part: PartAnswer) -> int | None:
    """Return how many offsets ``part`` has before it; none if that is not known."""
    lags = [one.lag for one in part.reads if one.lag is not None]
    return sum(lags) if lags else None


def between(parts: Sequence[PartAnswer]) -> dict[tuple[str, str], list[Arrow]]:
    """Return what parts read that others write, by the names of the one that writes and the reader."""
    found = {}
    for writer in parts:
        written = {one.topic for one in writer.writes}
        for reader in parts:
            topics = [one for one in reader.reads if one.topic in written]
            if topics and reader is not writer:
                found[writer.name, reader.name] = topics
    return found


def label_of(topics: Sequence[Arrow]) -> str:
    """Return how fast it goes and how much waits, such as ``3.5/s · 12 wait``; empty if nothing moves."""
    known = [one.per_second for one in topics if one.per_second is not None]
    waits = sum(one.lag or 0 for one in topics)
    speed = f"{sum(known):.3g}/s" if known and sum(known) else ""
    return " · ".join(filter(None, [speed, f"{waits:,} wait" if waits else ""]))


_TITLE: Final = "Flow"
PAGES: Final[Sequence[Page]] = (
    Page(_PATH, _show, _TITLE, menu=Menu.WATCH),
    Page(f"{_PATH}/{{part}}", _one, "Part"),
)
