"""Paging: every record once, in order, and not by sorting everything for every page."""

from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest

from infra.simulators.elm.columns import FEED_FIELDS
from infra.simulators.elm.table import Table
from infra.simulators.seed import SeedPlan, records

ZONE = ZoneInfo("America/Vancouver")
RELEASE_1_5 = "record_enrol_id gt {} and USER_STATE eq 'ACTIVE'"


class CountingTable(Table):
    """A table that counts how many rows it has sorted."""

    sorted_rows = 0

    def _sorted(self, rows: list[int], order: tuple[tuple[str, bool], ...]) -> list[int]:
        self.sorted_rows += len(rows)
        return super()._sorted(rows, order)


def _table(count: int = 3000) -> CountingTable:
    table = CountingTable(FEED_FIELDS, ZONE)
    table.append(records(SeedPlan(seed=3, records=count, duplicates=0, broken=0)))
    return table


def _values(table: Table, rows: list[int], field: str) -> list[Any]:
    return [int(msgspec.json.decode(table.encoded(row))[field]) for row in rows]


@pytest.mark.parametrize(
    ("filter_text", "order"),
    [
        ("", ""),
        ("", "ENROLMENT_ID asc,COURSE_STATE asc"),
        (RELEASE_1_5.format(0), "ENROLMENT_ID asc,COURSE_STATE asc"),
        (RELEASE_1_5.format(2800), "ENROLMENT_ID asc,COURSE_STATE asc"),
        ("date_created gt '2023-04-11 08:00:00'", "COURSE_STATE_DATE,date_created asc"),
        ("USER_STATE eq 'ACTIVE'", "record_enrol_id desc"),
    ],
)
def test_pages_put_together_are_the_whole(filter_text: str, order: str) -> None:
    table = _table()
    whole = table.select(filter_text, order).page(0, len(table))
    pages = [row for skip in range(0, 3100, 100) for row in table.select(filter_text, order).page(skip, 100)]
    assert pages == whole
    assert len(set(whole)) == len(whole) == (200 if "2800" in filter_text else 3000)


def test_reading_by_pages_sorts_once() -> None:
    table = _table()
    for skip in range(0, 3000, 100):
        table.select(RELEASE_1_5.format(0), "ENROLMENT_ID asc,COURSE_STATE asc").page(skip, 100)
    assert table.sorted_rows <= 2 * len(table)  # this order, and the range over record_enrol_id


def test_reading_by_position_sorts_once_and_gives_everything() -> None:
    table, position, seen = _table(), 0, []
    while rows := table.select(RELEASE_1_5.format(position), "record_enrol_id asc").page(0, 100):
        seen += _values(table, rows, "record_enrol_id")
        position = seen[-1]
    assert seen == list(range(1, 3001))
    assert table.sorted_rows <= 2 * len(table)


def test_a_poll_after_few_new_records_sorts_those_only() -> None:
    table = _table()
    order = "COURSE_STATE_DATE,date_created asc"
    table.select(RELEASE_1_5.format(2990), order).page(0, 100)
    before = table.sorted_rows
    table.append([{"record_enrol_id": 3001, "USER_STATE": "ACTIVE"}])
    assert len(table.select(RELEASE_1_5.format(2990), order).page(0, 100)) == 11
    # The range over record_enrol_id is extended (nearly sorted: one pass), the order never made.
    assert table.sorted_rows - before <= len(table) + 11


def test_a_cut_table_forgets_what_it_knew() -> None:
    table = _table(10)
    table.select("GUID ne ''", "record_enrol_id").page(0, 10)
    table.truncate(4)
    assert len(table.select("GUID ne ''", "record_enrol_id").page(0, 10)) == 4
    table.append([{"record_enrol_id": 2, "GUID": "new"}])
    assert _values(table, table.select("GUID eq 'new'", "").page(0, 9), "record_enrol_id") == [2]
