"""The intake on a real PostgreSQL: answers, what is kept, and many writers at once."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection, Engine, text

from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.db.tables import metadata
from infra.errors import RetryLater
from producers import cursors, outbox, runs
from producers.candidates import Answer, Candidate, Invalid, Origin, Skipped, Status, Tally, Valid, tally
from producers.intake import Intake
from schemas.ids import TenantId
from tests.integration.intake_support import ORIGIN, person, rows

pytestmark = pytest.mark.integration


@pytest.fixture
def pool(fresh_database: str) -> Iterator[Engine]:
    made = engine(fresh_database)
    yield made
    made.dispose()


@pytest.fixture
def intake(pool: Engine) -> Intake:
    return Intake(pool)


def statuses(answers: Sequence[Answer]) -> list[Status]:
    return [answer.status for answer in answers]


def event_ids(database: str) -> list[str]:
    return [row[0] for row in rows(database, "SELECT event_id FROM outbox ORDER BY seq")]


def test_the_migrations_make_the_tables_of_the_metadata(pool: Engine, fresh_database: str) -> None:
    with pool.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_several_processes_may_migrate_at_once(empty_database: str) -> None:
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(migrate, [empty_database] * 4))
    assert rows(empty_database, "SELECT count(*) FROM alembic_version") == [(1,)]


def test_every_record_is_answered_in_order(intake: Intake, fresh_database: str) -> None:
    first = intake.take(ORIGIN, [person("a", name="A"), person("b", name="B", phone=None)])
    assert statuses(first) == [Status.NEW, Status.NEW]
    batch: list[Candidate] = [
        Invalid("person", "x", {"id": "x"}, "name", "is missing"),
        person("b", 2, name="B2", phone="5"),
        person("a", name="A"),
        Skipped("person", "s", "ignored"),
        person("b", 1, name="late"),
        person("c", name="C"),
    ]
    second = intake.take(ORIGIN, batch)
    assert second == [
        Answer("person", "x", Status.INVALID, field="name", reason="is missing"),
        Answer("person", "b", Status.UPDATED, {"name": ["B", "B2"], "phone": [None, "5"]}, events=1),
        Answer("person", "a", Status.UNCHANGED),
        Answer("person", "s", Status.SKIPPED, reason="ignored"),
        Answer("person", "b", Status.SKIPPED, reason="older_version"),
        Answer("person", "c", Status.NEW, events=1),
    ]
    kept = rows(fresh_database, "SELECT record_id, revision, content FROM source_records ORDER BY 1")
    assert kept == [("a", 1, {"name": "A"}), ("b", 2, {"name": "B2", "phone": "5"}), ("c", 1, {"name": "C"})]
    keys = [row[0] for row in rows(fresh_database, "SELECT key FROM outbox ORDER BY seq")]
    assert keys == ["t1|a", "t1|b", "t1|b", "t1|c"]


def test_a_record_that_comes_twice_in_a_batch_sees_itself(intake: Intake, fresh_database: str) -> None:
    batch = [
        person("a", 1, n=1),
        person("a", 1, n=1),
        person("a", 2, n=2),
        person("a", 1, n=3),
        person("a", 3, n=2),
    ]
    answers = intake.take(ORIGIN, batch)
    assert statuses(answers) == [
        Status.NEW,
        Status.UNCHANGED,
        Status.UPDATED,
        Status.SKIPPED,
        Status.UNCHANGED,
    ]
    assert answers[2].changes == {"n": [1, 2]}
    kept = rows(fresh_database, "SELECT revision, version_sequence, content FROM source_records")
    assert kept == [(2, 3, {"n": 2})]
    assert len(set(event_ids(fresh_database))) == 2


def test_a_newer_version_of_the_same_content_beats_a_late_older_one(intake: Intake) -> None:
    intake.take(ORIGIN, [person("a", 1, n=1)])
    assert statuses(intake.take(ORIGIN, [person("a", 5, n=1)])) == [Status.UNCHANGED]
    assert statuses(intake.take(ORIGIN, [person("a", 3, n=2)])) == [Status.SKIPPED]


def test_two_contents_of_one_version_do_not_change_for_ever(intake: Intake) -> None:
    batch = [person("a", 1, n=1), person("a", 1, n=2)]
    assert tally(intake.take(ORIGIN, batch)).events == 2
    for _ in range(3):
        assert statuses(intake.take(ORIGIN, batch)) == [Status.SKIPPED, Status.UNCHANGED]


def test_sources_tenants_and_kinds_are_apart(intake: Intake) -> None:
    for tenant, source in (("t1", "sis"), ("t2", "sis"), ("t1", "zoho")):
        assert statuses(intake.take(Origin(TenantId(tenant), source), [person("a", n=1)])) == [Status.NEW]


def test_an_invalid_record_is_kept_until_a_usable_one_comes(intake: Intake, fresh_database: str) -> None:
    broken = Invalid("person", "a", {"id": "a", "name": "x\0\ud800"}, "name", "is unreadable")
    nameless = Invalid("person", None, ["?"], "record", "is not an object")
    first = intake.take(ORIGIN, [broken, nameless, person("b", n=1)])
    assert [answer.known for answer in first] == [False, False, False]
    again = intake.take(ORIGIN, [broken, broken, nameless])
    assert [answer.known for answer in again] == [True, True, True]
    assert tally(again).fresh == 0
    query = "SELECT record_id, field, times_seen, solved_at IS NULL FROM invalid_records ORDER BY 1"
    assert rows(fresh_database, query) == [("a", "name", 3, True), (None, "record", 2, True)]
    intake.take(ORIGIN, [person("a", n=1)])
    assert rows(fresh_database, query)[0] == ("a", "name", 3, False)
    intake.take(ORIGIN, [broken])
    assert rows(fresh_database, query)[0] == ("a", "name", 4, False)


@pytest.mark.parametrize(("order", "is_open"), [((0, 1), False), ((1, 0), True)])
def test_within_a_batch_only_a_later_usable_record_solves(
    intake: Intake, fresh_database: str, order: tuple[int, int], is_open: bool
) -> None:
    both: list[Candidate] = [Invalid("person", "a", {}, "name", "is missing"), person("a", n=1)]
    intake.take(ORIGIN, [both[place] for place in order])
    assert rows(fresh_database, "SELECT solved_at IS NULL FROM invalid_records") == [(is_open,)]


def test_reading_an_old_usable_record_again_hides_no_broken_newer_one(
    intake: Intake, fresh_database: str
) -> None:
    good, broken = person("a", n=1), Invalid("person", "a", {"n": "?"}, "n", "is not a number")
    intake.take(ORIGIN, [good, broken])
    intake.take(ORIGIN, [good, broken])
    assert rows(fresh_database, "SELECT solved_at FROM invalid_records") == [(None,)]


def test_a_record_that_cannot_be_stored_ends_alone_and_is_not_kept_as_seen(
    intake: Intake, fresh_database: str
) -> None:
    noise = random.Random(1).randbytes(6000).hex()
    for _ in range(2):
        batch = [person(str(n), n=n) for n in range(7)]
        batch[3:3] = [person(noise, n=0), person("nul", text="a\0b")]
        answers = intake.take(ORIGIN, batch)
        assert [place for place, answer in enumerate(answers) if answer.status is Status.ERROR] == [3, 4]
        assert [answer.reason for answer in answers[3:5]] == ["54000", "22P05"]
    assert rows(fresh_database, "SELECT count(*) FROM source_records") == [(7,)]
    assert len(event_ids(fresh_database)) == 7
    assert noise not in repr(answers[3].reason)


def test_what_the_caller_writes_commits_with_the_batch_or_not_at_all(
    intake: Intake, pool: Engine, fresh_database: str
) -> None:
    def move(connection: Connection, answers: Sequence[Answer]) -> None:
        cursors.move(connection, ORIGIN, "feed", {"seen": len(answers)})

    def fail(connection: Connection, answers: Sequence[Answer]) -> None:
        move(connection, answers)
        raise KeyError("no")

    with pytest.raises(KeyError):
        intake.take(ORIGIN, [person("a", n=1)], fail)
    assert rows(fresh_database, "SELECT * FROM source_records") == []
    assert event_ids(fresh_database) == []
    with pool.connect() as connection:
        assert cursors.position(connection, ORIGIN, "feed") is None
    intake.take(ORIGIN, [person("a", n=1)], move)
    with pool.connect() as connection:
        assert cursors.position(connection, ORIGIN, "feed") == {"seen": 1}


def test_without_a_database_the_answer_is_to_try_later() -> None:
    made = engine("postgresql://nobody@127.0.0.1:1/none")
    with pytest.raises(RetryLater):
        Intake(made).take(ORIGIN, [person("a", n=1)])
    made.dispose()


def test_personal_data_stays_out_of_database_errors(pool: Engine) -> None:
    with pool.connect() as connection, pytest.raises(Exception, match="does not exist") as error:
        connection.execute(text("SELECT nothing FROM outbox WHERE key = :key"), {"key": "Ada Secret"})
    assert "Ada" not in str(error.value)


def test_of_eight_writers_of_a_new_record_one_hears_new(intake: Intake, fresh_database: str) -> None:
    rounds, writers = 25, 8
    start = threading.Barrier(writers)

    def write(_: int) -> list[Status]:
        found = []
        for number in range(rounds):
            start.wait(30)
            found += statuses(intake.take(ORIGIN, [person(f"p{number}", n=number)]))
        return found

    with ThreadPoolExecutor(writers) as threads:
        heard = Counter(status for found in threads.map(write, range(writers)) for status in found)
    assert heard == {Status.NEW: rounds, Status.UNCHANGED: rounds * (writers - 1)}
    assert len(event_ids(fresh_database)) == rounds


def test_many_writers_in_any_order_end_with_the_newest_and_events_in_order(
    intake: Intake, fresh_database: str
) -> None:
    """Overlapping batches, each in an order of its own, with versions of its own: also no deadlock."""
    people, versions, writers = 40, 6, 8

    def write(seed: int) -> Tally:
        mixed = random.Random(seed)
        total = Tally()
        for version in mixed.sample(range(1, versions + 1), versions):
            batch: list[Valid] = [person(f"p{n}", version, v=version) for n in range(people)]
            mixed.shuffle(batch)
            total += tally(intake.take(ORIGIN, batch[: people * 3 // 4]))
        total += tally(intake.take(ORIGIN, [person(f"p{n}", versions, v=versions) for n in range(people)]))
        return total

    with ThreadPoolExecutor(writers) as threads:
        total = sum(threads.map(write, range(writers)), Tally())
    kept = rows(fresh_database, "SELECT record_id, revision, version_sequence FROM source_records")
    assert {sequence for _, _, sequence in kept} == {versions}
    assert (total.new, total.errors) == (people, 0)
    stored = rows(
        fresh_database,
        "SELECT key, (record::json->>'version_sequence')::int FROM outbox ORDER BY seq",
    )
    assert len(stored) == total.new + total.updated == sum(revision for _, revision, _ in kept)
    by_key: dict[str, list[int]] = {}
    for key, sequence in stored:
        by_key.setdefault(key, []).append(sequence)
    assert all(found == sorted(found) and len(set(found)) == len(found) for found in by_key.values())
    assert len(set(event_ids(fresh_database))) == len(stored)


def test_a_second_wake_up_call_is_not_made_at_once(intake: Intake, fresh_database: str) -> None:
    with psycopg.connect(fresh_database, autocommit=True) as listener:
        listener.execute(f"LISTEN {outbox.CHANNEL}")
        intake.take(ORIGIN, [person("a", n=1)])
        assert len(list(listener.notifies(timeout=5, stop_after=1))) == 1
        intake.take(ORIGIN, [person("a", n=1)])
        assert list(listener.notifies(timeout=0.2)) == []


def test_a_run_that_never_ended_is_marked_by_the_next(pool: Engine) -> None:
    lost = runs.begin(pool, ORIGIN)
    other = runs.begin(pool, Origin(ORIGIN.tenant, "other"))
    runs.fail(pool, runs.begin(pool, ORIGIN), "timeout")
    states = {run.run_id: (run.state, run.reason) for run in runs.latest(pool, ORIGIN, 5)}
    assert states[lost] == (runs.RunState.FAILED, runs.INTERRUPTED)
    assert sorted(states.values())[-1] == (runs.RunState.FAILED, "timeout")
    assert runs.get(pool, other).state is runs.RunState.RUNNING
