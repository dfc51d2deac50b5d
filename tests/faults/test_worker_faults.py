"""Workers that die, freeze, join and leave, on the real broker: outputs and tables stay exact.

Seeds are printed; give one by `FAULT_SEED` to repeat a run.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from infra.engine.watchdog import HUNG_EXIT_CODE
from infra.partitioning import partition_of
from infra.settings import GroupProtocol
from schemas.topics import PEOPLE
from tests.faults import counting, sink_worker
from tests.faults.world import FAILED, PARTITIONS, World, assert_results, expected_table, wait_for

pytestmark = pytest.mark.faults

PROTOCOLS = [pytest.param(protocol.value, id=protocol) for protocol in GroupProtocol]
KILLS = 20


@pytest.fixture
def world(kafka: str, registry_url: str, topic_prefix: str, tmp_path: Path) -> Iterator[World]:
    with World(kafka, registry_url, topic_prefix, tmp_path) as world:
        yield world.create()


@pytest.fixture
def chance() -> random.Random:
    seed = int(os.environ.get("FAULT_SEED") or random.randrange(1_000_000))
    print(f"FAULT_SEED={seed}")
    return random.Random(seed)


@contextmanager
def load_meanwhile(world: World, events: int, people: int, seed: int) -> Iterator[None]:
    """Send the events in small portions while the block runs, the rest at its end."""
    done = threading.Event()

    def send() -> None:
        for portion in range(events // 100):
            world.load(100, people, seed + portion)
            done.wait(0.1)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def test_kill_9_at_random_moments(world: World, chance: random.Random) -> None:
    world.load(8_000, 300, chance.randrange(1_000))
    for _ in range(KILLS):
        with world.worker(batch_size=400, drag=0.001) as worker:
            if chance.random() < 0.7:  # while it writes; otherwise while it starts or restores
                written = world.written()
                wait_for(lambda: world.written() > written, 60, worker.tail)  # noqa: B023
            threading.Event().wait(chance.uniform(0.0, 0.4))
            worker.kill()
    with world.worker(drag=0.0) as worker:
        world.wait_until_drained(90)
        assert worker.stop() == 0
    world.assert_exact()
    assert world.stored() == expected_table(world.sent)
    assert world.aborted() > KILLS, "the kills hit transactions that had written records"
    _compare_with_undisturbed_run(world)


def _compare_with_undisturbed_run(world: World) -> None:
    """Run the stage over the same events once more, into other topics, and compare table and outputs."""
    calm = World(world.kafka, world.registry, f"{world.prefix}calm.", world.folder / "calm")
    calm.folder.mkdir()
    calm.create()
    with world.worker("calm", output_prefix=calm.prefix) as worker:
        world.wait_until_drained(60, calm.prefix)
        assert worker.stop() == 0
    assert calm.table() == world.table()
    results = [sorted(map(_facts, each.read(each.output.name))) for each in (world, calm)]
    assert results[0] == results[1]
    assert calm.aborted() == 0


def _facts(message: object) -> tuple[bytes, bytes]:
    key, value = message.key(), message.value()  # type: ignore[attr-defined]  # the client's Message
    return key, value


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_workers_join_and_leave_under_load(world: World, chance: random.Random, protocol: str) -> None:
    options = {"protocol": protocol, "batch_size": 100}
    with world.worker("0", **options) as first, load_meanwhile(world, 6_000, 300, chance.randrange(1_000)):
        first.wait_ready()
        with world.worker("1", **options) as second:
            wait_for(lambda: len(second.partitions()) == 3 == len(first.partitions()), 30, second.tail)
            assert second.stop(10) == 0
        wait_for(lambda: len(first.partitions()) == 6, 30, first.tail)
        with world.worker("1", **options) as second:
            wait_for(lambda: len(second.partitions()) == 3, 30, second.tail)
            second.kill()
        with world.worker("1", **options) as second:
            wait_for(lambda: len(second.partitions()) == 3, 30, second.tail)
            assert first.stop(10) == 0
            wait_for(lambda: len(second.partitions()) == 6, 30, second.tail)
            world.wait_until_drained(90)
    with world.worker("0", **options):
        world.wait_until_drained(90)
    world.assert_exact()


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_a_frozen_worker_wakes_up_as_a_zombie(world: World, protocol: str) -> None:
    options = {"protocol": protocol, "transaction_timeout_ms": 10_000, "batch_size": 2_000, "linger": 1.0}
    with world.worker("0", environ={"FREEZE": "1"}, **options) as zombie:
        zombie.wait_ready()
        world.load(300, 20, seed=1)
        world.wait_until_drained()
        _send_a_batch_that_freezes(world)
        wait_for(lambda: _is_stopped(zombie.process.pid), 20, zombie.tail)
        with world.worker("1", **options) as heir:
            wait_for(lambda: len(heir.partitions()) == 6, 40, heir.tail)
            world.load(300, 20, seed=2)
            world.wait_until_drained(90)
            zombie.signal(signal.SIGCONT)
            world.load(300, 20, seed=3)
            world.wait_until_drained(90)
            wait_for(lambda: zombie.process.poll() is not None or bool(zombie.status()), 30, zombie.tail)
    world.assert_exact()
    assert world.aborted() > 0, "the zombie had written records"


def _send_a_batch_that_freezes(world: World) -> None:
    """Send more than one portion to one partition, so that the first is written before the worker freezes."""
    places = {number: partition_of(counting.person(number).key, PARTITIONS) for number in range(200)}
    numbers = [number for number, place in places.items() if place == places[10]]
    people = [counting.person(numbers[turn % len(numbers)]) for turn in range(600)]
    people.insert(500, counting.special(10, counting.FREEZE))
    for person in people:
        world.send(PEOPLE.prefixed(world.prefix), person)
        world.sent["people", person.person_id] += 1
    world.producer.flush(10)


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_two_live_processes_with_one_transactional_id(world: World, protocol: str) -> None:
    options = {"protocol": protocol, "batch_size": 50, "drag": 0.001}
    with world.worker("0", **options) as first, load_meanwhile(world, 2_000, 100, seed=1):
        first.wait_ready()
        other = World(world.kafka, world.registry, world.prefix, world.folder / "other")
        other.folder.mkdir()
        with other.worker("0", **options) as second:
            second.wait_ready()
            wait_for(lambda: first.process.poll() is not None, 30, first.tail)
            # It says that it cannot go on, or its watchdog ends it when Kafka's client does not let it close.
            assert first.process.returncode in (FAILED, HUNG_EXIT_CODE), first.tail()
            world.load(1_000, 100, seed=2)
            world.wait_until_drained(90)
            assert second.stop(10) == 0
    with other.worker("0", **options):
        world.wait_until_drained(90)
    world.assert_exact()


def test_deleted_state_is_restored_from_a_compacted_changelog(world: World) -> None:
    with World(
        world.kafka,
        world.registry,
        f"{world.prefix}c.",
        world.folder,
        topic_config={
            "segment.ms": "500",
            "min.cleanable.dirty.ratio": "0.01",
            "max.compaction.lag.ms": "500",
            "delete.retention.ms": "100",
        },
    ) as compacted:
        compacted.create()
        with compacted.worker(batch_size=50) as worker:
            for seed in range(8):
                compacted.load(500, 30, seed)
                compacted.wait_until_drained(90)
                threading.Event().wait(0.6)
            written = compacted.ends([compacted.changelog.name])
            wait_for(lambda: _left(compacted) < sum(written.values()) // 4, 60, lambda: _left(compacted))
            worker.kill()
        shutil.rmtree(compacted.folder / "state")
        with compacted.worker() as worker:
            compacted.load(200, 30, seed=9)
            compacted.wait_until_drained(90)
            assert worker.status()["restore"]["records"] > 0
            assert worker.stop() == 0
        compacted.assert_exact()
        assert compacted.stored() == expected_table(compacted.sent), "deleted entries stay deleted"


def _left(world: World) -> int:
    """Return how many records compaction has left in the changelog."""
    return len(world.read(world.changelog.name, committed=False))


def test_a_killed_sink_repeats_the_batch_but_not_its_results(world: World, chance: random.Random) -> None:
    people, notes = PEOPLE.prefixed(world.prefix), world.folder / "notes"
    for number in range(1_500):
        world.send(people, counting.person(number))
    world.producer.flush(10)
    for _ in range(5):
        before = len(notes.read_text()) if notes.exists() else 0
        worker = world.start_sink(notes)
        wait_for(lambda: notes.exists() and len(notes.read_text()) > before, 30, worker.tail)  # noqa: B023
        threading.Event().wait(chance.uniform(0.0, 0.2))
        worker.kill()
    worker = world.start_sink(notes)
    try:
        group, ends = world.prefix + sink_worker.NAME, world.ends([people.name])
        wait_for(lambda: world.offsets(group, ends) == ends, 60, worker.tail)
        assert worker.stop(10) == 0
    finally:
        worker.kill()
    written = notes.read_text().split()
    assert len(written) > len(set(written)) == 1_500, "some batches were written twice"
    results = world.records(world.output)
    assert sorted(result.generation for result in results) == list(range(1_500))


def test_a_worker_that_hangs_is_ended_and_the_next_goes_on(world: World) -> None:
    # Long enough that a busy machine alone does not look like a hang.
    with world.worker(environ={"HANG": "1"}, watchdog_seconds=6.0) as hung:
        hung.wait_ready()
        world.load(50, 10, seed=1)
        world.send(PEOPLE.prefixed(world.prefix), counting.special(1, counting.HANG))
        world.sent["people", "p000001"] += 1
        world.producer.flush(10)
        assert hung.process.wait(60) == HUNG_EXIT_CODE
    with world.worker():
        world.wait_until_drained(90)
    assert_results(world.records(world.output), world.sent)
