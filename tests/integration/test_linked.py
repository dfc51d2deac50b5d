"""Records that wait for others: parked, woken by what they wait for, and never lost or done twice."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from sqlalchemy import Connection

from producers import linked
from producers.candidates import Answer, Candidate, Status
from producers.zoho.kinds import Deleted
from producers.zoho.source import ZohoSource
from tests.integration.intake_support import rows
from tests.integration.zoho_support import (
    TENANT,
    enrolment,
    events,
    lesson,
    outcome,
    parked,
    received,
    student,
    zoho_source,
)

pytestmark = pytest.mark.integration
NEW, SKIPPED, UPDATED, UNCHANGED = "NEW", "SKIPPED", "UPDATED", "UNCHANGED"


@pytest.fixture
def source(fresh_database: str) -> Iterator[ZohoSource]:
    with zoho_source(fresh_database) as made:
        yield made


def test_an_enrolment_waits_for_student_then_class(source: ZohoSource, fresh_database: str) -> None:
    first = source.take(TENANT, received("enrollments", enrolment()))
    assert outcome(first) == [(SKIPPED, "student_not_synced_yet")]
    assert first[0].missing == "s1"
    assert parked(fresh_database) == [("enrolment", "e1", "person", "s1")]
    assert outcome(source.take(TENANT, received("students", student()))) == [(NEW, None)]
    assert parked(fresh_database) == [("enrolment", "e1", "course", "c1")]
    assert events(fresh_database, "hub.enrolments") == []
    source.take(TENANT, received("classes", lesson()))
    assert parked(fresh_database) == []
    (event,) = events(fresh_database, "hub.enrolments")
    assert (event["person_id"], event["course_id"], event["source_status"]) == ("s1", "c1", "Active")
    again = source.take(TENANT, received("enrollments", enrolment(), minute=1))
    assert outcome(again) == [(UNCHANGED, None)]


def test_a_chain_of_waiting_records_is_taken_link_by_link(source: ZohoSource, fresh_database: str) -> None:
    payment = {"id": "y1", "Registration": "r1", "Amount": "10", "Payment_Status": "Paid"}
    registration = {"id": "r1", "Student": "s1", "Program": {"id": "p1"}, "Enrollment_Status": "Active"}
    assert outcome(source.take(TENANT, received("payments", payment))) == [
        (SKIPPED, "registration_not_synced_yet")
    ]
    source.take(TENANT, received("registrations", registration))
    source.take(TENANT, received("programs", {"id": "p1", "Product_Name": "Business"}))
    assert [row[1] for row in parked(fresh_database)] == ["y1", "r1"]
    source.take(TENANT, received("students", student()))
    assert parked(fresh_database) == []
    (event,) = events(fresh_database, "hub.payments")
    assert (event["person_id"], event["amount"], event["registration_id"]) == ("s1", "10", "r1")


def test_the_same_transaction_may_bring_all_in_any_order(source: ZohoSource, fresh_database: str) -> None:
    batch = [
        *received("enrollments", enrolment()),
        *received("classes", lesson()),
        *received("students", student()),
    ]
    assert outcome(source.take(TENANT, batch)) == [
        (SKIPPED, "student_not_synced_yet"),
        (NEW, None),
        (NEW, None),
    ]
    assert parked(fresh_database) == []
    assert len(events(fresh_database, "hub.enrolments")) == 1


def test_the_newest_parked_version_counts(source: ZohoSource, fresh_database: str) -> None:
    source.take(TENANT, received("classes", lesson()))
    source.take(TENANT, received("enrollments", enrolment(Status="New"), minute=2))
    source.take(TENANT, received("enrollments", enrolment(Status="Old"), minute=1))
    source.take(TENANT, received("students", student()))
    assert [event["source_status"] for event in events(fresh_database, "hub.enrolments")] == ["New"]


def test_a_parked_record_does_not_override_a_newer_one(source: ZohoSource, fresh_database: str) -> None:
    source.take(TENANT, received("students", student()))
    source.take(TENANT, received("classes", lesson()))
    source.take(TENANT, received("enrollments", enrolment(what="other", Status="Old"), minute=1))
    source.take(TENANT, received("enrollments", enrolment(Status="New"), minute=2))
    assert parked(fresh_database) == []  # the newer push made the older one pointless
    source.take(TENANT, received("enrollments", enrolment(what="other", Status="Late"), minute=1))
    source.take(TENANT, received("classes", lesson("other")))
    assert parked(fresh_database) == []
    assert [event["source_status"] for event in events(fresh_database, "hub.enrolments")] == ["New"]


def test_an_older_usable_push_leaves_the_newer_parked_record(source: ZohoSource, fresh_database: str) -> None:
    source.take(TENANT, received("students", student()))
    source.take(TENANT, received("classes", lesson()))
    source.take(TENANT, received("enrollments", enrolment(what="c2"), minute=2))
    assert outcome(source.take(TENANT, received("enrollments", enrolment(), minute=1))) == [(NEW, None)]
    assert parked(fresh_database) == [("enrolment", "e1", "course", "c2")]
    source.take(TENANT, received("classes", lesson("c2")))
    told = [(event["operation"], event["course_id"]) for event in events(fresh_database, "hub.enrolments")]
    assert told == [("UPSERT", "c1"), ("UPSERT", "c2"), ("DELETE", "c1")]


def test_an_invalid_push_leaves_the_parked_record(source: ZohoSource, fresh_database: str) -> None:
    source.take(TENANT, received("enrollments", enrolment()))
    bad = source.take(TENANT, received("enrollments", enrolment(Start_Date="soon"), minute=1))
    assert (bad[0].status, bad[0].field) == (Status.INVALID, "Start_Date")
    assert len(parked(fresh_database)) == 1


def test_a_deleted_record_is_as_good_as_missing(source: ZohoSource, fresh_database: str) -> None:
    source.take(TENANT, received("students", student()))
    source.take(TENANT, received("classes", lesson()))
    assert outcome(source.take(TENANT, received("students", Deleted("s1"), minute=1))) == [(UPDATED, None)]
    assert outcome(source.take(TENANT, received("enrollments", enrolment()))) == [
        (SKIPPED, "student_not_synced_yet")
    ]
    assert source.wake() == 0
    source.take(TENANT, received("students", student(), minute=2))
    assert parked(fresh_database) == []


def test_a_deletion_ends_what_was_known_and_what_was_parked(source: ZohoSource, fresh_database: str) -> None:
    source.take(TENANT, received("enrollments", enrolment()))
    assert outcome(source.take(TENANT, received("enrollments", Deleted("e1"), minute=1))) == [(NEW, None)]
    assert parked(fresh_database) == []
    source.take(TENANT, received("students", student()))
    source.take(TENANT, received("classes", lesson()))
    assert events(fresh_database, "hub.enrolments") == []
    source.take(TENANT, received("enrollments", enrolment(), minute=2))
    source.take(TENANT, received("enrollments", Deleted("e1"), minute=3))
    source.take(TENANT, received("enrollments", Deleted("e1"), minute=4))
    told = [(event["operation"], event["person_id"]) for event in events(fresh_database, "hub.enrolments")]
    assert told == [("UPSERT", "s1"), ("DELETE", "s1")]


def test_an_enrolment_that_moves_leaves_its_old_class(source: ZohoSource, fresh_database: str) -> None:
    source.take(TENANT, received("students", student(), student("s2")))
    source.take(TENANT, received("classes", lesson(), lesson("c2")))
    source.take(TENANT, received("enrollments", enrolment()))
    moved = source.take(TENANT, received("enrollments", enrolment(what="c2"), minute=1))
    assert moved[0].changes is not None
    assert moved[0].changes["class_id"] == ["c1", "c2"]
    source.take(TENANT, received("enrollments", enrolment(who="s2", what="c2"), minute=2))
    told = [
        (event["operation"], event["person_id"], event["course_id"])
        for event in events(fresh_database, "hub.enrolments")
    ]
    assert told == [
        ("UPSERT", "s1", "c1"),
        ("UPSERT", "s1", "c2"),
        ("DELETE", "s1", "c1"),
        ("UPSERT", "s2", "c2"),
        ("DELETE", "s1", "c2"),
    ]
    ids = rows(fresh_database, "SELECT count(*), count(DISTINCT event_id) FROM outbox")
    assert ids[0][0] == ids[0][1]


def test_a_class_does_not_wait_for_its_teacher(source: ZohoSource, fresh_database: str) -> None:
    with_teacher = lesson(Teacher={"id": "t1", "name": "Zed"})
    assert outcome(source.take(TENANT, received("classes", with_teacher))) == [(NEW, None)]
    assert parked(fresh_database) == [("teaching", "c1", "person", "t1")]
    source.take(TENANT, received("teachers", student("t1")))
    source.take(TENANT, received("teachers", student("t2")))
    source.take(TENANT, received("classes", lesson(Teacher="t2"), minute=1))
    source.take(TENANT, received("classes", lesson(), minute=2))
    told = [
        (event["operation"], event["person_id"], event["role"])
        for event in events(fresh_database, "hub.enrolments")
    ]
    assert told == [
        ("UPSERT", "t1", "TEACHER"),
        ("UPSERT", "t2", "TEACHER"),
        ("DELETE", "t1", "TEACHER"),
        ("DELETE", "t2", "TEACHER"),
    ]


def test_a_teacher_that_a_class_lost_meanwhile_does_not_come(source: ZohoSource, fresh_database: str) -> None:
    source.take(TENANT, received("classes", lesson(Teacher="t1")))
    source.take(TENANT, received("classes", lesson(), minute=1))
    source.take(TENANT, received("teachers", student("t1")))
    assert (parked(fresh_database), events(fresh_database, "hub.enrolments")) == ([], [])


def test_the_sweep_takes_what_a_crash_left_ripe(
    source: ZohoSource, fresh_database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source.take(TENANT, received("classes", lesson()))
    source.take(TENANT, received("enrollments", enrolment()))

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:  # the process dies between its commit and its look
        patched.setattr(linked, "_wake", die)
        with pytest.raises(KeyboardInterrupt):
            source.take(TENANT, received("students", student()))
    assert len(parked(fresh_database)) == 1
    assert source.wake() == 1
    assert (parked(fresh_database), len(events(fresh_database, "hub.enrolments"))) == ([], 1)
    assert source.wake() == 0


def test_a_failing_transaction_parks_nothing(source: ZohoSource, fresh_database: str) -> None:
    def fail(_connection: Connection, _answers: object) -> None:
        raise ValueError

    with pytest.raises(ValueError):  # noqa: PT011 - our own
        source.take(TENANT, received("enrollments", enrolment()), fail)
    assert parked(fresh_database) == []


def test_many_writers_lose_no_wake_up(source: ZohoSource, fresh_database: str) -> None:
    rounds = 60
    barrier = threading.Barrier(3)

    def bring(kind: str, make: object) -> None:
        for number in range(rounds):
            barrier.wait()
            assert callable(make)
            source.take(TENANT, received(kind, make(number)))

    with ThreadPoolExecutor(3) as threads:
        jobs = [
            threads.submit(bring, "students", lambda n: student(f"s{n}")),
            threads.submit(bring, "classes", lambda n: lesson(f"c{n}")),
            threads.submit(bring, "enrollments", lambda n: enrolment(f"e{n}", f"s{n}", f"c{n}")),
        ]
        for job in jobs:
            job.result()
    assert parked(fresh_database) == []
    told = [event["enrolment_id"] for event in events(fresh_database, "hub.enrolments")]
    assert sorted(told) == sorted(f"e{number}" for number in range(rounds))


def test_of_many_writers_of_one_new_id_exactly_one_makes_it(source: ZohoSource, fresh_database: str) -> None:
    rounds, writers = 200, 8
    barrier = threading.Barrier(writers)
    now = datetime(2026, 2, 1, tzinfo=UTC)

    def bring(writer: int) -> list[Answer]:
        answers = []
        for number in range(rounds):
            barrier.wait()
            record = student(f"s{number}", Phone_Number=str(writer), Modified_Time=now.isoformat())
            answers += source.take(TENANT, received("students", record))
        return answers

    with ThreadPoolExecutor(writers) as threads:
        answers = [job.result() for job in [threads.submit(bring, each) for each in range(writers)]]
    for number in range(rounds):
        found = [each[number].status for each in answers]
        assert found.count(Status.NEW) == 1
        assert Status.ERROR not in found
    with psycopg.connect(fresh_database) as connection:
        assert connection.execute("SELECT count(*) FROM source_records").fetchone() == (rounds,)


def schedule(*numbers: int) -> dict[str, object]:
    rows = [{"Installment_No": number, "Installment_Amount": 10} for number in numbers]
    whole = {"id": "r1", "Student": "s1", "Program": "p1", "Enrollment_Status": "Active"}
    return {**whole, "Payment_Schedule": rows}


def told(database: str, topic: str, name: str) -> list[tuple[str, str]]:
    return [(event[name], event["operation"]) for event in events(database, topic)]


@pytest.mark.parametrize(
    ("kind", "raw", "topic", "name"),
    [
        ("students", student(), "hub.people", "person_id"),
        ("classes", lesson(), "hub.courses", "course_id"),
        ("programs", {"id": "p1", "Product_Name": "Business"}, "hub.programs", "program_id"),
    ],
)
def test_a_record_deleted_in_the_transaction_that_brings_it_is_told_of_as_deleted(
    source: ZohoSource, fresh_database: str, kind: str, raw: dict[str, object], topic: str, name: str
) -> None:
    gone = Deleted(str(raw["id"]))
    answers = source.take(TENANT, [*received(kind, raw), *received(kind, gone, minute=1)])
    assert outcome(answers) == [(NEW, None), (UPDATED, None)]
    assert told(fresh_database, topic, name) == [(raw["id"], "UPSERT"), (raw["id"], "DELETE")]


def test_rows_lost_within_one_transaction_are_deleted(source: ZohoSource, fresh_database: str) -> None:
    source.take(TENANT, received("students", student()))
    source.take(TENANT, received("programs", {"id": "p1", "Product_Name": "Business"}))
    batch = [*received("registrations", schedule(1, 2)), *received("registrations", schedule(1), minute=1)]
    source.take(TENANT, [*batch, *received("registrations", Deleted("r1"), minute=2)])
    last = dict(told(fresh_database, "hub.payments", "payment_id"))
    assert last == {"r1:1": "DELETE", "r1:2": "DELETE"}
    assert told(fresh_database, "hub.registrations", "registration_id")[-1] == ("r1", "DELETE")


def test_payments_that_become_another_persons_are_no_longer_the_first_ones(
    source: ZohoSource, fresh_database: str
) -> None:
    source.take(TENANT, received("students", student(), student("s2")))
    source.take(TENANT, received("programs", {"id": "p1", "Product_Name": "Business"}))
    source.take(TENANT, received("registrations", schedule(1)))
    payment = {"id": "y1", "Registration": "r1", "Amount": 5, "Payment_Status": "Due"}
    source.take(TENANT, received("payments", payment))
    source.take(TENANT, received("registrations", schedule(1) | {"Student": "s2"}, minute=1))
    source.take(TENANT, received("payments", payment, minute=2))
    found = [
        (event["payment_id"], event["person_id"], event["operation"])
        for event in events(fresh_database, "hub.payments")[2:]
    ]
    assert found == [
        ("r1:1", "s2", "UPSERT"),
        ("r1:1", "s1", "DELETE"),
        ("y1", "s2", "UPSERT"),
        ("y1", "s1", "DELETE"),
    ]


def test_a_record_that_comes_between_the_look_and_the_deletion_is_deleted(
    source: ZohoSource, fresh_database: str
) -> None:
    kind = source.kind(TENANT, "students")
    looks = 0

    def parse(raw: object, known: linked.Known, received_at: datetime) -> Candidate | linked.Waiting:
        nonlocal looks
        looks += 1
        if looks == 1:  # what was known is read already
            source.take(TENANT, received("students", student()))
        return kind.parse(raw, known, received_at)

    slow = replace(kind, parse=parse)
    later = datetime(2026, 2, 2, tzinfo=UTC)
    answers = linked.take_linked(source.intake, source.origin(TENANT), [Deleted("s1")], slow, later, {})
    assert (looks, outcome(answers)) == (2, [(UPDATED, None)])
    assert told(fresh_database, "hub.people", "person_id") == [("s1", "UPSERT"), ("s1", "DELETE")]
