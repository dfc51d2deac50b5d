"""The role ``alerts``: looks at the facts again and again, and has told what is new.

One process looks and tells, others stand by. It decides on the very connection that holds its lock: who has
lost the lock cannot decide any more.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

import psycopg
import structlog

from infra.db.connect import database_trouble, engine
from infra.stopping import pause
from infra.telemetry import Status
from producers.alerts.channels import TIMEOUT
from producers.alerts.daily import summarise
from producers.alerts.delivery import keep_delivering
from producers.alerts.gathering import Gathering, now
from producers.alerts.incidents import Move
from producers.alerts.rules import judge
from producers.alerts.settings import AlertSettings
from producers.alerts.store import count_open, decide
from producers.leading import AGAIN_SECONDS, lead

ROLE: Final = "alerts"
_log = structlog.get_logger()


def run_alerts(settings: AlertSettings, stop: threading.Event, status: Status) -> None:
    """Watch the hub until ``stop`` is set; blocks. Trouble of the database is waited out."""
    watch, again = partial(_watch, settings, status), min(AGAIN_SECONDS, settings.seconds)
    asyncio.run(lead(ROLE, settings.database_url, stop, status, watch, again))


async def _watch(
    settings: AlertSettings, status: Status, connection: psycopg.Connection, stop: asyncio.Event
) -> None:
    """Look and have told until the stop.

    Raises:
        RetryLater: the database is away.
    """
    since = await asyncio.to_thread(now, connection)
    gathering = Gathering(settings.tenant, settings.limits, since)
    async with _delivering(settings) as wake:
        while not stop.is_set():
            if not status.paused.is_set():
                status.facts["open_incidents"] = await asyncio.to_thread(
                    look, settings, gathering, connection
                )
                wake()
            status.ready()
            await pause(stop, settings.seconds)


def look(settings: AlertSettings, gathering: Gathering, connection: psycopg.Connection) -> int:
    """Look once: let the incidents go on, and note what is to be told. Return how many are not resolved.

    Raises:
        RetryLater: the database is away; nothing was decided.
    """
    names = [channel.name for channel in settings.channels]
    with database_trouble():
        facts = gathering.facts(connection)
        done = decide(connection, judge(facts, settings.limits), settings.calm, names)
        if settings.daily is not None:
            summarise(connection, settings.daily, names)
        _tell(done)
        return count_open(connection)


def _tell(done: Sequence[Move]) -> None:
    for incident, news in done:
        if news is not None:
            _log.warning(
                "incident",
                news=news,
                incident=incident.incident_id,
                tenant=incident.name.tenant,
                alert=incident.name.alert,
                subject=incident.name.subject,
                severity=incident.severity,
            )


@asynccontextmanager
async def _delivering(settings: AlertSettings) -> AsyncIterator[Callable[[], None]]:
    """Send to all channels while the block runs; give what tells the senders that there may be something new.

    What is being sent at the end is sent to its end, so that it is noted as sent.
    """
    pool, ended = engine(settings.database_url, pool_size=1 + len(settings.channels)), asyncio.Event()
    wakes = [asyncio.Event() for _ in settings.channels]
    senders = [
        asyncio.create_task(keep_delivering(pool, channel, settings.frame, ended, event))
        for channel, event in zip(settings.channels, wakes, strict=True)
    ]

    def wake() -> None:
        for sender, event in zip(senders, wakes, strict=True):
            if sender.done():
                sender.result()  # a bug of it is one of this process
            event.set()

    try:
        yield wake
    finally:
        ended.set()
        for event in wakes:
            event.set()
        await _all_ended(senders)
        pool.dispose()


async def _all_ended(senders: Sequence[asyncio.Task[None]]) -> None:
    _, left = await asyncio.wait(senders, timeout=TIMEOUT) if senders else (set(), set())
    for sender in left:
        sender.cancel()
    await asyncio.gather(*senders, return_exceptions=True)
