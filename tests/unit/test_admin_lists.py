"""What a list can be asked for, its cursors and its SQL; and texts that spreadsheets would compute."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Any

import pytest
from aiohttp import ClientPayloadError, web
from hypothesis import given
from hypothesis import strategies as st

from infra.errors import RetryLater
from producers.web.admin import listing as listings
from producers.web.admin.csv_export import cell, export, lines
from producers.web.admin.listing import Listing, Position, decode, encode, read
from producers.web.admin.reads import Page
from producers.web.admin.resource import Kind
from producers.web.admin.resources import (
    CALLS,
    COMMANDS,
    COURSES,
    ENROLMENTS,
    PARKED,
    PEOPLE,
    RESOURCES,
    RUNS,
)
from producers.web.admin.sql import select, select_tail
from producers.web.problems import Problem
from producers.web.routes import Handler
from schemas.ids import TenantId
from tests.unit.web_support import client_of, open_route

T, HOUSE = TenantId("t"), TenantId("house")
AT = datetime(2026, 11, 2, 8, tzinfo=UTC)


def test_every_resource_names_columns_of_its_own() -> None:
    for one in RESOURCES:
        named = {*one.key, *one.filters, *(sort.removeprefix("-") for sort in one.sorts), *one.sparse}
        named |= {*one.words, *one.presence}
        assert named | {one.moment, one.search} - {""} <= one.by_name.keys(), one.name
        assert one.sparse <= set(one.key)
        for sort in one.sorts:
            column = sort.removeprefix("-")
            assert column not in one.key[1:], "the order of a key begins with its first column"
            assert one.by_name[column].kind not in (Kind.JSON, Kind.TEXTS)
    assert len({one.name for one in RESOURCES}) == len(RESOURCES)


def test_a_query_becomes_what_is_asked_for() -> None:
    query = {
        "person_id": ["P1", "P2"],
        "deleted": ["false"],
        "since": ["2026-11-02T10:00:00+02:00"],
        "until": ["2026-11-03"],
        "q": ["P"],
        "sort": ["-recorded_at"],
        "limit": ["7"],
        "tenant": ["t"],
        "format": ["csv"],
    }
    asked = read(PEOPLE, query, T, HOUSE)
    filters = {column.name: values for column, values in asked.filters}
    assert filters == {"person_id": ("P1", "P2"), "deleted": (False,)}
    assert (asked.since, asked.until) == (AT, datetime(2026, 11, 3, tzinfo=UTC))
    assert (asked.prefix, asked.sort, asked.limit, asked.tenant) == ("P", "-recorded_at", 7, T)
    assert read(PEOPLE, {}, T, HOUSE) == Listing(T, sort="person_id")


@pytest.mark.parametrize(
    ("query", "name", "reason"),
    [
        ({"colour": ["red"]}, "colour", "there is no such parameter here"),
        ({"deleted": ["maybe"]}, "deleted", "is neither true nor false"),
        ({"since": ["yesterday"]}, "since", "is no moment such as 2026-11-02T08:00:00Z"),
        ({"since": ["0001-01-01T00:00:00+23:00"]}, "since", "is no moment such as 2026-11-02T08:00:00Z"),
        ({"limit": ["0"]}, "limit", "is not from 1 to 1000"),
        ({"limit": ["1001"]}, "limit", "is not from 1 to 1000"),
        ({"limit": ["٣"]}, "limit", "is no whole number"),
        ({"limit": ["5", "6"]}, "limit", "is given too often"),
        ({"sort": ["email"]}, "sort", "is none of person_id, -person_id, -recorded_at, recorded_at"),
        ({"format": ["xml"]}, "format", "is none of json, csv"),
        ({"cursor": ["abc"]}, "cursor", "is no cursor of this list in this order"),
        ({"cursor": ["é"]}, "cursor", "is no cursor of this list in this order"),
        ({"person_id": ["a\0b"]}, "person_id", "holds a zero byte"),
        ({"person_id": ["x"] * 101}, "person_id", "is given too often"),
        ({"ownerless": ["true"]}, "ownerless", "there is no such parameter here"),
        ({"has_email": ["true"]}, "has_email", "there is no such parameter here"),
    ],
)
def test_what_cannot_be_asked_is_refused_by_its_name(
    query: dict[str, Sequence[str]], name: str, reason: str
) -> None:
    with pytest.raises(Problem) as refused:
        read(PEOPLE, query, T, HOUSE)
    assert refused.value.status == 400
    assert refused.value.errors == ({"path": f"query.{name}", "reason": reason},)


def test_what_is_of_no_tenant_is_for_the_hubs_own_tenant() -> None:
    query = {"ownerless": ["true"]}
    with pytest.raises(Problem, match="403"):
        read(CALLS, query, T, HOUSE)
    asked = read(CALLS, query, HOUSE, HOUSE)
    assert asked.tenant is None
    assert "(tenant IS NULL OR tenant = '')" in select(CALLS, asked, 5).text
    assert read(CALLS, {"ownerless": ["false"]}, T, HOUSE).tenant == T


VALUES: dict[Kind, st.SearchStrategy[Any]] = {
    Kind.TEXT: st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])),
    Kind.INTEGER: st.integers(-(2**63), 2**63 - 1),
    Kind.TIME: st.datetimes(timezones=st.just(UTC)),
    Kind.DATE: st.dates(),
}


@given(st.data())
def test_a_cursor_tells_the_place_it_was_made_of(data: st.DataObject) -> None:
    resource = data.draw(st.sampled_from(RESOURCES))
    sort = data.draw(st.sampled_from(resource.sorts))
    kinds = [resource.by_name[name].kind for name in (sort.removeprefix("-"), *resource.key)]
    value, *key = (data.draw(VALUES[kind]) for kind in kinds)
    place = Position(data.draw(st.sampled_from([value, None])), tuple(key))
    cursor = encode(resource, Listing(T, sort=sort), place)
    assert decode(resource, sort, cursor) == place
    for other in resource.sorts:
        if other != sort:
            with pytest.raises(ValueError, match="no cursor of this list"):
                decode(resource, other, cursor)


@given(st.text(max_size=40))
def test_no_text_makes_a_cursor_fail_otherwise(text: str) -> None:
    with pytest.raises(ValueError, match="is no cursor of this list in this order"):
        decode(COMMANDS, "-issued_at", text)


def test_a_page_begins_behind_the_last_row_in_the_order_of_an_index() -> None:
    asked = Listing(T, sort="-issued_at", after=Position(AT, ("c9",)))
    found = select(COMMANDS, asked, 3)
    assert found.text.endswith(
        "FROM read_model.commands WHERE tenant = %s AND issued_at IS NOT NULL"
        " AND (issued_at, command_id) < (%s, %s) ORDER BY issued_at DESC, command_id DESC LIMIT %s"
    )
    assert found.parameters == ["t", AT, "c9", 3]


def test_rows_without_a_value_come_last_by_their_key() -> None:
    tail = "WHERE tenant = %s AND since IS NULL"
    by_key = "what DESC, coalesce(person_id, '') DESC, coalesce(course_id, '') DESC, waits_for DESC LIMIT %s"
    first = select_tail(PARKED, Listing(T, sort="-since", after=Position(AT, ("a", "b", "c", "d"))), 3)
    assert first.text.endswith(f"{tail} ORDER BY {by_key}")
    assert first.parameters == ["t", 3]
    later = select(PARKED, Listing(T, sort="-since", after=Position(None, ("a", "b", "", "d"))), 3)
    behind = "(what, coalesce(person_id, ''), coalesce(course_id, ''), waits_for) < (%s, %s, %s, %s)"
    assert later.text.endswith(f"{tail} AND {behind} ORDER BY {by_key}")
    assert later.parameters == ["t", "a", "b", "", "d", 3]


def test_an_order_of_the_key_has_no_rows_without_a_value() -> None:
    found = select(ENROLMENTS, Listing(T, sort="person_id", after=Position("p", ("p", "c"))), 2)
    assert "NULL" not in found.text
    assert "(person_id, course_id) > (%s, %s) ORDER BY person_id, course_id LIMIT" in found.text
    assert "id > %s ORDER BY id LIMIT" in select(RUNS, Listing(T, sort="id", after=Position(4, (4,))), 2).text


def test_a_beginning_means_itself() -> None:
    found = select(ENROLMENTS, Listing(T, prefix="50%_\\", sort="person_id"), 2)
    assert "person_id LIKE %s" in found.text
    assert found.parameters == ["t", "50\\%\\_\\\\%", 2]


def test_each_word_may_begin_an_id_or_in_any_case_a_name() -> None:
    found = select(COURSES, Listing(T, prefix=" Ann  MATHS", sort="course_id"), 2)
    begins = ["course_id LIKE %s", "lower(short_name) LIKE lower(%s)", "lower(full_name) LIKE lower(%s)"]
    other = f"WHERE tenant = %s AND ({' OR '.join(begins)}) AND "
    order = "ORDER BY course_id, source, source_record_id LIMIT %s"
    assert [part.rpartition(other)[2] for part in found.text.split(") UNION (")][:2] == [
        f"{begin} {order}" for begin in begins[:2]
    ]
    assert found.text.endswith(f"{begins[2]} {order})) AS found {order}")
    assert found.parameters == [*["t", *["MATHS%"] * 3, "Ann%", 2] * 3, 2]


def test_rows_with_or_without_a_reason_can_be_asked_for() -> None:
    asked = read(ENROLMENTS, {"has_reason": ["true"], "wanted": ["ACTIVE"]}, T, HOUSE)
    found = select(ENROLMENTS, asked, 2)
    assert "WHERE tenant = %s AND wanted = %s AND reason IS NOT NULL ORDER BY" in found.text
    without = select(ENROLMENTS, read(ENROLMENTS, {"has_reason": ["false"]}, T, HOUSE), 2)
    assert "reason IS NULL" in without.text


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("+44", "'+44"),
        ("-5", "'-5"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("a=1", "a=1"),
        ("", ""),
        (None, ""),
        (-5, "-5"),
        (True, "true"),
        (AT, "2026-11-02T08:00:00Z"),
        (date(2026, 11, 2), "2026-11-02"),
        ({"a": [1]}, '{"a":[1]}'),
        (["user|t|P1"], '["user|t|P1"]'),
    ],
)
def test_no_cell_is_a_formula(value: Any, expected: str) -> None:
    assert cell(value) == expected


def test_lines_are_quoted_where_needed() -> None:
    rows: list[dict[str, Any]] = [{"a": 'x"y', "b": "1,2"}, {"a": "é", "b": None}]
    assert lines(["a", "b"], rows, [["a", "b"]]) == 'a,b\r\n"x""y","1,2"\r\né,\r\n'.encode()


def test_parameters_are_told_for_every_list() -> None:
    for one in RESOURCES:
        names = [parameter.name for parameter in listings.parameters(one)]
        assert len(set(names)) == len(names), one.name
        assert {"tenant", "sort", "limit", "cursor", "format"} <= set(names)


async def test_an_export_that_cannot_go_on_breaks_off_and_one_that_cannot_begin_is_a_problem() -> None:
    row = dict.fromkeys(("tenant", *PEOPLE.by_name))

    def handler(failing: int) -> Handler:
        asked: list[Listing] = []

        async def fetch(listing: Listing, _: int) -> Page:
            asked.append(listing)
            if len(asked) == failing:
                raise RetryLater("the database is away")
            return Page([row] * 3, Position("p", ("p", "s")))

        async def handle(request: web.Request) -> web.StreamResponse:
            return await export(request, PEOPLE, Listing(T, sort="person_id"), fetch)

        return handle

    routes = [open_route(f"/{number}", handler(number), "GET") for number in (1, 3)]
    async with client_of(routes) as client:
        assert (await client.get("/v1/1")).status == 503
        broken = await client.get("/v1/3")
        assert broken.status == 200
        with pytest.raises(ClientPayloadError):
            await broken.read()
