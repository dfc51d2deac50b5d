"""The pull of a SIS by OneRoster: collection by collection, page by page, into the intake."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from typing import Any, Final, Self

import structlog
from sqlalchemy import Connection

from infra.db.connect import database_trouble, engine
from infra.errors import RetryLater
from infra.mapping import Identity
from producers import cursors, runs
from producers.candidates import Answer, Origin, tally
from producers.intake import Intake
from producers.runs import RunSummary
from producers.sis.client import OneRosterClient, Page, PullError
from producers.sis.oneroster import RESOURCES, to_record
from producers.sis.records import SOURCE, RecordError, moment
from producers.sis.settings import OneRosterSettings
from producers.sis.taking import SisIntake, exclusive

DATABASE: Final = "database"
STOPPED: Final = "stopped"
PAGING_IGNORED: Final = "paging_ignored"
_log = structlog.get_logger()

Progress = Callable[[str, int, int | None], None]
"""Called with the collection, the records read so far, and how many there are, if told."""


def _utc_now() -> datetime:
    return datetime.now(UTC)


def _silent(_collection: str, _read: int, _total: int | None) -> None:
    """Tell nobody."""


class SisPull:
    """Pulls one SIS; an async context manager.

    Args:
        settings: the SIS and how it is asked.
        database_url: where the intake keeps its tables.
        identity: makes the ids of people and courses; none: the default rule.
        now: the clock of the hub, giving UTC.
    """

    def __init__(
        self,
        settings: OneRosterSettings,
        database_url: str,
        identity: Identity | None = None,
        now: Callable[[], datetime] = _utc_now,
    ) -> None:
        self.origin = Origin(settings.tenant, SOURCE)
        self._settings = settings
        self._database_url = database_url
        self._now = now
        self._engine = engine(database_url, pool_size=2)
        self._sis = SisIntake(Intake(self._engine), settings.rules(identity))
        self._client = OneRosterClient(settings)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.__aexit__()
        self._engine.dispose()

    async def pull_once(
        self, *, since: datetime | None = None, full: bool = False, progress: Progress = _silent
    ) -> RunSummary:
        """Read what changed since the last pull; a failure of the SIS is a FAILED run, not an exception.

        Args:
            since: read what changed after this time (UTC), wherever the cursor stands.
            full: read everything, wherever the cursor stands.
            progress: told of every page.

        Raises:
            RetryLater: the database is away, or another process reads this SIS.
        """
        with ExitStack() as stack:
            await asyncio.to_thread(stack.enter_context, exclusive(self._database_url, self.origin))
            return await self._run(since, full, progress)

    async def _run(self, since: datetime | None, full: bool, progress: Progress) -> RunSummary:
        run_id = await asyncio.to_thread(runs.begin, self._engine, self.origin)
        try:
            await asyncio.to_thread(self._sis.wake_all)
            deadline = time.monotonic() + self._settings.patience
            for collection in RESOURCES:
                stands = await asyncio.to_thread(self._start, collection)
                start = None if full else since or stands
                # A start behind the cursor leaves a gap, so the cursor must stay before it.
                may_move = start is None or (stands is not None and start <= stands)
                await self._read(run_id, collection, start, may_move, deadline, progress)
            await asyncio.to_thread(self._succeed, run_id)
        except PullError as error:
            await asyncio.to_thread(runs.fail, self._engine, run_id, error.code)
        except BaseException as error:
            with suppress(RetryLater):
                runs.fail(self._engine, run_id, _reason(error))
            raise
        summary = await asyncio.to_thread(runs.get, self._engine, run_id)
        counts = {name: value for name, value in summary.counts._asdict().items() if value}
        _log.info("sis_pull_done", run=run_id, state=summary.state, reason=summary.reason, **counts)
        return summary

    async def _read(
        self,
        run_id: int,
        collection: str,
        since: datetime | None,
        may_move: bool,
        deadline: float,
        progress: Progress,
    ) -> None:
        """Read one collection to its end; its cursor moves with the last page, if it may."""
        read, errors, before = 0, False, b""
        newest = since
        while True:
            page = await self._client.page(collection, self._query(read, since), deadline)
            if page.records and page.digest == before:
                raise PullError(PAGING_IGNORED)
            before = page.digest
            read += len(page.records)
            newest = newest_of(page.records, newest, self._now())
            is_last = not page.records or (page.total is not None and read >= page.total)
            cursor = newest if is_last and may_move and not errors else None
            answers = await asyncio.to_thread(self._take, run_id, collection, page, cursor)
            errors = errors or tally(answers).errors > 0
            progress(collection, read, page.total)
            if is_last:
                return

    def _query(self, offset: int, since: datetime | None) -> dict[str, str]:
        # By id: a record that changes while pages are read stays where it is.
        query = {
            "limit": str(self._settings.page_size),
            "offset": str(offset),
            "sort": "sourcedId",
            "orderBy": "asc",
        }
        if since is not None:
            query["filter"] = f"dateLastModified>'{_wire(since - self._settings.overlap)}'"
        return query

    def _start(self, collection: str) -> datetime | None:
        with database_trouble(), self._engine.connect() as connection:
            found = cursors.position(connection, self.origin, _cursor(collection))
        return None if found is None else datetime.fromisoformat(found["newest"])

    def _take(self, run_id: int, collection: str, page: Page, cursor: datetime | None) -> list[Answer]:
        """Take a page, and with the last one of a collection move its cursor, if no record was an error."""

        def also(connection: Connection, answers: Sequence[Answer]) -> None:
            counts = tally(answers)
            if page.records:
                runs.progress(connection, run_id, counts)
            if cursor is not None and not counts.errors:
                position = {"newest": cursor.isoformat()}
                cursors.move(connection, self.origin, _cursor(collection), position)

        received_at, kind = self._now(), RESOURCES[collection]
        records = [to_record(kind, raw, received_at) for raw in page.records]
        return self._sis.take(records, received_at, also)

    def _succeed(self, run_id: int) -> None:
        with database_trouble(), self._engine.begin() as connection:
            position: dict[str, Any] = {}
            for collection in RESOURCES:
                found = cursors.position(connection, self.origin, _cursor(collection))
                if found is not None:
                    position[collection] = found["newest"]
            runs.succeed(connection, run_id, position)


def newest_of(records: Sequence[object], newest: datetime | None, now: datetime) -> datetime | None:
    """Return the newest ``dateLastModified`` of ``records`` and ``newest``, none of them beyond ``now``.

    The SIS's own times, not the hub's clock, say up to where was read; a time to come would hide what changes
    until then.
    """
    for record in records:
        value = record.get("dateLastModified") if isinstance(record, Mapping) else None
        try:
            found = moment(value, "dateLastModified") if isinstance(value, str) else None
        except RecordError:
            found = None
        if found is not None and found <= now and (newest is None or found > newest):
            newest = found
    return newest


def _cursor(collection: str) -> str:
    return f"oneroster-{collection}"


def _wire(value: datetime) -> str:
    return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _reason(error: BaseException) -> str:
    if isinstance(error, RetryLater):
        return DATABASE
    return STOPPED if isinstance(error, asyncio.CancelledError) else type(error).__name__
