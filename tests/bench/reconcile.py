"""Reconciliation of 100,000 enrolments on Kafka, PostgreSQL and a simulated Moodle: hub time and calls.

Run by itself: `python -m tests.bench.reconcile`. BENCH_PEOPLE sets the number of people (25,000), each of
whom is in four of 500 courses. The site answers without Moodle's latency, in a process of its own.
"""

from __future__ import annotations

import asyncio
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, Final

import msgspec
from confluent_kafka import Producer

from connectors.read_model.project import rebuild
from infra import collector
from infra.cli.parts import kafka_of, registry_of, sites_of
from infra.cli.reconciling import Report, reconcile
from infra.cli.roles.projector import projector_of
from infra.cli.stages import changelog_of, stages_of
from infra.cli.surveys import where
from infra.cli.topics_commands import apply_topics
from infra.codec import Codec
from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.producing import SAFE
from infra.settings import Settings
from processors import courses, people
from processors.accounts import AccountEntry, PersonEntry
from processors.wishes import Wish
from schemas.events import EnrolmentStatus, Role
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
from schemas.moodle import Action, CommandKind, MoodleResult, Outcome, UserWish
from schemas.version import Version
from tests.bench.rows import Row
from tests.bench.sink import TOKEN, control, site
from tests.services import Embedded, embedded_services

TENANT, TARGET = TenantId("default"), Target("default")
COURSES, EACH, HARMED = 500, 4, 100
NOW: Final = datetime(2026, 11, 21, tzinfo=UTC)
ACTIVE, STUDENT = EnrolmentStatus.ACTIVE, Role.STUDENT
SEEDED_AT_ONCE: Final = 50_000


def main() -> list[Row]:
    """Measure and return the figures."""
    count = int(os.environ.get("BENCH_PEOPLE", "25000"))
    collector.calm()
    with embedded_services() as services:
        report, cpu = asyncio.run(_measure(services, count))
    found = len(report.comparison.drifts)
    assert found == HARMED, f"{found} differences found, {HARMED} made"
    enrolments = count * EACH
    return [
        Row(f"reconcile: hub's CPU time for {enrolments:,} enrolments", cpu, "s", "<= 120"),
        Row(f"reconcile: whole time for {enrolments:,} enrolments", report.seconds, "s"),
        Row(f"reconcile: calls to Moodle for {enrolments:,} enrolments", report.calls, "calls", "<= 60"),
    ]


async def _measure(services: Embedded, count: int) -> tuple[Report, float]:
    async with site("none") as url:
        settings = _settings(services, url)
        places = await _seed(url, count)
        await asyncio.to_thread(_prepare, settings, places)
        return await asyncio.to_thread(_reconcile, settings)


def _reconcile(settings: Settings) -> tuple[Report, float]:
    assert settings.database_url is not None
    pool = engine(settings.database_url.get_secret_value(), pool_size=2)
    used = time.process_time()
    try:
        report = reconcile(where(settings, None, None), pool)
    finally:
        pool.dispose()
    return report, time.process_time() - used


def _settings(services: Embedded, url: str) -> Settings:
    addresses: dict[str, Any] = {
        "kafka_bootstrap_servers": services.address("kafka"),
        "schema_registry_url": services.address("registry"),
        "database_url": services.address("postgres"),
        "moodle_url": url,
        "moodle_api_token": TOKEN,
        "topic_prefix": f"bench{uuid.uuid4().hex[:6]}.",
    }
    return Settings(**addresses)


Places = list[tuple[PersonId, MoodleUserId, list[tuple[CourseId, MoodleCourseId]]]]
"""Every person's id and account, and their courses with Moodle's ids."""


async def _seed(url: str, count: int) -> Places:
    """Put accounts, courses and enrolments into the site, but for those that shall be missing."""
    made = [{"shortname": f"C{n}", "idnumber": f"course-{n}"} for n in range(COURSES)]
    at = (await control("POST", url + "/control/seed", {"courses": made}))["courses"]
    users = [{"email": f"u{n}@example.test", "idnumber": f"person-{n}"} for n in range(count)]
    accounts = (await control("POST", url + "/control/seed", {"users": users}))["users"]
    places: Places = []
    for number, account in enumerate(accounts):
        chosen = [(number + step * 7) % COURSES for step in range(EACH)]
        mine = [(CourseId(f"course-{n}"), MoodleCourseId(at[n])) for n in chosen]
        places.append((PersonId(f"person-{number}"), MoodleUserId(account), mine))
    pairs = [{"userid": user, "courseid": course} for _, user, mine in places for _, course in mine]
    for start in range(HARMED, len(pairs), SEEDED_AT_ONCE):
        part = pairs[start : start + SEEDED_AT_ONCE]
        await control("POST", url + "/control/seed", {"enrolments": part})
    return places


def _prepare(settings: Settings, places: Places) -> None:
    """Write what the hub would know of it: tables, results, and the read model made of these."""
    assert settings.database_url is not None
    migrate(settings.database_url.get_secret_value())
    apply_topics(settings)
    producer = Producer({**kafka_of(settings), **SAFE, "linger.ms": 20, "compression.type": "lz4"})
    logs = {stage.name: changelog_of(settings, stage).name for stage in stages_of(settings)}
    for stage, key, entry in _entries(places):
        _send(producer, logs[stage], key, msgspec.msgpack.encode(entry))
    results, codec = sites_of(settings).shared.results, Codec(registry_of(settings))
    for result in _results(places):
        _send(producer, results.name, result.key, codec.encode(results, result))
    assert producer.flush(120) == 0
    rebuild(projector_of(settings), lambda _done, _total: None)


def _send(producer: Producer, topic: str, key: str, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.1)
        else:
            return


def _entries(places: Places) -> Iterator[tuple[str, str, msgspec.Struct]]:
    version = Version(NOW, 0)
    wish = Wish(version, EnrolmentId("1"), ACTIVE, STUDENT, "elm", NOW, None, None)
    seen = dict[CourseId, MoodleCourseId]()
    for person, account, mine in places:
        email = f"u{person.removeprefix('person-')}@example.test"
        issued = UserWish(person_id=person, create=True, email=email, first_name="First", last_name="Last")
        yield "people", people.person_key(TENANT, person), PersonEntry(issued=issued)
        yield "people", people.account_key(TENANT, person), AccountEntry(1, account)
        for course, at in mine:
            key = people.enrolment_key(TENANT, person, course)
            yield "people", key, people.EnrolmentEntry(wish, account)
            yield "courses", courses.enrolment_key(TENANT, course, person), _enrolment(version, account, at)
            seen[course] = at
    for course, at in seen.items():
        yield "courses", courses.course_key(TENANT, course), courses.CourseEntry(True, 1, at)


def _enrolment(version: Version, account: MoodleUserId, course: MoodleCourseId) -> courses.EnrolmentEntry:
    issued = courses.Issued(account, course, ACTIVE, STUDENT, None, None)
    return courses.EnrolmentEntry(
        version, account, True, ACTIVE, STUDENT, NOW, None, None, issued, 1, ACTIVE, None
    )


def _results(places: Places) -> Iterator[MoodleResult]:
    one = MoodleResult(
        command_id=CommandId(""),
        tenant=TENANT,
        target=TARGET,
        kind=CommandKind.USER,
        generation=1,
        outcome=Outcome.APPLIED,
        action=Action.NONE,
        completed_at=NOW,
    )
    seen = {course for _, _, mine in places for course, _ in mine}
    for course in seen:
        yield replace(one, command_id=CommandId(course), kind=CommandKind.COURSE, course_id=course)
    for person, _, mine in places:
        yield replace(one, command_id=CommandId(person), person_id=person)
        for course, _ in mine:
            command = CommandId(f"{person}-{course}")
            yield replace(
                one, command_id=command, kind=CommandKind.ENROLMENT, person_id=person, course_id=course
            )


if __name__ == "__main__":
    for row in main():
        print(f"{row.name:60} {row.value:10.2f} {row.unit:6} {row.target}")
