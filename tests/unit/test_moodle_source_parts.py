"""The pure parts of the Moodle source: catalogue, report rows, times, statuses, what is news."""

import json
from collections.abc import Iterator, Sequence
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.moodle_source.catalogue import CourseEntry, catalogue
from connectors.moodle_source.known import Known
from connectors.moodle_source.report import Columns, Page, columns, page, read_time
from connectors.moodle_source.settings import HEADINGS
from connectors.moodle_source.statuses import completion
from infra.errors import Stop
from infra.simulators.moodle.text import date_text
from schemas.ids import CourseId, MoodleCourseId, PersonId, Target, TenantId
from schemas.moodle import CompletionObserved, CourseObserved, MoodleObserved

RECORDINGS = Path(__file__).parent.parent / "contract" / "recordings"
FORMATS = ("%A, %d %B %Y, %I:%M %p",)
UTC_ZONE, VANCOUVER = ZoneInfo("UTC"), ZoneInfo("America/Vancouver")
TENANT, TARGET = TenantId("t"), Target("main")
SEEN_AT = datetime(2026, 11, 21, 6, tzinfo=UTC)


def recorded(name: str) -> Any:
    return json.loads((RECORDINGS / f"{name}.json").read_text("utf-8"))["response"]


def entry(**fields: Any) -> CourseEntry:
    return CourseEntry(**{"id": 7, "shortname": "S", **fields})


def test_the_recorded_catalogue_gives_the_courses_with_an_id_number() -> None:
    answer = msgspec.convert(recorded("032-courses-get-all"), list[CourseEntry])
    found = catalogue(answer, "completion_opt_in")
    assert sorted(found.courses) == ["30001", "30002", "30003", "30004", "30014", "30015"]
    assert found.opted_in == {"30014"}
    assert found.courses[CourseId("30014")] == CourseObserved(
        course_id=CourseId("30014"),
        moodle_course_id=MoodleCourseId(9),
        short_name="ITEM-14",
        visible=True,
        completion_opt_in=True,
    )


def test_names_are_read_as_they_were_written() -> None:
    found = catalogue([entry(idnumber="5", shortname="R&amp;D &lt;2&gt;", visible=0)], "x")
    course = found.courses[CourseId("5")]
    assert (course.short_name, course.visible) == ("R&D <2>", False)


def test_an_id_number_of_several_courses_is_told_apart_from_the_rest() -> None:
    twins = [entry(id=9, idnumber="5"), entry(id=4, idnumber="5"), entry(id=6, idnumber="8"), entry(id=1)]
    found = catalogue(twins, "x")
    assert list(found.courses) == ["8"]
    assert found.ambiguous == {"5": (4, 9)}


@pytest.mark.parametrize(
    ("value", "expected"), [(1, True), ("1", True), (0, False), ("0", False), (None, False), ("Yes", False)]
)
def test_opting_in_is_the_raw_value_of_the_field(value: Any, expected: bool) -> None:
    plain = {"id": 1, "shortname": "S", "idnumber": "5"}
    fields = msgspec.convert(
        {**plain, "customfields": [{"shortname": "opt", "valueraw": value}]}, CourseEntry
    )
    assert bool(catalogue([fields], "opt").opted_in) is expected
    assert not catalogue([fields], "another").opted_in


def test_columns_are_found_by_their_headings() -> None:
    data = recorded("196-report-participants-page0")["data"]
    assert columns(data["headers"], HEADINGS) == Columns(0, 2, 6)
    assert columns(recorded("201-report-completions-24h")["data"]["headers"], HEADINGS) == Columns(0, 1, 3)


def test_headings_may_be_in_another_language() -> None:
    named = {"person": "Numéro", "course": "Cours", "completed": "Achevé le"}
    assert columns(["Cours", "x", "Achevé le", "Numéro"], named) == Columns(3, 0, 2)


def test_missing_columns_are_named() -> None:
    with pytest.raises(Stop, match="'ID number', 'Time completed'"):
        columns(["Course ID number", "Email address"], HEADINGS)


@pytest.mark.parametrize(
    ("text", "zone", "expected"),
    [
        ("Saturday, 21 November 2026, 5:13 AM", UTC_ZONE, datetime(2026, 11, 21, 5, 13, tzinfo=UTC)),
        ("Saturday, 21 November 2026, 12:00 AM", UTC_ZONE, datetime(2026, 11, 21, 0, 0, tzinfo=UTC)),
        ("Saturday, 21 November 2026, 12:30 PM", UTC_ZONE, datetime(2026, 11, 21, 12, 30, tzinfo=UTC)),
        ("Sunday, 1 February 2026, 9:05\u202fPM", UTC_ZONE, datetime(2026, 2, 1, 21, 5, tzinfo=UTC)),
        ("Saturday, 21 November 2026, 5:13 AM", VANCOUVER, datetime(2026, 11, 21, 13, 13, tzinfo=UTC)),
        ("Tuesday, 21 July 2026, 5:13 AM", VANCOUVER, datetime(2026, 7, 21, 12, 13, tzinfo=UTC)),
        # Summer time ended at 2 AM on 3 November 2024: 1:30 came twice, and the first is taken.
        ("Sunday, 3 November 2024, 1:30 AM", VANCOUVER, datetime(2024, 11, 3, 8, 30, tzinfo=UTC)),
        ("samedi 21 novembre 2026, 05:13", UTC_ZONE, None),
        ("Saturday, 31 November 2026, 5:13 AM", UTC_ZONE, None),
        ("Never", UTC_ZONE, None),
    ],
)
def test_times_are_read_in_the_readers_zone(text: str, zone: ZoneInfo, expected: datetime | None) -> None:
    assert read_time(text, zone, FORMATS) == expected


@given(
    st.integers(1_000_000_000, 2_200_000_000),
    st.sampled_from(["UTC", "America/Vancouver", "Asia/Kathmandu", "Australia/Lord_Howe", "Europe/London"]),
)
def test_every_shown_time_is_read_back_to_the_minute(stamp: int, name: str) -> None:
    zone = ZoneInfo(name)
    written = datetime.fromtimestamp(stamp, UTC).replace(second=0)
    read = read_time(date_text(int(written.timestamp()), name), zone, FORMATS)
    assert read is not None
    repeated = written.astimezone(zone).fold == 1
    earlier = read < written and written - read <= timedelta(hours=1)
    assert read == written or (repeated and earlier)
    assert read.astimezone(zone).date() == written.astimezone(zone).date()


def rows_page(rows: Sequence[Sequence[str | None]], *courses: str, zone: ZoneInfo = UTC_ZONE) -> Page:
    return page(rows, Columns(0, 1, 2), {CourseId(course) for course in courses}, zone, FORMATS)


EARLY, LATE = "Friday, 20 November 2026, 11:30 PM", "Saturday, 21 November 2026, 5:13 AM"


def test_recorded_rows_give_the_completions_of_the_wanted_courses() -> None:
    data = recorded("198-report-participants-perpage-1000")["data"]
    where = columns(data["headers"], HEADINGS)
    found = page([row["columns"] for row in data["rows"]], where, {CourseId("30001")}, UTC_ZONE, FORMATS)
    assert sorted(found.completions) == [("GUID000021", "30001"), ("GUID000022", "30001")]
    seen = found.completions[PersonId("GUID000021"), CourseId("30001")]
    assert seen == CompletionObserved(
        person_id=PersonId("GUID000021"),
        course_id=CourseId("30001"),
        completed_on=date(2026, 11, 21),
        completed_at=datetime(2026, 11, 21, 5, 13, tzinfo=UTC),
    )


def test_what_is_no_completion_is_passed_over() -> None:
    found = rows_page(
        [
            ["", "5", LATE],
            ["G1", "5", ""],
            ["G1", "5", None],
            ["G1", "6", LATE],
            ["G1", "", LATE],
            [None, "5", LATE],
        ],
        "5",
    )
    assert (found.completions, found.unreadable) == ({}, 0)


def test_a_row_with_an_unreadable_time_harms_no_other() -> None:
    found = rows_page([["G1", "5", "soon"], ["G2", "5", LATE]], "5")
    assert (list(found.completions), found.unreadable, found.readable) == ([("G2", "5")], 1, 1)


def test_of_several_accounts_of_a_person_the_earliest_completion_counts() -> None:
    for rows in ([["G1", "5", LATE], ["G1", "5", EARLY]], [["G1", "5", EARLY], ["G1", "5", LATE]]):
        assert [seen.completed_on for seen in rows_page(rows, "5").completions.values()] == [
            date(2026, 11, 20)
        ]


def test_the_day_is_that_of_the_sites_zone() -> None:
    found = rows_page([["G1", "5", EARLY]], "5", zone=VANCOUVER)
    (seen,) = found.completions.values()
    assert seen.completed_on == date(2026, 11, 20)
    assert seen.completed_at == datetime(2026, 11, 21, 7, 30, tzinfo=UTC)


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        ([LATE, EARLY], True),
        ([LATE, LATE, EARLY], True),
        ([EARLY, LATE], False),
        ([LATE, LATE], False),
        ([], False),
    ],
)
def test_order_is_told_only_where_it_shows(times: list[str], expected: bool) -> None:
    assert rows_page([["G1", "5", time] for time in times], "5").newest_first is expected


def status(completed: bool, times: list[int | None], aggregation: int = 1) -> dict[str, Any]:
    criteria = [{"complete": time is not None, "timecompleted": time} for time in times]
    return {"completionstatus": {"completed": completed, "aggregation": aggregation, "completions": criteria}}


TODAY = date(2026, 12, 1)
FRIDAY, SATURDAY = 1795217400, 1795238023  # 20 November 2026, 23:30 and 21 November, 05:13 UTC


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (recorded("148-completion-status-after-cron"), date(2026, 11, 21)),
        (recorded("150-completion-status-marked-direct"), TODAY),
        (recorded("147-completion-status-criterion-met-before-cron"), None),
        (status(True, [FRIDAY, SATURDAY]), date(2026, 11, 21)),
        (status(True, [FRIDAY, SATURDAY], aggregation=2), date(2026, 11, 20)),
        (status(True, [FRIDAY, None], aggregation=2), date(2026, 11, 20)),
        (status(False, [FRIDAY]), None),
    ],
)
def test_a_status_gives_the_day_of_completion(answer: dict[str, Any], expected: date | None) -> None:
    seen = completion(answer, PersonId("G"), CourseId("5"), UTC_ZONE, TODAY)
    assert (seen and seen.completed_on) == expected
    assert seen is None or seen.completed_at is None


def completions(*places: tuple[str, str, int]) -> Iterator[CompletionObserved]:
    for person, course, day in places:
        yield CompletionObserved(
            person_id=PersonId(person), course_id=CourseId(course), completed_on=date(2026, 11, day)
        )


def news(known: Known, *places: tuple[str, str, int]) -> list[MoodleObserved]:
    return known.news(completions(*places), TENANT, TARGET, SEEN_AT)


def test_only_what_is_new_or_differs_is_news() -> None:
    known = Known()
    first = news(known, ("G1", "5", 1), ("G2", "5", 1))
    assert len(first) == 2
    assert len(news(known, ("G1", "5", 1))) == 1, "nothing is learnt by asking"
    known.learn(first)
    later = news(known, ("G1", "5", 1), ("G2", "5", 2), ("G3", "5", 1))
    assert [record.key for record in later] == ["t|COMPLETION|G2|5", "t|COMPLETION|G3|5"]


def test_a_removed_record_is_news_again() -> None:
    known = Known()
    (record,) = news(known, ("G1", "5", 1))
    known.learn_one(record.key, record)
    assert known.has(TENANT, ("G1", "5"))
    known.learn_one(record.key, None)
    assert len(news(known, ("G1", "5", 1))) == 1
    assert not known.has(TENANT, ("G1", "5"))
