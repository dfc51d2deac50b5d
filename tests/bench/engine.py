"""The engine beside a bare consumer: throughput, latency, restore, memory.

Run by itself: `python -m tests.bench.engine`. BENCH_EVENTS sets the number of events (500,000), each of
another person, so that the table has as many keys.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition

from schemas.topics import PEOPLE, changelog
from tests.bench.engine_worker import NAME
from tests.bench.rows import Row
from tests.faults import counting
from tests.faults.world import PARTITIONS, World
from tests.services import embedded_services

RATE = 200
SECONDS = 20


def main() -> list[Row]:
    """Measure and return the figures."""
    events = int(os.environ.get("BENCH_EVENTS", "500000"))
    with _services() as (kafka, registry), tempfile.TemporaryDirectory() as folder:
        world = World(kafka, registry, f"bench{uuid.uuid4().hex[:6]}.", Path(folder)).create()
        world.make(changelog(NAME).prefixed(world.prefix).name, config={"cleanup.policy": "compact"})
        _load(world, events)
        rows = [*_throughput(world, events), *_restores(world, events)]
        return [*rows, *_latency(world)]


@contextmanager
def _services() -> Iterator[tuple[str, str]]:
    named = os.environ.get("KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("SCHEMA_REGISTRY_URL")
    if named[0] and named[1]:
        yield named[0], named[1]
        return
    with embedded_services() as services:
        yield services.address("kafka"), services.address("registry")


def _load(world: World, events: int) -> None:
    topic = PEOPLE.prefixed(world.prefix)
    for number in range(events):
        world.send(topic, replace(counting.person(number), attributes={"oprid": str(number)}))
    assert world.producer.flush(60) == 0


def _throughput(world: World, events: int) -> Iterator[Row]:
    raw = _measure(world, "raw", events, "raw")
    yield Row("engine: raw consume and decode", events / raw["cpu"], "events per CPU second")
    ours = _measure(world, "process", events, "first")
    yield Row(
        "engine: stage, 1 output and 1 table write per event", events / ours["cpu"], "events per CPU second"
    )
    yield Row("engine: stage, wall clock", events / ours["wall"], "events/s")
    yield Row("engine: stage against raw, per CPU second", raw["cpu"] / ours["cpu"], "", ">= 0.25")
    yield Row("engine: peak memory of a worker", ours["megabytes"], "MB", "<= 400")


def _restores(world: World, events: int) -> Iterator[Row]:
    cold = _measure(world, "restore", events, "cold")
    assert cold["restored"] >= events
    yield Row("engine: cold restore", cold["restored"] / cold["restore_seconds"], "keys/s", ">= 80000")
    yield Row("engine: cold start until ready", cold["wall"], "s")
    yield Row("engine: peak memory while restoring", cold["megabytes"], "MB", "<= 400")
    warm = _measure(world, "restore", events, "cold")
    yield Row("engine: warm restart until ready", warm["wall"], "s", "<= 3")


def _latency(world: World) -> Iterator[Row]:
    with _serving(world):
        times = sorted(_round_trips(world))
    for share in (50, 95, 99):
        value = times[len(times) * share // 100] * 1000
        name = f"engine: event to committed output at {RATE} events/s, p{share}"
        yield Row(name, value, "ms", "<= 100" if share == 95 else "")


def _round_trips(world: World) -> list[float]:
    """Send events at a steady rate, and return the seconds until each one's output can be read."""
    topic = PEOPLE.prefixed(world.prefix)
    ends = world.ends([world.output.name])
    consumer = Consumer({"bootstrap.servers": world.kafka, "group.id": "latency"})
    consumer.assign([TopicPartition(world.output.name, number, end) for (_, number), end in ends.items()])
    consumer.poll(1.0)
    sent: dict[bytes, float] = {}
    found: list[float] = []
    started = time.monotonic()
    warmup = RATE * 2
    for number in range(RATE * SECONDS + warmup):
        person = counting.person(10_000_000 + number)
        due = started + number / RATE
        while (now := time.monotonic()) < due:
            found += _arrived(consumer, sent, due - now)
        sent[person.key.encode()] = time.monotonic()
        world.send(topic, person)
        world.producer.poll(0)
    deadline = time.monotonic() + 10
    while sent and time.monotonic() < deadline:
        found += _arrived(consumer, sent, 0.1)
    consumer.close()
    assert not sent, f"{len(sent)} outputs are missing"
    return found[warmup:]


def _arrived(consumer: Consumer, sent: dict[bytes, float], seconds: float) -> list[float]:
    message = consumer.poll(seconds)
    if message is None or message.error() is not None:
        return []
    return [time.monotonic() - sent.pop(message.key() or b"")]


@contextmanager
def _serving(world: World) -> Iterator[None]:
    command = _command(world, "serve", 0, "first")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL) as process:
        try:
            yield
        finally:
            process.communicate()


def _measure(world: World, mode: str, events: int, folder: str) -> dict[str, float]:
    done = subprocess.run(_command(world, mode, events, folder), check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("MEASURED"))
    measured: dict[str, float] = json.loads(line.removeprefix("MEASURED"))
    return measured


def _command(world: World, mode: str, events: int, folder: str) -> list[str]:
    settings: dict[str, Any] = {
        "mode": mode,
        "events": events,
        "partitions": PARTITIONS,
        "kafka": world.kafka,
        "registry": world.registry,
        "prefix": world.prefix,
        "folder": str(world.folder / folder),
    }
    return [sys.executable, "-m", "tests.bench.engine_worker", json.dumps(settings)]


if __name__ == "__main__":
    for row in main():
        print(f"{row.name}: {row.value:,.2f} {row.unit} {row.target}")
