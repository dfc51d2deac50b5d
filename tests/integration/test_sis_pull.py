"""The pull of a SIS, on the stand-in by real HTTP and a real database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
import pytest

from infra.simulators.sis import Fault, SisPlan, SisState, seeded, serve
from producers.runs import RunState
from producers.sis.pull import SisPull
from producers.sis.settings import OneRosterSettings, Release
from producers.sis.taking import BusyError
from tests.integration import intake_support as support

pytestmark = pytest.mark.integration

PLAN = SisPlan(students=40, teachers=5, classes=12)
BASE = OneRosterSettings(
    url="",
    token_url="",
    client_id="hub",
    client_secret="sis-secret",
    tenant=support.TENANT,
    page_size=25,
    patience=10.0,
    backoff_seconds=0.01,
)
LATER = datetime(2026, 3, 1, tzinfo=UTC)


@asynccontextmanager
async def sis(
    database: str, plan: SisPlan = PLAN, settings: OneRosterSettings = BASE, release: Release = "1.2"
) -> AsyncIterator[tuple[SisState, SisPull]]:
    """Give a stand-in and a pull of it into a migrated database."""
    state = seeded(plan)
    async with serve(state) as server:
        address = replace(settings, url=server.root(release), token_url=server.token_url, release=release)
        async with SisPull(address, database, now=lambda: datetime(2026, 6, 1, tzinfo=UTC)) as pull:
            yield state, pull


def kept(database: str, kind: str) -> dict[str, dict[str, Any]]:
    query = "SELECT record_id, content FROM source_records WHERE kind = %s"
    return dict(support.rows(database, query, kind))


def published(database: str, topic: str) -> list[dict[str, Any]]:
    found = support.rows(database, "SELECT record FROM outbox WHERE topic = %s ORDER BY seq", topic)
    return [msgspec.json.decode(row[0]) for row in found]


@pytest.mark.parametrize("release", ["1.1", "1.2"])
async def test_a_pull_brings_everything_and_a_second_one_nothing(
    fresh_database: str, release: Release
) -> None:
    async with sis(fresh_database, release=release) as (state, pull):
        first = await pull.pull_once()
        second = await pull.pull_once()
        state.requests.clear()
        third = await pull.pull_once()
    assert (first.state, first.counts.invalid, first.counts.errors) == (RunState.SUCCESS, 0, 0)
    assert (second.counts.fresh, third.counts.fresh) == (0, 0)
    people, courses = kept(fresh_database, "person"), kept(fresh_database, "course")
    assert (len(people), len(courses)) == (len(state.people), len(state.headers))
    teaching = len(list(state.teaching()))
    assert len(kept(fresh_database, "enrolment")) == len(state.enrolments) + teaching
    assert support.rows(fresh_database, "SELECT count(*) FROM parked_records") == [(0,)]
    one = published(fresh_database, "hub.courses")[0]
    assert one["attributes"]["term_code"]
    assert one["attributes"]["course_code"]
    assert one["starts_at"]
    roles = [event["role"] for event in published(fresh_database, "hub.enrolments")]
    assert roles.count("TEACHER") == teaching
    # A later pull asks only for what changed.
    asked = [line for line in state.requests if "GET" in line]
    assert asked
    assert all("dateLastModified" in line for line in asked)


async def test_a_change_and_a_delete_are_found_by_the_next_pull(fresh_database: str) -> None:
    async with sis(fresh_database) as (state, pull):
        await pull.pull_once()
        state.enrolments[1].status = "DROPPED"
        state.enrolments[1].updated_at = LATER
        state.enrolments[2].is_deleted = True
        state.enrolments[2].updated_at = LATER
        summary = await pull.pull_once()
    assert (summary.counts.updated, summary.counts.fresh) == (2, 2)
    changed, gone = published(fresh_database, "hub.enrolments")[-2:]
    assert (changed["source_status"], changed["operation"]) == ("DROPPED", "UPSERT")
    assert gone["operation"] == "DELETE"


async def test_the_overlap_finds_what_became_visible_late(fresh_database: str) -> None:
    async with sis(fresh_database) as (state, pull):
        late = state.people.pop(7)
        await pull.pull_once()
        newest = max(person.updated_at for person in state.people.values())
        state.people[7] = late
        late.updated_at = newest - timedelta(minutes=5)
        summary = await pull.pull_once()
    assert summary.counts.new >= 1
    assert "person-7" in kept(fresh_database, "person")
    # Their enrolments had come before and waited.
    assert support.rows(fresh_database, "SELECT count(*) FROM parked_records") == [(0,)]


async def test_trouble_that_passes_is_waited_out(fresh_database: str) -> None:
    async with sis(fresh_database) as (state, pull):
        state.faults.add(Fault(kind="rate_limit", path="/users", retry_after=0))
        state.faults.add(Fault(kind="status", path="/token", status=503))
        state.faults.add(Fault(kind="expired", path="/classes"))
        state.faults.add(Fault(kind="truncated", path="/enrollments", after=1))
        summary = await pull.pull_once()
    assert (summary.state, summary.counts.errors) == (RunState.SUCCESS, 0)
    assert len(kept(fresh_database, "person")) == len(state.people)


async def test_a_failed_pull_keeps_what_it_took_and_the_next_goes_on(fresh_database: str) -> None:
    impatient = replace(BASE, patience=0.0)
    async with sis(fresh_database, settings=impatient) as (state, pull):
        state.faults.add(Fault(kind="status", path="/enrollments", after=2, status=500))
        failed = await pull.pull_once()
        state.requests.clear()
        done = await pull.pull_once()
    assert (failed.state, failed.reason) == (RunState.FAILED, "http_500")
    assert done.state is RunState.SUCCESS
    asked = [line for line in state.requests if "/enrollments" in line]
    assert all("filter" not in line for line in asked)
    assert len(kept(fresh_database, "enrolment")) >= len(state.enrolments)


@pytest.mark.parametrize(
    ("change", "reason"),
    [({"client_secret": "wrong"}, "token_refused"), ({"url": "http://127.0.0.1:9"}, "unreachable")],
)
async def test_what_does_not_pass_ends_the_pull(
    fresh_database: str, change: dict[str, str], reason: str
) -> None:
    async with serve(seeded(PLAN)) as server:
        given = {"url": server.root("1.2"), "token_url": server.token_url, "patience": 0.1, **change}
        async with SisPull(replace(BASE, **given), fresh_database) as pull:  # type: ignore[arg-type]  # by name
            summary = await pull.pull_once()
    assert (summary.state, summary.reason) == (RunState.FAILED, reason)


async def test_a_page_cap_is_not_the_end_and_a_server_may_tell_no_count(fresh_database: str) -> None:
    async with sis(fresh_database) as (state, pull):
        state.page_cap, state.total_count = 7, False
        summary = await pull.pull_once()
    assert summary.state is RunState.SUCCESS
    assert len(kept(fresh_database, "person")) == len(state.people)


async def test_one_bad_record_harms_nobody_else(fresh_database: str) -> None:
    async with sis(fresh_database) as (state, pull):
        state.people[3].family_name = " "
        summary = await pull.pull_once()
        waiting = support.rows(fresh_database, "SELECT count(*) FROM parked_records")
        state.people[3].family_name = "KEO"
        state.people[3].updated_at = LATER
        await pull.pull_once()
    assert (summary.state, summary.counts.invalid) == (RunState.SUCCESS, 1)
    assert len(kept(fresh_database, "person")) == len(state.people)
    assert waiting == [(PLAN.load,)]
    assert support.rows(fresh_database, "SELECT count(*) FROM parked_records") == [(0,)]
    rows = support.rows(fresh_database, "SELECT field FROM invalid_records WHERE solved_at IS NULL")
    assert rows == []


async def test_since_leaves_the_cursor_before_a_gap(fresh_database: str) -> None:
    async with sis(fresh_database) as (state, pull):
        nothing = await pull.pull_once(since=LATER)
        everything = await pull.pull_once()
        again = await pull.pull_once(full=True)
    assert (nothing.counts.seen, nothing.position) == (0, {})
    assert everything.counts.new > len(state.people)
    assert (again.counts.new, again.counts.seen) == (0, everything.counts.seen)


async def test_two_pulls_of_one_sis_do_not_run_at_once(fresh_database: str) -> None:
    async with sis(fresh_database) as (state, pull):
        state.faults.add(Fault(kind="latency", path="/orgs", seconds=1.0))
        first = asyncio.create_task(pull.pull_once())
        while not state.requests:
            await asyncio.sleep(0.01)
        with pytest.raises(BusyError):
            await pull.pull_once()
        assert (await first).state is RunState.SUCCESS
