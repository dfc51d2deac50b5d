"""A rehearsal of all history, and the story of one person in it.

Run by itself: `python -m tests.bench.replay`. BENCH_EVENTS sets the number of enrolments (300,000), ten for
each person; all have passed the stages. One person has about a hundred messages, scattered over all of them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from connectors.read_model.project import rebuild
from infra import collector, topics_admin
from infra.cli.chronicle import Archive
from infra.cli.history import Request, Source, topic_of
from infra.cli.parts import kafka_of, mapping_of, registry_of, sites_of
from infra.cli.rehearsal import rehearse
from infra.cli.replay_report import gather
from infra.cli.roles.projector import projector_of
from infra.cli.story import story_of
from infra.codec import Codec
from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.registry import Registry
from infra.scratch import scratch
from infra.settings import Settings
from producers import entities
from schemas.topics import Record, Topic, TopicSet, changelog, topic_set
from tests.bench import topology
from tests.bench.rows import Row
from tests.services import embedded_services

MESSAGES = 80
"""Enrolment events of the person whose story is told; each leads to two messages more or none."""


def main() -> list[Row]:
    """Measure and return the figures."""
    events = int(os.environ.get("BENCH_EVENTS", "300000"))
    with embedded_services() as services, tempfile.TemporaryDirectory() as folder:
        settings = {
            "kafka": services.address("kafka"),
            "registry": services.address("registry"),
            "database": services.address("postgres"),
            "prefix": f"bench{uuid.uuid4().hex[:6]}.",
            "folder": folder,
            "events": events,
        }
        _live_through(settings, events)
        rehearsal = _run(settings, "rehearsal")
        story = _run(settings, "story")
    return [
        Row("replay: rehearsal of all history", rehearsal["events"] / rehearsal["seconds"], "events/s"),
        Row("replay: rehearsal, peak memory", rehearsal["megabytes"], "MB"),
        Row("replay: rehearsal, differences from the hub's own state", rehearsal["differences"], "", "= 0"),
        Row("trace: messages told", story["messages"], "", ">= 100"),
        Row("trace: the story of one person", story["seconds"], "s", "<= 1"),
    ]


def _live_through(settings: dict[str, Any], events: int) -> None:
    """Let the stages take all events, so that there is something to be compared with."""
    topics = topic_set(topology.TARGET, settings["prefix"])
    names = ("people", "references", "courses", "completions")
    changelogs = [changelog(name).prefixed(settings["prefix"]) for name in names]
    topics_admin.apply(
        {"bootstrap.servers": settings["kafka"]},
        Registry(settings["registry"]),
        [*topics.all(), *changelogs],
        partitions=topology.PARTITIONS,
        replication_factor=1,
    )
    people = events // topology.EACH
    topology._send(settings, topology._wished(topics, people))
    _through(settings, "people", "courses")
    topology._send(settings, ((topics.results, topology._result(number)) for number in range(people)))
    topology._send(settings, _enrolments(topics, events))
    _through(settings, "people", "courses")


def _through(settings: dict[str, Any], *stages: str) -> None:
    for stage in stages:
        topology._run(settings, stage)


def _enrolments(topics: TopicSet, events: int) -> Iterable[tuple[Topic, Record]]:
    people, every = events // topology.EACH, events // MESSAGES
    for number in range(events):
        yield topics.enrolments, topology._enrolment(number, people)
        if number % every == 0:
            again = topology._enrolment(0, people)
            starts_at = topology.NOW + timedelta(days=number // every)
            yield topics.enrolments, replace(again, version_sequence=number, starts_at=starts_at)


def _run(settings: dict[str, Any], mode: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.replay", json.dumps({**settings, "mode": mode})]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("MEASURED"))
    measured: dict[str, float] = json.loads(line.removeprefix("MEASURED"))
    return measured


# What the measured processes do


def _settings(given: dict[str, Any]) -> Settings:
    return Settings(
        kafka_bootstrap_servers=given["kafka"],
        schema_registry_url=given["registry"],
        database_url=given["database"],
        topic_prefix=given["prefix"],
    )


def _rehearsal(given: dict[str, Any]) -> dict[str, float]:
    settings = _settings(given)
    codec, sites = Codec(registry_of(settings)), sites_of(settings)
    source = Source(kafka_of(settings), codec, sites, settings.topic_prefix, mapping_of(settings))
    request = Request(topic_of(sites, settings.topic_prefix, "hub.enrolments"), topology.TENANT)
    begun = time.perf_counter()
    with scratch() as tables:
        compared = rehearse(source, request, tables, datetime.now(UTC), lambda _what, _count: None)
        found = gather(compared, 0, lambda _: None)
    return {
        "seconds": time.perf_counter() - begun,
        "events": given["events"],
        "differences": found.differences,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _story(given: dict[str, Any]) -> dict[str, float]:
    settings = _settings(given)
    migrate(given["database"])
    rebuild(projector_of(settings), lambda _done, _total: None)
    pool = engine(given["database"], pool_size=1)
    asked = entities.person(topology.TENANT, topology._person_id(0))
    begun = time.perf_counter()
    archive = Archive(pool, kafka_of(settings), Codec(registry_of(settings)), sites_of(settings))
    messages = archive.about(asked)
    assert story_of(pool, asked, messages, full=False)
    seconds = time.perf_counter() - begun
    pool.dispose()
    return {"seconds": seconds, "messages": len(messages)}


if __name__ == "__main__":
    if len(sys.argv) > 1:
        collector.calm()
        measured = json.loads(sys.argv[1])
        work = {"rehearsal": _rehearsal, "story": _story}[measured["mode"]]
        print("MEASURED" + json.dumps(work(measured)), flush=True)
    else:
        for row in main():
            print(f"{row.name}: {row.value:,.2f} {row.unit} {row.target}")
