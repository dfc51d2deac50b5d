"""When things are due: tables of cases, and the arithmetic against a clock that is read minute by minute."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from infra.cli.planned import planned
from infra.errors import BadArgument
from infra.settings import Settings
from infra.turns import ASKED, NEVER, Intervals, Work
from producers.schedules import Key, Schedule, told
from producers.timing import Timing, checked, first_open, is_open, next_run, window_of
from schemas.ids import TenantId

VANCOUVER = "America/Vancouver"
NOON = datetime(2026, 11, 20, 12, 0, tzinfo=UTC)
"""A Friday."""
ZONES = (VANCOUVER, "UTC", "Europe/Oslo", "Australia/Lord_Howe", "Asia/Kolkata", "America/Sao_Paulo")
"""Lord Howe changes its clock by half an hour."""


def local(text: str, zone: str = VANCOUVER) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone))


def times(timing: Timing, after: datetime, count: int) -> list[datetime]:
    found = [after]
    for _ in range(count):
        following = next_run(timing, found[-1])
        assert following is not None
        found.append(following)
    return found[1:]


@pytest.mark.parametrize(
    ("cron", "after", "expected"),
    [
        # The clock goes from 02:00 to 03:00 on 8 March and from 02:00 back to 01:00 on 1 November.
        ("0 0 * * *", "2026-03-07T12:00", ["2026-03-08T00:00", "2026-03-09T00:00", "2026-03-10T00:00"]),
        ("30 2 * * *", "2026-03-07T12:00", ["2026-03-08T03:00", "2026-03-09T02:30", "2026-03-10T02:30"]),
        ("*/30 * * * *", "2026-03-08T01:00", ["2026-03-08T01:30", "2026-03-08T03:00", "2026-03-08T03:30"]),
        ("30 1 * * *", "2026-10-31T12:00", ["2026-11-01T01:30", "2026-11-02T01:30", "2026-11-03T01:30"]),
        ("0 12 * * 1-5", "2026-11-20T12:00", ["2026-11-23T12:00", "2026-11-24T12:00", "2026-11-25T12:00"]),
        ("0 12 * * 0", "2026-11-20T12:00", ["2026-11-22T12:00", "2026-11-29T12:00", "2026-12-06T12:00"]),
        ("0 12 * * 7", "2026-11-20T12:00", ["2026-11-22T12:00", "2026-11-29T12:00", "2026-12-06T12:00"]),
        (
            "0 12 * * fri-mon",
            "2026-11-20T12:00",
            ["2026-11-21T12:00", "2026-11-22T12:00", "2026-11-23T12:00"],
        ),
        (
            "0 12 * * SAT,sun",
            "2026-11-20T12:00",
            ["2026-11-21T12:00", "2026-11-22T12:00", "2026-11-28T12:00"],
        ),
        ("0 0 29 2 *", "2026-11-20T12:00", ["2028-02-29T00:00", "2032-02-29T00:00", "2036-02-29T00:00"]),
        ("59 23 last * *", "2026-11-20T12:00", ["2026-11-30T23:59", "2026-12-31T23:59", "2027-01-31T23:59"]),
    ],
)
def test_cron_by_the_clock_of_a_zone(cron: str, after: str, expected: list[str]) -> None:
    found = times(checked(Timing(cron=cron, zone=VANCOUVER)), local(after), 3)
    assert [one.astimezone(ZoneInfo(VANCOUVER)) for one in found] == [local(one) for one in expected]


@pytest.mark.parametrize(
    ("text", "inside", "outside"),
    [
        ("mon-fri 06-18", ["2026-11-20T06:00", "2026-11-20T17:59"], ["2026-11-20T18:00", "2026-11-21T12:00"]),
        ("22:00-06:00", ["2026-11-20T23:00", "2026-11-20T05:59"], ["2026-11-20T06:00", "2026-11-20T21:59"]),
        # The night from Friday to Saturday begins on Friday.
        ("fri 22-6", ["2026-11-20T22:00", "2026-11-21T05:00"], ["2026-11-20T05:00", "2026-11-21T22:00"]),
        ("sat,sun", ["2026-11-21T00:00", "2026-11-22T23:59"], ["2026-11-20T23:59", "2026-11-23T00:00"]),
        ("18-24", ["2026-11-20T18:00", "2026-11-20T23:59"], ["2026-11-21T00:00"]),
    ],
)
def test_hours(text: str, inside: list[str], outside: list[str]) -> None:
    window = window_of(text, "only")
    assert [window.holds(datetime.fromisoformat(one)) for one in inside] == [True] * len(inside)
    assert [window.holds(datetime.fromisoformat(one)) for one in outside] == [False] * len(outside)


BAD = {
    "neither": (Timing(), "every, cron"),
    "both": (Timing(every=timedelta(hours=1), cron="0 0 * * *"), "every, cron"),
    "nothing": (Timing(every=timedelta(0)), "every"),
    "for ever": (Timing(every=timedelta(days=400)), "every"),
    "four fields": (Timing(cron="0 0 * *"), "five fields"),
    "minute 61": (Timing(cron="61 0 * * *"), "61"),
    "day 8": (Timing(cron="0 0 * * 8"), "'8'"),
    "no day": (Timing(cron="0 0 * * moon"), "'moon'"),
    "two days": (Timing(cron="0 0 13 * fri"), "not both"),
    "30 February": (Timing(cron="0 0 30 2 *"), "never"),
    "no zone": (Timing(every=timedelta(hours=1), zone="Mars/Olympus"), "Mars/Olympus"),
    "folder": (Timing(every=timedelta(hours=1), zone="../zone"), "zone"),
    "hour 25": (Timing(every=timedelta(hours=1), only="08-25"), "only"),
    "minute 60": (Timing(every=timedelta(hours=1), only="08:60-10"), "only"),
    "words": (Timing(every=timedelta(hours=1), quiet="at night"), "quiet"),
    "empty": (Timing(every=timedelta(hours=1), quiet=" "), "quiet"),
    "shut": (Timing(every=timedelta(hours=1), only="mon 08-10", quiet="mon"), "no time"),
    "missed": (Timing(cron="0 3 * * *", only="06-18"), "no time"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_cannot_be_meant_is_refused_by_name(case: str) -> None:
    timing, named = BAD[case]
    with pytest.raises(BadArgument, match=named):
        checked(timing)


def minutes(zone: ZoneInfo, after: datetime, count: int) -> Iterator[tuple[datetime, list[datetime]]]:
    """Give the whole minutes behind ``after``, each with the times that the clock has newly reached."""
    moment = after.replace(second=0, microsecond=0)
    # What was shown before the clock was put back is not new any more.
    highest = max(
        (moment - timedelta(minutes=back)).astimezone(zone).replace(tzinfo=None) for back in range(180)
    )
    for _ in range(count):
        moment += timedelta(minutes=1)
        shown = moment.astimezone(zone).replace(tzinfo=None)
        new = [highest + timedelta(minutes=step) for step in range(1, 1 + _minutes(shown - highest))]
        highest = max(shown, highest)
        yield moment, new


def _minutes(duration: timedelta) -> int:
    return max(0, round(duration.total_seconds() / 60))


CHANGES = st.sampled_from(
    [
        datetime(2026, month, day, tzinfo=UTC)
        for month, day in ((3, 8), (3, 29), (4, 4), (10, 3), (10, 25), (11, 1))
    ]
)
MOMENTS = st.builds(
    lambda day, minutes, micros: day + timedelta(minutes=minutes, microseconds=micros),
    CHANGES,
    st.integers(-1500, 1500),
    st.sampled_from([0, 1, 30_000_000]),
)


@settings(max_examples=60)
@given(st.sampled_from(ZONES), MOMENTS, st.integers(0, 59), st.integers(0, 23), st.booleans())
@example(VANCOUVER, datetime(2026, 3, 8, 9, 59, tzinfo=UTC), 30, 2, False)
@example("Australia/Lord_Howe", datetime(2026, 10, 3, 15, 0, tzinfo=UTC), 15, 2, False)
@example(VANCOUVER, datetime(2026, 11, 1, 9, 10, tzinfo=UTC), 30, 1, False)
def test_cron_is_what_a_clock_shows_minute_by_minute(
    zone: str, after: datetime, minute: int, hour: int, hourly: bool
) -> None:
    timing = Timing(cron=f"{minute} * * * *" if hourly else f"{minute} {hour} * * *", zone=zone)
    expected = (
        moment
        for moment, shown in minutes(ZoneInfo(zone), after, 3_000)
        if any(one.minute == minute and (hourly or one.hour == hour) for one in shown)
    )
    assert next_run(timing, after) == next(expected)


HOURS = st.one_of(
    st.none(),
    st.builds(
        lambda days, start, end: f"{days} {start:02}:30-{end:02}:00".strip(),
        st.sampled_from(["", "mon-fri", "sat,sun", "sun-mon"]),
        st.integers(0, 23),
        st.integers(0, 24),
    ),
)


@settings(max_examples=40)
@given(st.sampled_from(ZONES), MOMENTS, HOURS, HOURS, st.sampled_from([1, 15, 60, 1440]))
def test_an_interval_waits_for_the_first_minute_that_the_hours_allow(
    zone: str, after: datetime, only: str | None, quiet: str | None, every: int
) -> None:
    timing = Timing(every=timedelta(minutes=every), only=only, quiet=quiet, zone=zone)
    planned_at = after + timedelta(minutes=every)
    found = next_run(timing, after)
    if is_open(timing, planned_at):
        assert found == planned_at
        return
    later = (moment for moment, _ in minutes(ZoneInfo(zone), planned_at, 9 * 1440))
    assert found == next((moment for moment in later if is_open(timing, moment)), None)


@given(st.sampled_from(ZONES), MOMENTS, st.integers(0, 10_000))
def test_a_later_look_never_gives_an_earlier_time(zone: str, after: datetime, seconds: int) -> None:
    """So a next time far ahead can only come from a clock that was put back."""
    timing = Timing(cron="*/7 1-3 * * *", quiet="01:10-01:40", zone=zone)
    first, second = next_run(timing, after), next_run(timing, after + timedelta(seconds=seconds))
    assert first is not None
    assert second is not None
    assert after < first <= second


SCHEDULE = Schedule(
    key=Key(TenantId("t"), Work.ELM),
    enabled=True,
    timing=Timing(every=timedelta(minutes=15)),
    next_run_at=NOON,
    requested_at=None,
    requested_by=None,
    updated_at=None,
    updated_by=None,
    seen_at=NOON,
)
QUIET = replace(SCHEDULE.timing, quiet="06-18")


@pytest.mark.parametrize(
    ("schedule", "seconds"),
    [
        (SCHEDULE, 0),
        (replace(SCHEDULE, next_run_at=NOON + timedelta(minutes=5)), 300),
        # Missed for a week: due, once.
        (replace(SCHEDULE, next_run_at=NOON - timedelta(days=7)), 0),
        (replace(SCHEDULE, enabled=False), NEVER),
        (replace(SCHEDULE, next_run_at=None), NEVER),
        # Missed, and now the hours forbid it.
        (replace(SCHEDULE, timing=QUIET), 6 * 3600),
        (replace(SCHEDULE, timing=QUIET, enabled=False, requested_at=NOON), ASKED),
    ],
)
def test_when_a_schedule_is_due(schedule: Schedule, seconds: float) -> None:
    assert schedule.seconds_left == seconds


def test_what_is_open_at_once_stays_where_it_is() -> None:
    assert first_open(QUIET, NOON) == datetime(2026, 11, 20, 18, 0, tzinfo=UTC)
    assert first_open(SCHEDULE.timing, NOON) == NOON


def test_a_schedule_in_words() -> None:
    timing = Timing(cron="30 6 * * *", only="mon-fri", quiet="22-24", zone=VANCOUVER)
    assert told(replace(SCHEDULE, timing=Timing(every=timedelta(seconds=30)))) == "every 30 s (UTC)"
    words = told(replace(SCHEDULE, timing=timing, enabled=False))
    assert words == f"cron 30 6 * * *, only mon-fri, not 22-24, disabled ({VANCOUVER})"


def test_without_a_word_from_anybody_everything_is_as_the_settings_have_it() -> None:
    site = {"url": "https://m.example.org", "api_token": "x"}
    given_ = {"elm_poll_interval": 7, "moodle_completion_interval": 9, "moodle_sites": {"north": site}}
    found = planned(Settings.model_validate(given_))
    enabled = {(one.key.target, one.key.site, one.timing.every) for one in found if one.enabled}
    assert enabled == {
        (Work.ELM, "", timedelta(seconds=7)),
        (Work.CLEANUP, "", None),
        *((Work.COURSE_CATALOG, name, timedelta(minutes=1)) for name in ("default", "north")),
        *((Work.COMPLETIONS, name, timedelta(seconds=9)) for name in ("default", "north")),
    }
    assert {one.key.target for one in found} == set(Work)
    assert [checked(one.timing) for one in found]


async def test_turns_at_intervals() -> None:
    turns, stop = Intervals({Work.ELM: 3600.0}), asyncio.Event()
    assert await turns.seconds_to(Work.ELM) <= 0
    async with turns.take(Work.ELM) as outcome:
        outcome.failed = "http_503"
    assert await turns.seconds_to(Work.ELM) <= 0
    with pytest.raises(ValueError, match="away"):
        async with turns.take(Work.ELM):
            raise ValueError("away")
    assert await turns.seconds_to(Work.ELM) <= 0
    async with turns.take(Work.ELM):
        pass
    assert 3500 < await turns.seconds_to(Work.ELM) <= 3600
    stop.set()
    await turns.pause(stop, NEVER)
