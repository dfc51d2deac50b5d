"""What a poll asks for, where its cursor goes, and what counts as a page."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.settings import ElmFeed
from producers.elm import query
from producers.elm.client import FeedError, read_page
from producers.elm.settings import ElmFeedSettings
from schemas.ids import TenantId

VANCOUVER = ZoneInfo("America/Vancouver")
BY_POSITION = ElmFeedSettings(url="http://elm.invalid/feed", token="secret", tenant=TenantId("t1"))
BY_TIME = replace(BY_POSITION, release=ElmFeed.TIME)
NOW = datetime(2026, 1, 5, 20, 0, 30, 999, UTC)


def test_a_feed_by_position_is_asked_as_release_1_5_does() -> None:
    assert query.options(BY_POSITION, {"mark": 5000, "recent": None}, NOW) == {
        "$orderby": "ENROLMENT_ID asc,COURSE_STATE asc",
        "$filter": "record_enrol_id gt 4000 and USER_STATE eq 'ACTIVE'",
    }


def test_a_feed_by_time_is_asked_as_release_1_4_does() -> None:
    assert query.options(BY_TIME, None, NOW) == {
        "$orderby": "COURSE_STATE_DATE,date_created asc",
        "$filter": "date_created gt '2026-01-05 10:00:30'",
    }


def test_names_of_fields_are_those_of_the_feed() -> None:
    renamed = replace(BY_POSITION, field_names={"record_enrol_id": "pos", "USER_STATE": "active"})
    assert query.options(renamed, None, NOW)["$filter"] == "pos gt 0 and active eq 'ACTIVE'"


def test_the_query_is_percent_encoded_with_its_dollar_signs() -> None:
    text = query.query_string(query.options(BY_TIME, None, NOW), 500, 1500)
    assert "$" not in text
    assert "%24filter=date_created%20gt%20%272026-01-05%2010%3A00%3A30%27" in text
    assert dict(parse_qsl(text))["$skip"] == "1500"
    assert "skip" not in query.query_string({}, 500, 0)


@pytest.mark.parametrize(
    ("position", "first"),
    [
        (None, 0),
        ({"mark": 10, "recent": None}, 0),
        ({"mark": 5000, "recent": None}, 4000),
        ({"mark": 5000, "recent": 4500}, 4000),
        ({"mark": 5000, "recent": 1200}, 1199),
    ],
)
def test_positions_that_may_still_be_filled_are_read_again(
    position: dict[str, Any] | None, first: int
) -> None:
    assert query.first_position(BY_POSITION, position) == first


def test_the_cursor_remembers_the_highest_position_and_where_the_recent_ones_begin() -> None:
    old, young = "2026-01-05T19:00:00Z", "2026-01-05T19:55:00Z"
    progress = query.Progress(BY_POSITION, {"mark": 90}, NOW)
    progress.add(
        [{"record_enrol_id": 70, "date_created": old}, {"record_enrol_id": "101", "date_created": young}]
    )
    progress.add(
        [{"record_enrol_id": 99, "date_created": young}, {"record_enrol_id": 100, "date_created": None}]
    )
    progress.add([None, {"record_enrol_id": "x"}, {"record_enrol_id": 98, "date_created": "?"}, {}])
    assert progress.position() == {"mark": 101, "recent": 99}


def test_an_empty_poll_keeps_the_mark() -> None:
    assert query.Progress(BY_POSITION, {"mark": 90, "recent": 80}, NOW).position() == {
        "mark": 90,
        "recent": None,
    }


def test_the_window_reaches_back_over_an_outage() -> None:
    last = NOW - timedelta(days=3)
    assert query.window_start(BY_TIME, {"polled_at": last.isoformat()}, NOW) == last - timedelta(minutes=10)
    recent = {"polled_at": (NOW - timedelta(minutes=1)).isoformat()}
    assert query.window_start(BY_TIME, recent, NOW) == NOW - timedelta(minutes=120)


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (datetime(2026, 7, 1, 12, tzinfo=UTC), "2026-07-01 05:00:00"),
        (datetime(2026, 3, 8, 9, 59, 59, tzinfo=UTC), "2026-03-08 01:59:59"),
        (datetime(2026, 3, 8, 10, 0, 0, tzinfo=UTC), "2026-03-08 03:00:00"),
        (datetime(2026, 11, 1, 7, 59, 59, tzinfo=UTC), "2026-11-01 00:59:59"),
        # 01:30 comes twice that night, at 08:30 and at 09:30 UTC: both are asked for from 00:30 on.
        (datetime(2026, 11, 1, 8, 30, tzinfo=UTC), "2026-11-01 00:30:00"),
        (datetime(2026, 11, 1, 9, 30, tzinfo=UTC), "2026-11-01 00:30:00"),
        (datetime(2026, 11, 1, 10, 0, tzinfo=UTC), "2026-11-01 02:00:00"),
    ],
)
def test_the_servers_wall_time_is_never_later_than_meant(moment: datetime, text: str) -> None:
    assert query.wall_time(moment, VANCOUVER) == text


@given(
    st.datetimes(datetime(2020, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - made aware below
    st.floats(0, 86_400 * 3),
    st.sampled_from(["America/Vancouver", "Europe/London", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_nothing_created_after_the_start_is_left_out_whichever_hour_the_server_means(
    naive: datetime, later: float, name: str
) -> None:
    start, zone = naive.replace(tzinfo=UTC), ZoneInfo(name)
    created = start + timedelta(seconds=later)
    # A server that keeps wall times compares texts; one that keeps moments reads the text in its zone.
    assert created.astimezone(zone).strftime("%Y-%m-%d %H:%M:%S") >= query.wall_time(start, zone)
    read = datetime.fromisoformat(query.wall_time(start, zone)).replace(tzinfo=zone)
    assert read.replace(fold=1).astimezone(UTC) <= start


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"<html>", "not_json"),
        (b"", "not_json"),
        (b'{"value": [{"a": 1}', "not_json"),
        (b"[]", "no_value"),
        (b'{"values": []}', "no_value"),
        (b'{"value": null}', "no_value"),
    ],
)
def test_what_is_no_page_is_refused(body: bytes, code: str) -> None:
    with pytest.raises(FeedError) as error:
        read_page(body)
    assert error.value.code == code


def test_one_unreadable_text_does_not_spoil_the_page() -> None:
    assert len(read_page(b'{"value": [{"a": "\\ud800"}, {"a": "ok"}]}').records) == 2
    assert len(read_page(b'{"value": [{"a": "\xff"}, {"a": "ok"}]}').records) == 2


def test_only_the_query_of_a_next_link_is_followed() -> None:
    body = json.dumps({"value": [], "@odata.nextLink": "http://elsewhere.invalid/x?$skip=3&$top=1"})
    assert read_page(body.encode()).following == "$skip=3&$top=1"
    assert read_page(b'{"value": [], "@odata.nextLink": "http://elsewhere.invalid/x"}').following is None
