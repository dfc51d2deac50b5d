"""Cleanup: takes away old notes of what is over; nothing that is still to be decided or done.

Webhook events that are done stay for good, emptied of their contents: by their ids an event is done once.
"""

from collections.abc import Iterator
from datetime import timedelta
from typing import Final, NamedTuple

from sqlalchemy import Engine, text

from infra.db.connect import database_trouble

_BATCH: Final = 5_000
"""Rows of one transaction, so that nobody waits long for one of them."""


class Ages(NamedTuple):
    """How long notes are kept, in days.

    Attributes:
        api_logs: of calls to Moodle and ELM, and of how many there were in each minute.
        failed: of runs, of records that were invalid and came usable since, and of incidents that are over.
    """

    api_logs: int
    failed: int


class _Notes(NamedTuple):
    table: str
    key: str
    old: str
    """Condition for the rows ``t`` that are over since longer than ``:age``."""


_LATEST: Final = "t.id < (SELECT max(n.id) FROM {table} n WHERE {same})"
"""The newest of each kind stays: it tells how things stand."""
_API_LOGS: Final = (
    _Notes("read_model.calls", "call_id", "t.started_at < now() - :age"),
    _Notes("read_model.rates", "minute", "t.minute < now() - :age"),
)
_FAILED: Final = (
    _Notes(
        "schedule_runs",
        "id",
        "t.finished_at < now() - :age AND "
        + _LATEST.format(
            table="schedule_runs", same="(n.tenant, n.target, n.site) = (t.tenant, t.target, t.site)"
        ),
    ),
    _Notes(
        "source_runs",
        "id",
        "t.finished_at < now() - :age AND "
        + _LATEST.format(table="source_runs", same="(n.tenant, n.source) = (t.tenant, t.source)"),
    ),
    _Notes("invalid_records", "id", "t.solved_at < now() - :age"),
    _Notes("incidents", "id", "t.resolved_at < now() - :age"),
    _Notes("silences", "id", "t.until < now() - :age"),
    _Notes("notifications", "id", "coalesce(t.sent_at, t.given_up_at) < now() - :age"),
)


def cleanup(pool: Engine, ages: Ages, *, dry_run: bool = False) -> dict[str, int]:
    """Delete what is older than ``ages``, or only count it; return the number of rows by table.

    Interrupted, it leaves whole rows; the next call goes on.

    Raises:
        RetryLater: the database is away.
    """
    done: dict[str, int] = {}
    for notes, age in _chosen(pool, ages):
        done[notes.table.rpartition(".")[2]] = (_count if dry_run else _delete)(pool, notes, age)
    return done


def _chosen(pool: Engine, ages: Ages) -> Iterator[tuple[_Notes, timedelta]]:
    """Yield the tables that are there: the read model is made by the projector."""
    both = ((_API_LOGS, timedelta(days=ages.api_logs)), (_FAILED, timedelta(days=ages.failed)))
    with database_trouble(), pool.connect() as connection:
        for kinds, age in both:
            for notes in kinds:
                if connection.scalar(text("SELECT to_regclass(:name)"), {"name": notes.table}) is not None:
                    yield notes, age


def _count(pool: Engine, notes: _Notes, age: timedelta) -> int:
    query = text(f"SELECT count(*) FROM {notes.table} t WHERE {notes.old}")  # noqa: S608 - names of ours
    with database_trouble(), pool.connect() as connection:
        return int(connection.scalar(query, {"age": age}) or 0)


def _delete(pool: Engine, notes: _Notes, age: timedelta) -> int:
    chosen = f"SELECT t.{notes.key} FROM {notes.table} t WHERE {notes.old} LIMIT {_BATCH}"  # noqa: S608 - names of ours
    statement = text(f"DELETE FROM {notes.table} WHERE {notes.key} IN ({chosen})")  # noqa: S608 - the same
    total = 0
    while True:
        with database_trouble(), pool.begin() as connection:
            count = connection.execute(statement, {"age": age}).rowcount
        total += count
        if count < _BATCH:
            return total
