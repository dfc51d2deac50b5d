"""Plain CSV files: a small file in TOML says which column is which field of which model.

It is checked as a whole before the first row is read.
"""

import tomllib
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

import msgspec

from infra.errors import HubError
from producers.sis.models import MODELS, Pushed
from producers.sis.records import RecordError

OTHERWISE: Final = "*"
"""In a value map: what becomes of all values that are not named."""
_ATTRIBUTE: Final = "attributes."


class MappingError(HubError):
    """The mapping of columns cannot be used."""


class Columns(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a mapping file says.

    Attributes:
        model: ``people``, ``courses``, ``sections``, ``terms``, ``enrolments`` or ``grades``.
        columns: the column of the file, by field of the model; ``attributes.x`` for a free attribute.
        constants: value of a field in all rows.
        values: what a value of the file becomes, by field; ``*`` stands for all others.
        formats: how days and times are written, by field, in the signs of ``strptime``.
        separators: what separates the values of a list, by field; usually a comma.
        encoding: of the file.
        delimiter: one sign between cells.
    """

    model: str
    columns: dict[str, str]
    constants: dict[str, str] = {}
    values: dict[str, dict[str, str]] = {}
    formats: dict[str, str] = {}
    separators: dict[str, str] = {}
    encoding: str = "utf-8"
    delimiter: str = ","


def load(path: Path) -> Columns:
    """Read a mapping file.

    Raises:
        MappingError: it cannot be read, or names what is not there.
    """
    try:
        with path.open("rb") as file:
            found = msgspec.convert(tomllib.load(file), Columns)
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        msg = f"{path.name}: {error}"
        raise MappingError(msg) from None
    if problem := _problem(found):
        msg = f"{path.name}: {problem}"
        raise MappingError(msg)
    return found


def _problem(columns: Columns) -> str | None:
    if columns.model not in MODELS:
        return f"model must be one of {', '.join(MODELS)}"
    known = {*MODELS[columns.model].__struct_fields__} - {"attributes"}
    named = [*columns.columns, *columns.constants, *columns.values, *columns.formats, *columns.separators]
    wrong = sorted({name for name in named if name not in known and not name.startswith(_ATTRIBUTE)})
    if wrong:
        return f"the model {columns.model} has no field {wrong[0]}"
    if len(columns.delimiter) != 1:
        return "delimiter must be one sign"
    try:
        "".encode(columns.encoding)
    except LookupError:
        return f"there is no encoding {columns.encoding}"
    return None


class PlainLayout:
    """How the rows of one plain file are read, made from its header and the mapping."""

    def __init__(self, header: Sequence[str], columns: Columns) -> None:
        """Read a header.

        Raises:
            RecordError: a column of the mapping is missing in the file.
        """
        names = [name.strip() for name in header]
        self.width = len(names)
        self._columns = columns
        self._lists = _list_fields(MODELS[columns.model])
        self._places: list[tuple[int, str]] = []
        for field, column in columns.columns.items():
            if column not in names:
                raise RecordError(column, "is no column of the file")
            self._places.append((names.index(column), field))

    def raw(self, row: Sequence[str]) -> dict[str, Any]:
        """Return a row as it would be pushed.

        Raises:
            RecordError: a day is not written as the mapping says.
        """
        found: dict[str, Any] = {}
        cells = [(field, row[place].strip()) for place, field in self._places]
        for field, cell in [*self._columns.constants.items(), *cells]:
            value = self._mapped(field, cell)
            if value:
                self._put(found, field, value)
        return found

    def _mapped(self, field: str, cell: str) -> str:
        values = self._columns.values.get(field)
        return cell if values is None else values.get(cell, values.get(OTHERWISE, cell))

    def _put(self, found: dict[str, Any], field: str, value: str) -> None:
        if field in self._columns.formats:
            value = _day_or_time(value, self._columns.formats[field], field)
        if field.startswith(_ATTRIBUTE):
            found.setdefault("attributes", {})[field.removeprefix(_ATTRIBUTE)] = value
        elif field in self._lists:
            separator = self._columns.separators.get(field, ",")
            found[field] = [part.strip() for part in value.split(separator) if part.strip()]
        else:
            found[field] = value


def _day_or_time(value: str, written: str, field: str) -> str:
    try:
        found = datetime.strptime(value, written)  # noqa: DTZ007 - a zone is given by the format, or UTC is meant
    except ValueError:
        raise RecordError(field, "is not written as the mapping says") from None
    return found.isoformat() if "%H" in written or "%I" in written else found.date().isoformat()


def _list_fields(model: type[Pushed]) -> frozenset[str]:
    hints: Mapping[str, Any] = get_type_hints(model)
    return frozenset(
        name for name, hint in hints.items() if list in (get_origin(hint), *map(get_origin, get_args(hint)))
    )
