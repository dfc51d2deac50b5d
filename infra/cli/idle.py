"""Tells when a hub is idle: all read, nothing in flight, and a whole poll of each source brought nothing."""

import asyncio
import json
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Engine, func, select

from infra.cli.parts import database_of, kafka_of, sites_of
from infra.cli.stages import groups_of
from infra.db.connect import database_trouble, engine
from infra.db.tables import outbox, source_runs
from infra.errors import RetryLater
from infra.scan import Onlooker
from infra.settings import Settings
from infra.stopping import pause

LOOK_SECONDS = 0.5
"""Pause between two looks at the hub from outside."""


@dataclass(frozen=True, slots=True)
class Look:
    """One look at the hub.

    Attributes:
        backlog: records of each consumer group that are still to be read.
        unpublished: events in the outbox that can be published.
        written: sum of the ends of all topics but the log of calls; grows with every record.
        last_poll: start of the newest successful poll of ELM that brought nothing; none if there is none.
        last_cycle: the same of the Moodle source.
        seen: records that polls have read so far, by what became of them.
    """

    backlog: Mapping[str, int]
    unpublished: int
    written: int
    last_poll: datetime | None
    last_cycle: datetime | None
    seen: Mapping[str, int]

    @property
    def is_drained(self) -> bool:
        """Whether nothing is in flight."""
        return self.unpublished == 0 and not any(self.backlog.values())


class Watch:
    """Looks at a running hub from outside.

    Args:
        settings: resolved.
        source_port: status port of the Moodle source; none if it does not run here.
    """

    def __init__(self, settings: Settings, source_port: int | None) -> None:
        self._settings = settings
        self._onlooker = Onlooker(kafka_of(settings))
        self._source_port = source_port
        self._engine: Engine = engine(database_of(settings), pool_size=1)
        where = sites_of(settings)
        # Reads that find nothing are calls too, noted and counted.
        aside = (where.shared.calls, where.shared.rates)
        self._topics = [topic.name for topic in where.all() if topic not in aside]
        self._groups = groups_of(settings)

    def close(self) -> None:
        """Close the connections."""
        self._onlooker.close()
        self._engine.dispose()

    def look(self) -> Look:
        """Look once; blocks for some tens of milliseconds.

        Raises:
            RetryLater: Kafka or the database is away.
        """
        backlog = self._onlooker.lags(self._groups)
        written = sum(self._onlooker.ends(self._topics).values())
        with database_trouble(), self._engine.connect() as connection:
            unpublished = connection.scalar(select(func.count()).where(outbox.c.error.is_(None))) or 0
            poll = connection.scalar(
                select(func.max(source_runs.c.started_at)).where(
                    source_runs.c.state == "SUCCESS",
                    source_runs.c.new + source_runs.c.updated + source_runs.c.events == 0,
                )
            )
            names = ("new", "unchanged", "updated", "invalid", "skipped")
            sums = [func.coalesce(func.sum(source_runs.c[name]), 0) for name in names]
            row = connection.execute(select(*sums)).one()
        seen = {name: int(value) for name, value in zip(names, row, strict=True)}
        return Look(backlog, unpublished, written, poll, self._last_empty_cycle(), seen)

    def _last_empty_cycle(self) -> datetime | None:
        source = (status(self._source_port) or {}).get("source", {})
        cycle = source.get("last_cycle")
        if not cycle or cycle["emitted"]:
            return None
        return datetime.fromisoformat(cycle["started_at"])


async def until_idle(watch: Watch, stop: asyncio.Event, show: Callable[[Look], None]) -> bool:
    """Wait until the hub is idle; ``show`` gets every look. Return false if ``stop`` came first."""
    written, quiet_since = -1, None
    while not stop.is_set():
        try:
            now = datetime.now(UTC)
            look = await asyncio.to_thread(watch.look)
        except RetryLater:
            quiet_since = None
        else:
            show(look)
            if look.is_drained and look.written == written:
                quiet_since = quiet_since or now
                if all(at and at >= quiet_since for at in (look.last_poll, look.last_cycle)):
                    return True
            else:
                quiet_since = None
            written = look.written
        await pause(stop, LOOK_SECONDS)
    return False


def status(port: int | None) -> dict[str, Any] | None:
    """Return what a process of ours on loopback port ``port`` says of itself; none if it does not answer."""
    if port is None:
        return None
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2) as answer:
            found: dict[str, Any] = json.load(answer)
            return found
    except (OSError, ValueError):
        return None
