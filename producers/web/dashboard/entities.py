"""The page of one entity: what the admin API tells about it, its story, and what can be done about it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from producers.entities import Entity
from producers.web.admin import story
from producers.web.admin.lists import Detail, whole
from producers.web.admin.reads import Row
from producers.web.admin.resource import Resource
from producers.web.dashboard import telling
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.lists import Cell, linked
from producers.web.dashboard.page import HUB, SESSION, Page, may, render
from producers.web.routes import TENANT

_EVENTS = 50


@dataclass(frozen=True)
class Part:
    """One list on the page of an entity.

    Attributes:
        name: as in the detail of the admin API.
        title: above it.
        cells: columns of the table.
        always: shown even if it is empty.
        address: makes the address that the last column's button leads to.
        button: its words.
    """

    name: str
    title: str
    cells: Sequence[Cell]
    always: bool = False
    address: Callable[[Row], str] | None = None
    button: str = ""


@dataclass(frozen=True)
class Section:
    """A list on the page of an entity, as the template shows it.

    Attributes:
        part: what it is.
        resource: whose rows these are.
        rows: to be shown.
    """

    part: Part
    resource: Resource
    rows: Sequence[Row]

    def link(self, cell: Cell, row: Row) -> str:
        """Return where the value of ``cell`` leads to, or an empty text."""
        named = [name for name in row if f"{{{name}}}" in cell.link]
        return linked(cell.link, row) if named and all(row[name] not in (None, "") for name in named) else ""


@dataclass(frozen=True)
class EntityPage:
    """The page of one entity.

    Attributes:
        path: of the page, with the variables of the detail.
        title: of the kind.
        detail: what the admin API tells.
        parts: lists on the page, in their order.
        make: makes the entity of the tenant and the variables.
        sync: has it issued once more.
        lead: makes the words and facts above all, of the lists.
        trail: pages above it.
    """

    path: str
    title: str
    detail: Detail
    parts: Sequence[Part]
    make: Callable[..., Entity]
    sync: Deed
    lead: Callable[[Mapping[str, Sequence[Row]]], "Lead"]
    trail: tuple[tuple[str, str], ...]

    @property
    def page(self) -> Page:
        """The page, for the table of pages."""
        return Page(self.path, self._show, self.title)

    async def _show(self, request: web.Request) -> web.StreamResponse:
        hub = request.app[HUB]
        names = [request.match_info[name] for name in self.detail.key]
        found = await whole(hub.admin.desk, self.detail, request)
        entity = self.make(request[TENANT], *names)
        lead = self.lead(found)
        chapter = await story.read(hub.admin.desk, entity, request.query, _EVENTS)
        return render(
            request,
            "entity.html",
            title=lead.words or " / ".join(names),
            trail=self.trail,
            lead=lead,
            ids=dict(zip(self.detail.key, names, strict=True)),
            sections=self._sections(found),
            chapter=chapter,
            address=request.rel_url.raw_path,
            telling=telling,
            sync=self.sync if may(request[SESSION], self.sync.scope) else None,
        )

    def _sections(self, found: Mapping[str, Sequence[Row]]) -> list[Section]:
        made = [Section(part, self.detail.sections[part.name], found[part.name]) for part in self.parts]
        return [section for section in made if section.rows or section.part.always]


@dataclass(frozen=True)
class Lead:
    """What stands above all on the page of an entity.

    Attributes:
        words: such as a name.
        states: words with a tone each.
        facts: by name.
        links: names and addresses.
    """

    words: str = ""
    states: Sequence[tuple[str, str]] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    links: Sequence[tuple[str, str]] = ()


def sync_deed(path: str, kind: str, back: str) -> Deed:
    """Return the deed that has an entity issued once more.

    Args:
        path: of the page of the entity.
        kind: as in the admin API, such as ``person``.
        back: where it leads if nobody says.
    """
    variables = path.partition("{")[1] + path.partition("{")[2]
    return Deed(
        f"{path}/sync",
        "Sync now",
        "Sync now",
        back,
        f"/admin/sync/{kind}/{variables}",
        about=(
            "What is wished now is issued to Moodle once more, whatever was applied, never an older state."
            " It is done within moments; the story tells what came of it."
        ),
        told=lambda _: "Asked for. The story tells what came of it within moments.",
    )
