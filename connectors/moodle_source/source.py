"""The Moodle source: reads at intervals, tells what differs, and goes on through every trouble."""

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

import structlog

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import NotAllowed
from connectors.moodle_source import reads
from connectors.moodle_source.catalogue import Catalogue
from connectors.moodle_source.known import Known, Seen
from connectors.moodle_source.observed_topic import Telling
from connectors.moodle_source.report import Page
from connectors.moodle_source.settings import MoodleSourceSettings
from infra.engine.errors import WorkerFailed
from infra.errors import HubError, RetryLater
from infra.http_client import backoff
from infra.stopping import StoppedError, pause, unless
from infra.turns import ASKED, Intervals, Turns, Work
from schemas.ids import CourseId, PersonId
from schemas.moodle import CompletionObserved

_LOG = structlog.get_logger()

_BATCH: Final = 5_000
"""Records told in one transaction."""
_PAUSED_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Reports:
    """The custom reports in use; none where there is no such report."""

    recent: int | None
    everybody: int | None

    @property
    def any(self) -> bool:
        """Whether there is a report at all."""
        return self.recent is not None or self.everybody is not None

    @property
    def both(self) -> bool:
        """Whether there are all."""
        return self.recent is not None and self.everybody is not None


@dataclass(frozen=True, slots=True)
class PollReport:
    """What one whole cycle brought.

    Attributes:
        courses: courses with an id number of their own.
        ambiguous: id numbers that several courses carry.
        rows: report rows, or statuses, looked at.
        unreadable: rows with a time in no known form.
        completions: completions among them, of opted-in courses.
        emitted: records told.
        swept: all completions were read, not only the recent ones.
    """

    courses: int
    ambiguous: int
    rows: int
    unreadable: int
    completions: int
    emitted: int
    swept: bool


class MoodleSource:
    """Observes one Moodle site.

    Args:
        settings: see `MoodleSourceSettings`.
        client: of the site, open.
        telling: where observations go.
        now: gives the present time in UTC.
        paused: tells whether an operator holds the work.
        turns: when catalogue and completions are read; none: at the intervals of the settings.

    Attributes:
        status: counts for ``/status``; see `_fresh_status`. Written here only.
    """

    def __init__(
        self,
        settings: MoodleSourceSettings,
        client: MoodleClient,
        telling: Telling,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        paused: Callable[[], bool] = lambda: False,
        turns: Turns | None = None,
    ) -> None:
        self._settings = settings
        self._client = client
        self._telling = telling
        self._now = now
        self._paused = paused
        self._turns = turns or Intervals(
            {
                Work.COURSE_CATALOG: settings.catalogue_interval,
                Work.COMPLETIONS: settings.completions_interval,
            }
        )
        self._known = Known()
        self._opened = False
        self._reports: Reports | None = None
        self._catalogue: Catalogue | None = None
        self._swept: frozenset[CourseId] = frozenset()
        self._catalogue_rests = self._completions_rest = self._sweep_due = self._sweep_rests = 0.0
        self._cycle_emitted = 0
        self._cycle_parts: set[str] = set()
        self.status: dict[str, Any] = _fresh_status()

    async def open(self) -> None:
        """Learn what was told before.

        Raises:
            RetryLater: Kafka or the registry does not answer.
        """
        self._known = Known()
        await self._telling.open(self._known.learn_one)
        self._opened = True
        self.status["known"] = len(self._known)

    async def poll_once(self) -> PollReport:
        """Read catalogue and completions now, whatever the intervals, and tell what differs.

        Raises:
            RetryLater: Moodle, Kafka or the registry is busy or away.
            HubError: something is set up wrongly, in Moodle or here.
        """
        if not self._opened:
            await self.open()
        before = self.status["emitted"]
        self._sweep_rests = 0.0
        catalogue = await self._read_catalogue()
        read, swept = await self._read_completions(catalogue)
        emitted = self.status["emitted"] - before
        return PollReport(
            courses=len(catalogue.courses),
            ambiguous=len(catalogue.ambiguous),
            rows=read.rows,
            unreadable=read.unreadable,
            completions=len(read.completions),
            emitted=emitted,
            swept=swept,
        )

    async def run(self, stop: asyncio.Event) -> None:
        """Read whatever is due until ``stop`` is set.

        Trouble of Moodle is waited out. Wrong settings or credentials are an alarm and are tried again
        slowly, so that a mended token goes on by itself.

        Raises:
            WorkerFailed: another process took over, or Kafka refuses this one: only a new process helps.
        """
        failures = 0
        while not stop.is_set():
            try:
                await unless(stop, self._poll_due())
                failures = 0
                self.status |= {"retrying": None, "stopped": None, "at_work": True}
                await self._turns.pause(stop, await self._seconds_to_next())
                continue
            except StoppedError:
                return
            except RetryLater as trouble:
                wait = max(
                    trouble.retry_after or 0.0,
                    backoff(failures, self._settings.first_backoff, self._settings.longest_backoff),
                )
                failures += 1
                self.status |= {"retrying": str(trouble), "stopped": None}
                _LOG.warning("moodle_source_waits", reason=str(trouble), seconds=round(wait, 1))
            except WorkerFailed:
                raise
            except HubError as error:
                wait = self._settings.stop_retry
                self._reports = None
                self.status["stopped"] = str(error)
                _LOG.error("moodle_source_stopped", reason=str(error), retry_seconds=wait)
            await pause(stop, wait)

    async def _poll_due(self) -> None:
        if self._paused():
            return
        if not self._opened:
            await self.open()
        wants_completions = await self._seconds_to(Work.COMPLETIONS) <= 0
        is_lacking = wants_completions and self._catalogue is None
        if is_lacking or await self._seconds_to(Work.COURSE_CATALOG) <= 0:
            async with self._turns.take(Work.COURSE_CATALOG) as outcome:
                found = await self._read_catalogue()
                outcome.counts |= {"courses": len(found.courses), "ambiguous": len(found.ambiguous)}
        if self._catalogue is not None and wants_completions:
            async with self._turns.take(Work.COMPLETIONS) as outcome:
                read, swept = await self._read_completions(self._catalogue)
                counts = {"rows": read.rows, "unreadable": read.unreadable, "sweeps": int(swept)}
                outcome.counts |= counts | {"completions": len(read.completions)}

    async def _seconds_to(self, work: Work) -> float:
        """Return the seconds to the turn of ``work``; the site rests from the last one before."""
        seconds = await self._turns.seconds_to(work)
        rests = self._catalogue_rests if work is Work.COURSE_CATALOG else self._completions_rest
        return seconds if seconds == ASKED else max(seconds, rests - time.monotonic())

    async def _seconds_to_next(self) -> float:
        if self._paused():
            return _PAUSED_SECONDS
        return min([await self._seconds_to(work) for work in (Work.COURSE_CATALOG, Work.COMPLETIONS)])

    async def _read_catalogue(self) -> Catalogue:
        self._begin_part()
        began = time.monotonic()
        found = await reads.read_catalogue(self._client, self._settings)
        for course, ids in found.ambiguous.items():
            _LOG.warning("course_idnumber_ambiguous", course_id=course, moodle_course_ids=ids)
        await self._tell(found.courses.values())
        self._catalogue = found
        self._catalogue_rests = self._rested(began)
        self.status |= {
            "courses": len(found.courses),
            "opted_in": len(found.opted_in),
            "ambiguous_courses": len(found.ambiguous),
        }
        self._end_part("catalogue")
        return found

    async def _read_completions(self, catalogue: Catalogue) -> tuple[reads.Read, bool]:
        self._begin_part()
        sweep = self._sweep_is_due(catalogue)
        reports = self._reports
        if reports is None or (sweep and not reports.both):  # one may have been made, or allowed, meanwhile
            reports = self._reports = await self._find_reports()
        began = time.monotonic()
        read = await self._read_wanted(reports, catalogue, sweep)
        oldest_first = sorted(read.completions.values(), key=_when)
        # Oldest first: should a batch fail, the newest are untold, and the next read does not stop at them.
        await self._tell(oldest_first)
        if sweep:
            self._swept = catalogue.opted_in
            self._sweep_due = time.monotonic() + self._settings.sweep_interval
            self._sweep_rests = self._rested(began)
            self.status["sweeps"] += 1
        # The recent ones are read fast, however long a sweep takes.
        self._completions_rest = 0.0 if sweep and reports.recent is not None else self._rested(began)
        if read.unreadable:
            _LOG.warning("report_rows_unreadable", rows=read.unreadable)
        self.status |= {"rows": read.rows, "unreadable": read.unreadable}
        self._end_part("completions")
        return read, sweep

    def _sweep_is_due(self, catalogue: Catalogue) -> bool:
        # A course that was switched on has completions that are not recent.
        is_due = time.monotonic() >= self._sweep_due or not catalogue.opted_in <= self._swept
        return is_due and time.monotonic() >= self._sweep_rests

    def _rested(self, began: float) -> float:
        """Return when the site has rested from what was begun then and is read now."""
        now = time.monotonic()
        return now + (now - began) * self._settings.rest_factor

    async def _read_wanted(self, reports: Reports, catalogue: Catalogue, sweep: bool) -> reads.Read:
        courses = catalogue.opted_in
        if not courses:
            return reads.Read()
        if not reports.any:
            wanted = [catalogue.courses[course] for course in sorted(courses)]
            return await reads.read_statuses(
                self._client, wanted, self._settings, self._is_known, self._now()
            )
        first, second = reports.recent, reports.everybody
        report = (second or first) if sweep else (first or second)
        enough = _never if sweep or first is None else self._all_known
        if report is None:
            raise AssertionError
        return await reads.read_report(self._client, report, courses, self._settings, enough)

    async def _find_reports(self) -> Reports:
        wanted = (
            (self._settings.recent_report_id, self._settings.recent_report_name),
            (self._settings.all_report_id, self._settings.all_report_name),
        )
        set_ids = [number for number, _ in wanted]
        for number in filter(None, set_ids):
            await reads.check_report(self._client, number, self._settings)
        lacking = None
        try:
            found = Reports(*[number or await self._find_report(name) for number, name in wanted])
        except NotAllowed as refusal:
            # The catalogue was read before, so it is this function alone.
            found, lacking = Reports(*set_ids), refusal.function
        is_news = found != self._reports
        self.status["reports"] = {"recent": found.recent, "all": found.everybody}
        if is_news and not found.both:
            _LOG.warning(
                "completion_reports_missing", recent=found.recent, all=found.everybody, not_allowed=lacking
            )
        return found

    async def _find_report(self, name: str) -> int | None:
        number = await reads.find_report(self._client, name)
        if number is not None:
            await reads.check_report(self._client, number, self._settings)
        return number

    async def _tell(self, seen: Iterable[Seen]) -> None:
        news = self._known.news(seen, self._settings.tenant, self._settings.target, self._now())
        for start in range(0, len(news), _BATCH):
            batch = news[start : start + _BATCH]
            await self._telling.append(batch)
            self._known.learn(batch)
            self._cycle_emitted += len(batch)
            self.status["emitted"] += len(batch)
            self.status["known"] = len(self._known)
            _LOG.info("moodle_observed", kind=batch[0].kind.value, records=len(batch))

    def _is_known(self, person: PersonId, course: CourseId) -> bool:
        return self._known.has(self._settings.tenant, (person, course))

    def _all_known(self, page: Page) -> bool:
        """Tell whether the rest of a report has been told already: newest come first, and these are known."""
        seen = page.completions.values()
        news = self._known.news(seen, self._settings.tenant, self._settings.target, self._now())
        return page.newest_first and bool(seen) and not news

    def _begin_part(self) -> None:
        if not self._cycle_parts:
            self.status["cycle_started_at"] = self._now().isoformat()
            self._cycle_emitted = 0

    def _end_part(self, part: str) -> None:
        """Note that catalogue or completions were read; a cycle is both, each at least once."""
        self._cycle_parts.add(part)
        if len(self._cycle_parts) == 2:
            self._cycle_parts.clear()
            self.status |= {
                "cycles": self.status["cycles"] + 1,
                "last_cycle": {
                    "started_at": self.status["cycle_started_at"],
                    "ended_at": self._now().isoformat(),
                    "emitted": self._cycle_emitted,
                },
            }


def _fresh_status() -> dict[str, Any]:
    """Return the status before the first read.

    ``cycles`` counts whole cycles (catalogue and completions both read); ``last_cycle`` tells of the last one
    when it began and ended and how many records it told; ``at_work`` is true once what was due has been read;
    ``stopped`` and ``retrying`` say what is in the way.
    """
    return {
        "cycles": 0,
        "at_work": False,
        "cycle_started_at": None,
        "last_cycle": None,
        "emitted": 0,
        "known": 0,
        "courses": 0,
        "opted_in": 0,
        "ambiguous_courses": 0,
        "rows": 0,
        "unreadable": 0,
        "sweeps": 0,
        "reports": None,
        "retrying": None,
        "stopped": None,
    }


def _when(seen: CompletionObserved) -> tuple[date, datetime]:
    return seen.completed_on, seen.completed_at or datetime.max.replace(tzinfo=UTC)


def _never(_: Page) -> bool:
    return False
