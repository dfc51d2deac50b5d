"""The daily summary: how the hub stands and what the last day brought, once a day for each channel."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import date, datetime, time
from typing import Any, Final
from zoneinfo import ZoneInfo

import psycopg
from psycopg.errors import InvalidSchemaName, QueryCanceled, UndefinedTable

from producers.alerts.gathering import FRAME, now
from producers.alerts.model import Severity
from producers.alerts.notices import Notice, Occasion
from producers.alerts.store import tell

_DAY: Final = "> now() - interval '24 hours'"
_RATES: Final = f"FROM read_model.rates WHERE kind = '{{}}' AND minute {_DAY}"
_RESULTS, _CALLS = _RATES.format("RESULT"), _RATES.format("CALL")
FIGURES: Final[Mapping[str, str]] = {
    "open_incidents": "count(*) FROM incidents WHERE state <> 'RESOLVED'",
    "incidents_opened": f"count(*) FROM incidents WHERE opened_at {_DAY}",
    "messages_not_sent": f"count(*) FROM notifications WHERE created_at {_DAY} AND sent_at IS NULL",
    "results": f"coalesce(sum(total), 0) {_RESULTS}",
    "results_failed": f"coalesce(sum(failed), 0) {_RESULTS}",
    "calls": f"coalesce(sum(total), 0) {_CALLS}",
    "calls_failed": f"coalesce(sum(failed), 0) {_CALLS}",
    "pulls_failed": f"count(*) FROM source_runs WHERE state = 'FAILED' AND started_at {_DAY}",
    "records_changed": f"coalesce(sum(fresh), 0) FROM source_runs WHERE started_at {_DAY}",
    "parked": "count(*) FROM read_model.parked",
    "conflicts": "count(*) FROM read_model.conflicts WHERE state = 'OPEN'",
    "dead_letters": "count(*) FROM read_model.dead_letters WHERE state = 'OPEN'",
}
"""Each figure of the summary, of the last 24 hours or of now; one that cannot be read is left out."""
_OPEN: Final = """
    SELECT severity, tenant, alert, subject FROM incidents WHERE state <> 'RESOLVED'
    ORDER BY severity, opened_at LIMIT 20
"""
_IS_TOLD: Final = "SELECT FROM notifications WHERE about = 'summary' AND news = %s LIMIT 1"


@dataclass(frozen=True, slots=True)
class Daily:
    """When the summary is made.

    Attributes:
        at: by the clock of the zone.
        zone: of the clock.
    """

    at: time
    zone: ZoneInfo

    def day(self, moment: datetime) -> date | None:
        """Return the day whose summary is due at ``moment``; none before its time."""
        local = moment.astimezone(self.zone)
        return local.date() if local.time() >= self.at else None


def summarise(connection: psycopg.Connection, daily: Daily, channels: Collection[str]) -> bool:
    """Have ``channels`` told the summary of the day, if it is due and they were not; return whether so.

    Of days on which the hub did not run, none is made up for but that of today.
    """
    moment = now(connection)
    day = daily.day(moment)
    if day is None or not channels or connection.execute(_IS_TOLD, [day.isoformat()]).fetchone():
        return False
    figures = {name: found for name in FIGURES if (found := _figure(connection, FIGURES[name])) is not None}
    with connection.transaction():
        standing = connection.execute(_OPEN).fetchall()
        notice = Notice(
            news=Occasion.SUMMARY,
            at=moment,
            severity=Severity.INFO,
            message=_message(day, standing),
            details=figures,
        )
        tell(connection, notice, channels, day.isoformat())
    return True


def _figure(connection: psycopg.Connection, query: str) -> int | None:
    try:
        with connection.transaction():
            connection.execute(FRAME)
            row = connection.execute(f"SELECT {query}".encode()).fetchone()
    except (UndefinedTable, InvalidSchemaName, QueryCanceled):
        return None
    return int(row[0]) if row else None


def _message(day: date, standing: list[tuple[Any, ...]]) -> str:
    lines = [f"{severity} {tenant}: {alert} {subject}" for severity, tenant, alert, subject in standing]
    told = "\n".join(["Open incidents:", *lines]) if lines else "No incident is open."
    return f"Rosterhub on {day:%Y-%m-%d}. {told}"
