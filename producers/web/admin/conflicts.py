"""The route that tells one conflict whole: both sides of it, and what each resolution does."""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import datetime
from http import HTTPStatus
from typing import Any

import msgspec
from aiohttp import web
from sqlalchemy import Engine

from infra.errors import BadArgument, HubError
from producers import sides
from producers.entities import entity_of
from producers.held import Conflict, conflict_of
from producers.operations import word_of
from producers.sides import Side
from producers.web.admin.listing import BY_TENANT
from producers.web.admin.lists import TAG, answered, unknown
from producers.web.admin.threads import Threads
from producers.web.problems import Problem
from producers.web.routes import TENANT, Parameter, Route, Scope
from schemas.ids import TenantId
from schemas.reasons import EXPLANATIONS

LookUp = Callable[[Conflict, Sequence[Side]], Sequence[Side]]
"""Reads what Moodle has now, given a conflict and what the sources say; blocks."""
_LIVE = Parameter("moodle", {"type": "boolean"}, "`true`: ask Moodle what it has now; else `moodle` is null.")
_READS_AT_ONCE = 2
_NO_MOODLE = (
    "Moodle could not be asked. The hub tells what it knows; `hub test-connection` tells what is wrong."
)


class SideAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """What one side says, by the names of the fields in Moodle."""

    name: str
    fields: dict[str, Any]


class KnownAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """An account or course that the conflict names, as the hub has seen it; see `producers.sides.Known`."""

    moodle_id: int
    role: str
    owner: str | None
    target: str | None
    suspended: bool | None
    last_access: datetime | None
    observed_at: datetime | None


class Way(msgspec.Struct, frozen=True, kw_only=True):
    """A resolution that settles the conflict, and what it does."""

    resolution: str
    effect: str
    needs_id: bool
    """It must be told which account or course is meant."""


class WholeConflict(msgspec.Struct, frozen=True, kw_only=True):
    """A conflict, both sides of it, and the ways out."""

    entity: str
    subject: str
    person_id: str | None
    course_id: str | None
    reason: str
    explanation: str
    state: str
    since: datetime
    sources: list[SideAnswer]
    known: list[KnownAnswer]
    moodle: list[SideAnswer] | None
    """What Moodle has now, where it was asked."""
    ways: list[Way]


@dataclass(frozen=True, slots=True)
class Conflicts:
    """Conflicts as people look at them.

    Attributes:
        pool: of the hub's database.
        look_up: asks Moodle; none: it cannot be asked.
        threads: in which it is read; of its own, as Moodle may keep one waiting.
    """

    pool: Engine
    look_up: LookUp | None = None
    threads: Threads = field(default_factory=lambda: Threads("admin-conflicts", _READS_AT_ONCE))

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "GET",
                "/admin/conflicts/{entity}",
                self._show,
                Scope.READ,
                "One conflict, both sides of it",
                TAG,
                answer=WholeConflict,
                description="The entity is `person/ID` or `course/ID`, with `/` as `%2F`.",
                query=(BY_TENANT, _LIVE),
            )
        ]

    async def _show(self, request: web.Request) -> web.StreamResponse:
        live = request.query.get("moodle") == "true"
        return answered(await self.whole(request[TENANT], request.match_info["entity"], live=live))

    async def whole(self, tenant: TenantId, entity: str, *, live: bool) -> WholeConflict:
        """Return the conflict of ``entity``, such as ``person/P1``.

        Args:
            tenant: whose.
            entity: as text.
            live: ask Moodle, too.

        Raises:
            Problem: it is in no conflict, or ``entity`` names nothing (404); Moodle cannot be asked (503).
        """
        if "\0" in entity:
            raise unknown()
        try:
            return await self.threads.run(self._whole, tenant, entity, live)
        except BadArgument as error:  # in an address what names nothing is not there
            raise Problem(HTTPStatus.NOT_FOUND, str(error)) from None

    def _whole(self, tenant: TenantId, entity: str, live: bool) -> WholeConflict:
        conflict = conflict_of(self.pool, entity_of(tenant, entity))
        ours = sides.of_sources(self.pool, conflict)
        theirs = self._asked(conflict, ours) if live else None
        return WholeConflict(
            entity=str(conflict.entity),
            subject=conflict.subject,
            person_id=conflict.person_id,
            course_id=conflict.course_id,
            reason=conflict.reason,
            explanation=EXPLANATIONS[conflict.reason],
            state=conflict.state,
            since=conflict.since,
            sources=_told(ours),
            known=[KnownAnswer(**asdict(one)) for one in sides.known(self.pool, conflict)],
            moodle=None if theirs is None else _told(theirs),
            ways=_ways(conflict),
        )

    def _asked(self, conflict: Conflict, ours: Sequence[Side]) -> Sequence[Side]:
        if self.look_up is None:
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, _NO_MOODLE)
        try:
            return self.look_up(conflict, ours)
        except HubError:  # `hub test-connection` tells what is wrong: that may hold an address
            raise Problem(HTTPStatus.SERVICE_UNAVAILABLE, _NO_MOODLE) from None


def _told(found: Sequence[Side]) -> list[SideAnswer]:
    return [SideAnswer(name=one.name, fields=dict(one.fields)) for one in found]


def _ways(conflict: Conflict) -> list[Way]:
    return [
        Way(
            resolution=word_of(one),
            effect=sides.effect(conflict, one),
            needs_id=sides.needs_id(conflict, one),
        )
        for one in conflict.admitted
    ]
