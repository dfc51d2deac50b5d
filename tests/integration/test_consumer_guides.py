"""The programs of the guides for consumers, run as they are written on a real broker."""

from __future__ import annotations

import itertools
import os
import re
import select
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from confluent_kafka import Producer

from infra import topics_admin
from infra.codec import Codec
from infra.registry import Registry
from schemas.calls import System
from schemas.ids import CommandId, Target, TenantId
from schemas.moodle import Action, CommandKind, MoodleResult, Outcome
from schemas.rates import Rate, RateKind
from schemas.topics import Record, Topic, topic_set

pytestmark = pytest.mark.integration
GUIDES: Final = Path(__file__).resolve().parents[2] / "docs" / "guides"
AT: Final = datetime(2026, 11, 21, 5, 13, tzinfo=UTC)


class World:
    """The topics of one hub, and the environment in which the programs run."""

    def __init__(self, kafka: str, registry_url: str, prefix: str) -> None:
        self.topics, self.codec = topic_set(Target("default"), prefix), Codec(Registry(registry_url))
        self._kafka = kafka
        used = [self.topics.results, self.topics.rates]
        topics_admin.apply(
            {"bootstrap.servers": kafka}, self.codec.registry, used, partitions=2, replication_factor=1
        )
        own = {"KAFKA_BOOTSTRAP_SERVERS": kafka, "SCHEMA_REGISTRY_URL": registry_url, "TOPIC_PREFIX": prefix}
        self.environment = {**os.environ, **own}

    def send(self, topic: Topic, *records: Record, commit: bool = True) -> None:
        """Write ``records`` in one transaction, and commit or abort that."""
        names = {"bootstrap.servers": self._kafka, "transactional.id": uuid.uuid4().hex}
        producer = Producer({**names, "compression.type": "lz4"})
        producer.init_transactions()
        producer.begin_transaction()
        for record in records:
            producer.produce(topic.name, self.codec.encode(topic, record), record.key)
        assert producer.flush(30) == 0
        if commit:
            producer.commit_transaction()
        else:
            producer.abort_transaction()


@pytest.fixture
def world(kafka: str, registry_url: str, topic_prefix: str) -> World:
    return World(kafka, registry_url, topic_prefix)


def program(guide: str, folder: Path) -> Path:
    """Write the program of a guide into ``folder``."""
    (code,) = re.findall(r"```python\n(.*?)```", (GUIDES / guide).read_text("utf-8"), re.DOTALL)
    path = folder / "program.py"
    path.write_text(code, "utf-8")
    return path


def result(command_id: str, outcome: Outcome) -> MoodleResult:
    return MoodleResult(
        command_id=CommandId(command_id),
        tenant=TenantId("t"),
        target=Target("default"),
        kind=CommandKind.COURSE,
        generation=1,
        outcome=outcome,
        action=Action.NONE,
        completed_at=AT,
    )


def rate(minute: int, failed: int, kind: RateKind = RateKind.CALL) -> Rate:
    return Rate(
        kind=kind,
        tenant=TenantId("t"),
        system=System.MOODLE,
        target=Target("default"),
        function="f",
        minute=AT.replace(minute=minute),
        total=100,
        failed=failed,
    )


def test_the_consumer_in_plain_python_goes_on_where_it_was(world: World, tmp_path: Path) -> None:
    path, results = program("consumers-python.md", tmp_path), world.topics.results

    def counted() -> str:
        command = [sys.executable, path.name]
        done = subprocess.run(
            command, cwd=tmp_path, env=world.environment, capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")
        return done.stdout

    world.send(results, result("1", Outcome.APPLIED), result("2", Outcome.APPLIED))
    world.send(results, result("3", Outcome.CONFLICT), commit=False)
    assert counted() == "APPLIED 2\n"
    world.send(results, result("1", Outcome.APPLIED), result("4", Outcome.REJECTED))
    assert counted() == "APPLIED 2\nREJECTED 1\n"


@contextmanager
def running(path: Path, environment: dict[str, str], *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, path.name, *arguments]
    with subprocess.Popen(
        command,
        cwd=path.parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        bufsize=0,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def test_the_consumer_with_faust_tells_the_minutes_that_failed(world: World, tmp_path: Path) -> None:
    rates = world.topics.rates
    world.send(rates, rate(13, 5), rate(14, 6), rate(15, 50, RateKind.RESULT))
    world.send(rates, rate(16, 99), commit=False)
    world.send(rates, rate(14, 7))
    path = program("consumers-faust.md", tmp_path)
    with running(path, world.environment, "worker", "--loglevel", "warn") as process:
        told = list(itertools.islice(_lines(process), 2))
    assert told == ["05:14 f 6/100", "05:14 f 7/100"]


def _lines(process: subprocess.Popen[bytes]) -> Iterator[str]:
    """Yield what the program prints, without what faust has to say."""
    assert process.stdout is not None
    while select.select([process.stdout], [], [], 60)[0] and (line := process.stdout.readline()):
        if printed := re.search(r"\d\d:\d\d f \d+/\d+", line.decode()):
            yield printed[0]
