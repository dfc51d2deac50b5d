"""The routes by which people do something about records; each leaves an entry in the audit."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from infra.dead_letters import Choice, State, find
from infra.errors import BadArgument, Unsafe
from producers import entities, operations
from producers.entities import Entity
from producers.held import Filter, parked
from producers.redriving import Busy, Who, discard, redrive, rehearse
from producers.remedies import STAYS_OPEN, Means, Remedy
from producers.web.admin import bodies
from producers.web.admin.bodies import ConflictAnswer, Done, LettersBody, ReleaseBody, ResolveBody, SyncBody
from producers.web.admin.listing import OWNERLESS
from producers.web.admin.lists import TAG, answered
from producers.web.admin.threads import Threads
from producers.web.problems import Problem
from producers.web.routes import KEY, TENANT, Handler, Parameter, Route, Scope
from schemas.ids import TenantId

_ENTITIES: Final[Mapping[str, Callable[..., Entity]]] = {
    "/admin/sync/person/{person_id}": entities.person,
    "/admin/sync/course/{course_id}": entities.course,
    "/admin/sync/enrolment/{person_id}/{course_id}": entities.enrolment,
}
_SYNC_ABOUT: Final = """What is wished now is issued to Moodle once more, whatever was applied. The answer
does not wait for that: see the results."""
_POST: Final = "/admin/completions/{person_id}/{course_id}/post"
_LETTERS_ABOUT: Final = "At most 1,000 in one request, the last that failed: repeat it until none is left."
_MOST_LETTERS: Final = 1_000
_ACTIONS_AT_ONCE: Final = 2
_LEFT: Final = STAYS_OPEN | {Remedy.DECIDED}


@dataclass(frozen=True, slots=True)
class Actions:
    """What people can have done by a request.

    Attributes:
        means: the hub's database, Kafka and topics.
        default: tenant whose keys decide about what is of no tenant.
        threads: in which it is done.
    """

    means: Means
    default: TenantId
    threads: Threads = field(default_factory=lambda: Threads("admin-actions", _ACTIONS_AT_ONCE))

    def routes(self) -> list[Route]:
        """Return the routes."""
        resolve, release = "Settle a conflict", "Have asked for anew what is waited for"
        again, off = "Have dead letters done after all", "Take dead letters off the list"
        dead, about = "/admin/dead-letters", _LETTERS_ABOUT
        return [
            *(self._sync_route(path, make) for path, make in _ENTITIES.items()),
            action_route(_POST, self._post, "Tell ELM of a completion once more", SyncBody),
            action_route("/admin/conflicts/resolve", self._resolve, resolve, ResolveBody, ConflictAnswer),
            action_route("/admin/parked/release", self._release, release, ReleaseBody),
            action_route(f"{dead}/redrive", self._redrive, again, LettersBody, description=about),
            action_route(f"{dead}/discard", self._discard, off, LettersBody, description=about),
        ]

    def sync(self, make: Callable[..., Entity], names: tuple[str, ...]) -> Handler:
        """Return the handler that has the entity issued once more which the address names.

        Args:
            make: makes the entity of the tenant and the parts of the address.
            names: of these parts.
        """

        async def handle(request: web.Request) -> web.StreamResponse:
            body = await bodies.read(request, SyncBody)
            parts = [request.match_info[name] for name in names]
            if any("\0" in part for part in parts):
                raise Problem(HTTPStatus.NOT_FOUND, "The hub knows nothing of that name.")
            entity = make(request[TENANT], *parts)
            by, why = request[KEY], body.why
            count = await self.threads.run(lambda: operations.sync(self.means.pool, [entity], by=by, why=why))
            return answered(Done(done=count, matched=count))

        return telling(handle)

    def _sync_route(self, path: str, make: Callable[..., Entity]) -> Route:
        names = tuple(part.strip("{}") for part in path.split("/") if part.startswith("{"))
        about = f"Sync one {path.split('/')[3]}"
        return action_route(path, self.sync(make, names), about, SyncBody, description=_SYNC_ABOUT)

    async def _post(self, request: web.Request) -> web.StreamResponse:
        body = await bodies.read(request, SyncBody)
        place = (request[TENANT], request.match_info["person_id"], request.match_info["course_id"])
        if any("\0" in part for part in place):
            raise Problem(HTTPStatus.NOT_FOUND, "The hub knows nothing of that name.")
        by, why = request[KEY], body.why
        await self.threads.run(lambda: operations.post_completion(self.means.pool, *place, by=by, why=why))
        return answered(Done(done=1, matched=1))

    async def _resolve(self, request: web.Request) -> web.StreamResponse:
        body = await bodies.read(request, ResolveBody)

        def settle() -> ConflictAnswer:
            entity = entities.entity_of(request[TENANT], body.entity)
            resolution = operations.resolution_of(body.resolution)
            conflict = operations.resolve_conflict(
                self.means.pool, entity, resolution, by=request[KEY], why=body.why, moodle_id=body.moodle_id
            )
            return ConflictAnswer(
                entity=str(entity), reason=conflict.reason, resolution=operations.word_of(resolution)
            )

        return answered(await self.threads.run(settle))

    async def _release(self, request: web.Request) -> web.StreamResponse:
        body = await bodies.read(request, ReleaseBody)
        chosen = Filter(tenant=request[TENANT], **bodies.filters_of(body))

        def release() -> Done:
            found, count = parked(self.means.pool, chosen), 0
            if not body.dry_run:
                count = operations.release(self.means.pool, found, by=request[KEY], why=body.why)
            return Done(done=count, matched=len(found), dry_run=body.dry_run)

        return answered(await self.threads.run(release))

    async def _redrive(self, request: web.Request) -> web.StreamResponse:
        body = await bodies.read(request, LettersBody)
        choice, who = self._choice(request, body), Who(request[KEY], body.why, request[TENANT])

        def again() -> Done:
            found = find(self.means.pool, choice, _MOST_LETTERS)
            if body.dry_run or not found:
                return _told(rehearse(self.means, found), dry_run=body.dry_run)
            return _told(redrive(self.means, found, who))

        return answered(await self.threads.run(again))

    async def _discard(self, request: web.Request) -> web.StreamResponse:
        body = await bodies.read(request, LettersBody)
        if not (body.dry_run or body.why.strip()):
            raise BadArgument("why: say why")
        choice, who = self._choice(request, body), Who(request[KEY], body.why, request[TENANT])

        def off() -> Done:
            found = find(self.means.pool, choice, _MOST_LETTERS)
            done = discard(self.means, found, who) if found and not body.dry_run else 0
            return Done(done=done, matched=len(found), dry_run=body.dry_run)

        return answered(await self.threads.run(off))

    def _choice(self, request: web.Request, body: LettersBody) -> Choice:
        if body.ownerless and request[TENANT] != self.default:
            raise Problem(HTTPStatus.FORBIDDEN, OWNERLESS)
        filters = bodies.filters_of(body)
        places = tuple(filters.pop("places") or ()) or None
        tenant = "" if body.ownerless else request[TENANT]
        return Choice(tenant=tenant, places=places, state=State.OPEN, **filters)


def _told(outcomes: Counter[Remedy], *, dry_run: bool = False) -> Done:
    done = sum(count for remedy, count in outcomes.items() if remedy not in _LEFT)
    named = {remedy.value: count for remedy, count in outcomes.items()}
    return Done(done=0 if dry_run else done, matched=outcomes.total(), dry_run=dry_run, outcomes=named)


def action_route(
    path: str,
    handler: Handler,
    summary: str,
    body: Any,
    answer: Any = Done,
    description: str = "",
    *,
    method: str = "POST",
    query: Sequence[Parameter] = (),
) -> Route:
    """Return the route of something that operators do; what it refuses is answered as a problem."""
    return Route(
        method,
        path,
        telling(handler),
        Scope.OPERATOR,
        summary,
        TAG,
        body=body,
        answer=answer,
        description=description,
        query=query,
    )


def telling(handler: Handler) -> Handler:
    """Return ``handler`` with what cannot be done as it was asked answered as a problem."""

    async def handle(request: web.Request) -> web.StreamResponse:
        try:
            return await handler(request)
        except (BadArgument, Unsafe) as error:
            raise bodies.refusal(error) from None
        except Busy as error:
            raise Problem(HTTPStatus.CONFLICT, str(error), headers={"Retry-After": "5"}) from None

    return handle
