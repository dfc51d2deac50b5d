"""An alarm for what is parked longer than it should be."""

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Final

import structlog
from sqlalchemy import Engine, text

from infra.db.connect import database_trouble
from infra.metrics import PARKED_OVERDUE

KINDS: Final = ("enrolment", "course", "completion")
_LOOK_SECONDS: Final = 60.0
_IS_THERE: Final = text("SELECT to_regclass('read_model.parked') IS NOT NULL")
_COUNT: Final = text("""
    SELECT p.what, count(*) FROM read_model.parked p
    JOIN unnest(CAST(:kinds AS text[]), CAST(:ages AS interval[])) AS a(kind, age) ON a.kind = p.what
    WHERE p.since < now() - a.age GROUP BY p.what
""")
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class AlarmAges:
    """When what is parked is an alarm.

    Attributes:
        usual: for kinds that are not named.
        by_kind: by the kind of what is parked: ``enrolment``, ``course`` or ``completion``.
    """

    usual: timedelta = timedelta(hours=24)
    by_kind: Mapping[str, timedelta] = field(default_factory=dict)

    def of(self, kind: str) -> timedelta:
        """Return the age for ``kind``."""
        return self.by_kind.get(kind, self.usual)


def overdue(pool: Engine, ages: AlarmAges) -> dict[str, int]:
    """Return how many are parked for longer than their age, by kind; none before there is a read model.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), pool.connect() as connection:
        if not connection.scalar(_IS_THERE):
            return {}
        wanted = {"kinds": list(KINDS), "ages": [ages.of(kind) for kind in KINDS]}
        found = {kind: int(count) for kind, count in connection.execute(_COUNT, wanted).all()}
    return {kind: found.get(kind, 0) for kind in KINDS}


class ParkedWatch:
    """Shows the counts as a metric, and tells in the log which have grown.

    Args:
        ages: when what is parked is an alarm.
    """

    def __init__(self, ages: AlarmAges) -> None:
        self._ages = ages
        self._counts: dict[str, int] = {}
        self._due = 0.0

    def look(self, pool: Engine) -> None:
        """Look, if it is time again.

        Raises:
            RetryLater: the database is away.
        """
        if time.monotonic() < self._due:
            return
        counts = overdue(pool, self._ages)
        self._due = time.monotonic() + _LOOK_SECONDS
        for kind, count in counts.items():
            PARKED_OVERDUE.labels(kind).set(count)
            if count > self._counts.get(kind, 0):
                hours = self._ages.of(kind).total_seconds() / 3600
                _log.warning("parked_overdue", kind=kind, count=count, hours=hours)
        self._counts = counts
