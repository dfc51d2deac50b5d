"""How things stand, as figures for Prometheus: a few questions to the database."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Final

import psycopg
from sqlalchemy import Engine

from infra.db.connect import reading
from infra.figures import Figure, Part
from infra.metrics import (
    COMPARED,
    CONFLICTS,
    DRIFT,
    INVALID,
    LETTERS_OPEN,
    OUTBOX,
    OUTBOX_AGE,
    OUTBOX_ASIDE,
    PARKED,
    REFUSED,
    SCHEDULE_FAILING,
    SCHEDULE_SUCCESS,
    SOURCE_FAILING,
    SOURCE_SUCCESS,
    WAITING,
    Metric,
)
from infra.scan import Place
from infra.turns import Work

DRIFTED: Final = "drift_"
"""Counts of a reconciliation that begin so are its differences, such as ``drift_user_missing``."""
_PATIENCE_MS: Final = 5_000

_OUTBOX: Final = """
    SELECT count(*) - count(error), count(error),
        coalesce(extract(epoch FROM now() - min(created_at) FILTER (WHERE error IS NULL)), 0)
    FROM outbox
"""
_RECORDS: Final = """
    SELECT 'invalid', source, kind, count(*) FROM invalid_records WHERE solved_at IS NULL GROUP BY 2, 3
    UNION ALL SELECT 'waiting', source, kind, count(*) FROM parked_records GROUP BY 2, 3
"""
# Of each source and each schedule: whether its newest run that has ended failed, and its newest success.
_SOURCES: Final = """
    SELECT s.tenant, s.source, newest.state = 'FAILED', extract(epoch FROM good.finished_at)
    FROM (SELECT DISTINCT tenant, source FROM source_runs) AS s
    LEFT JOIN LATERAL (
        SELECT state FROM source_runs r WHERE (r.tenant, r.source) = (s.tenant, s.source)
            AND state <> 'RUNNING' ORDER BY id DESC LIMIT 1
    ) AS newest ON true
    LEFT JOIN LATERAL (
        SELECT finished_at FROM source_runs r WHERE (r.tenant, r.source) = (s.tenant, s.source)
            AND state = 'SUCCESS' ORDER BY id DESC LIMIT 1
    ) AS good ON true
"""
_SCHEDULES: Final = """
    SELECT s.tenant, s.target, s.site, newest.state = 'FAILED', extract(epoch FROM good.finished_at),
        good.counts
    FROM schedules s
    LEFT JOIN LATERAL (
        SELECT state FROM schedule_runs r WHERE (r.tenant, r.target, r.site) = (s.tenant, s.target, s.site)
            AND state IN ('SUCCESS', 'FAILED') ORDER BY id DESC LIMIT 1
    ) AS newest ON true
    LEFT JOIN LATERAL (
        SELECT finished_at, counts FROM schedule_runs r
        WHERE (r.tenant, r.target, r.site) = (s.tenant, s.target, s.site)
            AND state = 'SUCCESS' ORDER BY id DESC LIMIT 1
    ) AS good ON true
    WHERE s.enabled
"""
_STANDING: Final = """
    SELECT 'parked', what, waits_for, count(*) FROM read_model.parked GROUP BY 2, 3
    UNION ALL SELECT 'conflict', subject, reason, count(*) FROM read_model.conflicts
        WHERE state = 'OPEN' GROUP BY 2, 3
    UNION ALL SELECT 'refused', what, reason, count(*) FROM read_model.refused GROUP BY 2, 3
    UNION ALL SELECT 'letter', role, reason, count(*) FROM read_model.dead_letters
        WHERE state = 'OPEN' GROUP BY 2, 3
"""
_OF_STANDING: Final[Mapping[str, Metric]] = {
    "parked": PARKED,
    "conflict": CONFLICTS,
    "refused": REFUSED,
    "letter": LETTERS_OPEN,
}


def parts(pool: Engine) -> tuple[Part, ...]:
    """Return what is read from the hub's database; ``pool`` gives its connections, to nobody else."""
    return (
        Part("database", lambda: list(_of_database(pool))),
        Part("read_model", lambda: list(_of_read_model(pool))),
    )


@contextmanager
def _asking(pool: Engine) -> Iterator[psycopg.Connection]:
    """Give a connection on which no question takes long: whoever asks does so again.

    Raises:
        RetryLater: the database is away, or too slow.
    """
    with reading(pool) as connection:
        connection.execute(f"SET statement_timeout = {_PATIENCE_MS}")
        yield connection


def _of_database(pool: Engine) -> Iterator[Figure]:
    with _asking(pool) as connection:
        waiting, aside, age = connection.execute(_OUTBOX).fetchone() or (0, 0, 0)
        records = connection.execute(_RECORDS).fetchall()
        sources = connection.execute(_SOURCES).fetchall()
        schedules = connection.execute(_SCHEDULES).fetchall()
    for metric, value in ((OUTBOX, waiting), (OUTBOX_ASIDE, aside), (OUTBOX_AGE, age)):
        yield Figure(metric, (), float(value))
    for what, source, kind, count in records:
        yield Figure(INVALID if what == "invalid" else WAITING, (source, kind), count)
    for tenant, source, failing, success in sources:
        yield from _run((SOURCE_FAILING, SOURCE_SUCCESS), (tenant, source), failing, success)
    for tenant, target, site, failing, success, counts in schedules:
        names = (tenant, target, site)
        yield from _run((SCHEDULE_FAILING, SCHEDULE_SUCCESS), names, failing, success)
        if target == Work.RECONCILE and counts is not None:
            yield Figure(COMPARED, (tenant, site), counts.get("compared", 0))
            yield from _drift(tenant, site, counts)


def _run(
    metrics: tuple[Metric, Metric], labels: tuple[str, ...], failing: bool | None, success: Any
) -> Iterator[Figure]:
    """Yield how runs stand; nothing of what never ran or never succeeded."""
    if failing is not None:
        yield Figure(metrics[0], labels, float(failing))
    if success is not None:
        yield Figure(metrics[1], labels, float(success))


def _drift(tenant: str, site: str, counts: Mapping[str, int]) -> Iterator[Figure]:
    for name, count in counts.items():
        if name.startswith(DRIFTED):
            subject, _, kind = name.removeprefix(DRIFTED).upper().partition("_")
            yield Figure(DRIFT, (tenant, site, subject, kind), count)


def positions(pool: Engine) -> dict[Place, int]:
    """Return how far the read model has come: the next offset of each partition; nothing if there is none.

    Raises:
        RetryLater: the database is away.
    """
    with _asking(pool) as connection:
        try:
            found = connection.execute("SELECT topic, partition, next_offset FROM read_model.offsets")
            return {(topic, number): offset for topic, number, offset in found}
        except psycopg.errors.UndefinedTable:
            return {}


def _of_read_model(pool: Engine) -> Iterator[Figure]:
    with _asking(pool) as connection:
        found: Iterable[Sequence[Any]]
        try:
            found = connection.execute(_STANDING).fetchall()
        except psycopg.errors.UndefinedTable:
            found = ()  # there is none yet
    for what, first, second, count in found:
        yield Figure(_OF_STANDING[what], (first, second or ""), count)
