"""`$filter` and `$orderby`: everything the grammar can say selects what a naive reading selects."""

from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cmp_to_key
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.simulators.elm.columns import COMPLETION_FIELDS, FEED_FIELDS, feed_fields
from infra.simulators.elm.filters import Compare, QueryError, parse_filter, parse_orderby
from infra.simulators.elm.table import Table

ZONE = ZoneInfo("America/Vancouver")
Record = dict[str, Any]

TEXTS = ("", "a", "b", "B", "O'Brien", "''", "x) or (GUID eq 'y", "50%", "q_", "Ünï 語", " and ", "null")
NUMBERS = (-1, 0, 7, 32090)
TIMES = ("2023-04-11T08:06:43.000-07:00", "2023-04-11T15:06:43.000+00:00", "2023-11-05T01:30:00.000-08:00")


@dataclass(frozen=True)
class Condition:
    """A condition as a test writes it; rendered and judged without the parser."""

    field: str
    op: str
    operand: str | int

    def render(self) -> str:
        literal = (
            self.operand if isinstance(self.operand, int) else "'" + self.operand.replace("'", "''") + "'"
        )
        return f"{self.field} {self.op} {literal}"

    def holds(self, record: Record) -> bool:
        value, operand = record.get(self.field), self.operand
        if self.field == "date_created":
            return _judge(self.op, value and datetime.fromisoformat(value), _moment(str(operand)))
        if self.field == "COURSE_IDENTIFIER":
            return _judge(self.op, None if value is None else int(value), int(operand))
        if value in (None, ""):
            return {"eq": operand == "", "ne": operand != ""}.get(self.op, False)
        return _judge(self.op, value, operand)


@dataclass(frozen=True)
class Joined:
    op: str
    left: "Condition | Joined"
    right: "Condition | Joined"

    def render(self) -> str:
        return f"({self.left.render()}) {self.op} ({self.right.render()})"

    def holds(self, record: Record) -> bool:
        if self.op == "and":
            return self.left.holds(record) and self.right.holds(record)
        return self.left.holds(record) or self.right.holds(record)


def _moment(text: str) -> datetime:
    moment = datetime.fromisoformat(text)
    return moment if moment.tzinfo else moment.replace(tzinfo=ZONE)


def _judge(op: str, value: Any, operand: Any) -> bool:
    if value is None:
        return op == "ne"
    order = (value > operand) - (value < operand)
    return order in {"eq": (0,), "ne": (-1, 1), "gt": (1,), "ge": (0, 1), "lt": (-1,), "le": (-1, 0)}[op]


OPS = st.sampled_from(("eq", "ne", "gt", "ge", "lt", "le"))
TEXT = st.one_of(st.sampled_from(TEXTS), st.text(max_size=6))
CONDITIONS = st.one_of(
    st.builds(Condition, st.sampled_from(("GUID", "EMAIL", "USER_STATE")), OPS, TEXT),
    st.builds(Condition, st.just("COURSE_IDENTIFIER"), OPS, st.sampled_from((*NUMBERS, "7", "32090"))),
    st.builds(
        Condition,
        st.just("date_created"),
        OPS,
        st.sampled_from((*TIMES, "2023-04-11 08:06:43", "2023-11-05 01:30:00")),
    ),
)
EXPRESSIONS = st.recursive(
    CONDITIONS,
    lambda inner: st.builds(Joined, st.sampled_from(("and", "or")), inner, inner),
    max_leaves=6,
)
RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "GUID": TEXT,
            "EMAIL": st.one_of(st.none(), TEXT),
            "COURSE_IDENTIFIER": st.one_of(
                st.none(), st.sampled_from(NUMBERS), st.sampled_from(("7", "32090"))
            ),
            "date_created": st.one_of(st.none(), st.sampled_from(TIMES)),
        },
        optional={"USER_STATE": TEXT},
    ),
    max_size=12,
)
ORDERS = st.lists(
    st.tuples(st.sampled_from(("GUID", "COURSE_IDENTIFIER", "date_created")), st.booleans()), max_size=3
)


def _table(records: Iterable[Record]) -> Table:
    table = Table(FEED_FIELDS, ZONE)
    table.append(records)
    return table


def _selected(table: Table, filter_text: str, order: str = "") -> list[Record]:
    rows = table.select(filter_text, order).page(0, 10_000)
    return [msgspec.json.decode(table.encoded(row)) for row in rows]


def _sort_value(record: Record, field: str) -> Any:
    value = record[field]
    if field == "date_created":
        return datetime.fromisoformat(value).timestamp() if value else float("-inf")
    if field == "COURSE_IDENTIFIER":
        return float("-inf") if value is None else int(value)
    return value


def _naively_sorted(records: list[Record], order: list[tuple[str, bool]]) -> list[Record]:
    def compare(one: Record, other: Record) -> int:
        for field, descending in order:
            left, right = _sort_value(one, field), _sort_value(other, field)
            if left != right:
                return (-1 if left < right else 1) * (-1 if descending else 1)
        return 0

    return sorted(records, key=cmp_to_key(compare))


@given(RECORDS, RECORDS, EXPRESSIONS, ORDERS)
def test_selects_and_sorts_as_a_naive_reading_does(
    first: list[Record], later: list[Record], expression: Condition | Joined, order: list[tuple[str, bool]]
) -> None:
    order_text = ",".join(f"{field} {'desc' if descending else 'asc'}" for field, descending in order)
    table = _table(first)
    assert _selected(table, expression.render(), order_text) == _naively_sorted(
        [record for record in first if expression.holds(record)], order
    )
    table.append(later)  # caches must grow with the table
    assert _selected(table, expression.render(), order_text) == _naively_sorted(
        [record for record in first + later if expression.holds(record)], order
    )


@given(st.text(alphabet="'ab ()=%é"))
def test_no_text_breaks_out_of_its_quotes(value: str) -> None:
    node = parse_filter("GUID eq '" + value.replace("'", "''") + "'", FEED_FIELDS, ZONE)
    assert isinstance(node, Compare)
    assert (node.field, node.op, node.operand) == ("GUID", "eq", value)


@given(st.text(alphabet="GUID eq'()andor1.%_,", max_size=30))
def test_any_text_is_either_read_or_refused(text: str) -> None:
    with suppress(QueryError):
        _table([{"GUID": "a"}]).select(text, "").page(0, 1)


@pytest.mark.parametrize(
    "text",
    [
        "GUID",
        "GUID eq",
        "GUID eq 'a",
        "GUID eq a",
        "GUID eq 'a' b",
        "GUID eq 'it's'",
        "NOBODY eq 'a'",
        "GUID is 'a'",
        "GUID eq 5",
        "COURSE_IDENTIFIER eq 'x'",
        "COURSE_IDENTIFIER eq 1.5",
        "COURSE_IDENTIFIER eq 12abc",
        "COURSE_IDENTIFIER like '%1'",
        "date_created gt 'yesterday'",
        "date_created gt '2023-02-30 00:00:00'",
        "date_created gt 2023",
        "EMAIL gt null",
        "(GUID eq 'a'",
        "GUID eq 'a')",
        "GUID eq 'a' and",
        "and GUID eq 'a'",
        "()",
        "GUID eq 'a'; DROP",
        "(" * 51 + "GUID eq 'a'" + ")" * 51,
        "(" * 4000,
    ],
)
def test_refuses_what_it_cannot_read(text: str) -> None:
    with pytest.raises(QueryError):
        parse_filter(text, FEED_FIELDS, ZONE)


def test_and_binds_closer_than_or() -> None:
    table = _table([{"GUID": "a", "EMAIL": "x"}, {"GUID": "b", "EMAIL": "y"}, {"GUID": "a", "EMAIL": "z"}])
    found = _selected(table, "EMAIL eq 'y' or GUID eq 'a' and EMAIL eq 'z'")
    assert [record["EMAIL"] for record in found] == ["y", "z"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("%@example.test", ["a.b@example.test", "x@example.test"]),
        ("a_b%", ["a.b@example.test"]),
        ("%.test%", ["a.b@example.test", "x@example.test"]),
        ("EXAMPLE%", []),
        ("x@example.test", ["x@example.test"]),
    ],
)
def test_like(pattern: str, found: list[str]) -> None:
    table = _table(
        [{"EMAIL": email} for email in ("a.b@example.test", "x@example.test", "x@learn.example", None)]
    )
    assert [record["EMAIL"] for record in _selected(table, f"email LIKE '{pattern}'")] == found


def test_null_finds_missing_and_empty_marks() -> None:
    records: list[Record] = [{"date_deleted": None}, {"date_deleted": TIMES[0]}, {}]
    assert len(_selected(_table(records), "date_deleted eq null")) == 2
    assert len(_selected(_table(records), "date_deleted ne null")) == 1


@pytest.mark.parametrize(("zone", "count"), [("America/Vancouver", 1), ("UTC", 0), ("Asia/Tokyo", 1)])
def test_a_time_without_zone_is_meant_in_the_servers_zone(zone: str, count: int) -> None:
    table = Table(FEED_FIELDS, ZoneInfo(zone))
    table.append([{"date_created": "2023-04-11T15:30:00.000+00:00"}])
    asked = {"America/Vancouver": "08:29:59", "UTC": "15:30:00", "Asia/Tokyo": "23:59:59"}[zone]
    assert len(_selected(table, f"date_created gt '2023-04-11 {asked}'")) == count


def test_a_long_chain_is_no_deep_recursion() -> None:
    text = " or ".join(f"ENROLMENT_ID eq {number}" for number in range(3000))
    assert len(_selected(_table([{"ENROLMENT_ID": 2999}]), text)) == 1


def test_release_1_4_knows_no_feed_position() -> None:
    with pytest.raises(QueryError, match="record_enrol_id"):
        parse_filter("record_enrol_id gt 1", feed_fields("1.4"), ZONE)


@pytest.mark.parametrize("text", ["GUID up", "GUID asc desc", "NOBODY", ",", "GUID,"])
def test_refuses_a_bad_order(text: str) -> None:
    with pytest.raises(QueryError):
        parse_orderby(text, COMPLETION_FIELDS)


def test_order_of_both_releases() -> None:
    assert parse_orderby("COURSE_STATE_DATE,date_created asc", FEED_FIELDS) == (
        ("COURSE_STATE_DATE", False),
        ("date_created", False),
    )
    assert parse_orderby("ENROLMENT_ID asc,COURSE_STATE desc", FEED_FIELDS)[1] == ("COURSE_STATE", True)
