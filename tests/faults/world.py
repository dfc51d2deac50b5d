"""Topics, events, worker processes and the exact oracle of the tests of the engine."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, cast

import msgspec
from confluent_kafka import (
    OFFSET_BEGINNING,
    OFFSET_END,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, NewTopic

from infra.codec import Codec, schema_text
from infra.engine.store import Store
from infra.engine.watchdog import HUNG_EXIT_CODE
from infra.producing import SAFE
from infra.registry import Registry
from schemas.deadletters import DeadLetter, Header, from_message
from schemas.topics import DEAD_LETTERS, Record, Topic, changelog
from tests.faults import counting

PARTITIONS = 6
FAILED = 3
"""Exit code of a worker that cannot go on, where a new process can."""


@dataclass
class World:
    """One test's topics on one cluster.

    Args:
        kafka: Bootstrap servers.
        registry: URL of the schema registry.
        prefix: Of the topics, groups and transactional ids.
        folder: For state folders and logs.
        replication: Replication factor of the topics.
    """

    kafka: str
    registry: str
    prefix: str
    folder: Path
    replication: int = 1
    sent: Counter[tuple[str, str]] = field(default_factory=Counter)
    topic_config: dict[str, str] = field(default_factory=dict)
    undelivered: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.codec = Codec(Registry(self.registry))

    def __enter__(self) -> World:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the producer, if there is one; it would go on looking for a broker that has ended."""
        if "producer" in vars(self):
            self.producer.close()

    @cached_property
    def producer(self) -> Producer:
        """Sends what `send` is given."""
        return Producer({"bootstrap.servers": self.kafka, **SAFE, "linger.ms": 5})

    def admin(self) -> AdminClient:
        """Return an admin client, to be closed by ``with``."""
        return AdminClient({"bootstrap.servers": self.kafka})

    @property
    def output(self) -> Topic:
        return counting.output(self.prefix)

    @property
    def dead_letters(self) -> Topic:
        return DEAD_LETTERS.prefixed(self.prefix)

    @property
    def changelog(self) -> Topic:
        return changelog(counting.NAME).prefixed(self.prefix)

    @property
    def group(self) -> str:
        return self.prefix + counting.NAME

    def create(self) -> World:
        """Make all topics of the counting stage and register their schemas."""
        topics = [*counting.inputs(self.prefix), self.output]
        for topic in topics:
            self.codec.registry.register(topic.subject, schema_text(topic))
        self.make(*(topic.name for topic in (*topics, self.dead_letters)))
        self.make(self.changelog.name, config={"cleanup.policy": "compact", **self.topic_config})
        return self

    def make(self, *names: str, config: dict[str, str] | None = None, partitions: int = PARTITIONS) -> None:
        new = [NewTopic(name, partitions, self.replication, config=config or {}) for name in names]
        with self.admin() as admin:
            for future in admin.create_topics(new, operation_timeout=20).values():
                future.result(30)

    def send(self, topic: Topic, record: Record) -> None:
        value = self.codec.encode(topic, record)
        while True:
            try:
                self.producer.produce(topic.name, value, record.key.encode(), on_delivery=self._delivered)
                return
            except BufferError:
                self.producer.poll(0.1)

    def _delivered(self, error: KafkaError | None, message: Message) -> None:
        if error is not None or (message.offset() or 0) < 0:
            self.undelivered.append(f"{message.topic()}/{message.partition()}/{message.offset()}: {error}")

    def load(self, events: int, people: int, seed: int) -> None:
        """Send seeded events, half of them people and half enrolments, over so many people."""
        chance = random.Random(seed)
        topics = counting.inputs(self.prefix)
        for _ in range(events):
            which, number = chance.randrange(2), chance.randrange(people)
            record = (counting.person, counting.enrolment)[which](number)
            self.sent["people" if which == 0 else "enrolments", str(record.person_id)] += 1
            self.send(topics[which], record)
        assert self.producer.flush(60) == 0
        assert not self.undelivered, self.undelivered

    # Worker processes

    @contextmanager
    def worker(self, slot: str = "0", **options: Any) -> Iterator[WorkerProcess]:
        process = self.start(slot, **options)
        try:
            yield process
        finally:
            process.kill()

    def start(self, slot: str = "0", **options: Any) -> WorkerProcess:
        settings = {
            "kafka": self.kafka,
            "registry": self.registry,
            "prefix": self.prefix,
            "slot": slot,
            "folder": str(self.folder / "state"),
            **options,
        }
        return WorkerProcess(settings, self.folder / f"worker-{slot}.log")

    @contextmanager
    def supervised(self, slot: str, **options: Any) -> Iterator[None]:
        """Keep a worker running while the block does: a new process follows one that could not go on.

        It says so itself, or its watchdog ends it: a call to a broker that has just died may never return.
        """
        done = threading.Event()
        failures: list[str] = []

        def supervise() -> None:
            while not done.is_set():
                with self.worker(slot, **options) as worker:
                    while worker.process.poll() is None and not done.wait(0.1):
                        pass
                    if worker.process.returncode not in (None, FAILED, HUNG_EXIT_CODE):
                        failures.append(worker.tail())
                        done.set()

        thread = threading.Thread(target=supervise)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()
        assert not failures, failures[0]

    def start_sink(self, notes: Path) -> WorkerProcess:
        """Start `tests.faults.sink_worker`, which notes what it writes in a file."""
        return self.start("sink", module="tests.faults.sink_worker", notes=str(notes))

    # What came of it

    def lag(self, prefix: str | None = None) -> dict[tuple[str, int], int]:
        """Return what the group has not committed yet, by partition; a partition without offset counts -1."""
        ends = self.ends([topic.name for topic in counting.inputs(self.prefix)])
        offsets = self.offsets(self.group if prefix is None else prefix + counting.NAME, ends)
        return {
            place: end - offsets[place] if place in offsets else -1
            for place, end in ends.items()
            if offsets.get(place) != end
        }

    def offsets(self, group: str, places: Iterable[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Return the committed offsets of ``group`` at ``places``; none while nobody can tell.

        By a plain consumer: an admin client that asks while the group's coordinator is not ready crashes.
        """
        consumer = Consumer({"bootstrap.servers": self.kafka, "group.id": group})
        try:
            found = consumer.committed([TopicPartition(*place) for place in places], timeout=20)
        except KafkaException:
            return {}
        finally:
            consumer.close()
        return {(tp.topic, tp.partition): tp.offset for tp in found if tp.offset >= 0}

    def has_members(self) -> bool:
        """Tell whether anybody is in the group of the stage."""
        with self.admin() as admin:
            found = admin.describe_consumer_groups([self.group])[self.group].result(20)
        return bool(found.members)

    def ends(self, topics: Sequence[str]) -> dict[tuple[str, int], int]:
        return ends(self.kafka, topics)

    def wait_until_drained(self, seconds: float = 90, prefix: str | None = None) -> None:
        """Wait until all that was sent can be read, and is committed.

        What a leader has acknowledged, the next one shows only when it knows that others have it too.
        """
        inputs = [topic.name for topic in counting.inputs(self.prefix)]
        sent = self.sent.total()
        wait_for(
            lambda: sum(self.ends(inputs).values()) >= sent, seconds, lambda: f"{sent} {self.ends(inputs)}"
        )
        wait_for(lambda: not self.lag(prefix), seconds, lambda: f"lag {self.lag(prefix)}")

    def read(self, topic: str, *, committed: bool = True) -> list[Message]:
        return read_all(self.kafka, topic, committed=committed)

    def records(self, topic: Topic) -> list[Any]:
        return [self.codec.decode(topic, message.value()) for message in self.read(topic.name)]

    def letters(self, topic: Topic | None = None) -> list[DeadLetter]:
        """Return the dead letters in ``topic``, those of stages by default, in the order of their places."""
        found = [letter_of(message) for message in self.read((topic or self.dead_letters).name)]
        return sorted(found, key=lambda letter: letter.place)

    def table(self, topic: Topic | None = None) -> dict[str, Any]:
        """Return the table that the committed changelog stands for."""
        entries: dict[str, bytes] = {}
        for message in self.read((topic or self.changelog).name):
            key = (message.key() or b"").decode()
            value = message.value()
            if value is None:
                entries.pop(key, None)
            else:
                entries[key] = value
        return {
            key: msgspec.msgpack.decode(value) for key, value in entries.items() if not key.startswith("\0")
        }

    def assert_exact(self) -> None:
        """Compare outputs and table with the events that were sent."""
        assert_results(self.records(self.output), self.sent)
        assert self.table() == expected_table(self.sent)

    def arrived(self) -> Counter[tuple[str, str]]:
        """Return how many events of each person the inputs hold."""
        topics = zip(("people", "enrolments"), counting.inputs(self.prefix), strict=True)
        return Counter(
            (kind, str(event.person_id)) for kind, topic in topics for event in self.records(topic)
        )

    def stored(self, slot: str = "0") -> dict[str, Any]:
        """Return the tables on the disk of a worker that has ended."""
        store = Store(self.folder / "state" / f"{counting.NAME}.{slot}")
        try:
            rows = [row for number in range(PARTITIONS) for row in store.rows(number, b"")]
        finally:
            store.close()
        return {
            key.decode(): msgspec.msgpack.decode(value) for key, value in rows if not key.startswith(b"\0")
        }

    def written(self) -> int:
        """Return how many offsets of the output are taken, by committed records or not."""
        return sum(self.ends([self.output.name]).values())

    def aborted(self) -> int:
        """Return how many records were written to output and changelog by transactions that were aborted."""
        names = (self.output.name, self.changelog.name)
        return sum(len(self.read(name, committed=False)) - len(self.read(name)) for name in names)


class WorkerProcess:
    """A worker in a process of its own: `python -m tests.faults.worker`."""

    def __init__(self, settings: dict[str, Any], log: Path) -> None:
        self.log = log
        environ = {**os.environ, **settings.pop("environ", {})}
        self._port_file = log.with_suffix(".port")
        self._port_file.unlink(missing_ok=True)
        settings["port_file"] = str(self._port_file)
        module = settings.pop("module", "tests.faults.worker")
        command = [sys.executable, "-m", module, json.dumps(settings)]
        with log.open("ab") as out:
            self.process = subprocess.Popen(command, stdout=out, stderr=out, env=environ)

    def status(self) -> dict[str, Any]:
        """Return `/status`; empty while nobody answers."""
        try:
            port = int(self._port_file.read_text())
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/status", timeout=2) as answer:
                found: dict[str, Any] = json.load(answer)
                return found
        except (OSError, ValueError):
            return {}

    def call(self, path: str, data: bytes | None = None) -> tuple[int, str]:
        port = int(self._port_file.read_text())
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", data, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def wait_ready(self, seconds: float = 60) -> None:
        wait_for(lambda: bool(self.status().get("ready")), seconds, lambda: self.tail())

    def partitions(self) -> set[int]:
        return {entry["partition"] for entry in self.status().get("partitions", ())}

    def tail(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def stop(self, seconds: float = 15) -> int:
        """Ask it to end and return its exit code."""
        self.process.terminate()
        return self.process.wait(seconds)


def ends(kafka: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    """Return the high watermarks of all partitions of ``topics``, waiting for leaders to be there."""
    deadline = time.monotonic() + 60
    while True:
        try:
            return _ends(kafka, topics)
        except (KafkaException, KeyError):
            if time.monotonic() > deadline:
                raise


def _ends(kafka: str, topics: Sequence[str]) -> dict[tuple[str, int], int]:
    consumer = Consumer(
        {"bootstrap.servers": kafka, "group.id": "unused", "isolation.level": "read_uncommitted"}
    )
    try:
        known = {topic: consumer.list_topics(topic, timeout=20).topics[topic].partitions for topic in topics}
        # The end is a time to Kafka, behind all records: so all partitions are asked for at once.
        asked = [TopicPartition(topic, number, OFFSET_END) for topic in topics for number in known[topic]]
        found = consumer.offsets_for_times(asked, timeout=20)
    finally:
        consumer.close()
    if error := next((place.error for place in found if place.error), None):
        raise KafkaException(error)
    return {(place.topic, place.partition): place.offset for place in found}


def read_all(kafka: str, topic: str, *, committed: bool = True) -> list[Message]:
    """Read a topic from the beginning to the end that it has now, in the order of each partition."""
    left = {number: end for (_, number), end in ends(kafka, [topic]).items() if end > 0}
    consumer = Consumer(
        {
            "bootstrap.servers": kafka,
            "group.id": "unused",
            "isolation.level": "read_committed" if committed else "read_uncommitted",
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "enable.auto.commit": False,
            "fetch.wait.max.ms": 20,
        }
    )
    found: list[Message] = []
    deadline = time.monotonic() + 90
    try:
        consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in left])
        while left:
            assert time.monotonic() < deadline, f"{topic} cannot be read to its end: {left}"
            for message in consumer.consume(10_000, 0.2):
                error, number, offset = message.error(), message.partition(), message.offset()
                assert number is not None
                assert offset is not None
                if error is None:
                    found.append(message)
                elif error.code() == KafkaError._PARTITION_EOF and offset >= left.get(number, 0):
                    left.pop(number, None)
    finally:
        consumer.close()
    return found


def letter_of(message: Message) -> DeadLetter:
    """Return the dead letter that ``message`` is."""
    headers = cast(list[Header], message.headers() or [])
    place = f"{message.topic()}/{message.partition()}/{message.offset()}"
    return from_message(message.key(), message.value(), headers, place)


def wait_for(condition: Callable[[], bool], seconds: float, why: Callable[[], object] = str) -> None:
    """Ask until the condition holds."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in {seconds} s: {why()}"
        time.sleep(0.05)


def assert_results(results: Sequence[Any], sent: Counter[tuple[str, str]]) -> None:
    """Every person's results must count 1, 2, 3 ... up to the number of events sent, in this order."""
    found: dict[tuple[str, str], list[int]] = {}
    for one in results:
        kind = one.command_id.split("-")[0]
        found.setdefault((kind, one.person_id), []).append(one.generation)
    wrong = {
        place: (counts, sent[place])
        for place, counts in found.items()
        if counts != list(range(1, sent[place] + 1))
    }
    assert not wrong, dict(list(wrong.items())[:5])
    assert found.keys() == {place for place, count in sent.items() if count}


def expected_table(sent: Counter[tuple[str, str]]) -> dict[str, Any]:
    table: dict[str, Any] = {}
    for (kind, person), count in sent.items():
        table[f"count|{kind}|{counting.TENANT}|{person}"] = {"events": count}
        if count % 2:
            table[f"odd|{kind}|{counting.TENANT}|{person}"] = {"events": count}
    return table
