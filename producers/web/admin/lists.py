"""The routes of the lists, and of what is told about one entity."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from producers.schedule_runs import close_interrupted
from producers.web.admin import listing as listings
from producers.web.admin import resources as res
from producers.web.admin.csv_export import CONTENT_TYPE, export
from producers.web.admin.listing import BY_TENANT, LIMIT, Listing
from producers.web.admin.reads import Page, Reads, Row, Wanted
from producers.web.admin.resource import Resource
from producers.web.admin.threads import Threads
from producers.web.problems import Problem
from producers.web.routes import TENANT, Route, Scope
from schemas.ids import TenantId

T = TypeVar("T")
TAG: Final = "Administration"
_READS_AT_ONCE: Final = 4
_ABOUT: Final = """Keyset-paged: follow `next` until it is null. Filters may be given several times: a row
then has one of the values. As CSV (`format=csv` or `Accept: text/csv`) all rows are sent, or the
first `limit`."""


class Desk:
    """Reads for requests, a few at a time."""

    def __init__(self, reads: Reads, default: TenantId) -> None:
        """Read by ``reads``; what is of no tenant is shown to the tenant ``default``."""
        self._reads = reads
        self.default = default
        self._threads = Threads("admin-reads", _READS_AT_ONCE)

    async def fetch(self, resource: Resource, listing: Listing, limit: int) -> Page:
        """Return a page; raises as `Reads.page`."""
        if resource is res.SCHEDULE_RUNS:  # RUNNING must not outlive its process
            await self.ask(close_interrupted, self._reads.engine)
        return await self.ask(self._reads.page, Wanted(resource, listing, limit))

    async def fetch_all(self, wanted: Sequence[Wanted]) -> list[Page]:
        """Return several pages; raises as `Reads.page`."""
        return await self.ask(self._reads.pages, wanted)

    async def ask(self, work: Callable[..., T], *arguments: Any) -> T:
        """Return what ``work`` gives in a thread."""
        return await self._threads.run(work, *arguments)

    async def within(self, work: Callable[..., T]) -> T:
        """Return what ``work`` makes of a cursor; see `Reads.within`."""
        return await self.ask(self._reads.within, work)


def list_routes(desk: Desk) -> list[Route]:
    """Return a route for each list."""
    return [list_route(desk, resource, f"/admin/{resource.name}") for resource in res.RESOURCES]


def list_route(desk: Desk, resource: Resource, path: str, fixed: Mapping[str, str] | None = None) -> Route:
    """Return the route of a list.

    Args:
        desk: reads it.
        resource: that is listed.
        path: of the route.
        fixed: filters that requests cannot change.
    """

    async def handle(request: web.Request) -> web.StreamResponse:
        asked = {name: request.query.getall(name) for name in request.query}
        for name, value in (fixed or {}).items():
            asked[name] = [*asked.get(name, ()), value]
        wanted = listings.read(resource, asked, request[TENANT], desk.default, frozenset(fixed or ()))
        if wants_csv(request):
            return await export(
                request, resource, wanted, lambda part, limit: desk.fetch(resource, part, limit)
            )
        page = await desk.fetch(resource, wanted, wanted.limit or LIMIT)
        following = None
        if page.last is not None:
            cursor = listings.encode(resource, wanted, page.last)
            following = str(request.rel_url.update_query(cursor=cursor))
        return answered({"items": page.rows, "next": following})

    query = [one for one in listings.parameters(resource) if one.name not in (fixed or {})]
    name = resource.name.replace("-", " ")
    return Route(
        "GET",
        path,
        handle,
        Scope.READ,
        f"List {name}",
        TAG,
        answer=resource.page,
        description=f"{resource.about}. {_ABOUT}",
        query=query,
        exports=True,
    )


def wants_csv(request: web.Request) -> bool:
    """Tell whether ``request`` asks for CSV."""
    accepts = request.headers.get("Accept", "")
    wanted = "csv" if CONTENT_TYPE in accepts and "json" not in accepts else "json"
    return request.query.get("format", wanted) == "csv"


def answered(value: Any, status: int = HTTPStatus.OK) -> web.Response:
    """Return ``value`` as a JSON answer."""
    return web.Response(status=status, body=msgspec.json.encode(value), content_type="application/json")


@dataclass(frozen=True)
class Detail:
    """What is told about one entity.

    Attributes:
        name: in the address.
        key: columns that name the entity in the address.
        sections: lists by name, of the rows with that key.
    """

    name: str
    key: tuple[str, ...]
    sections: Mapping[str, Resource] = field(default_factory=dict)

    @cached_property
    def answer(self) -> type[msgspec.Struct]:
        """The type of the answer, for the documentation."""
        fields: list[tuple[str, Any]] = [(name, list[one.row]) for name, one in self.sections.items()]  # type: ignore[name-defined]  # types made for the documentation
        return msgspec.defstruct(f"{self.name.capitalize()}Detail", fields)


DETAILS: Final = (
    Detail(
        "people",
        ("person_id",),
        {
            "records": res.PEOPLE,
            "accounts": res.ACCOUNTS,
            "enrolments": res.ENROLMENTS,
            "parked": res.PARKED,
            "conflicts": res.CONFLICTS,
            "refused": res.REFUSED,
            "completions": res.COMPLETIONS,
        },
    ),
    Detail(
        "courses",
        ("course_id",),
        {
            "records": res.COURSES,
            "parked": res.PARKED,
            "conflicts": res.CONFLICTS,
            "refused": res.REFUSED,
        },
    ),
    Detail(
        "enrolments",
        ("person_id", "course_id"),
        {
            "records": res.ENROLMENTS,
            "results": res.RESULTS,
            "parked": res.PARKED,
            "conflicts": res.CONFLICTS,
            "refused": res.REFUSED,
            "completions": res.COMPLETIONS,
            "callbacks": res.CALLBACKS,
            "callback_results": res.CALLBACK_RESULTS,
        },
    ),
)
SINGLES: Final = (
    res.COMMANDS,
    res.RESULTS,
    res.RUNS,
    res.SCHEDULE_RUNS,
    res.DEAD_LETTERS,
    res.CALLS,
    res.AUDIT,
    res.DIRECTIVES,
    res.INVALID,
    res.INCIDENTS,
)
"""What can be asked for one by one."""


def detail_routes(desk: Desk) -> list[Route]:
    """Return the routes of the entities."""
    return [*(_detail_route(desk, one) for one in DETAILS), *(_single_route(desk, one) for one in SINGLES)]


async def whole(desk: Desk, detail: Detail, request: web.Request) -> dict[str, Sequence[Row]]:
    """Return the lists of ``detail`` about the entity that the address names.

    Raises:
        Problem: the hub knows nothing of that name (404).
    """
    wanted = [Wanted(one, _of_key(one, detail.key, request), LIMIT) for one in detail.sections.values()]
    pages = await desk.fetch_all(wanted)
    if not any(page.rows for page in pages):
        raise unknown()
    return {name: page.rows for name, page in zip(detail.sections, pages, strict=True)}


async def single(desk: Desk, resource: Resource, request: web.Request) -> Row:
    """Return the row of ``resource`` that the address names.

    Raises:
        Problem: the hub knows nothing of that name (404).
    """
    page = await desk.fetch(resource, _of_key(resource, resource.key, request), 1)
    if not page.rows and resource.ownerless and request[TENANT] == desk.default:
        page = await desk.fetch(resource, _of_key(resource, resource.key, request, owned=False), 1)
    if not page.rows:
        raise unknown()
    return page.rows[0]


def _detail_route(desk: Desk, detail: Detail) -> Route:
    async def handle(request: web.Request) -> web.StreamResponse:
        return answered(await whole(desk, detail, request))

    return Route(
        "GET",
        f"/admin/{detail.name}/" + "/".join(f"{{{name}}}" for name in detail.key),
        handle,
        Scope.READ,
        f"All about one of the {detail.name}",
        TAG,
        answer=detail.answer,
        description=f"At most {LIMIT} rows of each list.",
        query=(BY_TENANT,),
    )


def _single_route(desk: Desk, resource: Resource) -> Route:
    async def handle(request: web.Request) -> web.StreamResponse:
        return answered(await single(desk, resource, request))

    return Route(
        "GET",
        f"/admin/{resource.name}/{{{resource.key[0]}}}",
        handle,
        Scope.READ,
        f"One of the {resource.name.replace('-', ' ')}",
        TAG,
        answer=resource.row,
        description=f"{resource.about}.",
        query=(BY_TENANT,),
    )


def _of_key(resource: Resource, names: Sequence[str], request: web.Request, *, owned: bool = True) -> Listing:
    """Return the list of what has the key that the address names.

    Raises:
        Problem: there can be no such key (404).
    """
    try:
        filters = tuple(
            (column, (listings.value_of(column.kind, request.match_info[column.name]),))
            for column in (resource.by_name[name] for name in names)
        )
    except ValueError:
        raise unknown() from None
    return Listing(request[TENANT] if owned else None, filters, sort=resource.usual_sort)


def unknown() -> Problem:
    """Return the answer to a name that the hub does not know."""
    return Problem(HTTPStatus.NOT_FOUND, "The hub knows nothing of that name.")
