"""Run records: one for every poll or pull of a source, the failed ones included."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any

from sqlalchemy import Connection, Engine, RowMapping, func, insert, select, update

from infra.db.connect import database_trouble
from infra.db.tables import source_runs as runs
from producers.candidates import Origin, Tally

INTERRUPTED = "interrupted"
"""Reason of a run whose process ended without saying so."""


class RunState(StrEnum):
    """How a run stands."""

    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


@dataclass(frozen=True, slots=True)
class RunSummary:
    """One run.

    Attributes:
        run_id: grows from run to run.
        state: RUNNING only while it runs.
        started_at: UTC, by the database's clock.
        finished_at: none while it runs.
        pages: pages of the source that were taken in.
        counts: answers to its records; ``counts.fresh == 0`` means that it brought nothing.
        reason: of FAILED: a short code such as ``http_503`` or ``timeout``.
        position: of SUCCESS: where the cursor was moved to; none if errors kept it where it was.
    """

    run_id: int
    state: RunState
    started_at: datetime
    finished_at: datetime | None
    pages: int
    counts: Tally
    reason: str | None
    position: Mapping[str, Any] | None


def begin(engine: Engine, origin: Origin) -> int:
    """Open a run and return its id; whatever still seems to run is marked as interrupted.

    Only the process that holds the source's lock may call it.
    """
    stale = (
        update(runs)
        .where(runs.c.tenant == origin.tenant, runs.c.source == origin.source)
        .where(runs.c.state == RunState.RUNNING)
        .values(state=RunState.FAILED, reason=INTERRUPTED, finished_at=func.now())
    )
    opened = (
        insert(runs)
        .values(tenant=origin.tenant, source=origin.source, state=RunState.RUNNING, started_at=func.now())
        .returning(runs.c.id)
    )
    with database_trouble(), engine.begin() as connection:
        connection.execute(stale)
        return int(connection.execute(opened).scalar_one())


def progress(connection: Connection, run_id: int, counts: Tally) -> None:
    """Add one page with its answers, in the transaction that took it in."""
    grown = {name: runs.c[name] + value for name, value in counts._asdict().items()}
    connection.execute(update(runs).where(runs.c.id == run_id).values(pages=runs.c.pages + 1, **grown))


def succeed(connection: Connection, run_id: int, position: Mapping[str, Any] | None) -> None:
    """Close a run in the transaction that moves the source's cursor."""
    _close(connection, run_id, {"state": RunState.SUCCESS, "position": position})


def fail(engine: Engine, run_id: int, reason: str) -> None:
    """Close a run as failed; what it took in stays."""
    with database_trouble(), engine.begin() as connection:
        _close(connection, run_id, {"state": RunState.FAILED, "reason": reason})


def get(engine: Engine, run_id: int) -> RunSummary:
    """Return one run."""
    with database_trouble(), engine.connect() as connection:
        return _summary(connection.execute(select(runs).where(runs.c.id == run_id)).mappings().one())


def latest(engine: Engine, origin: Origin, limit: int = 1) -> list[RunSummary]:
    """Return the last runs of a source, newest first."""
    found = (
        select(runs)
        .where(runs.c.tenant == origin.tenant, runs.c.source == origin.source)
        .order_by(runs.c.id.desc())
        .limit(limit)
    )
    with database_trouble(), engine.connect() as connection:
        return [_summary(row) for row in connection.execute(found).mappings()]


def _close(connection: Connection, run_id: int, values: Mapping[str, Any]) -> None:
    closed = update(runs).where(runs.c.id == run_id).values(finished_at=func.clock_timestamp(), **values)
    connection.execute(closed)


def _summary(row: RowMapping) -> RunSummary:
    return RunSummary(
        row["id"],
        RunState(row["state"]),
        row["started_at"],
        row["finished_at"],
        row["pages"],
        Tally(*(row[name] for name in Tally._fields)),
        row["reason"],
        row["position"],
    )
