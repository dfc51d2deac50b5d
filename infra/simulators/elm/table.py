"""An append-only table of JSON records that filters, sorts and pages without a full sort per request.

Records are kept as encoded JSON (a million take well under a gigabyte). Columns, sort orders and
look-ups are made when a query first needs them and extended when records were added since. The
result of a query is kept lazily, so that reading it page by page walks the table once.
"""

from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final
from zoneinfo import ZoneInfo

import msgspec

from infra.simulators.elm.columns import Kind, comparable
from infra.simulators.elm.filters import (
    Compare,
    Node,
    Order,
    compile_filter,
    parse_filter,
    parse_orderby,
)

KEPT_RESULTS: Final = 8
SMALL_SHARE: Final = 4  # a range that holds at most 1/4 of the rows is sorted by itself
RANGE_FIELDS: Final = frozenset({"record_enrol_id", "date_created", "date_updated"})
EQUAL_FIELDS: Final = frozenset({"GUID", "EMAIL", "ENROLMENT_ID", "COURSE_IDENTIFIER", "COURSE_SHORTNAME"})

Record = dict[str, Any]


class Result:
    """The rows of one query in order, found only as far as somebody has read."""

    def __init__(self, rows: Iterator[int]) -> None:
        self._rows = rows
        self._found: list[int] = []

    def page(self, skip: int, top: int) -> list[int]:
        """Give the row numbers `skip` to `skip + top`, fewer at the end."""
        missing = skip + top - len(self._found)
        if missing > 0:
            self._found.extend(islice(self._rows, missing))
        return self._found[skip : skip + top]


class Table:
    """Records in order of arrival; `fields` tells which may be queried and how they compare."""

    def __init__(self, fields: Mapping[str, Kind], zone: ZoneInfo) -> None:
        self._fields = fields
        self._zone = zone
        self._rows: list[bytes] = []
        self._columns: dict[str, list[Any]] = {}
        self._orders: dict[Order, list[int]] = {}
        self._lookups: dict[str, tuple[int, dict[Any, list[int]]]] = {}
        self._results: OrderedDict[tuple[str, str], Result] = OrderedDict()

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, records: Iterable[Record]) -> None:
        """Add records after those present."""
        self._rows.extend(map(msgspec.json.encode, records))
        self._results.clear()

    def truncate(self, length: int) -> None:
        """Keep the first `length` records only."""
        del self._rows[length:]
        self._forget()

    def describe(self, fields: Mapping[str, Kind], zone: ZoneInfo) -> None:
        """Change which fields are known and the zone of times without one."""
        self._fields = fields
        self._zone = zone
        self._forget()

    def encoded(self, row: int) -> bytes:
        """Give one record as JSON."""
        return self._rows[row]

    def select(self, filter_text: str, order_text: str) -> Result:
        """Start or continue a query; raises QueryError when it cannot be read."""
        key = (filter_text, order_text)
        if key not in self._results:
            node = parse_filter(filter_text, self._fields, self._zone)
            order = parse_orderby(order_text, self._fields)
            self._results[key] = Result(self._matching(node, order))
            if len(self._results) > KEPT_RESULTS:
                self._results.popitem(last=False)
        self._results.move_to_end(key)
        return self._results[key]

    def _forget(self) -> None:
        for cache in (self._columns, self._orders, self._lookups, self._results):
            cache.clear()

    def _matching(self, node: Node | None, order: Order) -> Iterator[int]:
        if node is None:
            return iter(tuple(self._order(order)))
        matches = compile_filter(node, self._column)
        few = self._candidates(node)
        if few is not None and len(few) * SMALL_SHARE <= len(self):
            return iter(self._sorted([row for row in sorted(few) if matches(row)], order))
        return filter(matches, self._walk(node, order))

    def _walk(self, node: Node, order: Order) -> Iterator[int]:
        """Go through the rows in order, leaving out what a range on the first sort field excludes."""
        rows = self._order(order)
        begin, end = 0, len(rows)
        if order and not order[0][1]:
            for condition in _conjuncts(node):
                if condition.field == order[0][0]:
                    low, high = self._range(rows, condition)
                    begin, end = max(begin, low), min(end, high)
        return (rows[position] for position in range(begin, end))

    def _range(self, rows: list[int], condition: Compare) -> tuple[int, int]:
        """Give where in `rows`, sorted by the condition's field, its matches can lie."""
        key = self._column(condition.field).__getitem__
        left = bisect_left(rows, condition.operand, key=key)
        right = bisect_right(rows, condition.operand, key=key)
        ranges = {
            "eq": (left, right),
            "gt": (right, len(rows)),
            "ge": (left, len(rows)),
            "lt": (0, left),
            "le": (0, right),
        }
        return ranges.get(condition.op, (0, len(rows)))

    def _candidates(self, node: Node) -> Sequence[int] | None:
        """Give rows among which all matches lie, from the look-ups alone; None when those do not help."""
        if isinstance(node, Compare):
            return self._candidates_of(node)
        parts = [self._candidates(term) for term in node.terms]
        known = [part for part in parts if part is not None]
        if node.op == "and":
            return min(known, key=len, default=None)
        return list(set().union(*known)) if len(known) == len(parts) else None

    def _candidates_of(self, node: Compare) -> Sequence[int] | None:
        if node.op == "eq" and node.field in EQUAL_FIELDS:
            return self._lookup(node.field).get(node.operand, [])
        if node.field in RANGE_FIELDS and node.op != "ne":
            rows = self._order(((node.field, False),))
            low, high = self._range(rows, node)
            return rows[low:high]
        return None

    def _column(self, field: str) -> list[Any]:
        column = self._columns.setdefault(field, [])
        if len(column) < len(self):
            kind, zone, decode = self._fields[field], self._zone, msgspec.json.decode
            column.extend(comparable(kind, decode(row).get(field), zone) for row in self._rows[len(column) :])
        return column

    def _order(self, order: Order) -> list[int]:
        rows = self._orders.setdefault(order, [])
        if len(rows) < len(self):
            # A new list: a result that is being read page by page keeps the one it started with.
            rows = self._orders[order] = self._sorted([*rows, *range(len(rows), len(self))], order)
        return rows

    def _sorted(self, rows: list[int], order: Order) -> list[int]:
        for field, descending in reversed(order):
            rows.sort(key=self._column(field).__getitem__, reverse=descending)
        return rows

    def _lookup(self, field: str) -> dict[Any, list[int]]:
        length, lookup = self._lookups.get(field, (0, {}))
        column = self._column(field)
        for row in range(length, len(column)):
            lookup.setdefault(column[row], []).append(row)
        self._lookups[field] = (len(column), lookup)
        return lookup


def _conjuncts(node: Node) -> Iterator[Compare]:
    """Give the conditions that every match must meet."""
    if isinstance(node, Compare):
        yield node
    elif node.op == "and":
        for term in node.terms:
            yield from _conjuncts(term)
