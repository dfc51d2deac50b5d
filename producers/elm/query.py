"""What a poll asks the feed for, and where its cursor stands afterwards. Pure.

1.4 asks by time in a rolling window, 1.5 by position above a mark; both read a piece again that earlier
polls have read, because a record may become visible later than others with a higher position or time.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlsplit
from zoneinfo import ZoneInfo

from infra.settings import ElmFeed
from producers.elm.settings import ElmFeedSettings, Rules
from producers.elm.to_events import POSITION, created_at, position_of

Position = dict[str, Any]
"""The cursor as it is kept: ``{"mark", "recent"}`` (1.5) or ``{"polled_at"}`` (1.4)."""


def cursor_name(release: ElmFeed) -> str:
    """Return the name of the cursor; each release has its own."""
    return f"feed-{release.value}"


def options(settings: ElmFeedSettings, position: Position | None, now: datetime) -> dict[str, str]:
    """Return ``$orderby`` and ``$filter`` of the poll that starts at ``now`` (UTC)."""
    rules = settings.rules()
    if settings.release is ElmFeed.TIME:
        start = wall_time(window_start(settings, position, now), rules.zone)
        return {
            "$orderby": f"{_name(rules, 'COURSE_STATE_DATE')},{_name(rules, 'date_created')} asc",
            "$filter": f"{_name(rules, 'date_created')} gt '{start}'",
        }
    above = first_position(settings, position)
    return {
        "$orderby": f"{_name(rules, 'ENROLMENT_ID')} asc,{_name(rules, 'COURSE_STATE')} asc",
        "$filter": f"{_name(rules, POSITION)} gt {above} and {_name(rules, 'USER_STATE')} eq 'ACTIVE'",
    }


def window_start(settings: ElmFeedSettings, position: Position | None, now: datetime) -> datetime:
    """Return where the window of a 1.4 poll starts: it reaches back over any outage."""
    start = now - settings.lookback
    if position is None:
        return start
    return min(start, datetime.fromisoformat(position["polled_at"]) - settings.overlap)


def wall_time(moment: datetime, zone: ZoneInfo) -> str:
    """Return ``moment`` as the server's clock shows it, or earlier where that clock is ambiguous.

    When clocks are put back an hour comes twice, and nobody can tell which one a time without zone means;
    so the text is moved before that hour. An earlier start only reads more.
    """
    local = moment.astimezone(zone).replace(microsecond=0)
    offsets = [local.replace(fold=fold).utcoffset() or timedelta() for fold in (0, 1)]
    if offsets[0] != offsets[1]:
        local = local.replace(tzinfo=None) - abs(offsets[0] - offsets[1])
    return local.strftime("%Y-%m-%d %H:%M:%S")


def first_position(settings: ElmFeedSettings, position: Position | None) -> int:
    """Return the N of ``record_enrol_id gt N`` of a 1.5 poll."""
    if position is None:
        return 0
    above: int = position["mark"] - settings.overlap_ids
    recent = position.get("recent")
    return max(0, above if recent is None else min(above, recent - 1))


class Progress:
    """Gathers, page by page, where the cursor may go when the whole poll has succeeded."""

    def __init__(self, settings: ElmFeedSettings, position: Position | None, now: datetime) -> None:
        self._rules = settings.rules()
        self._now = now
        self._since = now - settings.overlap
        self._mark: int = position["mark"] if position and "mark" in position else 0
        self._recent: int | None = None

    def add(self, records: Iterable[object]) -> None:
        """Take note of the records of one page."""
        if self._rules.release is ElmFeed.TIME:
            return
        for record in records:
            found = position_of(record, self._rules)
            if found is None:
                continue
            self._mark = max(self._mark, found)
            if self._recent is None or found < self._recent:
                created = created_at(record, self._rules)
                if created is not None and created >= self._since:
                    self._recent = found

    def position(self) -> Position:
        """Return the cursor after a complete poll without errors."""
        if self._rules.release is ElmFeed.TIME:
            return {"polled_at": self._now.astimezone(UTC).isoformat()}
        return {"mark": self._mark, "recent": self._recent}


def query_string(parts: Mapping[str, str], top: int, skip: int) -> str:
    """Return the percent-encoded query of one page."""
    paged = {**parts, "$top": str(top), **({"$skip": str(skip)} if skip else {})}
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in paged.items())


def next_query(link: object) -> str | None:
    """Return the query of an ``@odata.nextLink``.

    Only the query is taken: the token goes to no other address than the configured one.
    """
    return (urlsplit(link).query or None) if isinstance(link, str) else None


def _name(rules: Rules, field: str) -> str:
    return rules.names.get(field, field)
