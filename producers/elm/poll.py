"""The poll of ELM's feed: page by page into the intake, with a run record for every poll."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Final, Self

import psycopg
import structlog
from sqlalchemy import Connection

from infra.db.connect import database_trouble, driver_connection, engine
from infra.db.locks import try_lock, unlock
from infra.errors import HubError, RetryLater
from infra.http_client import backoff
from infra.stopping import StoppedError, pause, unless
from infra.telemetry import Status
from infra.turns import Intervals, Turns, Work
from producers import cursors, runs
from producers.candidates import Answer, Origin, tally
from producers.elm import query
from producers.elm.client import ElmClient, FeedError, Page
from producers.elm.settings import ElmFeedSettings
from producers.elm.to_events import SOURCE, to_candidate
from producers.intake import Intake
from producers.leading import show_life
from producers.runs import RunState, RunSummary

ROLE: Final = "elm-poll"
STOPPED: Final = "stopped"
PAGING_IGNORED: Final = "paging_ignored"
DATABASE: Final = "database"
_SIGN_OF_LIFE = 1.0
_SAME_PAGES = 10
"""So many equal pages in a row mean that the server ignores ``$skip`` (two may hold repeated records)."""

_log = structlog.get_logger()


def _utc_now() -> datetime:
    return datetime.now(UTC)


class BusyError(RetryLater):
    """Another process polls this feed; this one stands by."""


class ElmPoll:
    """Polls one feed; an async context manager.

    Args:
        settings: the feed and how it is polled.
        database_url: where the intake keeps its tables.
        now: the clock of the hub, giving UTC.
        status: what is shown of it; see `infra.telemetry.serve_status`.
        turns: when it polls; none: at the interval of the settings.
    """

    def __init__(
        self,
        settings: ElmFeedSettings,
        database_url: str,
        now: Callable[[], datetime] = _utc_now,
        status: Status | None = None,
        turns: Turns | None = None,
    ) -> None:
        self.origin = Origin(settings.tenant, SOURCE)
        self._settings = settings
        self._rules = settings.rules()
        self._database_url = database_url
        self._now = now
        self._status = status or Status(ROLE)
        self._turns = turns or Intervals({Work.ELM: settings.interval_seconds})
        self._engine = engine(database_url, pool_size=2)
        self._intake = Intake(self._engine)
        self._client = ElmClient(settings)
        self._never = asyncio.Event()
        self._retry_after: float | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()
        self._engine.dispose()

    async def poll_once(self) -> RunSummary:
        """Read the feed once; a failure of the feed is a FAILED run, not an exception.

        Raises:
            RetryLater: the database is away (the run is marked by the next poll), or another process polls.
        """
        with ExitStack() as stack:
            await self._lock(stack)
            return await self._poll(self._never)

    async def run(self, stop: asyncio.Event) -> None:
        """Poll when it is due until ``stop`` is set; after a failure sooner, with growing pauses."""
        life = asyncio.create_task(show_life(self._status))
        try:
            await self._run(stop)
        finally:
            life.cancel()

    async def _run(self, stop: asyncio.Event) -> None:
        failures = 0
        while not stop.is_set():
            try:
                with ExitStack() as stack:
                    connection = await self._lock(stack)
                    failures = 0
                    await self._poll_until(stop, connection)
            except HubError as error:
                failures += 1
                seconds = self._delay(failures)
                if not isinstance(error, BusyError):
                    self._status.not_ready(str(error))
                _log.warning("elm_poll_waits", reason=str(error), seconds=round(seconds, 1))
                await pause(stop, seconds)

    async def _poll_until(self, stop: asyncio.Event, connection: psycopg.Connection) -> None:
        failures = 0
        while not stop.is_set():
            is_paused = self._status.paused.is_set()
            seconds = _SIGN_OF_LIFE if is_paused else await self._turns.seconds_to(Work.ELM)
            if seconds > 0:
                if not failures:
                    self._status.ready()
                await self._turns.pause(stop, seconds)
                continue
            # With the connection the lock is lost.
            await asyncio.to_thread(connection.execute, "SELECT 1")
            summary = await self._take_turn(stop)
            failures = failures + 1 if summary.state is RunState.FAILED else 0
            if failures:
                await pause(stop, self._delay(failures))

    async def _take_turn(self, stop: asyncio.Event) -> RunSummary:
        async with self._turns.take(Work.ELM) as outcome:
            summary = await self._poll(stop)
            outcome.counts |= {"run": summary.run_id, **_told(summary)}
            if summary.state is RunState.FAILED:
                outcome.failed = summary.reason
        return summary

    def _delay(self, failures: int) -> float:
        longest = max(self._settings.interval_seconds, self._settings.backoff_seconds)
        return max(self._retry_after or 0.0, backoff(failures - 1, self._settings.backoff_seconds, longest))

    async def _lock(self, stack: ExitStack) -> psycopg.Connection:
        opened = driver_connection(self._database_url)
        connection = await asyncio.to_thread(stack.enter_context, opened)
        names = (ROLE, self.origin.tenant, SOURCE)
        if not await asyncio.to_thread(try_lock, connection, *names):
            raise BusyError("another process polls this feed")
        stack.callback(unlock, connection, *names)
        return connection

    async def _poll(self, stop: asyncio.Event) -> RunSummary:
        run_id = await asyncio.to_thread(runs.begin, self._engine, self.origin)
        self._retry_after = None
        try:
            await self._read_feed(run_id, stop)
        except FeedError as error:
            self._retry_after = error.retry_after
            await asyncio.to_thread(runs.fail, self._engine, run_id, error.code)
        except BaseException as error:
            with suppress(RetryLater):
                runs.fail(self._engine, run_id, _reason(error))
            raise
        summary = await asyncio.to_thread(runs.get, self._engine, run_id)
        self._report(summary)
        return summary

    async def _read_feed(self, run_id: int, stop: asyncio.Event) -> None:
        now = self._now()
        position = await asyncio.to_thread(self._position)
        options = query.options(self._settings, position, now)
        progress = query.Progress(self._settings, position, now)
        read, same, errors = 0, 0, False
        page = await self._fetch(options, 0, None, stop)
        while True:
            read += len(page.records)
            following = await self._fetch(options, read, page.following, stop) if page.records else page
            same = same + 1 if following.records and following.digest == page.digest else 0
            if same == _SAME_PAGES:
                raise FeedError(PAGING_IGNORED)
            is_last = not following.records
            progress.add(page.records)
            answers = await asyncio.to_thread(self._take, run_id, page, progress, is_last, errors)
            errors = errors or tally(answers).errors > 0
            if is_last:
                return
            page = following

    async def _fetch(self, options: dict[str, str], read: int, link: str | None, stop: asyncio.Event) -> Page:
        """Fetch the page that the server named, or the one behind the ``read`` records read so far."""
        text = link or query.query_string(options, self._settings.page_size, read)
        try:
            return await unless(stop, self._client.page(text))
        except StoppedError:
            raise FeedError(STOPPED) from None

    def _position(self) -> query.Position | None:
        with database_trouble(), self._engine.connect() as connection:
            return cursors.position(connection, self.origin, query.cursor_name(self._settings.release))

    def _take(
        self, run_id: int, page: Page, progress: query.Progress, is_last: bool, had_errors: bool
    ) -> list[Answer]:
        def also(connection: Connection, answers: Sequence[Answer]) -> None:
            counts = tally(answers)
            if page.records:
                runs.progress(connection, run_id, counts)
            if is_last:
                self._finish(connection, run_id, progress, had_errors or counts.errors > 0)

        recorded_at = _utc_now()
        candidates = [to_candidate(record, self._rules, recorded_at) for record in page.records]
        return self._intake.take(self.origin, candidates, also)

    def _finish(
        self, connection: Connection, run_id: int, progress: query.Progress, had_errors: bool
    ) -> None:
        """Move the cursor, but never past a record that ended as an error."""
        position = None if had_errors else progress.position()
        if position is not None:
            cursors.move(connection, self.origin, query.cursor_name(self._settings.release), position)
        runs.succeed(connection, run_id, position)

    def _report(self, summary: RunSummary) -> None:
        counts = _told(summary)
        self._status.facts["last_run"] = {
            "run": summary.run_id,
            "state": summary.state,
            "reason": summary.reason,
            "started_at": summary.started_at.isoformat(),
            **counts,
        }
        if summary.state is RunState.FAILED:
            self._status.not_ready(f"the last poll failed: {summary.reason}")
            _log.warning("elm_poll_failed", run=summary.run_id, reason=summary.reason, **counts)
        else:
            self._status.ready()
            _log.info("elm_poll_done", run=summary.run_id, **counts)


async def run_elm_poll(
    settings: ElmFeedSettings,
    database_url: str,
    stop: asyncio.Event,
    status: Status | None = None,
    turns: Turns | None = None,
) -> None:
    """Run the role ``elm-poll`` until ``stop`` is set; see `ElmPoll`."""
    async with ElmPoll(settings, database_url, status=status, turns=turns) as poll:
        await poll.run(stop)


def _told(summary: RunSummary) -> dict[str, int]:
    return {name: value for name, value in summary.counts._asdict().items() if value}


def _reason(error: BaseException) -> str:
    if isinstance(error, RetryLater):
        return DATABASE
    return STOPPED if isinstance(error, asyncio.CancelledError) else type(error).__name__
