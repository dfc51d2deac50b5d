"""Does what webhooks asked for: takes their records in, fetches those that came as an id only.

Events lie in ``webhook_events`` when they are answered, so they outlive any process. Several processes may
work at the same time; each takes its own. An event whose fetch fails is tried again for as long as it takes.
"""

import asyncio
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from infra.db.connect import database_trouble
from infra.errors import HubError, RetryLater
from infra.http_client import backoff
from infra.stopping import pause
from producers.candidates import Answer, Invalid, Status
from producers.zoho import events
from producers.zoho.client import ZohoClient
from producers.zoho.events import EventStatus, StoredEvent
from producers.zoho.kinds import Deleted
from producers.zoho.records import KINDS, MODIFIED
from producers.zoho.settings import ZohoSettings
from producers.zoho.source import Received, ZohoSource
from schemas.events import Operation

_log = structlog.get_logger()

NO_CLIENT: Final = "no_crm_client"
"""Reason of an event that waits until the CRM's credentials are set."""
NOT_FOUND: Final = "record_not_found"
_BATCH: Final = 100
_IDLE: Final = 1.0
_FIRST_WAIT: Final = 2.0


@dataclass(slots=True)
class _Prepared:
    """An event with all its records, or why it has to wait."""

    event: StoredEvent
    received: list[Received] = field(default_factory=list)
    missing: int = 0
    postponed: HubError | None = None


class WebhookWorker:
    """Works through the stored events; belongs to one event loop.

    Args:
        source: takes the records in.
        settings: of Zoho; without ``client_id`` nothing is fetched.
        bell: set when an event was stored.
    """

    def __init__(self, source: ZohoSource, settings: ZohoSettings, bell: asyncio.Event) -> None:
        self._source = source
        self._settings = settings
        self._engine = source.intake.engine
        self._bell = bell

    async def run(self, stop: asyncio.Event) -> None:
        """Work until ``stop`` is set; sweep the parked records at the start and at the interval."""
        async with _client(self._settings) as client:
            swept: float | None = None
            while not stop.is_set():
                self._bell.clear()
                try:
                    if swept is None or time.monotonic() - swept >= self._settings.sweep_interval:
                        await asyncio.to_thread(self._source.wake)
                        swept = time.monotonic()
                    done = await self.work_once(client)
                except RetryLater as error:
                    _log.warning("webhook_worker_waits", reason=str(error))
                    await pause(stop, _FIRST_WAIT)
                    continue
                if not done:
                    await self._idle(stop)

    async def work_once(self, client: ZohoClient | None) -> int:
        """Do what is due now; return how many events that were.

        Raises:
            RetryLater: the database is away; the events are done later.
        """
        claimed = await asyncio.to_thread(events.claim, self._engine, _BATCH)
        await self._do(claimed, client)
        return len(claimed)

    async def _do(self, claimed: Sequence[StoredEvent], client: ZohoClient | None) -> None:
        """Do events together; if that fails for a reason of one of them, each alone."""
        try:
            await self._do_together(claimed, client)
        except RetryLater:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it ends the event it belongs to, visibly
            if len(claimed) == 1:
                await asyncio.to_thread(self._fail, claimed[0], type(error).__name__)
                return
            for event in claimed:
                await self._do([event], client)

    async def _do_together(self, claimed: Sequence[StoredEvent], client: ZohoClient | None) -> None:
        gate = asyncio.Semaphore(self._settings.parallel)
        prepared = await asyncio.gather(*(self._prepare(event, client, gate) for event in claimed))
        for each in prepared:
            if each.postponed is not None:
                await self._postpone(each.event, each.postponed)
        by_tenant: dict[Any, list[_Prepared]] = defaultdict(list)
        for each in prepared:
            if each.postponed is None:
                by_tenant[each.event.tenant].append(each)
        for group in by_tenant.values():
            await asyncio.to_thread(self._take, group)

    async def _idle(self, stop: asyncio.Event) -> None:
        waits = [asyncio.ensure_future(self._bell.wait()), asyncio.ensure_future(stop.wait())]
        await asyncio.wait(waits, timeout=_IDLE, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()

    async def _prepare(
        self, event: StoredEvent, client: ZohoClient | None, gate: asyncio.Semaphore
    ) -> _Prepared:
        prepared = _Prepared(event)
        if event.operation is Operation.DELETE:
            gone = [Deleted(each, event.time) for each in event.ids]
            prepared.received = [Received(event.kind, each, event.received_at) for each in gone]
            return prepared
        wanted = list(event.ids)
        for record in event.records:
            if client is not None and self._is_partial(event, record):
                wanted.append(str(record["id"]))
            else:
                prepared.received.append(Received(event.kind, _timed(record, event), event.received_at))
        try:
            await self._fetch(prepared, wanted, client, gate)
        except HubError as error:
            prepared.postponed = error
        return prepared

    def _is_partial(self, event: StoredEvent, record: dict[str, Any]) -> bool:
        """Tell whether a record lacks what it must have, so that the whole one is to be fetched."""
        parse = self._source.kind(event.tenant, event.kind).parse
        meaning = parse(record, {}, event.received_at)
        return isinstance(meaning, Invalid) and meaning.reason == "is missing" and bool(record.get("id"))

    async def _fetch(
        self, prepared: _Prepared, wanted: Sequence[str], client: ZohoClient | None, gate: asyncio.Semaphore
    ) -> None:
        if not wanted:
            return
        if client is None:
            raise HubError(NO_CLIENT)
        module = KINDS[prepared.event.kind].module
        for each in wanted:
            async with gate:
                found = await client.record(module, each)
            if found is None:
                prepared.missing += 1
            else:
                prepared.received.append(Received(prepared.event.kind, found, prepared.event.received_at))

    async def _postpone(self, event: StoredEvent, error: HubError) -> None:
        asked = error.retry_after if isinstance(error, RetryLater) else None
        longest = self._settings.retry_interval
        seconds = max(asked or 0.0, backoff(event.attempts, _FIRST_WAIT, longest), _IDLE)
        reason = getattr(error, "code", None) or str(error)
        _log.info("webhook_event_waits", number=event.number, reason=reason, seconds=round(seconds, 1))
        await asyncio.to_thread(events.postpone, self._engine, event.number, seconds, reason)

    def _fail(self, event: StoredEvent, fault: str) -> None:
        """Close an event that cannot be done for a reason nobody thought of; what it brought is kept."""
        _log.error("webhook_event_failed", number=event.number, fault=fault)
        with database_trouble(), self._engine.begin() as connection:
            events.finish(connection, event.number, EventStatus.FAILED, fault)

    def _take(self, group: Sequence[_Prepared]) -> None:
        """Take the records of events of one tenant in, and close the events in the same transaction."""

        def also(connection: Connection, answers: Sequence[Answer]) -> None:
            start = 0
            for each in group:
                ours = answers[start : start + len(each.received)]
                start += len(ours)
                status, reason = _outcome(each, ours)
                events.finish(connection, each.event.number, status, reason)

        received = [record for each in group for record in each.received]
        self._source.take(group[0].event.tenant, received, also)
        _log.info("webhook_events_done", events=len(group), records=len(received))


def _timed(record: dict[str, Any], event: StoredEvent) -> dict[str, Any]:
    """Return the record with the event's time as its own, where it has none."""
    if event.time is None or any(record.get(name) for name in MODIFIED):
        return record
    return {**record, MODIFIED[0]: event.time.isoformat()}


def _outcome(prepared: _Prepared, answers: Sequence[Answer]) -> tuple[EventStatus, str | None]:
    bad = [answer for answer in answers if answer.status in (Status.INVALID, Status.ERROR)]
    if bad:
        reason = f"{bad[0].field} {bad[0].reason}" if bad[0].field else bad[0].reason
        return (EventStatus.FAILED if len(bad) == len(answers) else EventStatus.COMPLETED), reason
    if prepared.missing:
        return (EventStatus.COMPLETED if answers else EventStatus.FAILED), NOT_FOUND
    return EventStatus.COMPLETED, None


@asynccontextmanager
async def _client(settings: ZohoSettings) -> AsyncIterator[ZohoClient | None]:
    if not settings.client_id:
        yield None
        return
    async with ZohoClient(settings) as client:
        yield client


@asynccontextmanager
async def working(worker: WebhookWorker) -> AsyncIterator[None]:
    """Let ``worker`` work for as long as the block lasts; what it has begun it ends."""
    stop = asyncio.Event()
    task = asyncio.create_task(worker.run(stop), name="zoho-webhooks")
    task.add_done_callback(_tell)
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


def _tell(task: asyncio.Task[None]) -> None:
    """Make it known when the work ends by an error of its own, which a person has to look at."""
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.error("webhook_worker_failed", fault=type(error).__name__)
