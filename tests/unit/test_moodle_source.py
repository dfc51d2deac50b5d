"""The Moodle source over real HTTP against the simulated Moodle; what it tells is kept in memory here."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pydantic import SecretStr
from structlog.testing import capture_logs

from connectors.moodle.client import MoodleClient
from connectors.moodle.settings import MoodleSettings
from connectors.moodle_source import reads
from connectors.moodle_source.observed_topic import Learn
from connectors.moodle_source.report import Page
from connectors.moodle_source.settings import HEADINGS, MoodleSourceSettings
from connectors.moodle_source.source import MoodleSource
from infra.calls import Call
from infra.engine.errors import WorkerFailed
from infra.errors import HubError, RetryLater, Stop
from infra.simulators.moodle.app import serve
from infra.simulators.moodle.completion import meet_criterion
from infra.simulators.moodle.faults import Fault
from infra.simulators.moodle.reports import COMPLETIONS_24H, REPORTS
from infra.simulators.moodle.seeding import (
    CoursePatch,
    NewCompletion,
    Seed,
    SeedCourse,
    SeedEnrolment,
    SeedUser,
    add_completions,
    patch_course,
    seed,
)
from infra.simulators.moodle.state import MoodleState
from schemas.ids import CourseId, Target, TenantId
from schemas.moodle import MoodleObserved

NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
NO_REPORTS = {"recent_report_name": "none such", "all_report_name": "none such"}


@dataclass
class Told:
    """A `Telling` in memory; `troubles` are raised by the next appends, none meaning that one succeeds."""

    records: list[MoodleObserved] = field(default_factory=list)
    troubles: list[HubError | None] = field(default_factory=list)

    async def open(self, learn: Learn) -> None:
        for record in self.records:
            learn(record.key, record)

    async def append(self, records: Sequence[MoodleObserved]) -> None:
        trouble = self.troubles.pop(0) if self.troubles else None
        if trouble is not None:
            raise trouble
        self.records += records

    def keys(self) -> list[str]:
        return sorted(record.key for record in self.records)

    def completions(self) -> Counter[tuple[str, str]]:
        seen = (record.completion for record in self.records if record.completion is not None)
        return Counter((one.person_id, one.course_id) for one in seen)


class Site:
    """A small simulated Moodle: courses 101 and 102 opted in, 103 not; all learners in all of them."""

    def __init__(self, learners: int = 3) -> None:
        self.state = MoodleState(clock=lambda: NOW.timestamp())
        courses = [SeedCourse(f"C{n}", idnumber=str(n), completion_opt_in=n < 103) for n in (101, 102, 103)]
        users = [SeedUser(f"u{n}@example.test", idnumber=f"G{n:05}") for n in range(learners)]
        ids = seed(self.state, Seed(courses=courses, users=users))
        self.courses = dict(zip((101, 102, 103), ids["courses"], strict=True))
        self.users = ids["users"]
        rows = [SeedEnrolment(user, course) for user in self.users for course in self.courses.values()]
        seed(self.state, Seed(enrolments=rows))

    def complete(self, learner: int, course: int, ago: timedelta = timedelta(hours=1)) -> None:
        when = int((NOW - ago).timestamp())
        row = NewCompletion(self.users[learner], self.courses[course], when)
        add_completions(self.state, [row])

    def unenrol(self, learner: int, course: int) -> None:
        with self.state.transaction():
            self.state.delete(self.state.enrolments, self.users[learner], self.courses[course])

    def calls(self, function: str) -> int:
        counter = self.state.calls.counters.get(function)
        return counter.calls if counter else 0


def source_settings(**changes: Any) -> MoodleSourceSettings:
    base = MoodleSourceSettings(
        tenant=TenantId("t"), target=Target("main"), first_backoff=0.01, longest_backoff=0.02, stop_retry=0.02
    )
    return replace(base, **changes)


@asynccontextmanager
async def connected(
    site: Site, on_call: Callable[[Call], None] = lambda _: None, timeout: float = 5.0
) -> AsyncIterator[MoodleClient]:
    async with serve(site.state) as url:
        settings = MoodleSettings(
            url=url, token=SecretStr("TOKEN"), timeout=timeout, max_retries=0, base_delay_ms=1, max_delay_ms=2
        )
        async with MoodleClient(settings, on_call) as client:
            yield client


def source(client: MoodleClient, told: Told, **changes: Any) -> MoodleSource:
    return MoodleSource(source_settings(**changes), client, told, now=lambda: NOW)


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    async with asyncio.timeout(seconds):
        while True:
            if condition():
                return
            await asyncio.sleep(0.005)


@asynccontextmanager
async def running(one: MoodleSource) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(one.run(stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def test_the_first_poll_tells_everything_and_the_second_nothing() -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    site.complete(1, 102, ago=timedelta(days=400))
    site.complete(2, 103)
    async with connected(site) as client:
        one = source(client, told)
        first, second = await one.poll_once(), await one.poll_once()
    assert told.keys() == [
        "t|COMPLETION|G00000|101",
        "t|COMPLETION|G00001|102",
        "t|COURSE|101",
        "t|COURSE|102",
        "t|COURSE|103",
    ]
    assert (first.emitted, first.swept, first.courses) == (5, True, 3)
    assert (second.emitted, second.swept, second.rows) == (0, False, 2), "only the recent report is read"
    assert one.status["cycles"] == 2
    assert one.status["last_cycle"]["emitted"] == 0


async def test_a_new_process_tells_nothing_again() -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    async with connected(site) as client:
        await source(client, told).poll_once()
        site.complete(1, 101)
        assert (await source(client, told).poll_once()).emitted == 1
    assert set(Counter(told.keys()).values()) == {1}


async def test_a_completion_shows_day_and_minute_in_the_sites_zone() -> None:
    site, told = Site(), Told()
    site.state.settings.timezone = "America/Vancouver"
    site.complete(0, 101, ago=timedelta(hours=7, seconds=30))
    async with connected(site) as client:
        await source(client, told, zone=ZoneInfo("America/Vancouver")).poll_once()
    (seen,) = (record.completion for record in told.records if record.completion is not None)
    assert seen.completed_on == date(2026, 11, 20)
    assert seen.completed_at == datetime(2026, 11, 21, 4, 59, tzinfo=UTC)


async def test_a_changed_course_is_told_again() -> None:
    site, told = Site(), Told()
    async with connected(site) as client:
        one = source(client, told)
        await one.poll_once()
        patch_course(site.state, CoursePatch(id=site.courses[101], visible=0))
        assert (await one.poll_once()).emitted == 1
    last = told.records[-1].course
    assert last is not None
    assert (last.course_id, last.visible) == ("101", False)


async def test_courses_of_one_id_number_are_not_told() -> None:
    site, told = Site(), Told()
    seed(site.state, Seed(courses=[SeedCourse("C101b", idnumber="101", completion_opt_in=True)]))
    site.complete(0, 101)
    async with connected(site) as client:
        report = await source(client, told).poll_once()
    assert (report.ambiguous, told.keys()) == (1, ["t|COURSE|102", "t|COURSE|103"])


async def test_an_old_completion_is_found_by_the_next_sweep() -> None:
    site, told = Site(), Told()
    async with connected(site) as client:
        one, sweeping = source(client, told), source(client, told, sweep_interval=0.0)
        await one.poll_once()
        await sweeping.poll_once()
        site.complete(0, 101, ago=timedelta(days=3))
        assert (await one.poll_once()).emitted == 0
        found = await sweeping.poll_once()
    assert (found.swept, found.emitted) == (True, 1)


async def test_a_course_that_is_switched_on_is_swept_at_once() -> None:
    site, told = Site(), Told()
    site.complete(0, 103, ago=timedelta(days=3))
    async with connected(site) as client:
        one = source(client, told)
        await one.poll_once()
        assert not told.completions()
        patch_course(site.state, CoursePatch(id=site.courses[103], completion_opt_in=True))
        assert (await one.poll_once()).swept
        assert told.completions() == {("G00000", "103"): 1}
        assert not (await one.poll_once()).swept


async def test_a_completion_that_moved_is_told_again() -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    async with connected(site) as client:
        one = source(client, told)
        await one.poll_once()
        site.complete(0, 101, ago=timedelta(hours=3))
        assert (await one.poll_once()).emitted == 1
    assert told.completions() == {("G00000", "101"): 2}


async def test_two_accounts_of_one_person_do_not_alternate() -> None:
    site, told = Site(), Told()
    (twin,) = seed(site.state, Seed(users=[SeedUser("twin@example.test", idnumber="G00000")]))["users"]
    seed(site.state, Seed(enrolments=[SeedEnrolment(twin, site.courses[101])]))
    site.complete(0, 101, ago=timedelta(hours=2))
    add_completions(site.state, [NewCompletion(twin, site.courses[101], int(NOW.timestamp()))])
    async with connected(site) as client:
        one = source(client, told)
        await one.poll_once()
        assert (await one.poll_once()).emitted == 0
    assert told.completions() == {("G00000", "101"): 1}


@pytest.mark.parametrize("page_size", [1, 2, 7, 5_000])
async def test_all_pages_are_read(page_size: int) -> None:
    site, told = Site(learners=5), Told()
    for learner in range(5):
        site.complete(learner, 101, ago=timedelta(days=learner))
    async with connected(site) as client:
        await source(client, told, page_size=page_size).poll_once()
    assert told.completions() == {(f"G{n:05}", "101"): 1 for n in range(5)}


async def test_a_report_that_moves_while_it_is_read_is_read_again() -> None:
    site, told = Site(learners=6), Told()
    for learner in range(6):
        site.complete(learner, 102)
    pages = 0

    def after(call: Call) -> None:
        nonlocal pages
        if call.function != reads.RETRIEVE or call.received < 100:
            return
        pages += 1
        if pages == 4:  # two are the checks of the columns; then the rows behind move up by one
            site.unenrol(0, 101)

    async with connected(site, after) as client:
        await source(client, told, page_size=2).poll_once()
    assert pages > 4
    assert told.completions() == {(f"G{n:05}", "102"): 1 for n in range(6)}


async def test_pages_behind_known_ones_are_left_unread_where_the_newest_come_first() -> None:
    site, told = Site(learners=20), Told()
    for learner in range(1, 20):  # the simulated report stands in the order of the people
        site.complete(learner, 101, ago=timedelta(minutes=10 + learner))
    async with connected(site) as client:
        one = source(client, told, page_size=5)
        await one.poll_once()
        assert (await one.poll_once()).rows == 5
        site.complete(0, 101, ago=timedelta(minutes=1))
        found = await one.poll_once()
    assert (found.emitted, found.rows) == (1, 10)


async def test_pages_of_courses_that_are_not_wanted_end_nothing() -> None:
    site, told = Site(learners=20), Told()
    for learner in range(10):
        site.complete(learner, 103, ago=timedelta(minutes=10 + learner))
    async with connected(site) as client:
        one = source(client, told, page_size=5)
        await one.poll_once()
        site.complete(15, 101)
        assert (await one.poll_once()).emitted == 1


async def test_unordered_pages_are_all_read() -> None:
    site, told = Site(learners=20), Told()
    for learner in range(20):
        site.complete(learner, 101, ago=timedelta(minutes=10 + learner * 7 % 20))
    async with connected(site) as client:
        one = source(client, told, page_size=5)
        await one.poll_once()
        assert (await one.poll_once()).rows == 20


async def test_a_failed_batch_loses_nothing_and_repeats_nothing() -> None:
    site, told = Site(learners=5_200), Told()
    rows = [
        NewCompletion(user, site.courses[101], int((NOW - timedelta(minutes=10 + n % 1_000)).timestamp()))
        for n, user in enumerate(site.users)
    ]
    add_completions(site.state, rows)
    told.troubles = [None, None, RetryLater("Kafka is away")]
    async with connected(site) as client:
        one = source(client, told)
        with pytest.raises(RetryLater):
            await one.poll_once()
        assert 0 < sum(told.completions().values()) < 5_200
        newest_told = max(
            r.completion.completed_at for r in told.records if r.completion and r.completion.completed_at
        )
        await one.poll_once()
    assert newest_told < NOW - timedelta(minutes=10), "the oldest are told first"
    assert set(told.completions().values()) == {1}
    assert len(told.completions()) == 5_200


# Without a report


async def test_without_a_report_every_learner_is_asked_for_until_complete() -> None:
    site, told = Site(learners=4), Told()
    site.complete(0, 101, ago=timedelta(days=2))
    with site.state.transaction():
        meet_criterion(site.state, site.users[1], site.courses[101], int(NOW.timestamp()))
    site.complete(2, 103)
    async with connected(site) as client:
        one = source(client, told, **NO_REPORTS)
        first, second = await one.poll_once(), await one.poll_once()
    assert told.completions() == {("G00000", "101"): 1}
    (seen,) = (record.completion for record in told.records if record.completion is not None)
    assert (seen.completed_on, seen.completed_at) == (date(2026, 11, 19), None)
    assert (first.rows, second.rows) == (8, 7), "who is complete is not asked for again"
    assert one.status["reports"] == {"recent": None, "all": None}


async def test_a_completion_without_times_has_the_day_on_which_it_was_seen() -> None:
    site, told = Site(), Told()
    when = int((NOW - timedelta(days=9)).timestamp())
    add_completions(site.state, [NewCompletion(site.users[0], site.courses[101], when, criterion=False)])
    async with connected(site) as client:
        await source(client, told, zone=ZoneInfo("Pacific/Auckland"), **NO_REPORTS).poll_once()
    (seen,) = (record.completion for record in told.records if record.completion is not None)
    assert seen.completed_on == date(2026, 11, 22), "there it is the next day already"


async def test_learners_and_courses_that_moodle_refuses_are_passed_over() -> None:
    site, told = Site(learners=30), Told()
    patch_course(site.state, CoursePatch(id=site.courses[102], self_completion=False))
    seed(
        site.state,
        Seed(enrolments=[SeedEnrolment(site.users[5], site.courses[101], suspended=True)]),
    )
    for learner in (4, 5, 6):
        site.complete(learner, 101)
    async with connected(site) as client:
        report = await source(client, told, **NO_REPORTS).poll_once()
    assert told.completions() == {("G00004", "101"): 1, ("G00006", "101"): 1}
    assert report.rows == 30, "of the course without criteria only one learner is asked for"


# What is wrong in Moodle or in the settings


async def test_a_report_without_the_columns_is_refused_naming_them() -> None:
    site, told = Site(), Told()
    async with connected(site) as client:
        headings = {**HEADINGS, "completed": "Date d'achèvement"}
        with pytest.raises(Stop, match=r"report 6: .* 'Date d'achèvement'"):
            await source(client, told, headings=headings).poll_once()


async def test_a_report_that_is_not_there_is_named() -> None:
    site, told = Site(), Told()
    async with connected(site) as client:
        with pytest.raises(Stop, match="report 999 cannot be read: invalidrecord"):
            await source(client, told, recent_report_id=999).poll_once()


async def test_reports_of_one_name_are_not_guessed_between(monkeypatch: pytest.MonkeyPatch) -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    monkeypatch.setitem(REPORTS, 8, REPORTS[COMPLETIONS_24H])
    async with connected(site) as client:
        with pytest.raises(Stop, match=r"ids 6, 8\): set the id"):
            await source(client, told).poll_once()
        await source(client, told, recent_report_id=8).poll_once()
    assert told.completions() == {("G00000", "101"): 1}


@pytest.mark.parametrize("function", [reads.LIST, reads.RETRIEVE])
async def test_a_service_without_the_report_functions_is_asked_for_statuses(function: str) -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    site.state.faults.add(Fault("access_denied", functions=[function]))
    async with connected(site) as client:
        one = source(client, told)
        with capture_logs() as logs:
            await one.poll_once()
            await one.poll_once()
    assert told.completions() == {("G00000", "101"): 1}
    (warning,) = (entry for entry in logs if entry["log_level"] in ("warning", "error"))
    assert (warning["event"], warning["not_allowed"]) == ("completion_reports_missing", function)
    assert one.status["reports"] == {"recent": None, "all": None}


async def test_a_report_that_was_set_and_is_not_allowed_is_an_alarm() -> None:
    site, told = Site(), Told()
    site.state.faults.add(Fault("access_denied", functions=[reads.RETRIEVE]))
    async with connected(site) as client:
        with pytest.raises(Stop, match=f"{reads.RETRIEVE}: accessexception"):
            await source(client, told, recent_report_id=COMPLETIONS_24H).poll_once()


async def test_a_service_that_allows_nothing_is_an_alarm() -> None:
    site, told = Site(), Told()
    site.state.faults.add(Fault("access_denied"))
    async with connected(site) as client:
        with pytest.raises(Stop, match="accessexception"):
            await source(client, told).poll_once()


async def test_times_in_another_language_are_no_silent_end() -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    async with connected(site) as client:
        with pytest.raises(Stop, match="unknown form"):
            await source(client, told, time_formats=("%d.%m.%Y",)).poll_once()


async def test_a_single_report_serves_for_both() -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    site.complete(1, 101, ago=timedelta(days=3))
    async with connected(site) as client:
        recent = Told()
        await source(client, recent, all_report_name="none such").poll_once()
        everybody = source(client, told, recent_report_name="none such")
        await everybody.poll_once()
        site.complete(2, 101, ago=timedelta(days=3))
        assert (await everybody.poll_once()).emitted == 1
    assert recent.completions() == {("G00000", "101"): 1}


# Running


async def test_it_reads_at_its_intervals_until_stopped() -> None:
    site, told = Site(), Told()
    async with connected(site) as client:
        one = source(client, told, catalogue_interval=0.02, completions_interval=0.01)
        async with running(one):
            await until(lambda: one.status["cycles"] >= 2)
            site.complete(0, 101)
            await until(told.completions)
            cycles = one.status["cycles"]
            await until(lambda: one.status["cycles"] >= cycles + 2)
        assert one.status["last_cycle"]["emitted"] == 0
    assert told.completions() == {("G00000", "101"): 1}


async def test_a_large_site_is_left_to_rest_and_recent_completions_wait_for_no_sweep() -> None:
    site, told = Site(), Told()
    hurry = {"catalogue_interval": 0.001, "completions_interval": 0.01, "sweep_interval": 0.0}
    async with connected(site) as client:
        one = source(client, told, rest_factor=1e9, **hurry)
        async with running(one):
            checks, sweep, recent = 2, 1, 1
            await until(lambda: site.calls(reads.RETRIEVE) == checks + sweep + recent)
        assert (site.calls(reads.COURSES), one.status["sweeps"]) == (1, 1)
        restless = source(client, told, rest_factor=0.0, **hurry)
        async with running(restless):
            await until(lambda: restless.status["sweeps"] > 2 and site.calls(reads.COURSES) > 3)


@pytest.mark.parametrize("reports", [{}, NO_REPORTS])
async def test_large_answers_have_more_time(reports: dict[str, str]) -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    for function in (reads.COURSES, reads.RETRIEVE):
        site.state.faults.add(Fault("latency", functions=[function], seconds=0.6))
    async with connected(site, timeout=0.3) as client:
        with pytest.raises(RetryLater):
            await source(client, told, read_timeout=0.1, **reports).poll_once()
        await source(client, told, **reports).poll_once()
    assert told.completions() == {("G00000", "101"): 1}


async def test_reports_that_are_made_later_are_found_by_the_next_sweep() -> None:
    site, told = Site(), Told()
    site.state.faults.add(Fault("access_denied", functions=[reads.LIST], count=1))
    async with connected(site) as client:
        one = source(client, told, sweep_interval=0.0)
        await one.poll_once()
        assert one.status["reports"] == {"recent": None, "all": None}
        await one.poll_once()
        assert None not in one.status["reports"].values()


@pytest.mark.parametrize(
    "kind",
    ["server_error", "maintenance_cli", "maintenance_ui", "database_down", "connection_reset", "bad_gateway"],
)
async def test_trouble_of_moodle_is_waited_out(kind: str) -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    site.state.faults.add(Fault(kind))
    async with connected(site) as client:
        one = source(client, told)
        async with running(one):
            await until(lambda: one.status["retrying"])
            site.state.faults.clear()
            await until(lambda: one.status["cycles"])
        assert (one.status["retrying"], one.status["stopped"]) == (None, None)
    assert told.completions() == {("G00000", "101"): 1}


async def test_a_revoked_token_is_an_alarm_and_a_mended_one_goes_on() -> None:
    site, told = Site(), Told()
    site.complete(0, 101)
    site.state.faults.add(Fault("token_revoked"))
    async with connected(site) as client:
        one = source(client, told)
        async with running(one):
            await until(lambda: one.status["stopped"])
            assert "TOKEN" not in one.status["stopped"]
            site.state.faults.clear()
            await until(lambda: one.status["cycles"])
        assert one.status["stopped"] is None
    assert told.completions() == {("G00000", "101"): 1}


async def test_a_report_deleted_meanwhile_is_looked_for_again() -> None:
    site, told = Site(), Told()
    async with connected(site) as client:
        one = source(client, told, completions_interval=0.01)
        async with running(one):
            await until(lambda: one.status["cycles"])
            before = site.calls(reads.LIST)
            site.state.faults.add(Fault("access_denied", functions=[reads.RETRIEVE], count=1))
            await until(lambda: site.calls(reads.LIST) > before)
            await until(lambda: one.status["stopped"] is None)


async def test_a_writer_that_was_fenced_ends_the_source() -> None:
    site, told = Site(), Told(troubles=[WorkerFailed("fenced")])
    async with connected(site) as client:
        with pytest.raises(WorkerFailed):
            await source(client, told).run(asyncio.Event())


async def test_stopping_does_not_wait_for_moodle() -> None:
    site, told = Site(), Told()
    site.state.faults.add(Fault("latency", seconds=60))
    async with connected(site) as client:
        async with asyncio.timeout(4):
            async with running(source(client, told)):
                await until(lambda: site.state.calls.in_progress)
    assert told.records == []


async def test_a_held_source_reads_nothing() -> None:
    site, told = Site(), Told()
    held, asked = True, 0

    def paused() -> bool:
        nonlocal asked
        asked += 1
        return held

    async with connected(site) as client:
        one = MoodleSource(source_settings(), client, told, now=lambda: NOW, paused=paused)
        async with running(one):
            await until(lambda: asked > 1)
            assert not site.state.calls.log
            held = False
            await until(lambda: one.status["cycles"])
    assert len(told.keys()) == 3


async def test_enough_is_asked_after_every_page() -> None:
    site = Site(learners=4)
    asked: list[Page] = []

    def enough(page: Page) -> bool:
        asked.append(page)
        return len(asked) == 2

    async with connected(site) as client:
        courses = {CourseId("101")}
        read = await reads.read_report(client, 4, courses, source_settings(page_size=3), enough)
    assert (len(asked), read.rows, read.whole) == (2, 6, True)
