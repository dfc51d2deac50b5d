"""The course category functions."""

from typing import Any

import msgspec

from infra.simulators.moodle.errors import moodle_error
from infra.simulators.moodle.params import Scalar, Struct, many, optional
from infra.simulators.moodle.state import Category, MoodleState
from infra.simulators.moodle.text import formatted

_OPTIONAL = {
    "idnumber": optional("raw"),
    "description": optional("raw"),
    "descriptionformat": optional("int"),
}
CREATE = Struct({"categories": many({"name": Scalar("text"), "parent": Scalar("int", 0), **_OPTIONAL})})
UPDATE = Struct(
    {
        "categories": many(
            {"id": Scalar("int"), "name": optional("text"), "parent": optional("int"), **_OPTIONAL}
        )
    }
)
GET = Struct(
    {
        "criteria": many({"key": Scalar("alpha"), "value": Scalar("raw")}, default=[]),
        "addsubcategories": Scalar("bool", 1),
    }
)


def create_categories(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_course_create_categories`: all or nothing."""
    return [_create(state, entry) for entry in params["categories"]]


def _create(state: MoodleState, entry: dict[str, Any]) -> dict[str, Any]:
    parent = state.categories.get(entry["parent"])
    if parent is None and entry["parent"] != 0:
        raise _unknown()
    _check(state, entry, own_id=None)
    number = state.next_id("categories")
    path = f"{parent.path if parent else ''}/{number}"
    row = Category(
        number,
        entry["name"],
        10000 * (len(state.categories) + 1),
        state.now(),
        idnumber=entry.get("idnumber") or None,
        parent=entry["parent"],
        path=path,
        description=entry.get("description", ""),
    )
    state.put(state.categories, row)
    return {"id": number, "name": formatted(row.name)}


def _check(state: MoodleState, entry: dict[str, Any], own_id: int | None) -> None:
    if len(entry.get("name", "")) > 255:
        raise moodle_error("categorytoolong", "Category name is too long")
    idnumber = entry.get("idnumber")
    if idnumber and any(row.id != own_id for row in state.categories.find("idnumber", idnumber)):
        raise moodle_error("categoryidnumbertaken", "ID number is already used for another category")


def update_categories(state: MoodleState, params: dict[str, Any]) -> None:
    """`core_course_update_categories`: all or nothing, answers null."""
    for entry in params["categories"]:
        row = state.categories.get(entry["id"])
        if row is None:
            raise _unknown()
        _check(state, entry, row.id)
        changes = {name: entry[name] for name in ("name", "idnumber", "description") if name in entry}
        if entry.get("parent", row.parent) != row.parent:
            changes |= _moved(state, row, entry["parent"])
        state.put(state.categories, msgspec.structs.replace(row, **changes, timemodified=state.now()))


def _moved(state: MoodleState, row: Category, parentid: int) -> dict[str, Any]:
    parent = state.categories.get(parentid)
    if parent is None and parentid != 0:
        raise _unknown()
    return {"parent": parentid, "path": f"{parent.path if parent else ''}/{row.id}"}


def get_categories(state: MoodleState, params: dict[str, Any]) -> list[dict[str, Any]]:
    """`core_course_get_categories`: criteria joined by AND, with the subcategories unless told otherwise."""
    rows = list(state.categories)
    for criterion in params["criteria"]:
        rows = [row for row in rows if _matches(row, criterion["key"], criterion["value"])]
    if params["addsubcategories"]:
        tops = tuple(f"{row.path}/" for row in rows)
        rows = [row for row in state.categories if f"{row.path}/".startswith(tops)]
    return [_details(state, row) for row in sorted(rows, key=lambda row: row.sortorder)]


def _matches(row: Category, key: str, value: str) -> bool:
    if key == "ids":
        return str(row.id) in value.split(",")
    if key not in ("id", "name", "parent", "idnumber", "visible"):
        raise moodle_error("criteriaerror", f"The search key '{key}' is not supported")
    return str(getattr(row, key)) == value


def _details(state: MoodleState, row: Category) -> dict[str, Any]:
    return {
        "id": row.id,
        "name": formatted(row.name),
        "idnumber": row.idnumber,
        "description": row.description,
        "descriptionformat": 1,
        "parent": row.parent,
        "sortorder": row.sortorder,
        "coursecount": state.courses.count("category", row.id),
        "visible": row.visible,
        "visibleold": row.visible,
        "timemodified": row.timemodified,
        "depth": row.path.count("/"),
        "path": row.path,
        "theme": "",
    }


def _unknown() -> Exception:
    return moodle_error("unknowncategory", 'Unknown category with category ID number "{$a}"')
