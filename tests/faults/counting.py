"""A stage whose whole effect can be checked to the last record: it counts, per topic and person.

Every event raises the person's count and is answered by a result whose generation is the count. So the
results of a person must be 1, 2, 3 ... in this order, each once; one lost or doubled event shows. Every other
event removes the entry ``odd|...`` that the one before it made, so that tables have deletions.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime

import msgspec

from infra.errors import Rejected
from infra.stage import Handler, Output, Stage, Table
from schemas.events import AccountPolicy, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import CommandId, CourseId, EnrolmentId, PersonId, Target, TenantId, key
from schemas.moodle import Action, CommandKind, MoodleResult, Outcome
from schemas.reasons import Reason
from schemas.topics import ENROLMENTS, PEOPLE, RESULTS, Topic

NAME = "counting"
TENANT, TARGET = TenantId("t"), Target("m")
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)
REJECT, FREEZE, FAIL, HANG = "REJECT", "FREEZE", "FAIL", "HANG"


class Count(msgspec.Struct, frozen=True):
    """How many events there were."""

    events: int


class Odd(msgspec.Struct, frozen=True):
    """Is there while the count is odd."""

    events: int


def inputs(prefix: str) -> tuple[Topic, Topic]:
    return PEOPLE.prefixed(prefix), ENROLMENTS.prefixed(prefix)


def output(prefix: str) -> Topic:
    return RESULTS.of(TARGET).prefixed(prefix)


def stage(prefix: str, output_prefix: str | None = None, drag: float = 0.0) -> Stage:
    """Return the stage; ``drag`` is the seconds that each event takes."""
    people, enrolments = inputs(prefix)
    results = output(prefix if output_prefix is None else output_prefix)
    handlers = {people: _counter("people", results, drag), enrolments: _counter("enrolments", results, drag)}
    return Stage(NAME, handlers, (results,))


def _counter(kind: str, results: Topic, drag: float) -> Handler:
    def handle(event: Person | Enrolment, table: Table) -> Iterator[Output]:
        _special(event, table)
        if drag:
            time.sleep(drag)
        entry = key(kind, event.tenant, event.person_id)
        before = table.get(f"count|{entry}", Count)
        count = before.events + 1 if before else 1
        table.put(f"count|{entry}", Count(count))
        if count % 2:
            table.put(f"odd|{entry}", Odd(count))
        else:
            table.delete(f"odd|{entry}")
        yield Output(results, result(kind, event.person_id, count))

    return handle


def _special(event: Person | Enrolment, table: Table) -> None:
    if event.source_record_id == REJECT:
        table.put(f"rejected|{event.person_id}", Count(1))
        raise Rejected(Reason.INVALID_FIELD, "rejected on purpose")
    if event.source_record_id == FREEZE and os.environ.get("FREEZE"):
        time.sleep(0.2)  # what the batch produced so far reaches the broker
        os.kill(os.getpid(), signal.SIGSTOP)
    if event.source_record_id == HANG and os.environ.get("HANG"):
        time.sleep(600)
    if event.source_record_id == FAIL:
        raise ZeroDivisionError


def result(kind: str, person: PersonId, count: int) -> MoodleResult:
    return MoodleResult(
        command_id=CommandId(f"{kind}-{person}-{count}"),
        tenant=TENANT,
        target=TARGET,
        kind=CommandKind.USER,
        generation=count,
        outcome=Outcome.APPLIED,
        action=Action.NONE,
        completed_at=EPOCH,
        person_id=person,
    )


def person(number: int, record: str = "") -> Person:
    return Person(
        tenant=TENANT,
        person_id=PersonId(f"p{number:06}"),
        operation=Operation.UPSERT,
        source_system="test",
        source_record_id=record,
        version_time=EPOCH,
        version_sequence=number,
        recorded_at=EPOCH,
        account_policy=AccountPolicy.ALWAYS,
        username=f"user{number}",
        email=f"user{number}@example.org",
        first_name="First",
        last_name="Last",
        auth="manual",
    )


def enrolment(number: int, record: str = "") -> Enrolment:
    return Enrolment(
        tenant=TENANT,
        enrolment_id=EnrolmentId(str(number)),
        person_id=PersonId(f"p{number:06}"),
        course_id=CourseId("c1"),
        operation=Operation.UPSERT,
        status=EnrolmentStatus.ACTIVE,
        role=Role.STUDENT,
        source_system="test",
        source_record_id=record,
        version_time=EPOCH,
        version_sequence=number,
        recorded_at=EPOCH,
    )


def special(number: int, what: str) -> Person:
    return replace(person(number), source_record_id=what)
