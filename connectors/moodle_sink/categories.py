"""The categories that courses are made in: found by id number, made from the top down where missing.

Moodle checks that an id number is free without a lock, so two sinks at once can make two categories of one id
number. Whoever finds several takes the oldest; the younger one stays behind, empty or nearly so.
"""

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import Refused
from connectors.moodle.form import Params, fitting
from connectors.moodle_sink.batches import isolate
from schemas.moodle import CategoryWish, CourseWish
from schemas.reasons import Reason

GET: Final = "core_course_get_categories"
CREATE: Final = "core_course_create_categories"
UPDATE: Final = "core_course_update_categories"
TAKEN: Final = "categoryidnumbertaken"

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Category:
    """A category, its name as it was before Moodle escaped it for HTML."""

    id: int
    name: str


class Categories:
    """The categories that the courses of one batch want."""

    def __init__(self, moodle: MoodleClient) -> None:
        self._moodle = moodle
        self._found: dict[str, Category] = {}

    def of(self, wish: CourseWish) -> int | Reason:
        """Return Moodle's id of the last category of a path, or why there is none; `make` comes first."""
        last = self._found.get(wish.categories[-1].idnumber)
        return last.id if last else Reason.CATEGORY_REFUSED

    async def make(self, wishes: Sequence[CourseWish]) -> None:
        """Find or make every category on the paths of ``wishes``, and rename those of courses to be updated.

        Raises:
            RetryLater, Stop: for the batch; categories made by then are found by the next try.
        """
        paths = [wish.categories for wish in wishes]
        await self._look_up({category.idnumber for path in paths for category in path})
        for depth in range(max(map(len, paths), default=0)):
            await self._make_missing(path[: depth + 1] for path in paths if len(path) > depth)
        await self._rename(category for wish in wishes if wish.update for category in wish.categories)

    async def _look_up(self, idnumbers: Iterable[str]) -> None:
        """Note the oldest category of each id number."""
        names = sorted(filter(str.strip, idnumbers))
        answers = await self._moodle.multiplex([_by_idnumber(name) for name in names])
        for name, rows in zip(names, answers, strict=True):
            if isinstance(rows, Refused):
                log.warning("moodle_category_unread", code=rows.code)
                continue
            found = [row for row in rows if row["idnumber"] == name]
            if len(found) > 1:
                log.warning("moodle_category_doubled", ids=sorted(row["id"] for row in found))
            if found:
                self._found[name] = min(map(_category, found), key=lambda one: one.id)

    async def _make_missing(self, paths: Iterable[tuple[CategoryWish, ...]]) -> None:
        """Make the last category of each path, if it is missing and the one above it is there."""
        missing: dict[str, Params] = {}
        for path in paths:
            above = self._found.get(path[-2].idnumber) if len(path) > 1 else Category(0, "")
            if path[-1].idnumber.strip() and path[-1].idnumber not in self._found and above:
                missing[path[-1].idnumber] = _entry(path[-1], above)
        if missing:
            for part in self._fitting(list(missing.values())):
                await isolate(part, self._create, _refused)
            # Not the ids that Moodle answered: somebody else may have made the same ones a moment before.
            await self._look_up(missing)

    async def _create(self, entries: Sequence[Params]) -> None:
        await self._moodle.call(CREATE, {"categories": entries})

    async def _rename(self, wishes: Iterable[CategoryWish]) -> None:
        names = {wish.idnumber: wish.name.strip() for wish in wishes}
        changes: list[Params] = [
            {"id": self._found[idnumber].id, "name": name}
            for idnumber, name in names.items()
            if idnumber in self._found and name and self._found[idnumber].name.strip() != name
        ]
        for part in self._fitting(changes):
            await isolate(part, self._update, _refused)

    async def _update(self, entries: Sequence[Params]) -> None:
        await self._moodle.call(UPDATE, {"categories": entries})

    def _fitting(self, entries: Sequence[Params]) -> list[list[Params]]:
        return fitting(entries, self._moodle.settings.batch_size, self._moodle.max_input_vars, len)


def _by_idnumber(idnumber: str) -> tuple[str, Params]:
    return GET, {"criteria": [{"key": "idnumber", "value": idnumber}], "addsubcategories": 0}


def _category(row: Mapping[str, Any]) -> Category:
    return Category(row["id"], html.unescape(row["name"]))


def _entry(wish: CategoryWish, above: Category) -> Params:
    return {"idnumber": wish.idnumber, "parent": above.id, "name": wish.name.strip()}


def _refused(entry: Params, refusal: Refused) -> None:
    """Go on without: whoever needs a category that was not made is told so; a taken one is found anew."""
    if refusal.code != TAKEN:
        log.warning("moodle_category_refused", code=refusal.code, id=entry.get("id"))
