"""The two stages of an enrolment beside a bare consumer of the same topic, per CPU second.

Run by itself: `python -m tests.bench.topology`. BENCH_EVENTS sets the number of enrolments (500,000), ten for
each person; accounts and courses are known beforehand, so each enrolment passes both stages to a command.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from confluent_kafka import Producer, TopicPartition

from infra import collector, topics_admin
from infra.codec import Codec
from infra.engine import EngineConfig, run_stage
from infra.mapping import parse
from infra.partitioning import partition_of
from infra.producing import SAFE
from infra.registry import Registry
from infra.scan import Onlooker
from infra.telemetry import Status
from processors.topology import topology
from schemas.events import AccountPolicy, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import (
    CommandId,
    CourseId,
    EnrolmentId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
    Target,
    TenantId,
)
from schemas.moodle import (
    Action,
    CommandKind,
    CourseObserved,
    MoodleObserved,
    MoodleResult,
    ObservedKind,
    Outcome,
)
from schemas.topics import Record, Topic, TopicSet, changelog, sites, topic_set
from tests.bench.engine_worker import Clock, read_bare
from tests.bench.rows import Row
from tests.services import embedded_services

TENANT, TARGET = TenantId("default"), Target("default")
NOW = datetime(2026, 11, 21, tzinfo=UTC)
COURSES, EACH, PARTITIONS = 1_000, 10, 6


def main() -> list[Row]:
    """Measure and return the figures."""
    events = int(os.environ.get("BENCH_EVENTS", "500000"))
    with embedded_services() as services, tempfile.TemporaryDirectory() as folder:
        settings = {
            "kafka": services.address("kafka"),
            "registry": services.address("registry"),
            "prefix": f"bench{uuid.uuid4().hex[:6]}.",
            "folder": folder,
        }
        return _measure(settings, events)


def _measure(settings: dict[str, Any], events: int) -> list[Row]:
    topics = topic_set(TARGET, settings["prefix"])
    changelogs = [
        changelog(name).prefixed(settings["prefix"])
        for name in ("people", "references", "courses", "completions")
    ]
    topics_admin.apply(
        {"bootstrap.servers": settings["kafka"]},
        Registry(settings["registry"]),
        [*topics.all(), *changelogs],
        partitions=PARTITIONS,
        replication_factor=1,
    )
    people = events // EACH
    _send(settings, _wished(topics, people))
    for stage in ("people", "courses"):
        _run(settings, stage)
    # Only now: the stages ask for accounts before these can be answered, and topics are read in no order.
    _send(settings, ((topics.results, _result(number)) for number in range(people)))
    _run(settings, "people")
    with Onlooker({"bootstrap.servers": settings["kafka"]}) as onlooker:
        first = {str(number): end for (_, number), end in onlooker.ends([topics.enrolments.name]).items()}
        _send(settings, ((topics.enrolments, _enrolment(number, people)) for number in range(events)))
        raw = _run({**settings, "first": first, "events": events}, "raw")
        before = sum(onlooker.ends([topics.commands.name]).values())
        stages = [_run(settings, stage) for stage in ("people", "courses")]
        commands = sum(onlooker.ends([topics.commands.name]).values()) - before
    assert commands >= events, f"{commands:,} commands of {events:,} enrolments"
    cpu, wall = (sum(stage[kind] for stage in stages) for kind in ("cpu", "wall"))
    return [
        Row("topology: raw consume and decode", events / raw["cpu"], "events per CPU second"),
        Row("topology: both stages", events / cpu, "events per CPU second"),
        Row("topology: both stages, one after the other", events / wall, "events/s"),
        Row("topology: both stages against raw, per CPU second", raw["cpu"] / cpu, "", ">= 0.12"),
        Row("topology: peak memory of a worker", max(s["megabytes"] for s in stages), "MB", "<= 400"),
    ]


def _wished(topics: TopicSet, people: int) -> Iterable[tuple[Topic, Record]]:
    """Yield people, whose accounts are asked for by that, and the catalogue, by which courses are known."""
    for number in range(people):
        yield topics.people, _person(number)
    for number in range(COURSES):
        yield topics.observed, _course(number)


def _send(settings: dict[str, Any], records: Iterable[tuple[Topic, Record]]) -> None:
    producer = Producer(
        {
            "bootstrap.servers": settings["kafka"],
            **SAFE,
            "linger.ms": 20,
            "compression.type": "lz4",
        }
    )
    codec = Codec(Registry(settings["registry"]))
    for topic, record in records:
        route = getattr(record, "route", None)
        partition = partition_of(route, PARTITIONS) if route else -1
        while True:
            try:
                producer.produce(topic.name, codec.encode(topic, record), record.key, partition)
                break
            except BufferError:
                producer.poll(0.1)
    assert producer.flush(120) == 0


def _person(number: int) -> Person:
    return Person(
        tenant=TENANT,
        person_id=_person_id(number),
        operation=Operation.UPSERT,
        source_system="elm",
        source_record_id=str(number),
        version_time=NOW,
        version_sequence=number,
        recorded_at=NOW,
        account_policy=AccountPolicy.ALWAYS,
        username=f"person{number}@example.test",
        email=f"person{number}@example.test",
        first_name="Ada",
        last_name="Example",
        auth="oauth2",
    )


def _result(number: int) -> MoodleResult:
    return MoodleResult(
        command_id=CommandId(str(number)),
        tenant=TENANT,
        target=TARGET,
        kind=CommandKind.USER,
        generation=1,
        outcome=Outcome.APPLIED,
        action=Action.CREATED,
        completed_at=NOW,
        person_id=_person_id(number),
        moodle_user_id=MoodleUserId(1000 + number),
    )


def _course(number: int) -> MoodleObserved:
    course = CourseObserved(
        course_id=CourseId(str(32000 + number)),
        moodle_course_id=MoodleCourseId(10 + number),
        short_name=f"ITEM-{number}",
        visible=True,
        completion_opt_in=False,
    )
    return MoodleObserved(
        tenant=TENANT, target=TARGET, kind=ObservedKind.COURSE, observed_at=NOW, course=course
    )


def _enrolment(number: int, people: int) -> Enrolment:
    person = number % people
    return Enrolment(
        tenant=TENANT,
        enrolment_id=EnrolmentId(str(700_000 + number)),
        person_id=_person_id(person),
        course_id=CourseId(str(32000 + (person + number // people) % COURSES)),
        operation=Operation.UPSERT,
        status=EnrolmentStatus.ACTIVE,
        role=Role.STUDENT,
        source_system="elm",
        source_record_id=str(700_000 + number),
        version_time=NOW,
        version_sequence=number,
        recorded_at=NOW,
        attributes={"course_short_name": f"ITEM-{number % COURSES}", "oprid": str(person)},
    )


def _person_id(number: int) -> PersonId:
    return PersonId(f"{number:032X}")


def _run(settings: dict[str, Any], mode: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.topology", json.dumps({**settings, "mode": mode})]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("MEASURED"))
    measured: dict[str, float] = json.loads(line.removeprefix("MEASURED"))
    return measured


# What the measured processes do


def _config(settings: dict[str, Any]) -> EngineConfig:
    return EngineConfig(
        kafka={"bootstrap.servers": settings["kafka"]},
        codec=Codec(Registry(settings["registry"])),
        state_folder=Path(settings["folder"]),
        prefix=settings["prefix"],
    )


def _raw(settings: dict[str, Any]) -> dict[str, float]:
    """Consume and decode the enrolments, and nothing else."""
    topic = topic_set(TARGET, settings["prefix"]).enrolments
    places = [TopicPartition(topic.name, int(part), at) for part, at in settings["first"].items()]
    return read_bare(_config(settings), topic, places, settings["events"])


def _stage(settings: dict[str, Any]) -> dict[str, float]:
    """Run one stage of the topology until it has read and committed everything."""
    stages = topology(parse(""), sites([TARGET], settings["prefix"]))
    stage = next(stage for stage in stages if stage.name == settings["mode"])
    stop, status, clock = threading.Event(), Status(stage.name), Clock()
    measured: dict[str, float] = {}

    def watch() -> None:
        while not _is_done(status.payload().get("partitions", []), len(stage.handlers)):
            time.sleep(0.02)
        measured.update(clock.read())
        stop.set()

    thread = threading.Thread(target=watch)
    thread.start()
    run_stage(stage, _config(settings), stop, status)
    thread.join()
    return measured


def _is_done(places: list[dict[str, Any]], topics: int) -> bool:
    complete = len(places) == topics * PARTITIONS
    return complete and all(place["at_end"] and place["position"] == place["committed"] for place in places)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        collector.calm()
        given = json.loads(sys.argv[1])
        print("MEASURED" + json.dumps(_raw(given) if given["mode"] == "raw" else _stage(given)), flush=True)
    else:
        for row in main():
            print(f"{row.name}: {row.value:,.2f} {row.unit} {row.target}")
