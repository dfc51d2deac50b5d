"""Records per second through the intake, in batches of 1,000, on embedded PostgreSQL with fsync on.

Run by itself: `python -m tests.bench.intake`. BENCH_RECORDS sets the number of records (100,000).
"""

from __future__ import annotations

import gc
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Final

import psycopg

from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.simulators.seed import SeedPlan
from infra.simulators.seed import records as seeded
from infra.stage import Output
from producers.candidates import Candidate, Origin, SourceRecord, Tally, Valid, tally
from producers.elm.settings import Rules
from producers.elm.to_events import to_candidate
from producers.intake import Intake
from schemas.events import AccountPolicy, Operation, Person
from schemas.ids import PersonId, TenantId
from schemas.topics import PEOPLE
from schemas.version import Version
from tests.bench.rows import Row
from tests.services import embedded_services

BATCH: Final = 1_000
TENANT: Final = TenantId("bench")
START: Final = datetime(2026, 1, 5, tzinfo=UTC)


def main() -> list[Row]:
    """Measure and return the figures."""
    count = int(os.environ.get("BENCH_RECORDS", "100000"))
    with embedded_services() as services:
        database = services.address("postgres")
        with psycopg.connect(database) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
        migrate(database)
        pool = engine(database)
        try:
            return [*_students(Intake(pool), count), *_feed(Intake(pool), count)]
        finally:
            pool.dispose()


def _students(intake: Intake, count: int) -> Iterator[Row]:
    rounds = [("new", 1, ">= 20000"), ("unchanged", 1, ">= 30000"), ("updated", 2, "")]
    for writers in (1, 2):
        for name, version, target in rounds:
            batches = _batches(count, version)
            rate, total = _rate(intake, Origin(TENANT, f"students-{writers}"), batches, writers)
            assert total._asdict()[name] == count
            yield Row(f"intake: {name} records, {writers} writer(s)", rate, "records/s", target)


def _batches(count: int, version: int) -> list[list[Candidate]]:
    firsts = range(0, count, BATCH)
    return [
        [_student(number, version) for number in range(first, min(first + BATCH, count))] for first in firsts
    ]


def _feed(intake: Intake, count: int) -> Iterator[Row]:
    """Feed records of ELM, each of which is up to three records kept, with their conversion."""
    origin, rules = Origin(TENANT, "elm"), Rules(TENANT)
    records = list(seeded(SeedPlan(records=count)))
    for name in ("new", "unchanged"):
        gc.collect()
        started = time.perf_counter()
        total = Tally()
        for first in range(0, count, BATCH):
            now = datetime.now(UTC)
            batch = [to_candidate(record, rules, now) for record in records[first : first + BATCH]]
            total += tally(intake.take(origin, batch))
        rate = count / (time.perf_counter() - started)
        assert (total.new > 0.8 * count) if name == "new" else (total.events == 0)
        yield Row(f"intake: {name} ELM feed records (3 kept records each)", rate, "records/s")


def _rate(
    intake: Intake, origin: Origin, batches: Sequence[Sequence[Candidate]], writers: int
) -> tuple[float, Tally]:
    gc.collect()
    gc.freeze()
    with ThreadPoolExecutor(writers) as threads:
        started = time.perf_counter()
        answers = threads.map(lambda batch: tally(intake.take(origin, batch)), batches)
        total = sum(answers, Tally())
        rate = total.seen / (time.perf_counter() - started)
    gc.unfreeze()
    return rate, total


def _student(number: int, sequence: int) -> Valid:
    name, version = f"{number:08d}", Version(START + timedelta(seconds=number), sequence)
    content = {
        "name": f"Student {name}",
        "email": f"student{name}@school.example",
        "phone": f"+1 555 {name}",
        "status": "Active",
        "year": sequence,
    }
    event = Person(
        tenant=TENANT,
        person_id=PersonId(name),
        operation=Operation.UPSERT,
        source_system="students",
        source_record_id=name,
        version_time=version.time,
        version_sequence=sequence,
        recorded_at=START,
        account_policy=AccountPolicy.ALWAYS,
        username=f"student{name}",
        email=f"student{name}@school.example",
        first_name="Student",
        last_name=name,
        auth="manual",
    )
    return Valid((SourceRecord("student", name, version, content, (Output(PEOPLE, event),)),))


if __name__ == "__main__":
    for row in main():
        print(f"{row.name:60} {row.value:10,.0f} {row.unit} {row.target}")
