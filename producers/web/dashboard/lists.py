"""Pages that list: a resource of the admin API as a table with filters, orders, paging and CSV."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from aiohttp import web

from producers.web.admin import listing as listings
from producers.web.admin.csv_export import export
from producers.web.admin.lists import wants_csv
from producers.web.admin.reads import Row
from producers.web.admin.resource import Kind, Resource
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.page import HUB, Menu, Page, may, render
from producers.web.dashboard.page import SESSION as SESSION_KEY
from producers.web.dashboard.shown import words
from producers.web.routes import TENANT, Scope

LIMITS: Final = (25, 50, 100, 250)
LIMIT: Final = 50
_NAME: Final = re.compile(r"\{(\w+)\}")
_NOT_FILTERS: Final = frozenset({"cursor", "sort", "limit", "format", "tenant"})


@dataclass(frozen=True, slots=True)
class Cell:
    """One column of the table.

    Attributes:
        name: of the column of the resource.
        title: above it; made of the name if empty.
        link: address that its value leads to, with columns in braces, such as ``/ui/people/{person_id}``.
        badge: shown as a state.
        code: shown as a technical name.
    """

    name: str
    title: str = ""
    link: str = ""
    badge: bool = False
    code: bool = False

    @property
    def heading(self) -> str:
        """What stands above it."""
        return self.title or words(self.name)


@dataclass(frozen=True)
class ListPage:
    """A page that lists.

    Attributes:
        path: of the page.
        title: of the page.
        resource: that it lists.
        cells: columns of the table, in their order.
        about: a sentence below the heading.
        choices: values to choose from, by filter; other filters are typed.
        filters: those that are offered; all of the resource if left out.
        deeds: what can be done about rows; the template shows them for those who may.
        template: that shows it.
        empty: what is said if there is nothing.
        menu: part of the menu.
        scope: that its reader needs.
    """

    path: str
    title: str
    resource: Resource
    cells: Sequence[Cell]
    about: str = ""
    choices: Mapping[str, Sequence[str]] = field(default_factory=dict)
    filters: Sequence[str] | None = None
    deeds: Mapping[str, Deed] = field(default_factory=dict)
    template: str = "list.html"
    empty: str = "Nothing here matches."
    menu: Menu | None = None
    scope: Scope = Scope.READ

    @property
    def page(self) -> Page:
        """The page, for the table of pages."""
        return Page(self.path, self._show, self.title, self.scope, menu=self.menu)

    async def _show(self, request: web.Request) -> web.StreamResponse:
        hub, asked = request.app[HUB], asked_of(request)
        wanted = listings.read(self.resource, asked, request[TENANT], hub.admin.desk.default)
        if wants_csv(request):
            return await export(
                request,
                self.resource,
                wanted,
                lambda part, limit: hub.admin.desk.fetch(self.resource, part, limit),
            )
        page = await hub.admin.desk.fetch(self.resource, wanted, wanted.limit or LIMIT)
        cursor = listings.encode(self.resource, wanted, page.last) if page.last else ""
        ownerless = self.resource.ownerless and request[TENANT] == hub.admin.desk.default
        view = View(self, request.path, asked, page.rows, cursor, ownerless)
        return render(request, self.template, view=view, deeds=self.deeds_of(request))

    def deeds_of(self, request: web.Request) -> dict[str, Deed]:
        """Return what who asks may do, by name."""
        session = request[SESSION_KEY]
        return {name: deed for name, deed in self.deeds.items() if may(session, deed.scope)}


def asked_of(request: web.Request) -> dict[str, list[str]]:
    """Return the query of ``request`` without fields that were left empty, which forms send too."""
    found = {name: [value for value in request.query.getall(name) if value] for name in request.query}
    return {name: values for name, values in found.items() if values and name != "tenant"}


@dataclass(frozen=True, slots=True)
class Field:
    """One field of the form of filters.

    Attributes:
        name: of the parameter.
        title: before it.
        kind: ``text``, ``moment``, ``flag`` or ``choice``.
        value: what is asked for now.
        choices: of ``choice``.
    """

    name: str
    title: str
    kind: str
    value: str
    choices: Sequence[str] = ()


@dataclass(frozen=True)
class View:
    """A list as the templates show it.

    Attributes:
        spec: of the page.
        path: of the page.
        asked: the query.
        rows: of this page of the list.
        cursor: where the next page begins; empty: there is none.
        ownerless: rows of no tenant can be asked for.
    """

    spec: ListPage
    path: str
    asked: Mapping[str, Sequence[str]]
    rows: Sequence[Row]
    cursor: str
    ownerless: bool = False

    @property
    def next(self) -> str:
        """The address of the next page, or an empty text."""
        return self.address(cursor=self.cursor) if self.cursor else ""

    @property
    def first(self) -> str:
        """The address of the first page, or an empty text on that one."""
        return self.address() if "cursor" in self.asked else ""

    @property
    def csv(self) -> str:
        """The address of all rows as CSV."""
        return self.address(format="csv", limit="")

    @property
    def sort(self) -> str:
        """The order of the rows."""
        return self.asked.get("sort", [self.spec.resource.usual_sort])[0]

    @property
    def limit(self) -> int:
        """Most rows of a page."""
        return int(self.asked.get("limit", [str(LIMIT)])[0])

    @property
    def limits(self) -> Sequence[int]:
        """What people can choose of."""
        return sorted({*LIMITS, self.limit})

    @property
    def filtering(self) -> Mapping[str, Sequence[str]]:
        """The filters that hold."""
        return {name: values for name, values in self.asked.items() if name not in _NOT_FILTERS}

    def address(self, **changed: str) -> str:
        """Return the address of the first page of this list with some parameters changed; empty: left out."""
        query = {
            name: list(values) for name, values in self.asked.items() if name not in ("cursor", "format")
        }
        query |= {name: [value] for name, value in changed.items()}
        text = urlencode({name: values for name, values in query.items() if any(values)}, doseq=True)
        return f"{self.path}?{text}" if text else self.path

    def sort_link(self, name: str) -> str:
        """Return the address of the list ordered by a column, the other way round if it is so already."""
        up, down = name, f"-{name}"
        offered = self.spec.resource.sorts
        wished = up if self.sort == down or down not in offered else down
        return self.address(sort=wished) if wished in offered else ""

    def direction(self, name: str) -> str:
        """Return how the rows are ordered by a column: ``ascending``, ``descending`` or not at all."""
        return {name: "ascending", f"-{name}": "descending"}.get(self.sort, "")

    def link(self, cell: Cell, row: Row) -> str:
        """Return where the value of ``cell`` leads to, or an empty text."""
        return linked(cell.link, row) if cell.link and row[cell.name] not in (None, "") else ""

    @property
    def numbers(self) -> frozenset[str]:
        """The columns that hold numbers."""
        return frozenset(one.name for one in self.spec.resource.columns if one.kind is Kind.INTEGER)

    @property
    def fields(self) -> list[Field]:
        """The fields of the form of filters."""
        resource = self.spec.resource
        named = resource.filters if self.spec.filters is None else self.spec.filters
        found = [Field("q", "Begins with", "text", self._asked("q"))] if resource.search else []
        found += [self._field(name) for name in named]
        found += [
            Field(f"has_{name}", f"Has {words(name).lower()}", "flag", self._asked(f"has_{name}"))
            for name in resource.presence
        ]
        if self.ownerless:
            found.append(Field("ownerless", "Of no tenant", "flag", self._asked("ownerless")))
        if resource.moment:
            title = self._title(resource.moment)
            found += [
                Field("since", f"{title} from", "moment", self._asked("since")),
                Field("until", f"{title} before", "moment", self._asked("until")),
            ]
        return found

    def _field(self, name: str) -> Field:
        choices = self.spec.choices.get(name, ())
        is_flag = self.spec.resource.by_name[name].kind is Kind.BOOLEAN
        kind = "flag" if is_flag else "choice" if choices else "text"
        return Field(name, self._title(name), kind, self._asked(name), choices)

    def _title(self, name: str) -> str:
        """Return what the table calls a column, or else its name in words."""
        return next((cell.heading for cell in self.spec.cells if cell.name == name), words(name))

    def _asked(self, name: str) -> str:
        return next(iter(self.asked.get(name, ())), "")


def linked(link: str, row: Mapping[str, Any]) -> str:
    """Return the address ``link`` with columns of ``row`` in place of their names in braces."""
    return _NAME.sub(lambda name: quote(str(row[name[1]]), safe=""), link)
