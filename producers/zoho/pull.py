"""The pull of Zoho's CRM: module by module into the intake, all of it or what changed since the last one.

Each module has a cursor, moved in the transaction of its last page and only if every page came and no record
ended as an error: so what fails is read again by the next pull.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import psycopg
import structlog
from sqlalchemy import Connection

from infra.db.connect import database_trouble, driver_connection, engine
from infra.db.locks import try_lock, unlock
from infra.errors import HubError, RetryLater, Stop
from producers import cursors, runs
from producers.candidates import Answer, Tally, tally
from producers.intake import Intake
from producers.runs import RunSummary
from producers.zoho import records, values
from producers.zoho.client import Page, ZohoClient, ZohoError, ZohoTrouble
from producers.zoho.kinds import Deleted
from producers.zoho.records import KINDS, Kind
from producers.zoho.settings import ZohoSettings
from producers.zoho.source import IdentityOf, Received, ZohoSource
from producers.zoho.values import ValueProblem

_log = structlog.get_logger()

ROLE: Final = "zoho-pull"
ORDER: Final = (
    records.TEACHERS,
    records.STUDENTS,
    records.PROGRAMS,
    records.UNITS,
    records.CLASSES,
    records.REGISTRATIONS,
    records.ENROLLMENTS,
    records.PAYMENTS,
    records.GRADES,
)
"""Each after what it refers to, so that little has to wait."""
BY_MODULE: Final[Mapping[str, Kind]] = {kind.module: kind for kind in ORDER} | dict(KINDS)
"""Kinds by the names under which they may be asked for: the module's, or that of the sync API."""
_WITH_SUBFORMS: Final = frozenset({"registrations", "grades"})
"""Their lists lack the subforms: each record is fetched by itself."""

Told = Callable[[str, Tally], None]
"""Called after each page with the name of the kind and the counts of its answers so far."""


class BusyError(RetryLater):
    """Another process pulls the same CRM."""


def tell_nobody(_kind: str, _counts: Tally) -> None:
    """Report nothing."""


async def pull(
    settings: ZohoSettings,
    database_url: str,
    identity_of: IdentityOf,
    kinds: Sequence[Kind] = ORDER,
    since: datetime | None = None,
    *,
    full: bool = False,
    told: Told = tell_nobody,
) -> RunSummary:
    """Read the CRM once.

    Args:
        settings: of Zoho.
        database_url: where the intake keeps its tables.
        identity_of: gives the rules for the ids of people and courses.
        kinds: which, in this order.
        since: read what changed since then; none: since the last pull.
        full: read everything.
        told: hears of the progress.

    Raises:
        Stop: the credentials are missing or wrong.
        RetryLater: the CRM or the database is away, or another process pulls; what came is kept.
        ZohoError: the CRM refuses a request.
    """
    if not settings.client_id:
        raise Stop("ZOHO_CLIENT_ID is not set: there is no CRM to pull from")
    pool = engine(database_url, pool_size=2)
    try:
        with ExitStack() as stack:
            await _lock(stack, database_url, settings)
            source = ZohoSource(Intake(pool), identity_of, settings.timezone)
            async with ZohoClient(settings) as client:
                return await _Pull(settings, source, client, since, full, told).run(kinds)
    finally:
        pool.dispose()


async def _lock(stack: ExitStack, database_url: str, settings: ZohoSettings) -> psycopg.Connection:
    connection = await asyncio.to_thread(stack.enter_context, driver_connection(database_url))
    names = (ROLE, settings.tenant)
    if not await asyncio.to_thread(try_lock, connection, *names):
        raise BusyError("another process pulls from this CRM")
    stack.callback(unlock, connection, *names)
    return connection


class _Pull:
    """One pull."""

    def __init__(
        self,
        settings: ZohoSettings,
        source: ZohoSource,
        client: ZohoClient,
        since: datetime | None,
        full: bool,
        told: Told,
    ) -> None:
        self._settings = settings
        self._source = source
        self._client = client
        self._since = since
        self._full = full
        self._told = told
        self._origin = source.origin(settings.tenant)
        self._engine = source.intake.engine
        self._run_id = 0

    async def run(self, kinds: Sequence[Kind]) -> RunSummary:
        self._run_id = await asyncio.to_thread(runs.begin, self._engine, self._origin)
        try:
            positions = {kind.name: await self._module(kind) for kind in kinds}
            await asyncio.to_thread(self._succeed, positions)
            await asyncio.to_thread(self._source.wake)
        except BaseException as error:
            with suppress(RetryLater):
                runs.fail(self._engine, self._run_id, _reason(error))
            raise
        return await asyncio.to_thread(runs.get, self._engine, self._run_id)

    async def _module(self, kind: Kind) -> str | None:
        """Read one module; return where its cursor is now, none where errors kept it."""
        since = None if self._full else self._since or await asyncio.to_thread(self._position, kind)
        started, errors, counts = datetime.now(UTC), False, Tally()
        async for page in self._pages(kind, since):
            # By the CRM's clock: ours may differ.
            started = min(started, page.time or started)
            received = await self._received(kind, page)
            answers = await asyncio.to_thread(self._take, received)
            found = tally(answers)
            errors, counts = errors or found.errors > 0, counts + found
            self._told(kind.name, counts)
        _log.info(
            "zoho_module_pulled", module=kind.module, since=since and since.isoformat(), seen=counts.seen
        )
        if errors:
            return None
        position = started.isoformat()
        await asyncio.to_thread(self._move, kind, position)
        return position

    async def _pages(self, kind: Kind, since: datetime | None) -> AsyncIterator[Page]:
        """Yield the pages of what is there, then of what was deleted."""
        async for page in self._client.pages(kind.module, since):
            yield page
        async for page in self._client.deleted(kind.module, since):
            yield Page([_deletion(record) for record in page.records], page.is_last, page.time)

    async def _received(self, kind: Kind, page: Page) -> list[Received]:
        raws: list[object] = list(page.records)
        if kind.name in _WITH_SUBFORMS:
            gate = asyncio.Semaphore(self._settings.parallel)
            raws = list(await asyncio.gather(*(self._whole(kind, raw, gate) for raw in raws)))
        now = datetime.now(UTC)
        return [Received(kind.name, raw, now) for raw in raws if raw is not None]

    async def _whole(self, kind: Kind, raw: object, gate: asyncio.Semaphore) -> object:
        """Return a record with its subforms; one that is gone meanwhile is told of by the deletions."""
        record_id = None if isinstance(raw, Deleted) else records.id_of(raw, kind)
        if record_id is None:
            return raw
        async with gate:
            return await self._client.record(kind.module, record_id)

    def _take(self, received: Sequence[Received]) -> list[Answer]:
        def also(connection: Connection, answers: Sequence[Answer]) -> None:
            runs.progress(connection, self._run_id, tally(answers))

        return self._source.take(self._settings.tenant, received, also) if received else []

    def _position(self, kind: Kind) -> datetime | None:
        with database_trouble(), self._engine.connect() as connection:
            found = cursors.position(connection, self._origin, _cursor(kind))
        overlap = timedelta(minutes=self._settings.overlap_minutes)
        return datetime.fromisoformat(found["since"]) - overlap if found else None

    def _move(self, kind: Kind, position: str) -> None:
        """Set the cursor; a pull of what changed since a time of one's own choice leaves no gap behind it."""
        with database_trouble(), self._engine.begin() as connection:
            found = cursors.position(connection, self._origin, _cursor(kind))
            before = datetime.fromisoformat(found["since"]) if found else None
            if self._since is not None and not self._full and (before is None or before < self._since):
                return
            cursors.move(connection, self._origin, _cursor(kind), {"since": position})

    def _succeed(self, positions: dict[str, Any]) -> None:
        with database_trouble(), self._engine.begin() as connection:
            runs.succeed(connection, self._run_id, positions)


def _cursor(kind: Kind) -> str:
    return f"pull {kind.name}"


def _deletion(record: Any) -> object:
    """Return what an entry of the list of deleted records means; one without id stays as it is."""
    found = records.id_of(record, records.STUDENTS)
    if found is None:
        return record
    try:
        return Deleted(found, values.moment(record.get("deleted_time")))
    except ValueProblem:
        return Deleted(found)


def _reason(error: BaseException) -> str:
    if isinstance(error, ZohoError | ZohoTrouble):
        return error.code
    if isinstance(error, Stop):
        return "unauthorised"
    if isinstance(error, RetryLater):
        return "database"
    return "stopped" if isinstance(error, asyncio.CancelledError) else type(error).__name__


def kinds_named(names: Sequence[str]) -> Sequence[Kind]:
    """Return the kinds of these modules or names in the order of a pull; all, where none is named.

    Raises:
        HubError: there is no such kind; the text names those there are.
    """
    for name in names:
        if name not in BY_MODULE:
            msg = f"there is no module {name!r}; there are {', '.join(kind.module for kind in ORDER)}"
            raise HubError(msg)
    wanted = {BY_MODULE[name].name for name in names}
    return [kind for kind in ORDER if not wanted or kind.name in wanted]
