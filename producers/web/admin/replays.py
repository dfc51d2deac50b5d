"""The route by which people let a replay rest."""

from dataclasses import dataclass

import msgspec
from aiohttp import web
from sqlalchemy import Engine

from producers import replays
from producers.entities import NotFound
from producers.web.admin import bodies
from producers.web.admin.actions import action_route
from producers.web.admin.bodies import Body
from producers.web.admin.listing import BY_TENANT
from producers.web.admin.lists import answered
from producers.web.admin.threads import Threads
from producers.web.routes import KEY, TENANT, Route
from schemas.ids import TenantId

_ABOUT = "After what it is just doing. `hub replay resume` goes on."


class ReplayAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One replay."""

    replay_id: str
    state: str


@dataclass(frozen=True, slots=True)
class Replays:
    """Replays as people let them rest.

    Attributes:
        pool: of the hub's database.
        threads: in which that is done.
    """

    pool: Engine
    threads: Threads

    def routes(self) -> list[Route]:
        """Return the routes."""
        path, about = "/admin/replays/{replay_id}/pause", _ABOUT
        return [
            action_route(
                path, self._pause, "Let a replay rest", Body, ReplayAnswer, about, query=(BY_TENANT,)
            )
        ]

    async def _pause(self, request: web.Request) -> web.StreamResponse:
        body, replay_id = await bodies.read(request, Body), request.match_info["replay_id"]
        tenant, by = request[TENANT], request[KEY]
        return answered(await self.threads.run(self._rest, tenant, replay_id, by, body.why))

    def _rest(self, tenant: TenantId, replay_id: str, by: str, why: str) -> ReplayAnswer:
        if "\0" in replay_id or replays.find(self.pool, replay_id).tenant != tenant:
            raise NotFound("replay: there is none of this id")
        replays.pause(self.pool, replay_id, by, why)
        return ReplayAnswer(replay_id=replay_id, state=replays.ReplayState.PAUSED)
