"""What the intake tells of the records it takes: their number by answer, and the trace of each."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

import pytest
from prometheus_client import REGISTRY
from sqlalchemy import Engine

from infra import tracing
from infra.db.connect import engine
from infra.db.migrate import migrate
from producers.candidates import Answer, Candidate, Invalid, Origin
from producers.intake import Also, Intake
from producers.web.batcher import Batcher, Work
from schemas.ids import TenantId
from tests.databases import new_database
from tests.integration.intake_support import person, rows

pytestmark = pytest.mark.integration

ORIGIN = Origin(TenantId("school"), "told")
ONE, TWO = (f"00-{number:032x}-{number:016x}-01" for number in (1, 2))


@pytest.fixture(scope="module")
def database(database_url: str) -> Iterator[str]:
    with new_database(database_url) as made:
        migrate(made)
        yield made


@pytest.fixture(scope="module")
def pool(database: str) -> Iterator[Engine]:
    made = engine(database, pool_size=2)
    yield made
    made.dispose()


def counted(status: str, kind: str = "person") -> float:
    labels = {"source": ORIGIN.source, "kind": kind, "status": status}
    return REGISTRY.get_sample_value("hub_intake_records_total", labels) or 0.0


def test_records_are_counted_by_source_kind_and_answer(pool: Engine) -> None:
    wrong = Invalid("person", "9", {"name": "x"}, "name", "is no name")
    intake = Intake(pool)
    intake.take(ORIGIN, [person("1"), person("2"), wrong])
    intake.take(ORIGIN, [person("1"), person("2", 2, grade=5)])
    assert [counted(status) for status in ("NEW", "INVALID", "UNCHANGED", "UPDATED")] == [2, 1, 1, 1]


async def test_records_of_requests_taken_together_keep_their_own_traces(pool: Engine, database: str) -> None:
    """Two requests of two callers and one without a trace, in one transaction."""
    taken: list[int] = []

    def take(records: Sequence[object], also: Also) -> list[Answer]:
        taken.append(len(records))
        candidates: list[Candidate] = [person(str(record)) for record in records]
        return Intake(pool).take(ORIGIN, candidates, also)

    batcher = Batcher(threads=1, chunk_size=100, queue_limit=100)

    async def ask(traceparent: str | None, *records: str) -> None:
        with tracing.request("POST /v1/test", traceparent):
            await batcher.take(Work(ORIGIN, "person", take, records))

    try:
        # The first request keeps the only thread busy, so the others gather and are joined.
        await asyncio.gather(
            ask(None, "t0"), ask(ONE, "t1", "t2"), ask(TWO, "t3"), ask(None, "t4"), ask("nonsense", "t5")
        )
    finally:
        await asyncio.to_thread(batcher.close)
    assert taken[-1] > 1, "nothing was joined"
    query = "SELECT record::jsonb ->> 'person_id', traceparent FROM outbox WHERE key LIKE %s ORDER BY 1"
    assert rows(database, query, "%|t_") == [
        ("t0", None),
        ("t1", ONE),
        ("t2", ONE),
        ("t3", TWO),
        ("t4", None),
        ("t5", None),
    ]
