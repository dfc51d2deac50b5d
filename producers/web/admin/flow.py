"""The route that tells how records flow: the parts of the hub, what they read and write, how far and fast."""

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

import msgspec
from aiohttp import web

from infra.errors import RetryLater
from producers.web.admin.listing import BY_TENANT
from producers.web.admin.lists import TAG, Desk, answered
from producers.web.routes import Route, Scope

_FRESH_SECONDS: Final = 3.0
_SPAN_SECONDS: Final = 60.0
_ABOUT: Final = """Of all tenants together. `lag` is how many offsets a part has still before it, `per_second`
how fast a topic grew within the last minute; both count transaction markers. The first answer after a while
has no speed."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the hub through which records flow.

    Attributes:
        name: of the role, such as ``people``.
        about: what it does, in a sentence.
        reads: topics, as in the cluster.
        writes: topics, as in the cluster.
        group: its consumer group; empty: it reads nothing.
    """

    name: str
    about: str
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    group: str = ""


@dataclass(frozen=True, slots=True)
class Sighting:
    """How topics and groups stood at a moment.

    Attributes:
        ends: offsets of each topic, all partitions together.
        lags: offsets that each group has before it, by group and topic.
    """

    ends: Mapping[str, int]
    lags: Mapping[tuple[str, str], int]


class Arrow(msgspec.Struct, frozen=True, kw_only=True):
    """A topic that a part reads or writes."""

    topic: str
    lag: int | None
    """Of what is read; null: not known."""
    per_second: float | None


class PartAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A part of the hub."""

    name: str
    about: str
    reads: list[Arrow]
    writes: list[Arrow]


class FlowAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """How records flow."""

    at: datetime
    parts: list[PartAnswer]
    trouble: str = ""
    """Why nobody can tell how far they are; empty: it is told."""


_UNKNOWN: Final[tuple[Sighting, Mapping[str, float]]] = (Sighting({}, {}), {})


@dataclass
class Flow:
    """How records flow, for requests.

    Attributes:
        desk: its threads are used.
        parts: of the hub.
        look: asks the brokers; blocks for some seconds at most, and raises `RetryLater` if they are away.
    """

    desk: Desk
    parts: Sequence[Part] = ()
    look: Callable[[], Sighting] = lambda: Sighting({}, {})
    _seen: deque[tuple[float, Sighting]] = field(default_factory=deque)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "GET",
                "/admin/flow",
                self._show,
                Scope.READ,
                "How records flow",
                TAG,
                answer=FlowAnswer,
                description=_ABOUT,
                query=(BY_TENANT,),
            )
        ]

    async def _show(self, _: web.Request) -> web.StreamResponse:
        return answered(await self.answer())

    async def answer(self) -> FlowAnswer:
        """Return how records flow; with the brokers away, how they would."""
        found, trouble = _UNKNOWN, ""
        try:
            found = await self.desk.ask(self._glance)
        except RetryLater as error:
            trouble = str(error)
        parts = [told(part, *found) for part in self.parts]
        return FlowAnswer(at=datetime.now(UTC), parts=parts, trouble=trouble)

    def _glance(self) -> tuple[Sighting, Mapping[str, float]]:
        """Look again unless somebody just did; return that, and how fast topics grow."""
        with self._lock:
            if not self._seen or time.monotonic() - self._seen[-1][0] > _FRESH_SECONDS:
                sighting = self.look()
                self._seen.append((time.monotonic(), sighting))
            while self._seen[-1][0] - self._seen[0][0] > _SPAN_SECONDS:
                self._seen.popleft()
            (begun, before), (ended, now) = self._seen[0], self._seen[-1]
        return now, speeds(before, now, ended - begun)


def speeds(before: Sighting, now: Sighting, seconds: float) -> dict[str, float]:
    """Return how many offsets a second topics grew between two sightings; nothing where they are one."""
    if seconds <= 0:
        return {}
    known = now.ends.keys() & before.ends.keys()
    # A topic that was made anew begins at 0.
    return {topic: round(max(0, now.ends[topic] - before.ends[topic]) / seconds, 2) for topic in known}


def told(part: Part, now: Sighting, speed: Mapping[str, float]) -> PartAnswer:
    """Return ``part`` with how far it is and how fast its topics grow."""
    reads = [
        Arrow(topic=topic, lag=now.lags.get((part.group, topic)), per_second=speed.get(topic))
        for topic in part.reads
    ]
    writes = [Arrow(topic=topic, lag=None, per_second=speed.get(topic)) for topic in part.writes]
    return PartAnswer(name=part.name, about=part.about, reads=reads, writes=writes)
