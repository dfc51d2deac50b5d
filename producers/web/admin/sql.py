"""Lists as SQL. Pure; names come from the table of resources, values are parameters.

The order of a list is that of its column and then of its key, both the same way, so that an index on both
serves it in both directions. Rows without a value in the column come last; they are a list of their own,
ordered by the key, for no index serves "all greater ones, and those without".
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from producers.web.admin.listing import Listing, Position
from producers.web.admin.resource import TENANT, Column, Kind, Resource

_Condition = tuple[str, list[Any]]
"""A condition of a query and its parameters."""


class Statement(NamedTuple):
    """A query and its parameters, in their order."""

    text: str
    parameters: list[Any]


def select(resource: Resource, listing: Listing, limit: int) -> Statement:
    """Return the query of the next rows of ``listing`` that have a value in the column of the order.

    Behind a row without such a value, or if the order is that of the key alone, these are all that are left.

    Args:
        resource: of the list.
        listing: what is asked for.
        limit: most rows.
    """
    tail = has_tail(resource, listing) and listing.after is not None and listing.after.value is None
    return _select(resource, listing, limit, in_tail=tail)


def select_tail(resource: Resource, listing: Listing, limit: int) -> Statement:
    """Return the query of the first rows of ``listing`` that have no value in the column of the order."""
    return _select(resource, listing, limit, in_tail=True)


def has_tail(resource: Resource, listing: Listing) -> bool:
    """Tell whether rows may have no value in the column of the order."""
    return listing.order not in resource.key


def _select(resource: Resource, listing: Listing, limit: int, *, in_tail: bool) -> Statement:
    conditions, values = _conditions(resource, listing)
    ordered = [_told(resource, name) for name in resource.key]
    if has_tail(resource, listing):
        conditions.append(f"{listing.order} IS {'' if in_tail else 'NOT '}NULL")
        ordered = ordered if in_tail else [listing.order, *ordered]
    # The first page of the tail has a position too, that of the last row before it.
    begins = listing.after is not None and not (in_tail and listing.after.value is not None)
    if begins and listing.after is not None:
        place = _place(listing.after, len(ordered), len(resource.key))
        conditions.append(_row(ordered) + (" < " if listing.descends else " > ") + _row(["%s"] * len(place)))
        values += place
    order = ", ".join(f"{name} DESC" if listing.descends else name for name in ordered)
    return _ordered(resource, (conditions, values), _searched(resource, listing.prefix), order, limit)


def _ordered(
    resource: Resource,
    chosen: tuple[list[str], list[Any]],
    searches: Sequence[_Condition],
    order: str,
    limit: int,
) -> Statement:
    """Return the query of the first rows that fulfil all of ``chosen``, and one of ``searches`` if there are.

    Each search is a query of its own: one for all of them would read the list from its beginning where the
    beginning of an id is looked for that comes late in it.
    """
    names, (conditions, values) = ", ".join([TENANT, *map(_selected, resource.columns)]), chosen
    parts = []
    for search, sought in searches or [("", [])]:
        where = " AND ".join([*conditions, *filter(None, [search])])
        text = f"SELECT {names} FROM {resource.relation} WHERE {where} ORDER BY {order} LIMIT %s"  # noqa: S608 - names of ours
        parts.append(Statement(text, [*values, *sought, limit]))
    if len(parts) == 1:
        return parts[0]
    union = " UNION ".join(f"({one.text})" for one in parts)
    text = f"SELECT * FROM ({union}) AS found ORDER BY {order} LIMIT %s"  # noqa: S608 - names of ours
    return Statement(text, [*(value for one in parts for value in one.parameters), limit])


def _told(resource: Resource, name: str) -> str:
    return f"coalesce({name}, '')" if name in resource.sparse else name


def _place(position: Position, ordered: int, keys: int) -> list[Any]:
    return [*position.key] if ordered == keys else [position.value, *position.key]


def _row(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"({', '.join(parts)})"


def _conditions(resource: Resource, listing: Listing) -> tuple[list[str], list[Any]]:
    found: list[_Condition] = [(f"{TENANT} = %s", [listing.tenant])]
    if listing.tenant is None:
        found = [(f"({TENANT} IS NULL OR {TENANT} = '')", [])]
    found += [_matches(column, chosen) for column, chosen in listing.filters]
    found += [(f"{column.stored} IS {'NOT ' if has else ''}NULL", []) for column, has in listing.present]
    if listing.since is not None:
        found.append((f"{resource.moment} >= %s", [listing.since]))
    if listing.until is not None:
        found.append((f"{resource.moment} < %s", [listing.until]))
    if not resource.words and listing.prefix:
        found.append((f"{resource.search} LIKE %s", [_like(listing.prefix)]))
    found += [_any_of(_begins(resource, word)) for word in listing.prefix.split()[1:] if resource.words]
    return [text for text, _ in found], [value for _, values in found for value in values]


def _searched(resource: Resource, prefix: str) -> list[_Condition]:
    """Return the conditions of which one is to be fulfilled for the sake of the first word."""
    words = prefix.split() if resource.words else []
    return _begins(resource, words[0]) if words else []


def _begins(resource: Resource, word: str) -> list[_Condition]:
    told = [f"{resource.search} LIKE %s", *(f"lower({name}) LIKE lower(%s)" for name in resource.words)]
    return [(text, [_like(word)]) for text in told]


def _any_of(conditions: Sequence[_Condition]) -> _Condition:
    text = " OR ".join(one for one, _ in conditions)
    return f"({text})", [value for _, values in conditions for value in values]


def _selected(column: Column) -> str:
    return f'{column.stored} AS "{column.name}"' if column.stored_as else column.name


def _matches(column: Column, chosen: Sequence[Any]) -> _Condition:
    if column.kind is Kind.TEXTS:
        return f"{column.stored} && %s", [list(chosen)]
    if len(chosen) == 1:  # so that an index on this column and the key serves the order too
        return f"{column.stored} = %s", [*chosen]
    return f"{column.stored} = ANY(%s)", [list(chosen)]


def _like(prefix: str) -> str:
    escaped = prefix.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"{escaped}%"
