"""Sends what was decided: to each channel at least once, the notices of one incident in their order.

A channel that is away delays no other, and a message that is refused delays none of other incidents.
"""

import asyncio
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

import msgspec
import structlog
from psycopg.rows import dict_row
from sqlalchemy import Engine

from infra.db.connect import reading
from infra.errors import RetryLater
from infra.http_client import backoff
from infra.stopping import pause
from producers.alerts.channels import Channel, DeliveryError
from producers.alerts.notices import Frame, Notice

FIRST_PAUSE: Final = 5.0
LONGEST_PAUSE: Final = 600.0
KEPT: Final = timedelta(hours=24)
"""Who could not be told for so long is not told any more: the news is old."""
_AGAIN_SECONDS: Final = 5.0
_LOOK_SECONDS: Final = 30.0
_PAGE: Final = 50
_HEADS: Final = """
    SELECT n.id, n.notice, n.attempts, n.created_at < now() - %(kept)s AS is_old,
        extract(epoch FROM n.next_try_at - now())::float8 AS seconds
    FROM notifications n
    WHERE n.channel = %(channel)s AND n.sent_at IS NULL AND n.given_up_at IS NULL
        AND NOT EXISTS (
            SELECT FROM notifications b
            WHERE (b.channel, b.about) = (n.channel, n.about) AND b.id < n.id
                AND b.sent_at IS NULL AND b.given_up_at IS NULL
        )
    ORDER BY n.next_try_at, n.id LIMIT %(page)s
"""
_SENT: Final = """
    UPDATE notifications SET sent_at = now(), attempts = attempts + 1, error = NULL WHERE id = %s
"""
_FAILED: Final = """
    UPDATE notifications SET attempts = attempts + 1, error = %s, next_try_at = now() + %s,
        given_up_at = CASE WHEN %s THEN now() END
    WHERE id = %s
"""
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Waiting:
    """A message that is to be sent.

    Attributes:
        number: the same for each try.
        notice: what is told.
        attempts: how often it was tried.
        seconds: until it is due.
        is_old: whether this try is the last.
    """

    number: int
    notice: Notice
    attempts: int
    seconds: float
    is_old: bool


async def keep_delivering(
    pool: Engine, channel: Channel, frame: Frame, stop: asyncio.Event, wake: asyncio.Event
) -> None:
    """Send to ``channel`` what is due until ``stop`` is set; trouble of channel or database is waited out.

    Args:
        pool: of the hub's database.
        channel: whose messages.
        frame: of the messages.
        stop: set when the process shall end.
        wake: set when something new is to be sent, and at the stop.
    """
    while not stop.is_set():
        wake.clear()
        try:
            seconds = await deliver(pool, channel, frame, stop)
        except RetryLater as error:
            _log.warning("alerts_not_sent", channel=channel.name, reason=str(error))
            seconds = _AGAIN_SECONDS
        await pause(wake, seconds)


async def deliver(pool: Engine, channel: Channel, frame: Frame, stop: asyncio.Event) -> float:
    """Send what is due to ``channel``; return the seconds until more may be due.

    Raises:
        RetryLater: the database is away; what was sent just before may be sent again.
    """
    soonest = _LOOK_SECONDS
    for one in await asyncio.to_thread(_heads, pool, channel.name):
        if one.seconds > 0 or stop.is_set():
            return min(soonest, one.seconds)
        try:
            await channel.send(one.notice, one.number, frame)
        except DeliveryError as error:
            soonest = min(soonest, await asyncio.to_thread(_put_off, pool, channel.name, one, error))
            continue
        await asyncio.to_thread(_mark_sent, pool, one)
        _log.info("alert_sent", channel=channel.name, about=one.notice.about, news=one.notice.news)
        soonest = 0.0  # others may have waited for it
    return soonest


def _heads(pool: Engine, channel: str) -> list[Waiting]:
    """Return what is to be sent, by its time; what waits for another of its incident is left out."""
    wanted = {"channel": channel, "kept": KEPT, "page": _PAGE}
    with reading(pool) as connection, connection.cursor(row_factory=dict_row) as cursor:
        rows = cursor.execute(_HEADS, wanted).fetchall()
    return [
        Waiting(
            row["id"],
            msgspec.convert(row["notice"], Notice),
            row["attempts"],
            row["seconds"],
            row["is_old"],
        )
        for row in rows
    ]


def _mark_sent(pool: Engine, one: Waiting) -> None:
    with reading(pool) as connection:
        connection.execute(_SENT, [one.number])


def _put_off(pool: Engine, channel: str, one: Waiting, error: DeliveryError) -> float:
    """Note a failure; return the seconds until the next try."""
    seconds = max(1.0, error.retry_after or 0.0, backoff(one.attempts, FIRST_PAUSE, LONGEST_PAUSE))
    with reading(pool) as connection:
        connection.execute(_FAILED, [error.code, timedelta(seconds=seconds), one.is_old, one.number])
    _log.warning(
        "alert_given_up" if one.is_old else "alert_put_off",
        channel=channel,
        about=one.notice.about,
        news=one.notice.news,
        reason=error.code,
        attempts=one.attempts + 1,
    )
    return seconds
