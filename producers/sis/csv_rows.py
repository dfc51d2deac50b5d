"""Rows of OneRoster CSV files as the records that the REST service of the same SIS would give. Pure.

Columns are those of the OneRoster 1.2 CSV binding, and of 1.1 where it differs (``users.csv``: ``role`` and
``orgSourcedIds``). Lists stand in one cell, separated by commas; columns ``metadata.x`` are extensions.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from producers.sis.records import RecordError

FILES: Final = ("orgs", "academicSessions", "courses", "classes", "users", "enrollments")
"""Files that bring records, in the order in which they are taken."""
ROLES: Final = "roles"
"""The file of 1.2 that tells the roles of users."""

Cell = Callable[[str], Any]
_METADATA: Final = "metadata."


def _text(value: str) -> Any:
    return value


def _list(value: str) -> Any:
    return [part.strip() for part in value.split(",")]


def _reference(value: str) -> Any:
    return {"sourcedId": value.strip()}


def _references(value: str) -> Any:
    return [{"sourcedId": part.strip()} for part in value.split(",") if part.strip()]


def _user_ids(value: str) -> Any:
    """Read ``{type:identifier},{type:identifier}``."""
    pairs = (part.strip().strip("{}").partition(":") for part in value.split("},"))
    return [{"type": kind.strip(), "identifier": identifier.strip()} for kind, _, identifier in pairs]


_COLUMNS: Final[Mapping[str, tuple[str, Cell]]] = {
    "grades": ("grades", _list),
    "subjects": ("subjects", _list),
    "subjectCodes": ("subjectCodes", _list),
    "periods": ("periods", _list),
    "parentSourcedId": ("parent", _reference),
    "orgSourcedId": ("org", _reference),
    "schoolYearSourcedId": ("schoolYear", _reference),
    "courseSourcedId": ("course", _reference),
    "schoolSourcedId": ("school", _reference),
    "classSourcedId": ("class", _reference),
    "userSourcedId": ("user", _reference),
    "primaryOrgSourcedId": ("primaryOrg", _reference),
    "orgSourcedIds": ("orgs", _references),
    "termSourcedIds": ("terms", _references),
    "userIds": ("userIds", _user_ids),
    "preferredGivenName": ("preferredFirstName", _text),
    "preferredFamilyName": ("preferredLastName", _text),
}
"""Columns that are not simply a text of the same name."""
_LEFT_OUT: Final = frozenset({"password", "agentSourcedIds", "agents", "resourceSourcedIds", "resources"})


class Layout:
    """How the rows of one file are read, made from its header."""

    def __init__(self, header: Sequence[str]) -> None:
        """Read a header.

        Raises:
            RecordError: there is no column ``sourcedId``, or one comes twice.
        """
        names = [name.strip() for name in header]
        if "sourcedId" not in names:
            raise RecordError("sourcedId", "is no column of the file")
        if len(set(names)) < len(names):
            raise RecordError("header", "names a column twice")
        self.width = len(names)
        self.tells_roles = "role" in names
        self._plain: list[tuple[int, str, Cell | None]] = []
        self._metadata: list[tuple[int, str]] = []
        for place, name in enumerate(names):
            if name.startswith(_METADATA):
                self._metadata.append((place, name.removeprefix(_METADATA)))
            elif name and name not in _LEFT_OUT:
                theirs, cell = _COLUMNS.get(name, (name, _text))
                self._plain.append((place, theirs, None if cell is _text else cell))

    def raw(self, row: Sequence[str]) -> dict[str, Any]:
        """Return a row as a record of the REST service; empty cells are left out."""
        found: dict[str, Any] = {}
        for place, name, cell in self._plain:
            value = row[place]
            if value:
                found[name] = value if cell is None else cell(value)
        if self._metadata:
            found["metadata"] = {name: row[place] for place, name in self._metadata if row[place]}
        return found
