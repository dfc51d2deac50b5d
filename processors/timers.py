"""Timers of courses or people in the table: who is looked at again, and when. Pure; ticks tell the time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from infra.stage import Table
from schemas.ids import TenantId, key, split

_KIND = "timer"
DAILY_HOUR = 2
"""Hour (UTC) at which changes that were kept for the day are sent."""


class TimerEntry(msgspec.Struct, frozen=True, array_like=True):
    """A timer; all of it is in its key, which begins with the moment, so that what is due comes first."""


def next_day(now: datetime) -> datetime:
    """Return the next moment at which changes kept for the day are sent."""
    today = now.astimezone(UTC).replace(hour=DAILY_HOUR, minute=0, second=0, microsecond=0)
    return today if now < today else today + timedelta(days=1)


def set_timer(
    tenant: TenantId, subject: str, old: str | None, at: datetime | None, table: Table
) -> str | None:
    """Set the timer of ``subject``, a course or person, to ``at``, or take it away.

    Returns:
        The timer's key, to be given as ``old`` next time.
    """
    new = None if at is None else key(_KIND, _moment(at), tenant, subject)
    if new == old:
        return old
    if old is not None:
        table.delete(old)
    if new is not None:
        table.put(new, TimerEntry())
    return new


def due(now: datetime, table: Table) -> Iterator[tuple[TenantId, str]]:
    """Yield whose timers have run down, by tenant, and take these away."""
    for stored, _ in table.scan(key(_KIND, ""), TimerEntry):
        _, moment, tenant, subject = split(stored)
        if moment > _moment(now):
            return
        table.delete(stored)
        yield TenantId(tenant), subject


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
