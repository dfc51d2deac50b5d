"""Timers of courses in the table: what shall be looked at again, and when. Pure; ticks tell the time."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import msgspec

from infra.stage import Table
from schemas.ids import CourseId, TenantId, key, split

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
    tenant: TenantId, course: CourseId, old: str | None, at: datetime | None, table: Table
) -> str | None:
    """Set the course's timer to ``at``, or take it away; return its key, to be given as ``old`` next time."""
    new = None if at is None else key(_KIND, _moment(at), tenant, course)
    if new == old:
        return old
    if old is not None:
        table.delete(old)
    if new is not None:
        table.put(new, TimerEntry())
    return new


def due(now: datetime, table: Table) -> Iterator[tuple[TenantId, CourseId]]:
    """Yield the courses whose timers have run down, and take these away."""
    for stored, _ in table.scan(key(_KIND, ""), TimerEntry):
        _, moment, tenant, course = split(stored)
        if moment > _moment(now):
            return
        table.delete(stored)
        yield TenantId(tenant), CourseId(course)


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S")
