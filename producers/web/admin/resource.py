"""What a list is: columns of a view, a key, orders and filters."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from enum import Enum, auto
from functools import cached_property
from typing import Any, Final

import msgspec

TENANT: Final = "tenant"


class Kind(Enum):
    """What a column holds."""

    TEXT = auto()
    INTEGER = auto()
    BOOLEAN = auto()
    TIME = auto()
    DATE = auto()
    DECIMAL = auto()
    TEXTS = auto()
    INTEGERS = auto()
    JSON = auto()


TYPES: Final[Mapping[Kind, Any]] = {
    Kind.TEXT: str,
    Kind.INTEGER: int,
    Kind.BOOLEAN: bool,
    Kind.TIME: datetime,
    Kind.DATE: date,
    Kind.DECIMAL: Decimal,
    Kind.TEXTS: list[str],
    Kind.INTEGERS: list[int],
    Kind.JSON: dict[str, Any],
}
"""The Python types of the kinds."""


@dataclass(frozen=True, slots=True)
class Column:
    """One column.

    Attributes:
        name: in the answers.
        kind: of its values.
        stored_as: name in the view, where it is another one.
    """

    name: str
    kind: Kind
    stored_as: str = ""

    @property
    def stored(self) -> str:
        """The name in the view."""
        return self.stored_as or self.name


def texts(*names: str) -> tuple[Column, ...]:
    """Return columns of text."""
    return tuple(Column(name, Kind.TEXT) for name in names)


def integers(*names: str) -> tuple[Column, ...]:
    """Return columns of whole numbers."""
    return tuple(Column(name, Kind.INTEGER) for name in names)


def booleans(*names: str) -> tuple[Column, ...]:
    """Return columns of truth values."""
    return tuple(Column(name, Kind.BOOLEAN) for name in names)


def times(*names: str) -> tuple[Column, ...]:
    """Return columns of moments."""
    return tuple(Column(name, Kind.TIME) for name in names)


def dates(*names: str) -> tuple[Column, ...]:
    """Return columns of days."""
    return tuple(Column(name, Kind.DATE) for name in names)


def decimals(*names: str) -> tuple[Column, ...]:
    """Return columns of decimal numbers, which JSON has as texts."""
    return tuple(Column(name, Kind.DECIMAL) for name in names)


def json(*names: str) -> tuple[Column, ...]:
    """Return columns of JSON objects."""
    return tuple(Column(name, Kind.JSON) for name in names)


@dataclass(frozen=True)
class Resource:
    """A list.

    Attributes:
        name: in the address, such as ``dead-letters``.
        relation: the view or table; it has a column ``tenant`` beside ``columns``.
        about: what a row is, for the documentation.
        columns: in the order of the answers.
        key: what tells the rows of a tenant apart; never null.
        sorts: what rows can be ordered by, the usual one first; ``-`` goes from the greatest down.
        filters: what rows can be chosen by.
        moment: what ``since`` and ``until`` are about; empty: there are no such parameters.
        search: what ``q`` is a beginning of; empty: there is no such parameter.
        words: further columns that the words of ``q`` may begin, in upper or lower case.
        presence: columns for each of which ``has_…`` tells whether there shall be a value.
        ownerless: whether there are rows of no tenant.
        sparse: columns of the key that may be null after all, which counts as empty.
    """

    name: str
    relation: str
    about: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    sorts: tuple[str, ...]
    filters: tuple[str, ...] = ()
    moment: str = ""
    search: str = ""
    words: tuple[str, ...] = ()
    presence: tuple[str, ...] = ()
    ownerless: bool = False
    sparse: frozenset[str] = frozenset()

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """The columns by name."""
        return {column.name: column for column in self.columns}

    @property
    def usual_sort(self) -> str:
        """The order of a list for which none is asked."""
        return self.sorts[0]

    def is_told(self, name: str) -> bool:
        """Tell whether the column ``name`` is never null."""
        return name in self.key and name not in self.sparse

    @cached_property
    def row(self) -> type[msgspec.Struct]:
        """The type of one row, for the documentation; every column but the key may be null."""
        fields = [(one.name, _type(one, self.is_told(one.name))) for one in self.columns]
        return msgspec.defstruct(f"{_title(self.name)}Row", [(TENANT, str | None), *fields])

    @cached_property
    def page(self) -> type[msgspec.Struct]:
        """The type of one page, for the documentation."""
        items: Any = list[self.row]  # type: ignore[name-defined]  # a type made for the documentation
        return msgspec.defstruct(f"{_title(self.name)}Page", [("items", items), ("next", str | None)])


def _type(column: Column, is_key: bool) -> Any:
    return TYPES[column.kind] if is_key else TYPES[column.kind] | None


def _title(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))
