"""The processes that `tests.bench.engine` measures: `python -m tests.bench.engine_worker JSON`.

Prints one JSON object: wall and CPU seconds of the work alone (all threads), and the peak of memory.
"""

from __future__ import annotations

import json
import resource
import sys
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec
from confluent_kafka import Consumer, TopicPartition

from infra import collector
from infra.codec import Codec
from infra.engine import EngineConfig, run_stage
from infra.engine.config import reader_settings
from infra.registry import Registry
from infra.stage import Output, Stage, Table
from infra.telemetry import Status
from schemas.events import Person
from schemas.topics import PEOPLE, Topic
from tests.faults import counting

NAME = "bench"


class Entry(msgspec.Struct, frozen=True):
    """The last version of a person, and how often it changed."""

    sequence: int
    changes: int
    email: str | None


def stage(prefix: str) -> Stage:
    """Return the stage: one read, one write and one output per event."""
    people, results = PEOPLE.prefixed(prefix), counting.output(prefix)

    def handle(person: Person, table: Table) -> Iterable[Output]:
        entry = f"person|{person.key}"
        before = table.get(entry, Entry)
        changes = before.changes + 1 if before else 1
        table.put(entry, Entry(person.version_sequence, changes, person.email))
        return (Output(results, counting.result("people", person.person_id, changes)),)

    return Stage(NAME, {people: handle}, (results,))


def config_of(settings: dict[str, Any]) -> EngineConfig:
    """Return the default settings, at the given cluster."""
    return EngineConfig(
        kafka={"bootstrap.servers": settings["kafka"]},
        codec=Codec(Registry(settings["registry"])),
        state_folder=Path(settings["folder"]),
        prefix=settings["prefix"],
        slot=settings.get("slot", "0"),
    )


def raw(settings: dict[str, Any]) -> dict[str, float]:
    """Consume and decode the topic, and nothing else."""
    topic = PEOPLE.prefixed(settings["prefix"])
    places = [TopicPartition(topic.name, number, 0) for number in range(settings["partitions"])]
    return read_bare(config_of(settings), topic, places, settings["events"])


def read_bare(
    config: EngineConfig, topic: Topic, places: list[TopicPartition], events: int
) -> dict[str, float]:
    """Consume and decode ``events`` records of ``topic`` from ``places`` on; return what it took."""
    consumer = Consumer({**reader_settings(config), "group.id": "raw"})
    count, decode = 0, config.codec.decode
    consumer.list_topics(topic.name, timeout=10)
    clock = Clock()
    consumer.assign(places)
    while count < events:
        for message in consumer.consume(config.batch_size, 1.0):
            if message.error() is None:
                decode(topic, message.value())
                count += 1
    measured = clock.read()
    consumer.close()
    return measured


def process(settings: dict[str, Any]) -> dict[str, float]:
    """Run the stage until it has read everything."""

    def is_done(shown: dict[str, Any]) -> bool:
        places = shown.get("partitions", [])
        return bool(places) and all(
            place["at_end"] and place["position"] == place["committed"] for place in places
        )

    return _run(settings, is_done)


def restore(settings: dict[str, Any]) -> dict[str, float]:
    """Start a worker and tell when it was ready, and how long its restore took."""
    return _run(settings, lambda shown: bool(shown["ready"]))


def serve(settings: dict[str, Any]) -> dict[str, float]:
    """Run the stage until the standard input ends."""
    stop = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        stop.set()

    threading.Thread(target=wait, daemon=True).start()
    run_stage(stage(settings["prefix"]), config_of(settings), stop)
    return {}


def _run(settings: dict[str, Any], is_done: Callable[[dict[str, Any]], bool]) -> dict[str, float]:
    stop, status, clock = threading.Event(), Status(NAME), Clock()
    found: dict[str, float] = {}

    def watch() -> None:
        while not is_done(status.payload()):
            time.sleep(0.02)
        found.update(clock.read())
        found["restored"] = status.payload()["restore"]["records"]
        found["restore_seconds"] = status.payload()["restore"]["seconds"]
        stop.set()

    thread = threading.Thread(target=watch)
    thread.start()
    run_stage(stage(settings["prefix"]), config_of(settings), stop, status)
    thread.join()
    return found


class Clock:
    """Wall and CPU time since it was made."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.monotonic(), time.process_time()

    def read(self) -> dict[str, float]:
        """Return the seconds of both, and the peak of memory in MB."""
        return {
            "wall": time.monotonic() - self._wall,
            "cpu": time.process_time() - self._cpu,
            "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        }


def run() -> int:
    """Do what the JSON of the command line says."""
    collector.calm()
    settings = json.loads(sys.argv[1])
    work = {"raw": raw, "process": process, "restore": restore, "serve": serve}[settings["mode"]]
    measured = work(settings)
    print("MEASURED" + json.dumps(measured), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(run())
