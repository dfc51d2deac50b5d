"""What a request for a list asks for, read from its query. Pure.

A page ends with a cursor, the place of its last row in the order of the list, and the next page begins behind
that: however long the list is, a page costs the same, and rows that come meanwhile shift nothing.
"""

import base64
import binascii
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any, Final, NoReturn

import msgspec

from producers.web.admin.resource import TYPES, Column, Kind, Resource
from producers.web.problems import Problem
from producers.web.routes import Parameter
from schemas.ids import TenantId

LIMIT: Final = 100
MAX_LIMIT: Final = 1_000
_MAX_VALUES: Final = 100
_MAX_TEXT: Final = 255
_INT64: Final = 2**63
_BOOLEANS: Final = {"true": True, "false": False}
BY_TENANT: Final = Parameter("tenant", {"type": "string", "maxLength": 100}, "As the header `X-Tenant-ID`.")
OWNERLESS: Final = "What is of no tenant is for keys of the hub's default tenant."
FORMATS: Final = ("json", "csv")


@dataclass(frozen=True, slots=True)
class Position:
    """Where a page begins.

    Attributes:
        value: of the last row in the column of the order; rows without one come last.
        key: of the last row.
    """

    value: Any
    key: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Listing:
    """What is asked of a list.

    Attributes:
        tenant: whose rows; none: those of no tenant.
        filters: columns, and the values of which a row must have one.
        since: rows from this moment on.
        until: rows before this moment.
        present: columns, and whether a row must have a value in them.
        prefix: what the searched column begins with, or one of its words, see `Resource.words`.
        sort: the order, as in `Resource.sorts`.
        limit: most rows of a page; of an export, most rows at all.
        after: the place behind which the page begins.
    """

    tenant: TenantId | None
    filters: tuple[tuple[Column, tuple[Any, ...]], ...] = ()
    since: datetime | None = None
    until: datetime | None = None
    present: tuple[tuple[Column, bool], ...] = ()
    prefix: str = ""
    sort: str = ""
    limit: int | None = None
    after: Position | None = None

    @property
    def order(self) -> str:
        """The name of the column of the order."""
        return self.sort.removeprefix("-")

    @property
    def descends(self) -> bool:
        """Whether the order goes from the greatest value down."""
        return self.sort.startswith("-")

    def behind(self, position: Position) -> "Listing":
        """Return the same list from behind ``position``."""
        return replace(self, after=position)


def parameters(resource: Resource) -> list[Parameter]:
    """Return what the query of a list may hold, for the documentation."""
    moment = {"type": "string", "format": "date-time"}
    found = [
        BY_TENANT,
        *(Parameter(name, _schema(resource.by_name[name]), "", is_list=True) for name in resource.filters),
        Parameter("sort", {"type": "string", "enum": list(resource.sorts)}, "`-`: greatest first."),
        Parameter("limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, "Most rows; else 100."),
        Parameter("cursor", {"type": "string", "maxLength": 4_000}, "From `next` of the page before."),
        Parameter("format", {"type": "string", "enum": list(FORMATS)}, "`csv`: all rows as CSV."),
    ]
    if resource.moment:
        found += [
            Parameter("since", moment, f"`{resource.moment}` from then on."),
            Parameter("until", moment, f"`{resource.moment}` before then."),
        ]
    if resource.search:
        schema = {"type": "string", "minLength": 1, "maxLength": 200}
        found.append(Parameter("q", schema, _searched(resource)))
    for name in resource.presence:
        found.append(Parameter(_has(name), {"type": "boolean"}, f"Only rows with (without) `{name}`."))
    if resource.ownerless:
        found.append(Parameter("ownerless", {"type": "boolean"}, "Only rows of no tenant."))
    return found


def _searched(resource: Resource) -> str:
    if not resource.words:
        return f"What `{resource.search}` begins with."
    names = ", ".join(f"`{name}`" for name in resource.words)
    return f"Words, each a beginning of `{resource.search}` or, in upper or lower case, of {names}."


def _has(name: str) -> str:
    return f"has_{name}"


def _schema(column: Column) -> dict[str, Any]:
    if column.kind in (Kind.TEXT, Kind.TEXTS):
        return {"type": "string", "maxLength": _MAX_TEXT}
    return {"type": "integer" if column.kind is Kind.INTEGER else "boolean"}


def read(
    resource: Resource,
    query: Mapping[str, Sequence[str]],
    tenant: TenantId,
    default: TenantId,
    fixed: frozenset[str] = frozenset(),
) -> Listing:
    """Return what ``query`` asks for.

    Args:
        resource: of the list.
        query: values by name, as they came.
        tenant: the request is about.
        default: tenant whose keys see what is of no tenant.
        fixed: parameters that the address decides; their only value is in ``query``.

    Raises:
        Problem: a parameter is unknown or cannot be used; it is named (400), or not allowed (403).
    """
    known = {parameter.name: parameter for parameter in parameters(resource)}
    for name, values in query.items():
        if name not in known or (name in fixed and len(values) > 1):
            _refuse(name, "there is no such parameter here")
        if len(values) > (_MAX_VALUES if known[name].is_list else 1):
            _refuse(name, "is given too often")
        if any("\0" in value for value in values):
            _refuse(name, "holds a zero byte")
    single = {name: values[0] for name, values in query.items() if values}
    sort = single.get("sort", resource.usual_sort)
    if sort not in resource.sorts:
        _refuse("sort", f"is none of {', '.join(resource.sorts)}")
    if single.get("format", FORMATS[0]) not in FORMATS:
        _refuse("format", f"is none of {', '.join(FORMATS)}")
    return Listing(
        tenant=_owner(single, tenant, default),
        filters=tuple(_filters(resource, query)),
        since=_optional(single, "since", moment_of),
        until=_optional(single, "until", moment_of),
        present=tuple(_present(resource, single)),
        prefix=single.get("q", ""),
        sort=sort,
        limit=_optional(single, "limit", _limit_of),
        after=_optional(single, "cursor", lambda text: decode(resource, sort, text)),
    )


def _owner(single: Mapping[str, str], tenant: TenantId, default: TenantId) -> TenantId | None:
    if not _optional(single, "ownerless", _boolean_of):
        return tenant
    if tenant != default:
        raise Problem(HTTPStatus.FORBIDDEN, OWNERLESS)
    return None


def _filters(resource: Resource, query: Mapping[str, Sequence[str]]) -> list[tuple[Column, tuple[Any, ...]]]:
    found = []
    for name in resource.filters:
        if name in query:
            column = resource.by_name[name]
            found.append((column, tuple(_value(name, column.kind, text) for text in query[name])))
    return found


def _present(resource: Resource, single: Mapping[str, str]) -> Iterator[tuple[Column, bool]]:
    for name in resource.presence:
        wished = _optional(single, _has(name), _boolean_of)
        if wished is not None:
            yield resource.by_name[name], wished


def _value(name: str, kind: Kind, text: str) -> Any:
    try:
        return value_of(kind, text)
    except ValueError as error:
        _refuse(name, str(error))


def value_of(kind: Kind, text: str) -> Any:
    """Return the value that ``text`` is.

    Raises:
        ValueError: it is none of that kind, in words that follow the name of what holds it.
    """
    return _READERS[kind](text)


def _optional(single: Mapping[str, str], name: str, reader: Callable[[str], Any]) -> Any:
    if name not in single:
        return None
    try:
        return reader(single[name])
    except ValueError as error:
        _refuse(name, str(error))


def _text_of(text: str) -> str:
    if "\0" in text:
        raise ValueError("holds a zero byte")
    return text


def _integer_of(text: str) -> int:
    if not (text.removeprefix("-").isascii() and text.removeprefix("-").isdigit()) or len(text) > 20:
        raise ValueError("is no whole number")
    if not -_INT64 <= (number := int(text)) < _INT64:
        raise ValueError("is too large a number")
    return number


def _boolean_of(text: str) -> bool:
    if text not in _BOOLEANS:
        raise ValueError("is neither true nor false")
    return _BOOLEANS[text]


def _limit_of(text: str) -> int:
    if not 1 <= (number := _integer_of(text)) <= MAX_LIMIT:
        msg = f"is not from 1 to {MAX_LIMIT}"
        raise ValueError(msg)
    return number


def moment_of(text: str) -> datetime:
    """Return the moment that ``text`` names by RFC 3339; a day alone is its beginning in UTC.

    Raises:
        ValueError: it names none, in words that follow the name of what holds it.
    """
    # A plus sign that was not encoded has become a blank.
    try:
        moment = datetime.fromisoformat(text.replace(" ", "+").upper())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError):
        raise ValueError("is no moment such as 2026-11-02T08:00:00Z") from None


_READERS: Final[Mapping[Kind, Callable[[str], Any]]] = {
    Kind.TEXT: _text_of,
    Kind.TEXTS: _text_of,
    Kind.INTEGER: _integer_of,
    Kind.BOOLEAN: _boolean_of,
}


def position_of(resource: Resource, listing: Listing, row: Mapping[str, Any]) -> Position:
    """Return the place of ``row`` in ``listing``."""
    key = tuple("" if name in resource.sparse and row[name] is None else row[name] for name in resource.key)
    return Position(row[listing.order], key)


def encode(resource: Resource, listing: Listing, position: Position) -> str:
    """Return the cursor that tells ``position``; opaque to clients."""
    place = [resource.name, listing.sort, position.value, *position.key]
    return base64.urlsafe_b64encode(msgspec.json.encode(place)).rstrip(b"=").decode()


def decode(resource: Resource, sort: str, cursor: str) -> Position:
    """Return the place that ``cursor`` tells.

    Raises:
        ValueError: it is no cursor of this list in this order, said in words.
    """
    named = [resource.by_name[name] for name in (sort.removeprefix("-"), *resource.key)]
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        place = msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=list[Any])
        if place[:2] != [resource.name, sort] or len(place) != len(named) + 2:
            raise ValueError
        value, *key = (_converted(one, each) for one, each in zip(named, place[2:], strict=True))
    except (ValueError, binascii.Error, msgspec.MsgspecError, UnicodeError):
        raise ValueError("is no cursor of this list in this order") from None
    return Position(value, tuple(key))


def _converted(column: Column, value: Any) -> Any:
    if isinstance(value, str) and "\0" in value:
        raise ValueError
    if isinstance(value, int) and not -_INT64 <= value < _INT64:
        raise ValueError
    return None if value is None else msgspec.convert(value, TYPES[column.kind])


def _refuse(name: str, reason: str) -> NoReturn:
    wrong = [{"path": f"query.{name[:100]}", "reason": reason}]
    raise Problem(HTTPStatus.BAD_REQUEST, f"The parameter '{name[:100]}' {reason}.", errors=wrong)
