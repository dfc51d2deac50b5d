"""When something is due that is done at an interval or by a cron expression, within hours, in a time zone.

Pure. All moments are UTC; hours and cron expressions are read on the clock of the zone. A time that the clock
shows twice, when it is put back, counts once, the first time; one that it leaves out counts at the moment at
which it is put forward.
"""

import re
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo

from apscheduler.triggers.cron import CronTrigger

from infra.errors import BadArgument

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_WEEK: Final = frozenset(range(7))
_HOURS: Final = re.compile(r"(\d{1,2})(?::(\d{2}))?-(\d{1,2})(?::(\d{2}))?")
_DAY: Final = re.compile(r"(?P<first>[a-z]{3}|\d)(?:-(?P<last>[a-z]{3}|\d))?")
_ANY_DAY: Final = re.compile(r"\*(?:/(?P<step>[1-7]))?")
_LONGEST: Final = timedelta(days=366)
_FAR: Final = 5 * _LONGEST
"""Leap years included, whatever comes at all comes within."""
_HORIZON_DAYS: Final = 9
"""Within so many days every window of a week opens and closes."""


@dataclass(frozen=True, slots=True)
class Window:
    """Hours of some days of the week.

    Attributes:
        days: on which it begins; 0 is Monday.
        start: its first minute.
        end: the first minute behind it; not after ``start``: on the next day.
    """

    days: frozenset[int]
    start: time
    end: time

    def holds(self, local: datetime) -> bool:
        """Tell whether the time ``local`` of the zone's clock is in it."""
        now, today = local.time(), local.weekday()
        if self.start < self.end:
            return today in self.days and self.start <= now < self.end
        yesterday = (today - 1) % 7
        return (today in self.days and now >= self.start) or (yesterday in self.days and now < self.end)


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """When something is done: ``every`` or ``cron``.

    Attributes:
        every: from the start of one time to that of the next.
        cron: minute, hour, day of the month, month, day of the week (0 and 7: Sunday).
        only: hours in which it may be done, such as ``mon-fri 06:00-18:00``; none: all.
        quiet: hours in which it is not done, such as ``22:00-06:00``.
        zone: IANA name of the zone of hours and cron.
    """

    every: timedelta | None = None
    cron: str | None = None
    only: str | None = None
    quiet: str | None = None
    zone: str = "UTC"


def checked(timing: Timing) -> Timing:
    """Return ``timing`` if it can be used.

    Raises:
        BadArgument: the text names what is wrong and why.
    """
    if (timing.every is None) == (timing.cron is None):
        raise BadArgument("every, cron: give one of both")
    if timing.every is not None and not timedelta(0) < timing.every <= _LONGEST:
        raise BadArgument("every: must be more than nothing and at most a year")
    zone_of(timing.zone)
    for name, text in (("only", timing.only), ("quiet", timing.quiet)):
        if text is not None:
            window_of(text, name)
    if timing.cron is not None:
        cron_of(timing.cron)
    if next_run(timing, datetime(2026, 1, 1, tzinfo=UTC)) is None:
        raise BadArgument("only, quiet: together they leave no time at which it could be done")
    return timing


def next_run(timing: Timing, after: datetime) -> datetime | None:
    """Return the first moment behind ``after`` at which it is due; none if there is none in years."""
    moment = _planned(timing, after)
    while moment is not None and moment - after <= _FAR:
        if is_open(timing, moment):
            return moment
        opening = _opening(timing, moment)
        if opening is None or timing.every is not None:
            return opening
        # A cron expression may name the very minute of the opening.
        moment = _planned(timing, opening - timedelta(microseconds=1))
    return None


def is_open(timing: Timing, moment: datetime) -> bool:
    """Tell whether the hours allow it at ``moment``."""
    local = moment.astimezone(zone_of(timing.zone)).replace(tzinfo=None)
    if timing.quiet is not None and window_of(timing.quiet, "quiet").holds(local):
        return False
    return timing.only is None or window_of(timing.only, "only").holds(local)


def first_open(timing: Timing, moment: datetime) -> datetime | None:
    """Return ``moment``, or the first one behind it at which the hours allow it; none if there is none."""
    return moment if is_open(timing, moment) else _opening(timing, moment)


@lru_cache(maxsize=256)
def zone_of(name: str) -> ZoneInfo:
    """Return the time zone.

    Raises:
        BadArgument: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        msg = f"zone: there is no time zone {name!r}"
        raise BadArgument(msg) from None


@lru_cache(maxsize=256)
def window_of(text: str, argument: str) -> Window:
    """Return the hours that ``text`` names: days, hours or both, such as ``mon-fri 06-18`` or ``sat,sun``.

    Raises:
        BadArgument: it names none; the text begins with ``argument``.
    """
    words = text.lower().split()
    hours = words.pop() if words and _HOURS.fullmatch(words[-1]) else "0-24"
    if len(words) > 1 or not text.strip():
        msg = f"{argument}: {text!r} is not of the form 'mon-fri 06:00-18:00', 'sat,sun' or '22:00-06:00'"
        raise BadArgument(msg)
    days = _days(words[0], argument) if words else _WEEK
    return Window(days, *_span(hours, argument))


def _span(text: str, argument: str) -> tuple[time, time]:
    found = _HOURS.fullmatch(text)
    numbers = [int(group or 0) for group in found.groups()] if found else [99] * 4
    start, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
    if start >= 24 * 60 or end > 24 * 60 or max(numbers[1], numbers[3]) > 59:
        msg = f"{argument}: {text!r} are no hours of a day"
        raise BadArgument(msg)
    return time(*divmod(start, 60)), time(*divmod(end % (24 * 60), 60))


def _days(text: str, argument: str) -> frozenset[int]:
    """Return the days of the week of ``mon-fri``, ``sat,sun``, ``fri-mon``, ``1-5``, ``*`` or ``*/2``."""
    found: set[int] = set()
    for part in text.lower().split(","):
        if every := _ANY_DAY.fullmatch(part):
            # As cron counts them: from Sunday on.
            found |= {(day - 1) % 7 for day in range(0, 7, int(every["step"] or 1))}
            continue
        span = _DAY.fullmatch(part)
        ends = [_day(end) for end in (span["first"], span["last"] or span["first"])] if span else [None]
        if None in ends:
            msg = f"{argument}: {part!r} is no day of the week; write mon, tue, wed, thu, fri, sat, sun"
            raise BadArgument(msg)
        first, last = ends[0] or 0, ends[-1] or 0
        found |= {(first + count) % 7 for count in range((last - first) % 7 + 1)}
    return frozenset(found)


def _day(text: str) -> int | None:
    """Return the number of a day by its name or cron's number; 0 is Monday."""
    if text.isdecimal():
        return (int(text) - 1) % 7 if int(text) <= 7 else None
    return _DAYS.index(text) if text in _DAYS else None


@lru_cache(maxsize=256)
def cron_of(text: str) -> CronTrigger:
    """Return what finds the times of a cron expression on a clock that is never changed.

    The days of the week are named here: the library counts them from Monday, cron from Sunday.

    Raises:
        BadArgument: the text is no such expression, or one that never comes true.
    """
    fields = text.split()
    if len(fields) != 5:
        raise BadArgument("cron: five fields are needed: minute, hour, day of month, month, day of week")
    minute, hour, day, month, weekday = fields
    if day != "*" and weekday != "*":
        raise BadArgument("cron: give the day of the month or the day of the week, not both")
    named = "*" if weekday == "*" else ",".join(_DAYS[one] for one in sorted(_days(weekday, "cron")))
    try:
        found = CronTrigger(
            minute=minute, hour=hour, day=day, month=month.lower(), day_of_week=named, timezone=UTC
        )
    except ValueError as error:
        msg = f"cron: {text!r} cannot be used: {error}"
        raise BadArgument(msg) from None
    if _wall_after(found, datetime(2026, 1, 1)) is None:  # noqa: DTZ001 - the time of a clock on a wall
        msg = f"cron: {text!r} never comes true"
        raise BadArgument(msg)
    return found


def _wall_after(trigger: CronTrigger, wall: datetime) -> datetime | None:
    following = wall.replace(tzinfo=UTC) + timedelta(microseconds=1)
    found: datetime | None = trigger.get_next_fire_time(None, following)
    return None if found is None else found.replace(tzinfo=None)


def _planned(timing: Timing, after: datetime) -> datetime | None:
    """Return the first moment behind ``after``, whatever the hours."""
    if timing.every is not None:
        return after + timing.every
    zone, trigger = zone_of(timing.zone), cron_of(timing.cron or "")
    wall = _wall_after(trigger, after.astimezone(zone).replace(tzinfo=None))
    while wall is not None and (moment := moment_of(wall, zone)) <= after:
        wall = _wall_after(trigger, wall)
    return None if wall is None else moment


def moment_of(wall: datetime, zone: ZoneInfo) -> datetime:
    """Return the moment at which the clock of ``zone`` shows ``wall``; see the head of the module."""
    found = wall.replace(tzinfo=zone).astimezone(UTC)
    if found.astimezone(zone).replace(tzinfo=None) == wall:
        return found
    # Left out: the moment lies between what the offsets before and behind it make of the time.
    low = wall.replace(tzinfo=zone, fold=1).astimezone(UTC)
    later = found.astimezone(zone).utcoffset()

    def is_later(seconds: int) -> bool:
        return (low + timedelta(seconds=seconds)).astimezone(zone).utcoffset() == later

    changed = bisect_left(range(int((found - low).total_seconds())), True, key=is_later)
    return low + timedelta(seconds=changed)


def _opening(timing: Timing, moment: datetime) -> datetime | None:
    """Return the first moment behind ``moment`` at which the hours allow it."""
    zone = zone_of(timing.zone)
    candidates = {moment_of(wall, zone) for wall in _changes(timing, moment.astimezone(zone))}
    return min((one for one in candidates if one > moment and is_open(timing, one)), default=None)


def _changes(timing: Timing, local: datetime) -> Iterator[datetime]:
    """Yield times of the clock among which are all at which the hours may begin or end, from ``local`` on."""
    midnight = datetime.combine(local.date(), time())
    times = {time()}
    for name, text in (("only", timing.only), ("quiet", timing.quiet)):
        if text is not None:
            window = window_of(text, name)
            times |= {window.start, window.end}
    for day in range(_HORIZON_DAYS):
        for at in times:
            yield datetime.combine(midnight + timedelta(days=day), at)
