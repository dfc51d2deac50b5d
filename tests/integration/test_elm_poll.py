"""The whole way in, on the ELM stand-in by real HTTP."""

from __future__ import annotations

import asyncio
import random
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from infra.settings import ElmFeed
from infra.simulators.elm import ElmState, Fault, serve
from infra.simulators.elm import Settings as ElmSettings
from infra.simulators.seed import SeedPlan, feed_time
from infra.simulators.seed import records as seeded
from infra.simulators.seed_oracle import expected
from producers import runs
from producers.elm.poll import BusyError, ElmPoll
from producers.elm.settings import ElmFeedSettings
from producers.runs import RunState
from schemas.events import Enrolment, EnrolmentStatus
from schemas.topics import ENROLMENTS
from tests.integration import intake_support as support
from tests.integration.intake_worker import worker

pytestmark = pytest.mark.integration

TOKEN = "feed-token"
BASE = ElmFeedSettings(url="", token=TOKEN, tenant=support.TENANT, timeout=10.0)
BY_TIME = replace(BASE, release=ElmFeed.TIME)
RELEASES = {"1.5": BASE, "1.4": replace(BY_TIME, lookback_minutes=60 * 24 * 365 * 10)}
NOON = datetime(2026, 1, 5, 20, 0, tzinfo=UTC)


class Clock:
    """The hub's clock, moved by hand."""

    def __init__(self, now: datetime = NOON) -> None:
        self.now = now

    def __call__(self) -> datetime:
        return self.now


def utc_now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def feed(
    database: str,
    records: list[dict[str, Any]],
    settings: ElmFeedSettings = BASE,
    server: ElmSettings | None = None,
    clock: Clock | None = None,
) -> AsyncIterator[tuple[ElmState, ElmPoll]]:
    """Give a stand-in with these records, and a poll of it into a migrated database."""
    chosen = server or ElmSettings(feed=settings.release.value)
    state = ElmState(TOKEN, settings=chosen, seed=records)
    async with serve(state) as running:
        address = replace(settings, url=running.feed_url)
        async with ElmPoll(address, database, now=clock or utc_now) as poll:
            yield state, poll


def plain(count: int, start: int = 1, created: datetime = NOON, **fields: Any) -> list[dict[str, Any]]:
    """Give records of different people in one course, with positions from ``start`` on."""
    return [
        {
            "record_enrol_id": number,
            "ENROLMENT_ID": 700_000 + number,
            "COURSE_IDENTIFIER": 32090,
            "COURSE_SHORTNAME": "ITEM-1-1",
            "COURSE_STATE": "Enrol",
            "COURSE_STATE_DATE": feed_time(created),
            "date_created": feed_time(created),
            "GUID": f"{number:08X}",
            "EMAIL": f"p{number}@gov.example",
            "FIRST_NAME": "P",
            "LAST_NAME": str(number),
            "USER_STATE": "ACTIVE",
            **fields,
        }
        for number in range(start, start + count)
    ]


def enrolments(database: str) -> list[int]:
    """Give the ids of the enrolments kept."""
    query = "SELECT record_id::int - 700000 FROM source_records WHERE kind = 'enrolment' ORDER BY 1"
    return [row[0] for row in support.rows(database, query)]


def mark(database: str) -> Any:
    found = support.rows(database, "SELECT position FROM source_cursors")
    return found[0][0] if found else None


async def test_a_feed_ends_as_events_whose_newest_are_the_wished_state(
    fresh_database: str, kafka: str, registry_url: str, topic_prefix: str
) -> None:
    records = list(seeded(SeedPlan(seed=7, records=600)))
    oracle = expected(records)
    async with feed(fresh_database, records, replace(BASE, page_size=150)) as (_, poll):
        first = await poll.poll_once()
        second = await poll.poll_once()
    assert (first.state, second.state) == (RunState.SUCCESS, RunState.SUCCESS)
    assert first.counts.seen == 600 - len(oracle.unreachable)
    assert first.counts.invalid == len(oracle.invalid)
    assert (second.counts.fresh, second.counts.new, second.counts.updated) == (0, 0, 0)
    support.make_topics(kafka, registry_url, topic_prefix)
    with support.relaying(support.relay_settings(fresh_database, kafka, registry_url, topic_prefix)):
        support.until_relayed(fresh_database)
    newest: dict[tuple[str, int], Enrolment] = {}
    for event in support.records(kafka, registry_url, topic_prefix, ENROLMENTS):
        assert isinstance(event, Enrolment)
        pair = (str(event.person_id), int(event.course_id))
        if pair not in newest or event.version >= newest[pair].version:
            newest[pair] = event
    active = {pair for pair, event in newest.items() if event.status is EnrolmentStatus.ACTIVE}
    assert active == set(oracle.active)
    assert set(newest) - active == set(oracle.suspended)


@pytest.mark.parametrize("release", RELEASES)
@pytest.mark.parametrize(("cap", "next_link"), [(None, False), (7, False), (7, True), (50, True)])
async def test_a_capped_page_is_not_the_end(
    fresh_database: str, release: str, cap: int | None, next_link: bool
) -> None:
    server = ElmSettings(feed=ElmFeed(release).value, page_cap=cap, next_link=next_link)
    settings = replace(RELEASES[release], page_size=20)
    async with feed(fresh_database, plain(101), settings, server) as (_, poll):
        first, second = await poll.poll_once(), await poll.poll_once()
    assert (first.counts.seen, first.counts.new) == (101, 101)
    assert (second.counts.seen, second.counts.unchanged) == (101, 101)
    assert enrolments(fresh_database) == list(range(1, 102))


async def test_both_releases_end_in_the_same_people_courses_and_wishes(fresh_database: str) -> None:
    records = list(seeded(SeedPlan(seed=5, records=400)))
    oracle = expected(records, "1.4")
    async with feed(fresh_database, records, RELEASES["1.4"]) as (_, poll):
        first, second = await poll.poll_once(), await poll.poll_once()
    assert first.counts.seen == 400 - len(oracle.unreachable)
    assert first.counts.invalid == len(oracle.invalid)
    assert second.counts.fresh == 0
    people = support.rows(fresh_database, "SELECT count(*) FROM source_records WHERE kind = 'person'")
    assert people == [(len({pair[0] for pair in oracle.active | oracle.suspended}),)]


async def test_a_record_committed_late_below_the_mark_is_not_missed(fresh_database: str) -> None:
    clock = Clock()
    late = plain(1, start=600)[0]
    records = [record for record in plain(2000, created=NOON) if record["record_enrol_id"] != 600]
    async with feed(fresh_database, records, replace(BASE, overlap_ids=50), clock=clock) as (state, poll):
        await poll.poll_once()
        assert mark(fresh_database)["mark"] == 2000
        state.append([late])
        clock.now += timedelta(minutes=1)
        assert (await poll.poll_once()).counts.new == 1
        # Once nothing is recent any more, only the last positions are read again.
        clock.now += timedelta(hours=1)
        await poll.poll_once()
        assert (await poll.poll_once()).counts.seen == 50


async def test_an_outage_longer_than_the_window_loses_nothing(fresh_database: str) -> None:
    clock = Clock()
    async with feed(fresh_database, plain(3, created=NOON), BY_TIME, clock=clock) as (state, poll):
        await poll.poll_once()
        state.append(plain(3, start=4, created=NOON + timedelta(hours=1)))
        state.faults.add(Fault(kind="status", endpoint="feed", count=2))
        for hours in (2, 20):
            clock.now = NOON + timedelta(hours=hours)
            assert (await poll.poll_once()).state is RunState.FAILED
        clock.now = NOON + timedelta(days=4)
        assert (await poll.poll_once()).counts.new == 3
    assert enrolments(fresh_database) == [1, 2, 3, 4, 5, 6]


@pytest.mark.parametrize(
    "change", [datetime(2026, 11, 1, 9, 0, tzinfo=UTC), datetime(2026, 3, 8, 10, 0, tzinfo=UTC)]
)
async def test_a_change_of_the_servers_clock_loses_nothing(fresh_database: str, change: datetime) -> None:
    """A record every five minutes around the change, the hub polling with a window of ten."""
    clock, step = Clock(change - timedelta(hours=3)), timedelta(minutes=5)
    settings = replace(BY_TIME, lookback_minutes=10, overlap_minutes=0)
    async with feed(fresh_database, [], settings, clock=clock) as (state, poll):
        for number in range(72):
            clock.now += step
            state.append(plain(1, start=number, created=clock.now - step / 2))
            await poll.poll_once()
    assert enrolments(fresh_database) == list(range(72))


FAULTS = {
    "http_503": Fault(kind="status", endpoint="feed", count=1, retry_after=7),
    "http_429": Fault(kind="rate_limit", endpoint="feed", count=1, retry_after=7),
    "http_502": Fault(kind="html", endpoint="feed", count=1, status=502),
    "unauthorised": Fault(kind="unauthorized", endpoint="feed", count=1),
    "redirect": Fault(kind="redirect", endpoint="feed", count=1),
    # Twice: the HTTP client itself repeats a GET whose connection was reset.
    "unreachable": Fault(kind="reset", endpoint="feed", count=2),
    "timeout": Fault(kind="timeout_after_commit", endpoint="feed", count=1),
    "no_value": Fault(kind="no_value", endpoint="feed", count=1),
    "not_json": Fault(kind="truncated", endpoint="feed", count=1),
}


@pytest.mark.parametrize("on_page", [1, 3])
@pytest.mark.parametrize("reason", FAULTS)
async def test_a_failed_poll_leaves_a_run_record_and_the_mark_where_it_was(
    fresh_database: str, reason: str, on_page: int
) -> None:
    settings = replace(BASE, page_size=10, timeout=1.0 if reason == "timeout" else 10.0)
    async with feed(fresh_database, plain(25), settings) as (state, poll):
        good = Fault(kind="latency", endpoint="feed", count=on_page - 1, seconds=0)
        for fault in (good, FAULTS[reason]):
            state.faults.add(fault)
        failed = await poll.poll_once()
        assert (failed.state, failed.reason) == (RunState.FAILED, reason)
        assert failed.finished_at is not None
        assert mark(fresh_database) is None
        # What the pages before held is in already, and answered so.
        assert failed.counts.new == max(0, on_page - 2) * 10
        again = await poll.poll_once()
    assert (again.state, again.counts.seen) == (RunState.SUCCESS, 25)
    assert again.counts.new + failed.counts.new == 25
    assert mark(fresh_database)["mark"] == 25


async def test_the_mark_never_passes_a_record_that_ended_as_an_error(fresh_database: str) -> None:
    async with feed(fresh_database, plain(30), replace(BASE, page_size=7)) as (_, poll):
        with psycopg.connect(fresh_database) as connection:
            connection.execute(
                "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS"
                " $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '22000'; END $$"
            )
            connection.execute(
                "CREATE TRIGGER refuse BEFORE INSERT ON source_records FOR EACH ROW"
                " WHEN (NEW.record_id = '700012') EXECUTE FUNCTION refuse()"
            )
        for _ in range(2):
            summary = await poll.poll_once()
            assert (summary.state, summary.counts.errors) == (RunState.SUCCESS, 1)
            assert mark(fresh_database) is None
        assert 12 not in enrolments(fresh_database)
        with psycopg.connect(fresh_database) as connection:
            connection.execute("DROP TRIGGER refuse ON source_records")
        assert (await poll.poll_once()).counts.new == 1
    assert enrolments(fresh_database) == list(range(1, 31))
    assert mark(fresh_database)["mark"] == 30


async def test_broken_records_are_kept_and_their_neighbours_go_on(fresh_database: str) -> None:
    records = plain(6)
    records[1]["EMAIL"] = "nobody"
    records[2]["LAST_NAME"] = "A\0B"
    del records[3]["GUID"]
    records[4]["ENROLMENT_ID"] = "?"
    settings = replace(BASE, ignored_courses=frozenset({"5"}))
    async with feed(fresh_database, records, settings) as (state, poll):
        first = await poll.poll_once()
        assert (first.counts.new, first.counts.invalid, first.counts.fresh) == (2, 4, 6)
        state.append(plain(1, start=7, COURSE_IDENTIFIER=5))
        state.append([records[1] | {"EMAIL": "p2@gov.example", "record_enrol_id": 8}])
        second = await poll.poll_once()
        assert (second.counts.skipped, second.counts.new, second.counts.invalid) == (1, 1, 4)
        assert second.counts.fresh == 1
    found = support.rows(
        fresh_database,
        "SELECT record_id, field, reason, solved_at IS NULL FROM invalid_records ORDER BY 1",
    )
    assert found == [
        ("700002", "EMAIL", "is not an e-mail address", False),
        ("700003", "LAST_NAME", "holds characters that no text may hold", True),
        ("700004", "GUID", "is missing", True),
        (None, "ENROLMENT_ID", "is not a whole number", True),
    ]


async def test_a_server_that_ignores_paging_is_noticed(fresh_database: str) -> None:
    async def same(_: web.Request) -> web.Response:
        return web.json_response({"value": plain(10)})

    app = web.Application()
    app.router.add_get("/feed", same)
    async with TestServer(app) as server:
        settings = replace(BASE, url=str(server.make_url("/feed")), page_size=10)
        async with ElmPoll(settings, fresh_database) as poll:
            summary = await poll.poll_once()
    assert (summary.state, summary.reason) == (RunState.FAILED, "paging_ignored")
    assert summary.counts.new == 10


async def test_only_one_process_polls_a_feed(fresh_database: str) -> None:
    async with feed(fresh_database, plain(5)) as (state, poll):
        state.faults.add(Fault(kind="latency", endpoint="feed", count=1, seconds=2))
        first = asyncio.create_task(poll.poll_once())
        while not support.rows(fresh_database, "SELECT FROM source_runs"):
            await asyncio.sleep(0.02)
        async with ElmPoll(replace(BASE, url="http://127.0.0.1:1/"), fresh_database) as second:
            with pytest.raises(BusyError):
                await second.poll_once()
        assert (await first).counts.new == 5


async def test_polling_goes_on_after_failures_and_after_the_database_was_away(fresh_database: str) -> None:
    settings = replace(BASE, interval_seconds=0.1, backoff_seconds=0.05)
    async with feed(fresh_database, plain(3), settings) as (state, poll):
        state.faults.add(Fault(kind="status", endpoint="feed", count=2))
        stop = asyncio.Event()
        running = asyncio.create_task(poll.run(stop))
        await until_kept(fresh_database, 3)
        with psycopg.connect(fresh_database) as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        state.append(plain(2, start=4))
        await until_kept(fresh_database, 5)
        stop.set()
        await asyncio.wait_for(running, 10)
    states = Counter(run[0] for run in support.rows(fresh_database, "SELECT state FROM source_runs"))
    assert states["FAILED"] >= 2
    assert states["RUNNING"] == 0


async def test_a_stop_gives_up_the_page_under_way(fresh_database: str) -> None:
    async with feed(fresh_database, plain(3)) as (state, poll):
        state.faults.add(Fault(kind="timeout_after_commit", endpoint="feed"))
        stop = asyncio.Event()
        running = asyncio.create_task(poll.run(stop))
        while not state.calls and not support.rows(fresh_database, "SELECT FROM source_runs"):
            await asyncio.sleep(0.02)
        stop.set()
        await asyncio.wait_for(running, 5)
    assert support.rows(fresh_database, "SELECT state, reason FROM source_runs") == [("FAILED", "stopped")]


async def until_kept(database: str, count: int) -> None:
    async with asyncio.timeout(30):
        while len(enrolments(database)) < count:
            await asyncio.sleep(0.05)


EVENTS = "SELECT event_id, topic, key FROM outbox ORDER BY event_id"


@pytest.mark.faults
async def test_a_poller_killed_at_any_moment_loses_nothing_and_does_nothing_twice(
    fresh_database: str, database_url: str
) -> None:
    """The events are those of a poll that nobody disturbed, each once."""
    records = list(seeded(SeedPlan(seed=11, records=3000)))
    async with feed(fresh_database, records) as (_, poll):
        await poll.poll_once()
    undisturbed = support.rows(fresh_database, EVENTS)
    with psycopg.connect(fresh_database) as connection:
        connection.execute("TRUNCATE source_records, invalid_records, outbox, source_cursors, source_runs")
    async with serve(ElmState(TOKEN, seed=records)) as running:
        arguments = ("poll", fresh_database, running.feed_url, TOKEN, "1.5", "50")
        for kill in range(4):
            before = len(support.rows(fresh_database, EVENTS))
            with worker(*arguments) as process:
                while len(support.rows(fresh_database, EVENTS)) <= before:
                    await asyncio.sleep(0.01)
                await asyncio.sleep(random.Random(kill).uniform(0, 0.2))
                process.send_signal(signal.SIGKILL)
                process.wait(10)
        assert mark(fresh_database) is None, "the feed was read before the kills were over"
        with worker(*arguments) as process:
            while not mark(fresh_database):
                await asyncio.sleep(0.05)
            process.terminate()
            assert process.wait(10) == 0
        async with ElmPoll(replace(BASE, url=running.feed_url), fresh_database) as poll:
            last = await poll.poll_once()
    assert last.counts.fresh == 0
    assert support.rows(fresh_database, EVENTS) == undisturbed
    assert len({event[0] for event in undisturbed}) == len(undisturbed)
    found = Counter(run[0] for run in support.rows(fresh_database, "SELECT reason FROM source_runs"))
    assert found[runs.INTERRUPTED] >= 2
