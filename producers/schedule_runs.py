"""Runs of schedules: one at a time of each, over all processes; RUNNING never outlives its process.

Whoever runs holds a lock of the database for as long as it does; with the process or its connection the lock
is gone, and whoever begins the next run or lists them closes what was left open.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

import structlog
from sqlalchemy import ColumnElement, Connection, Engine, RowMapping, func, insert, select, text, update

from infra.db.connect import database_trouble, driver_connection
from infra.db.locks import lock_key, try_lock, unlock
from infra.db.tables import schedule_runs as table
from infra.db.tables import schedules
from infra.errors import BadArgument, HubError, RetryLater
from infra.turns import Outcome, Work
from producers.schedules import Key, settle
from schemas.ids import TenantId

INTERRUPTED: Final = "interrupted"
"""Error of a run whose process ended without saying so."""
STOPPED: Final = "stopped"
"""Error of a run whose process was told to stop."""
BUSY: Final = "another run is under way"
PAGE: Final = 100
# A lock of 64 bits is shown in two halves.
_DEAD: Final = """
    UPDATE schedule_runs SET state = 'FAILED', error = :error, finished_at = clock_timestamp()
    WHERE state = 'RUNNING' AND NOT EXISTS (
        SELECT FROM pg_locks l JOIN pg_database d ON d.oid = l.database
        WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 AND d.datname = current_database()
            AND (l.classid::int8 << 32 | l.objid::int8) = schedule_runs.lock_key
    )
"""
_log = structlog.get_logger()


class RunState(StrEnum):
    """How a run stands."""

    RUNNING = "RUNNING"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"
    SKIPPED = "SKIPPED"


class Trigger(StrEnum):
    """What began a run."""

    SCHEDULE = "SCHEDULE"
    REQUEST = "REQUEST"


class BusyError(RetryLater):
    """Another process is at it."""


class SkippedError(HubError):
    """There is nothing to be done, or another is at it: no failure."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRun:
    """One run.

    Attributes:
        run_id: grows from run to run.
        key: of its schedule.
        state: RUNNING only while it runs.
        trigger: what began it.
        actor: who asked for it.
        started_at: UTC.
        finished_at: UTC; none while it runs.
        counts: what was done, by name.
        error: of FAILED and SKIPPED: why.
    """

    run_id: int
    key: Key
    state: RunState
    trigger: Trigger
    actor: str | None
    started_at: datetime
    finished_at: datetime | None
    counts: Mapping[str, int]
    error: str | None

    @property
    def seconds(self) -> float | None:
        """How long it took; none while it runs."""
        return (self.finished_at - self.started_at).total_seconds() if self.finished_at else None


@contextmanager
def running(database_url: str, pool: Engine, key: Key, *, stays_due: bool = False) -> Iterator[Outcome]:
    """Be the one run of ``key`` while the block runs, and note how it ends.

    When the block ends by itself the schedule moves to its next time; when its process is stopped or dies it
    stays due.

    Args:
        database_url: for the connection that holds the lock.
        pool: of the same database.
        key: of the schedule.
        stays_due: it stays due after a failure too: whoever runs it has a patience of its own.

    Raises:
        BusyError: another process is at it.
        RetryLater: the database is away.
    """
    with driver_connection(database_url) as connection:
        if not try_lock(connection, *_lock_names(key)):
            raise BusyError(BUSY)
        try:
            run_id, started_at, outcome = *_begin(pool, key), Outcome()
            try:
                yield outcome
            except BaseException as error:
                state = RunState.SKIPPED if isinstance(error, SkippedError) else RunState.FAILED
                move = not stays_due if isinstance(error, Exception) else None
                _finish(pool, key, run_id, started_at, state, outcome, _reason(error), move=move)
                raise
            failed = outcome.failed is not None
            state = RunState.FAILED if failed else RunState.SUCCESS
            move = not (failed and stays_due)
            _finish(pool, key, run_id, started_at, state, outcome, outcome.failed, move=move)
        finally:
            unlock(connection, *_lock_names(key))


def skip(pool: Engine, key: Key, reason: str) -> None:
    """Note a run that was not begun, and move on to the next time.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        values = {"state": RunState.SKIPPED, "error": reason, "finished_at": func.clock_timestamp()}
        _, started_at = _insert(connection, key, values)
        settle(connection, key, started_at, move=True)


def close_interrupted(pool: Engine) -> None:
    """Close the runs whose process is gone.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        connection.execute(text(_DEAD), {"error": INTERRUPTED})


def runs(
    pool: Engine,
    *,
    tenant: TenantId | None = None,
    target: Work | None = None,
    site: str | None = None,
    state: RunState | None = None,
    before: int | None = None,
    limit: int = PAGE,
) -> list[ScheduleRun]:
    """Return runs, newest first; those left open by dead processes are closed before.

    Args:
        pool: of the hub's database.
        tenant: only its runs.
        target: only of this target.
        site: only of this Moodle site.
        state: only in this state.
        before: only runs with a lower number, for the next page.
        limit: at most so many.

    Raises:
        RetryLater: the database is away.
    """
    close_interrupted(pool)
    wanted = {"tenant": tenant, "target": target, "site": site, "state": state}
    where = [table.c[name] == value for name, value in wanted.items() if value is not None]
    where += [] if before is None else [table.c.id < before]
    with database_trouble(), pool.connect() as connection:
        return _read(connection, *where, limit=limit)


def get(pool: Engine, run_id: int) -> ScheduleRun:
    """Return one run.

    Raises:
        BadArgument: there is none of this number.
        RetryLater: the database is away.
    """
    close_interrupted(pool)
    with database_trouble(), pool.connect() as connection:
        found = _read(connection, table.c.id == run_id, limit=1)
    if not found:
        msg = f"run: there is no run {run_id}"
        raise BadArgument(msg)
    return found[0]


def _lock_names(key: Key) -> tuple[str, ...]:
    return ("schedule", key.tenant, key.target, key.site)


def _begin(pool: Engine, key: Key) -> tuple[int, datetime]:
    """Open the run; what still seems to run of this schedule is dead, for the lock was free."""
    stale = (
        update(table)
        .where(table.c.lock_key == lock_key(*_lock_names(key)), table.c.state == RunState.RUNNING)
        .values(state=RunState.FAILED, error=INTERRUPTED, finished_at=func.clock_timestamp())
    )
    with database_trouble(), pool.begin() as connection:
        connection.execute(stale)
        return _insert(connection, key, {"state": RunState.RUNNING})


def _insert(connection: Connection, key: Key, values: Mapping[str, Any]) -> tuple[int, datetime]:
    asked = select(schedules.c.requested_by).where(
        schedules.c.tenant == key.tenant,
        schedules.c.target == key.target,
        schedules.c.site == key.site,
        schedules.c.requested_at.is_not(None),
    )
    actor = connection.execute(asked).scalar_one_or_none()
    new = insert(table).values(
        **key._asdict(),
        trigger=Trigger.SCHEDULE if actor is None else Trigger.REQUEST,
        actor=actor,
        started_at=func.clock_timestamp(),
        counts={},
        lock_key=lock_key(*_lock_names(key)),
        **values,
    )
    run_id, started_at = connection.execute(new.returning(table.c.id, table.c.started_at)).one()
    return run_id, started_at


def _finish(
    pool: Engine,
    key: Key,
    run_id: int,
    started_at: datetime,
    state: RunState,
    outcome: Outcome,
    error: str | None,
    *,
    move: bool | None,
) -> None:
    """Close the run; if the database is away, whoever comes next closes it as interrupted.

    The schedule moves on if ``move``. If that is none, the run was stopped from outside: what was due stays
    due, and what somebody asked for stays asked for.
    """
    closed = (
        update(table)
        .where(table.c.id == run_id, table.c.state == RunState.RUNNING)
        .values(state=state, counts=outcome.counts, error=error, finished_at=func.clock_timestamp())
    )
    with suppress(RetryLater), database_trouble(), pool.begin() as connection:
        connection.execute(closed)
        if move is not None:
            settle(connection, key, started_at, move=move)
    _log.info("run_ended", run=run_id, target=key.target, site=key.site, state=state, error=error)


def _reason(error: BaseException) -> str:
    """Return why a run failed; errors of the hub hold no personal data, others are told by their kind."""
    if isinstance(error, HubError):
        return str(error)
    return type(error).__name__ if isinstance(error, Exception) else STOPPED


def _read(connection: Connection, *where: ColumnElement[bool], limit: int) -> list[ScheduleRun]:
    query = select(table).where(*where).order_by(table.c.id.desc()).limit(limit)
    return [_run(row) for row in connection.execute(query).mappings()]


def _run(row: RowMapping) -> ScheduleRun:
    return ScheduleRun(
        run_id=row["id"],
        key=Key(row["tenant"], Work(row["target"]), row["site"]),
        state=RunState(row["state"]),
        trigger=Trigger(row["trigger"]),
        **{name: row[name] for name in ("actor", "started_at", "finished_at", "counts", "error")},
    )
