"""Schedules and runs on a real database: each test has a tenant of its own in one database."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine, text
from structlog.testing import capture_logs
from typer.testing import CliRunner

from connectors.read_model import store
from infra.cli import jobs
from infra.cli.main import app, main
from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.errors import BadArgument, HubError, RetryLater
from infra.settings import Settings
from infra.simulators.elm import ElmState, serve
from infra.turns import ASKED, Work
from producers import schedule_runs, schedules
from producers.bell import Bell
from producers.cleanup import Ages, cleanup
from producers.elm.poll import ElmPoll
from producers.elm.settings import ElmFeedSettings
from producers.overdue import AlarmAges, ParkedWatch, overdue
from producers.schedule_runs import BusyError, RunState, ScheduleRun, SkippedError, Trigger, running, runs
from producers.scheduled_turns import ScheduledTurns
from producers.scheduler import SchedulerSettings, run_scheduler
from producers.schedules import Default, Key
from producers.timing import Timing
from schemas.ids import TenantId
from tests.databases import new_database
from tests.integration.engine_support import Running
from tests.integration.intake_support import rows, until

pytestmark = pytest.mark.integration

HOURLY = Timing(every=timedelta(hours=1))
YEARLY = Timing(every=timedelta(days=366))
NIGHTLY = Timing(cron="30 3 * * *")
SECOND = timedelta(seconds=1)


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[str]:
    """URL of one migrated database for all tests here."""
    with new_database(database_url) as url:
        migrate(url)
        yield url


@pytest.fixture
def pool(database: str) -> Iterator[Engine]:
    made = engine(database, pool_size=5)
    yield made
    made.dispose()


@pytest.fixture
def tenant() -> TenantId:
    return TenantId(uuid.uuid4().hex[:8])


def registered(
    pool: Engine, tenant: TenantId, target: Work = Work.SIS, timing: Timing = HOURLY, *, enabled: bool = True
) -> Key:
    key = Key(tenant, target)
    schedules.register(pool, [Default(key, timing, enabled)])
    return key


def only_run(pool: Engine, key: Key) -> ScheduleRun:
    (found,) = runs(pool, tenant=key.tenant)
    return found


def execute(pool: Engine, query: str, *arguments: Any) -> None:
    with psycopg.connect(pool.url.set(drivername="postgresql").render_as_string(hide_password=False)) as one:
        one.execute(query, arguments)


def test_a_schedule_follows_the_settings_until_a_person_changes_it(pool: Engine, tenant: TenantId) -> None:
    key = registered(pool, tenant)
    assert schedules.get(pool, key).seconds_left <= 0, "what comes at an interval begins at once"
    with running(_url(pool), pool, key):
        pass
    planned = schedules.get(pool, key).next_run_at
    registered(pool, tenant)
    assert schedules.get(pool, key).next_run_at == planned, "its time survives a new start"
    registered(pool, tenant, timing=NIGHTLY)
    assert schedules.get(pool, key).timing == NIGHTLY
    schedules.change(pool, key, enabled=False, by="cli:ann")
    registered(pool, tenant, timing=YEARLY)
    found = schedules.get(pool, key)
    assert (found.timing, found.enabled, found.updated_by) == (NIGHTLY, False, "cli:ann")
    assert [one.key for one in schedules.list_(pool, tenant)] == [key]


def test_a_change_and_its_entry_in_the_audit_are_one(pool: Engine, tenant: TenantId) -> None:
    key = registered(pool, tenant)
    timing = Timing(cron="0 6 * * mon-fri", only="06-18", zone="Europe/Oslo")
    changed = schedules.change(pool, key, timing=timing, by="k1", why="office hours")
    assert changed.timing == timing
    assert changed.next_run_at is not None
    assert changed.next_run_at > changed.seen_at
    (entry,) = audited(pool, tenant)
    assert (entry["by"], entry["action"], entry["subject"]) == ("k1", "schedule.change", "schedule/SIS")
    assert (entry["why"], entry["details"]["before"]) == ("office hours", "every 60 min (UTC)")
    assert entry["details"]["after"] == "cron 0 6 * * mon-fri, only 06-18 (Europe/Oslo)"
    with pytest.raises(BadArgument, match="five fields"):
        schedules.change(pool, key, timing=Timing(cron="0 6"), by="k1")
    with pytest.raises(BadArgument, match="no schedule GRADES"):
        schedules.change(pool, Key(tenant, Work.GRADES), enabled=True, by="k1")
    with pytest.raises(BadArgument, match="no schedule GRADES"):
        schedules.request_run(pool, Key(tenant, Work.GRADES), by="k1")
    assert schedules.get(pool, key).timing == timing
    assert len(audited(pool, tenant)) == 1


def test_a_run_is_noted_and_moves_the_schedule_on(pool: Engine, tenant: TenantId) -> None:
    key = registered(pool, tenant)
    with running(_url(pool), pool, key) as outcome:
        assert only_run(pool, key).state is RunState.RUNNING
        outcome.counts["seen"] = 7
    run = only_run(pool, key)
    assert (run.state, run.trigger, run.actor, run.counts) == (
        RunState.SUCCESS,
        Trigger.SCHEDULE,
        None,
        {"seen": 7},
    )
    assert run.seconds is not None
    assert run.seconds >= 0
    assert schedules.get(pool, key).next_run_at == run.started_at + timedelta(hours=1)
    assert schedule_runs.get(pool, run.run_id) == run
    with pytest.raises(BadArgument, match="no run 999999"):
        schedule_runs.get(pool, 999_999)


def test_of_times_that_were_missed_one_is_made_up_for(pool: Engine, tenant: TenantId) -> None:
    key = registered(pool, tenant)
    execute(pool, "UPDATE schedules SET next_run_at = now() - interval '3 days' WHERE tenant = %s", tenant)
    assert schedules.get(pool, key).seconds_left == 0
    with running(_url(pool), pool, key):
        pass
    assert 3500 < schedules.get(pool, key).seconds_left <= 3600


ENDS: dict[str, tuple[BaseException, RunState, str, bool]] = {
    "trouble": (RetryLater("Moodle is away"), RunState.FAILED, "Moodle is away", True),
    "nothing to do": (SkippedError("no SIS is connected"), RunState.SKIPPED, "no SIS is connected", True),
    # Its text may hold personal data.
    "a bug": (ValueError("ann@school.test"), RunState.FAILED, "ValueError", True),
    "told to stop": (SystemExit(143), RunState.FAILED, "stopped", False),
}


@pytest.mark.parametrize("end", ENDS)
def test_how_a_run_ends(pool: Engine, tenant: TenantId, end: str) -> None:
    key, (error, state, told, moves) = registered(pool, tenant), ENDS[end]
    with pytest.raises(type(error)), running(_url(pool), pool, key):
        raise error
    run = only_run(pool, key)
    assert (run.state, run.error) == (state, told)
    assert (schedules.get(pool, key).seconds_left > 0) is moves


def test_what_has_a_patience_of_its_own_stays_due_after_a_failure(pool: Engine, tenant: TenantId) -> None:
    key = registered(pool, tenant)
    with running(_url(pool), pool, key, stays_due=True) as outcome:
        outcome.failed = "http_503"
    assert (only_run(pool, key).state, only_run(pool, key).error) == (RunState.FAILED, "http_503")
    assert schedules.get(pool, key).seconds_left <= 0
    with pytest.raises(HubError), running(_url(pool), pool, key, stays_due=True):
        raise HubError("away")
    assert schedules.get(pool, key).seconds_left <= 0


def test_run_now_is_done_once_for_whoever_asked(pool: Engine, tenant: TenantId) -> None:
    key = registered(pool, tenant, enabled=False)
    schedules.request_run(pool, key, by="k1")
    schedules.request_run(pool, key, by="k2", why="now")
    assert schedules.get(pool, key).seconds_left == ASKED
    with running(_url(pool), pool, key):
        pass
    assert (only_run(pool, key).trigger, only_run(pool, key).actor) == (Trigger.REQUEST, "k2")
    assert schedules.get(pool, key).requested_at is None
    assert [entry["action"] for entry in audited(pool, tenant)] == ["schedule.run", "schedule.run"]


def test_what_is_asked_for_during_a_run_is_done_after_it(pool: Engine, tenant: TenantId) -> None:
    key = registered(pool, tenant)
    with running(_url(pool), pool, key):
        schedules.request_run(pool, key, by="k1")
    assert schedules.get(pool, key).requested_by == "k1"


def test_one_run_at_a_time_and_the_second_says_so(pool: Engine, tenant: TenantId) -> None:
    key = registered(pool, tenant)
    with running(_url(pool), pool, key):
        with pytest.raises(BusyError), running(_url(pool), pool, key):
            raise AssertionError
        assert jobs.do(Settings.model_validate({"database_url": _url(pool)}), key)
        second, first = runs(pool, tenant=tenant)
        assert (first.state, second.state) == (RunState.RUNNING, RunState.SKIPPED)
        assert second.error == "another run is under way"
    assert runs(pool, tenant=tenant, state=RunState.SUCCESS)[0].run_id == first.run_id
    assert runs(pool, tenant=tenant, before=second.run_id, limit=5) == [schedule_runs.get(pool, first.run_id)]
    assert runs(pool, tenant=tenant, target=Work.ELM) == []


@pytest.mark.faults
def test_a_run_does_not_outlive_its_process(pool: Engine, tenant: TenantId) -> None:
    key = registered(pool, tenant)
    command = [sys.executable, "-m", "tests.integration.schedule_worker", _url(pool), tenant]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"running\n"
            assert only_run(pool, key).state is RunState.RUNNING
            with pytest.raises(BusyError), running(_url(pool), pool, key):
                raise AssertionError
        finally:
            process.kill()
    until(lambda: only_run(pool, key).state is RunState.FAILED)
    run = only_run(pool, key)
    assert run.error == schedule_runs.INTERRUPTED
    assert run.finished_at is not None
    assert schedules.get(pool, key).seconds_left <= 0, "it is done again"
    # The same found by the next run.
    execute(pool, "UPDATE schedule_runs SET state = 'RUNNING', finished_at = NULL WHERE tenant = %s", tenant)
    with running(_url(pool), pool, key):
        states = rows(_url(pool), "SELECT state FROM schedule_runs WHERE tenant = %s ORDER BY id", tenant)
        assert states == [("FAILED",), ("RUNNING",)]


@pytest.mark.parametrize("timing", [HOURLY, NIGHTLY])
def test_a_time_that_a_wrong_clock_has_left_is_mended(pool: Engine, tenant: TenantId, timing: Timing) -> None:
    key = registered(pool, tenant, timing=timing)
    execute(pool, "UPDATE schedules SET next_run_at = now() + interval '1 year' WHERE tenant = %s", tenant)
    (found,) = schedules.upcoming(pool, [key])
    assert found.seconds_left <= 86_400
    assert schedules.get(pool, key).next_run_at == found.next_run_at


async def test_the_bell_rings_for_changes_and_comes_back_after_its_connection_is_cut(
    pool: Engine, tenant: TenantId
) -> None:
    key, bell = registered(pool, tenant), Bell(_url(pool))
    try:
        for _ in range(2):
            await bell.listen()
            waiting = asyncio.ensure_future(bell.wait(60))
            await asyncio.sleep(0)
            schedules.request_run(pool, key, by="k1")
            await asyncio.wait_for(waiting, 30)
            await bell.listen()
            waiting = asyncio.ensure_future(bell.wait(60))
            await asyncio.sleep(0)
            execute(
                pool,
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE query LIKE 'LISTEN%%' AND datname = current_database()",
            )
            await asyncio.wait_for(waiting, 30)
    finally:
        bell.close()


class Launched:
    """Jobs in this process: each notes its run, as told; it may wait for ``gate`` before."""

    def __init__(self, database: str, pool: Engine) -> None:
        self.database, self.pool = database, pool
        self.gates: dict[Key, asyncio.Event] = {}
        self.begun: list[Key] = []
        self.stopped: list[Key] = []
        self.lost: set[Key] = set()

    async def __call__(self, key: Key) -> bool:
        self.begun.append(key)
        if key in self.lost:
            return False
        try:
            if key in self.gates:
                await self.gates[key].wait()
        except asyncio.CancelledError:
            self.stopped.append(key)
            raise
        with running(self.database, self.pool, key):
            return True


def scheduling(launched: Callable[[Key], Awaitable[bool]], pool: Engine, *defaults: Default) -> Running:
    works = {one.key.target for one in defaults}
    settings = SchedulerSettings(_url(pool), defaults, works, launched, AlarmAges())
    return Running("scheduler", lambda stop, status: run_scheduler(settings, stop, status))


def test_a_slow_job_holds_up_nobody_and_run_now_is_heard(pool: Engine, tenant: TenantId) -> None:
    execute(pool, "DELETE FROM schedules")
    targets = (Work.SIS, Work.ZOHO, Work.CLEANUP, Work.RECONCILE)
    slow, quick, asked, lost = (Key(tenant, target) for target in targets)
    launched = Launched(_url(pool), pool)
    launched.gates[slow] = asyncio.Event()
    launched.lost.add(lost)
    on = [Default(key, YEARLY, key != asked) for key in (slow, quick, asked, lost)]
    other = Default(Key(tenant, Work.ELM), YEARLY, enabled=True)
    schedules.register(pool, [other])
    scheduler = scheduling(launched, pool, *on)
    try:
        until(lambda: {slow, quick, lost} <= set(launched.begun))
        until(lambda: bool(runs(pool, tenant=tenant, target=Work.ZOHO, state=RunState.SUCCESS)))
        assert asked not in launched.begun
        schedules.request_run(pool, asked, by="k1")
        until(lambda: bool(runs(pool, tenant=tenant, target=Work.CLEANUP, state=RunState.SUCCESS)))
        assert launched.begun.count(lost) == 1, "a job that left no note rests"
        assert other.key not in launched.begun, "its role does that"
        second = scheduling(launched, pool, *on)
        second.stop()
        assert second.error is None
    finally:
        scheduler.stop()
    assert scheduler.error is None
    assert launched.stopped == [slow], "what runs is stopped with the scheduler"
    assert launched.begun.count(slow) == launched.begun.count(quick) == 1
    assert schedules.get(pool, slow).seconds_left <= 0, "and stays due"


def test_a_job_is_a_process(pool: Engine, tenant: TenantId, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", _url(pool))
    key = Key(tenant, Work.CLEANUP)
    schedules.register(pool, [Default(key, NIGHTLY, enabled=False)])
    schedules.request_run(pool, key, by="k1")
    assert asyncio.run(jobs.launch(key))
    run = only_run(pool, key)
    assert (run.state, run.error) == (RunState.SUCCESS, None)
    assert (run.trigger, run.actor) == (Trigger.REQUEST, "k1")


async def test_a_job_that_is_stopped_ends_in_order_and_stays_due(
    pool: Engine, tenant: TenantId, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", _url(pool))
    key = registered(pool, tenant, Work.CLEANUP)
    schedules.request_run(pool, key, by="k1")
    with pool.begin() as connection:
        connection.execute(text("LOCK TABLE invalid_records IN ACCESS EXCLUSIVE MODE"))  # it waits for that
        job = asyncio.ensure_future(jobs.launch(key))
        await asyncio.to_thread(until, lambda: _waits_for(pool, "invalid_records"))
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
    assert (only_run(pool, key).state, only_run(pool, key).error) == (RunState.FAILED, "stopped")
    assert schedules.get(pool, key).seconds_left <= 0
    assert schedules.get(pool, key).requested_at is not None, "and what was asked for stays asked for"


@contextmanager
def scheduler_process(env: dict[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    """Give a scheduler as it is run in production; it is killed at the end."""
    argv = [sys.executable, "-m", "infra.cli.role", "scheduler", "--status-port", "0"]
    with subprocess.Popen(argv, env=os.environ | env, stderr=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.faults
def test_a_killed_scheduler_leaves_nothing_running_and_the_next_do_its_job_once(
    pool: Engine, env: dict[str, str]
) -> None:
    key = Key(TenantId(env["DEFAULT_TENANT_ID"]), Work.CLEANUP)
    states = "SELECT state FROM schedule_runs WHERE tenant = %s ORDER BY id"
    execute(pool, "DELETE FROM schedules")
    schedules.register(pool, [Default(key, YEARLY, enabled=True)])
    schedules.request_run(pool, key, by="k1")
    with pool.begin() as connection, scheduler_process(env) as process:
        connection.execute(text("LOCK TABLE invalid_records IN ACCESS EXCLUSIVE MODE"))  # the job waits
        until(lambda: _waits_for(pool, "invalid_records"), 60)
        assert only_run(pool, key).state is RunState.RUNNING
        process.kill()
        until(lambda: only_run(pool, key).state is RunState.FAILED, 60)
    with scheduler_process(env), scheduler_process(env):
        until(lambda: rows(_url(pool), states, key.tenant) == [("FAILED",), ("SUCCESS",)], 60)
        until(lambda: schedules.get(pool, key).seconds_left > 0)
    assert rows(_url(pool), states, key.tenant) == [("FAILED",), ("SUCCESS",)]


async def test_the_poll_of_elm_takes_its_turns(pool: Engine, tenant: TenantId) -> None:
    key = Key(tenant, Work.ELM)
    schedules.register(pool, [Default(key, YEARLY, enabled=True)])
    schedules.change(pool, key, enabled=False, by="k1")
    async with serve(ElmState("token", seed=[])) as feed:
        settings = ElmFeedSettings(url=feed.feed_url, token="token", tenant=tenant)
        async with (
            ScheduledTurns(_url(pool), [Default(key, YEARLY, enabled=True)]) as turns,
            ElmPoll(settings, _url(pool), turns=turns) as poll,
        ):
            stop = asyncio.Event()
            polling = asyncio.create_task(poll.run(stop))
            await asyncio.to_thread(until, lambda: _listens(pool))
            assert runs(pool, tenant=tenant) == []
            schedules.request_run(pool, key, by="k1")
            await asyncio.to_thread(until, lambda: bool(runs(pool, tenant=tenant, state=RunState.SUCCESS)))
            stop.set()
            await asyncio.wait_for(polling, 10)
    run = only_run(pool, key)
    assert (run.actor, run.counts["run"]) == ("k1", _newest_poll(pool, tenant))


async def test_turns_go_on_while_the_database_is_away(
    fresh_database: str, database_url: str, tenant: TenantId
) -> None:
    name = urlsplit(fresh_database).path[1:]
    default = Default(Key(tenant, Work.COMPLETIONS), HOURLY, enabled=True)
    async with ScheduledTurns(fresh_database, [default]) as turns:
        assert await turns.seconds_to(Work.COMPLETIONS) <= 0
        with psycopg.connect(database_url, autocommit=True) as connection:
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            assert await turns.seconds_to(Work.COMPLETIONS) <= 0
            async with turns.take(Work.COMPLETIONS):
                pass
            assert 0 < await turns.seconds_to(Work.COMPLETIONS) <= 60
            connection.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert await turns.seconds_to(Work.COMPLETIONS) <= 0, "it is due, for no run was noted"
    async with ScheduledTurns("postgresql://127.0.0.1:1/none", [default]) as turns:
        with pytest.raises(RetryLater):
            await turns.seconds_to(Work.COMPLETIONS)


SOLVED = (
    "INSERT INTO invalid_records (tenant, source, kind, digest, content, field, reason, first_seen,"
    " last_seen, times_seen, solved_at)"
)


def test_cleanup_takes_what_is_old_and_over(pool: Engine, tenant: TenantId) -> None:
    read_model(pool)
    for query in (
        "INSERT INTO read_model.calls (call_id, started_at, place)"
        " SELECT n::text, now() - n * interval '10 days', '' FROM generate_series(0, 4) n",
        "INSERT INTO read_model.rates (kind, tenant, system, target, function, minute, place)"
        " SELECT 'CALL', '', '', '', '', now() - n * interval '12 days', '' FROM generate_series(0, 4) n",
        "INSERT INTO source_runs (tenant, source, state, started_at, finished_at)"
        " SELECT '{t}', 'x', 'FAILED', now(), now() - n * interval '40 days'"
        " FROM generate_series(4, 1, -1) n",
        "INSERT INTO schedule_runs (tenant, target, site, state, trigger, started_at, finished_at, counts,"
        " lock_key) SELECT '{t}', 'ELM', '', 'FAILED', 'SCHEDULE', now(), now() - interval '1 year', '{{}}',"
        " 1 FROM generate_series(1, 6000)",
        "INSERT INTO schedule_runs (tenant, target, site, state, trigger, started_at, counts, lock_key)"
        " VALUES ('{t}', 'ELM', '', 'RUNNING', 'SCHEDULE', now() - interval '1 year', '{{}}', 1)",
        SOLVED + " SELECT '{t}', 'x', 'y', n::text::bytea, '{{}}', '', '', now(), now(), 1,"
        " CASE n WHEN 1 THEN now() - interval '1 year' WHEN 2 THEN now() END FROM generate_series(1, 3) n",
        "INSERT INTO webhook_events (tenant, source, event_id, kind, operation, status, content, record_ids,"
        " due_at, received_at, finished_at) SELECT '{t}', 'x', '1', '', '', '', '{{}}', '{{}}', now(), now(),"
        " now() - interval '1 year'",
    ):
        execute(pool, query.format(t=tenant))
    ages = Ages(api_logs=15, failed=100)
    names = ("calls", "rates", "schedule_runs", "source_runs", "invalid_records")
    expected = dict(zip(names, (3, 3, 6000, 2, 1), strict=True))
    expected |= dict.fromkeys(("incidents", "silences", "notifications"), 0)
    assert cleanup(pool, ages, dry_run=True) == expected
    assert cleanup(pool, ages) == expected
    assert cleanup(pool, ages) == dict.fromkeys(expected, 0)
    assert cleanup(pool, Ages(1, 1))["source_runs"] == 1, "the newest stays"
    left = "SELECT count(*) FROM {} WHERE tenant = %s"
    assert rows(_url(pool), left.format("webhook_events"), tenant) == [(1,)], "by its id it is done once"
    assert rows(_url(pool), left.format("invalid_records"), tenant) == [(2,)]


def test_what_is_parked_for_too_long_is_an_alarm(pool: Engine) -> None:
    read_model(pool)
    execute(
        pool,
        "CREATE OR REPLACE VIEW read_model.parked AS SELECT what::text, ''::text AS tenant,"
        " ''::text AS person_id, ''::text AS course_id, ''::text AS waits_for, ''::text AS reason,"
        " now() - hours * interval '1 hour' AS since"
        " FROM (VALUES ('enrolment', 25), ('enrolment', 23), ('course', 25)) AS v(what, hours)",
    )
    ages = AlarmAges(by_kind={"course": timedelta(hours=72)})
    assert overdue(pool, ages) == {"enrolment": 1, "course": 0, "completion": 0}
    with capture_logs() as logged:
        ParkedWatch(ages).look(pool)
    (alarm,) = logged
    assert (alarm["event"], alarm["kind"], alarm["count"]) == ("parked_overdue", "enrolment", 1)
    assert REGISTRY.get_sample_value("hub_parked_overdue", {"kind": "enrolment"}) == 1


@pytest.fixture
def env(database: str, tmp_path: Path) -> dict[str, str]:
    """The command line's settings: nothing but the database is there."""
    return {
        "DATABASE_URL": database,
        "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "SCHEMA_REGISTRY_URL": "http://127.0.0.1:1",
        "DATA_DIR": str(tmp_path),
        "DEFAULT_TENANT_ID": uuid.uuid4().hex[:8],
        "LOG_LEVEL": "ERROR",
    }


def hub(env: dict[str, str], *arguments: str) -> str:
    result = CliRunner().invoke(app, list(arguments), env=env, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.output


def test_schedules_from_the_command_line(env: dict[str, str], pool: Engine) -> None:
    tenant = TenantId(env["DEFAULT_TENANT_ID"])
    listed = hub(env, "schedule", "list", "--tenant", tenant, "--json").splitlines()
    assert {json.loads(line)["target"] for line in listed} == set(Work)
    assert "every 1 min (UTC)" in hub(env, "schedule", "list", "--tenant", tenant)
    cron = ("--cron", "0 5 * * mon-fri", "--zone", "Europe/Oslo")
    shown = hub(env, "schedule", "set", "reconcile", *cron, "--dry-run")
    assert shown.startswith("RECONCILE default: cron 0 5 * * mon-fri, disabled (Europe/Oslo)\n")
    assert audited(pool, tenant) == []
    hub(env, "schedule", "set", "ELM", "--every", "15", "--only", "mon-fri 06-18", "--why", "office hours")
    hub(env, "schedule", "set", "ELM", "--only", "", "--quiet", "22-06")
    hub(env, "schedule", "disable", "ELM")
    (row,) = json.loads(f"[{hub(env, 'schedule', 'show', 'ELM', '--json')}]")
    assert (row["every_minutes"], row["only"], row["quiet"], row["enabled"]) == (15, None, "22-06", False)
    assert row["updated_by"].startswith("cli:")
    assert "next" not in hub(env, "schedule", "show", "ELM")
    assert "next" in hub(env, "schedule", "enable", "ELM")
    assert "hub runs list" in hub(env, "schedule", "run-now", "ELM", "--why", "now")
    assert "asked for by cli:" in hub(env, "schedule", "show", "ELM")
    actions = [entry["action"] for entry in audited(pool, tenant)]
    assert actions == ["schedule.change"] * 4 + ["schedule.run"]


def test_the_commands_of_the_guide_work(env: dict[str, str]) -> None:
    guide = (Path(__file__).parents[2] / "docs" / "schedules.md").read_text("utf-8")
    lines = "".join(re.findall(r"```sh\n(.*?)```", guide, re.DOTALL)).splitlines()
    assert len(lines) == 9
    for line in lines:
        hub(env, *shlex.split(line.removeprefix("hub ")))


def test_runs_from_the_command_line(env: dict[str, str], pool: Engine) -> None:
    key = registered(pool, TenantId(env["DEFAULT_TENANT_ID"]))
    with running(_url(pool), pool, key) as outcome:
        outcome.counts |= {"seen": 1200}
    run_id = str(only_run(pool, key).run_id)
    of = ("--tenant", key.tenant)
    assert "seen 1,200" in hub(env, "runs", "list", *of, "--target", "SIS", "--state", "SUCCESS")
    assert json.loads(hub(env, "runs", "list", *of, "--json"))["counts"] == {"seen": 1200}
    assert "seen: 1200" in hub(env, "runs", "show", run_id)
    assert json.loads(hub(env, "runs", "show", run_id, "--json"))["run"] == int(run_id)


def test_cleanup_from_the_command_line(env: dict[str, str], pool: Engine) -> None:
    tenant = env["DEFAULT_TENANT_ID"]
    execute(pool, SOLVED + " VALUES (%s, 'x', 'y', '1', '{}', '', '', now(), now(), 1, '2020-01-01')", tenant)
    assert "invalid records: 1" in hub(env, "moodle_cleanup", "--failed-syncs-days", "365", "--dry-run")
    assert audited(pool, TenantId(tenant)) == []
    assert "deleted 1\n" in hub(env, "cleanup", "--failed-days", "365", "--api-logs-days", "365", "--yes")
    (entry,) = audited(pool, TenantId(tenant))
    assert (entry["action"], entry["details"]["invalid_records"]) == ("cleanup", "1")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("schedule", "set", "ELM"), "every, cron, only, quiet, zone: give what shall be different"),
        (("schedule", "set", "ELM", "--every", "0"), "every: must be more than nothing"),
        (("schedule", "show", "RECONCILE", "--site", "x"), "site, tenant: there is no such schedule"),
        (("runs", "show", "999999"), "run: there is no run 999999"),
    ],
)
def test_bad_arguments_end_with_one_line_and_status_2(
    env: dict[str, str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    told: str,
) -> None:
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(told)


def audited(pool: Engine, tenant: TenantId) -> list[dict[str, Any]]:
    """Give the entries of the audit on their way to the topic."""
    query = "SELECT record FROM outbox WHERE topic = 'hub.audit' AND key = %s ORDER BY seq"
    return [json.loads(row[0]) for row in rows(_url(pool), query, tenant)]


def read_model(pool: Engine) -> None:
    with pool.begin() as connection:
        if store.live(connection) is None:
            store.switch(connection, store.make(connection))


def _waits_for(pool: Engine, table: str) -> bool:
    query = "SELECT 1 FROM pg_locks WHERE NOT granted AND relation = %s::regclass"
    return bool(rows(_url(pool), query, table))


def _listens(pool: Engine) -> bool:
    query = "SELECT 1 FROM pg_stat_activity WHERE query LIKE 'LISTEN%%' AND datname = current_database()"
    return bool(rows(_url(pool), query))


def _newest_poll(pool: Engine, tenant: TenantId) -> int:
    return int(rows(_url(pool), "SELECT max(id) FROM source_runs WHERE tenant = %s", tenant)[0][0])


def _url(pool: Engine) -> str:
    return pool.url.set(drivername="postgresql").render_as_string(hide_password=False)
