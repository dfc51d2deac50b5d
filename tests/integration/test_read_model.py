"""The read model on a real broker and database: what the topics say, whatever is interrupted; built anew."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from connectors.read_model.project import rebuild
from infra.cli.main import app
from infra.db.connect import driver_connection
from infra.db.locks import try_lock
from infra.errors import HubError
from processors import courses, people
from processors.accounts import AccountEntry
from processors.wishes import Wish
from schemas.audit import AuditEntry
from schemas.calls import ApiCall, System
from schemas.deadletters import DeadLetter, Step
from schemas.directives import Directive, DirectiveKind, Resolution
from schemas.elm import CallbackOutcome, CallbackResult, CompletionCallback
from schemas.events import EnrolmentStatus, Operation, Role
from schemas.ids import (
    CallbackId,
    CommandId,
    EnrolmentId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
    TenantId,
    key,
)
from schemas.moodle import (
    CommandKind,
    CompletionObserved,
    CourseObserved,
    EnrolmentObserved,
    GradeObserved,
    MoodleObserved,
    ObservedKind,
    Outcome,
    UserObserved,
)
from schemas.rates import Rate, RateKind
from schemas.reasons import Reason
from schemas.version import Version
from tests.integration.intake_support import rows, until
from tests.integration.read_model_support import (
    ANN,
    AT,
    COMMAND,
    COURSE,
    ENROLMENT,
    MATHS,
    PERSON,
    RESULT,
    TARGET,
    T,
    World,
    a_world,
)

pytestmark = pytest.mark.integration
DOCS = Path(__file__).resolve().parents[2] / "docs"
LATER = AT + timedelta(hours=1)
PEOPLE = (
    "SELECT person_id, source, username, deleted FROM read_model.people WHERE tenant = '{}' ORDER BY source"
)
LETTER = DeadLetter(
    role="people",
    topic="hub.people",
    partition=2,
    offset=7,
    step=Step.VALUE_CONVERTER,
    reason=Reason.UNREADABLE,
    error_class="UnreadableError",
    error="no Avro",
    failed_at=AT,
    tenant=T,
    entity="t|ann",
    message_key=b"t|ann",
)
RATE = Rate(
    kind=RateKind.CALL,
    tenant=T,
    system=System.MOODLE,
    target=TARGET,
    function="f",
    minute=AT,
    total=7,
    failed=3,
    auth_failed=1,
    buckets=(0, 2, 5),
)
DIRECTIVE = Directive(
    directive_id="d1",
    tenant=T,
    kind=DirectiveKind.REASSERT,
    subject=CommandKind.USER,
    issued_at=AT,
    person_id=ANN,
    by="cli:root",
    why="asked",
)


@pytest.fixture(scope="module")
def world(kafka: str, registry_url: str, database_url: str) -> Iterator[World]:
    """The same for all tests here; each has its own tenants."""
    with a_world(kafka, registry_url, database_url) as made:
        yield made


def ignored(_done: int, _total: int) -> None:
    """Take no notice of progress."""


def observed(kind: ObservedKind, **body: Any) -> MoodleObserved:
    return MoodleObserved(tenant=T, target=TARGET, kind=kind, observed_at=AT, **body)


def test_each_record_is_found_in_its_table(world: World) -> None:
    topics = world.topics
    course = CourseObserved(
        course_id=MATHS,
        moodle_course_id=MoodleCourseId(4),
        short_name="M1",
        visible=True,
        completion_opt_in=True,
    )
    user = UserObserved(person_id=ANN, moodle_user_id=MoodleUserId(5), suspended=False, last_access=AT)
    enrolment = EnrolmentObserved(
        person_id=ANN,
        course_id=MATHS,
        moodle_user_id=MoodleUserId(5),
        moodle_course_id=MoodleCourseId(4),
        status=EnrolmentStatus.ACTIVE,
    )
    grade = GradeObserved(
        person_id=ANN,
        course_id=MATHS,
        moodle_user_id=MoodleUserId(5),
        moodle_course_id=MoodleCourseId(4),
        shown="77.50",
        score=Decimal("77.5"),
    )
    callback = CompletionCallback(
        callback_id=CallbackId("cb"),
        tenant=T,
        enrolment_id=EnrolmentId("9"),
        person_id=ANN,
        course_id=MATHS,
        course_short_name="M1",
        email="ann@school.test",
        first_name="Ann",
        last_name="Sok",
        completed_on=date(2026, 11, 2),
        issued_at=AT,
    )
    answer = CallbackResult(
        callback_id=CallbackId("cb"),
        tenant=T,
        enrolment_id=EnrolmentId("9"),
        person_id=ANN,
        course_id=MATHS,
        outcome=CallbackOutcome.DELIVERED,
        completed_at=AT,
    )
    call = ApiCall(
        call_id="1",
        system=System.MOODLE,
        target=TARGET,
        role="moodle-sink",
        function="core_user_create_users",
        started_at=AT,
        duration_ms=12,
        code="ok",
        tenant=T,
        references=("user|t|ann", "user|t|bob"),
    )
    entry = AuditEntry(
        audit_id="a1", tenant=T, at=AT, by="cli:root", action="rebuild", subject="x", details={"a": "b"}
    )
    world.send(topics.people, PERSON)
    world.send(topics.courses, COURSE)
    world.send(topics.enrolments, ENROLMENT)
    world.send(topics.commands, COMMAND)
    world.send(topics.results, RESULT)
    completion = CompletionObserved(person_id=ANN, course_id=MATHS, completed_on=date(2026, 11, 2))
    world.send(
        topics.observed,
        observed(ObservedKind.COURSE, course=course),
        observed(ObservedKind.COMPLETION, completion=completion),
        observed(ObservedKind.USER, user=user),
        observed(ObservedKind.ENROLMENT, enrolment=enrolment),
        observed(ObservedKind.GRADE, grade=grade),
    )
    world.send(topics.callbacks, callback)
    world.send(topics.callback_results, answer)
    world.send(topics.calls, call)
    world.send(topics.rates, replace(RATE, total=1, buckets=()), RATE)
    world.send(topics.audit, entry)
    world.send(topics.directives, DIRECTIVE)
    world.send_letter(LETTER)
    checks: list[tuple[str, tuple[Any, ...]]] = [
        ("SELECT person_id, source, username FROM read_model.people", ("ann", "sis", "ann")),
        ("SELECT course_id, full_name, version_time FROM read_model.courses", ("maths", "Maths", AT)),
        (
            "SELECT person_id, course_id, status, role FROM read_model.enrolments",
            ("ann", "maths", "ACTIVE", "STUDENT"),
        ),
        ("SELECT kind, person_id, wish->>'username' FROM read_model.commands", ("USER", "ann", "ann")),
        ("SELECT outcome, moodle_user_id FROM read_model.results", ("APPLIED", 5)),
        (
            "SELECT kind, person_id, course_id, action FROM read_model.standing",
            ("USER", "ann", "", "CREATED"),
        ),
        ("SELECT moodle_course_id, visible FROM read_model.observed_courses", (4, True)),
        ("SELECT moodle_user_id, suspended, last_access FROM read_model.observed_users", (5, False, AT)),
        ("SELECT moodle_course_id, status FROM read_model.observed_enrolments", (4, "ACTIVE")),
        ("SELECT completed_on, target FROM read_model.completions", (date(2026, 11, 2), "default")),
        ("SELECT shown, score, moodle_user_id FROM read_model.grades", ("77.50", Decimal("77.5"), 5)),
        ("SELECT callback_id, completed_on FROM read_model.callbacks", ("cb", date(2026, 11, 2))),
        ("SELECT outcome FROM read_model.callback_results", ("DELIVERED",)),
        (
            "SELECT system, duration_ms, http_status, references_ FROM read_model.calls",
            ("MOODLE", 12, None, ["user|t|ann", "user|t|bob"]),
        ),
        (
            "SELECT kind, function, minute, total, failed, auth_failed, buckets FROM read_model.rates",
            ("CALL", "f", AT, 7, 3, 1, [0, 2, 5]),
        ),
        ("SELECT actor, action, details->>'a' FROM read_model.audit", ("cli:root", "rebuild", "b")),
        (
            "SELECT kind, subject, person_id, actor, resolution FROM read_model.directives",
            ("REASSERT", "USER", "ann", "cli:root", None),
        ),
        (
            "SELECT role, topic, partition, message_offset, message_key, state FROM read_model.dead_letters",
            ("people", "hub.people", 2, 7, "t|ann", "OPEN"),
        ),
    ]
    with world.projecting():
        for query, expected in checks:
            until(partial(world.has, f"{query} WHERE tenant = '{T}'", expected))


def test_the_history_tells_which_messages_are_about_somebody(world: World) -> None:
    tenant = TenantId("history")
    world.send(world.topics.people, replace(PERSON, tenant=tenant))
    world.send(world.topics.enrolments, replace(ENROLMENT, tenant=tenant))
    world.send(world.topics.courses, replace(COURSE, tenant=tenant))
    world.send(world.topics.directives, replace(DIRECTIVE, tenant=tenant, directive_id="d2"))
    names = [world.topics.people.name, world.topics.enrolments.name, world.topics.directives.name]
    about = "SELECT topic, course_id FROM read_model.history WHERE tenant = 'history' AND {} ORDER BY topic"
    expected = sorted((name, "maths" if "enrolments" in name else None) for name in names)
    with world.projecting():
        until(lambda: world.has(about.format("person_id = 'ann'"), *expected))
        only = [(world.topics.courses.name, "maths")]
        until(lambda: world.has(about.format("course_id = 'maths' AND person_id IS NULL"), *only))
    found = rows(
        world.database,
        "SELECT h.message_offset, p.place FROM read_model.history h JOIN read_model.people p"
        " ON p.place = concat_ws('/', h.topic, h.partition, h.message_offset) WHERE p.tenant = 'history'",
    )
    assert [place.rsplit("/", 1)[1] for _, place in found] == [str(offset) for offset, _ in found]
    assert len(found) == 1


def test_the_newest_version_counts_in_whatever_order_and_batch_they_come(world: World) -> None:
    tenant = TenantId("newest")
    person = replace(PERSON, tenant=tenant)
    newer = replace(person, version_time=LATER, username="newer")
    other = replace(person, source_system="zoho", username="crm")
    world.send(world.topics.people, newer, person, other)
    query = PEOPLE.format(tenant)
    world.project(query, ("ann", "sis", "newer", False), ("ann", "zoho", "crm", False))
    gone = replace(newer, version_sequence=1, operation=Operation.DELETE)
    world.send(world.topics.people, replace(person, username="late"), gone)
    world.project(query, ("ann", "sis", "newer", True), ("ann", "zoho", "crm", False))


def test_what_cannot_be_read_or_held_is_passed_by_and_others_go_on(world: World) -> None:
    tenant = TenantId("bad")
    person = replace(PERSON, tenant=tenant)
    world.send(world.topics.people, person)
    world.project(PEOPLE.format(tenant), ("ann", "sis", "ann", False))
    world.send_raw(world.topics.people, "bad|x", b"no record")
    world.send_raw(world.topics.dead_letters, b"x", b"no headers")
    world.send_raw(world.changelogs["people"], "account|bad|x", b"no entry")
    world.send(
        world.topics.people,
        replace(person, person_id=PersonId("x" * 4000)),
        replace(person, version_sequence=1, username="a\x00b"),
    )
    world.send_letter(replace(LETTER, tenant="bad", entity="\x00" * 4000, message_key=b"\xff\x00"))
    letters = "SELECT message_key, length(entity) FROM read_model.dead_letters WHERE tenant = 'bad'"
    with world.projecting():
        until(partial(world.has, PEOPLE.format(tenant), ("ann", "sis", "a\ufffdb", False)))
        until(partial(world.has, letters, ("\ufffd\ufffd", 150)))


def wish(status: EnrolmentStatus, account: int | None) -> people.EnrolmentEntry:
    told = Wish(Version(AT, 0), EnrolmentId("9"), status, Role.STUDENT, "sis", AT, None, None)
    return people.EnrolmentEntry(told, None if account is None else MoodleUserId(account))


def placement(status: EnrolmentStatus, applied: EnrolmentStatus | None) -> courses.EnrolmentEntry:
    issued = courses.Issued(MoodleUserId(5), MoodleCourseId(4), status, Role.STUDENT, None, None)
    return courses.EnrolmentEntry(
        version=Version(AT, 0),
        moodle_user_id=MoodleUserId(5),
        account_is_new=False,
        status=status,
        role=Role.STUDENT,
        recorded_at=AT,
        starts_at=None,
        ends_at=None,
        issued=issued,
        applied=applied,
    )


def test_a_snapshot_shows_what_is_wanted_and_what_is(world: World) -> None:
    tenant, active, suspended = TenantId("snap"), EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED
    for person in ("ann", "bob"):
        world.send_state("people", key("enrolment", tenant, person, "maths"), wish(active, 5))
        world.send_state("courses", key("enrolment", tenant, "maths", person), placement(active, active))
        result = replace(
            RESULT,
            tenant=tenant,
            command_id=CommandId(person),
            kind=CommandKind.ENROLMENT,
            person_id=PersonId(person),
            course_id=MATHS,
            status=active,
        )
        world.send(world.topics.results, result)
    world.send_state("people", key("enrolment", tenant, "cid", "maths"), wish(active, None))
    blocked = AccountEntry(generation=1, blocked=Reason.EMAIL_TAKEN)
    world.send_state("people", key("account", tenant, "cid"), blocked)
    seen = EnrolmentObserved(
        person_id=PersonId("bob"),
        course_id=MATHS,
        moodle_user_id=MoodleUserId(5),
        moodle_course_id=MoodleCourseId(4),
        status=suspended,
        last_access=AT,
    )
    drifted = observed(ObservedKind.ENROLMENT, enrolment=seen)
    world.send(world.topics.observed, replace(drifted, tenant=tenant, observed_at=LATER))
    world.project(
        "SELECT person_id, wanted, actual, moodle_user_id, moodle_course_id, last_access, synced_at, reason"
        " FROM read_model.enrolment_snapshot WHERE tenant = 'snap' ORDER BY person_id",
        ("ann", "ACTIVE", "ACTIVE", 5, 4, None, AT, None),
        ("bob", "ACTIVE", "SUSPENDED", 5, 4, AT, LATER, None),
        ("cid", "ACTIVE", None, None, None, None, None, "EMAIL_TAKEN"),
    )


def test_a_conflict_is_shown_until_it_is_ignored_or_gone(world: World) -> None:
    tenant = TenantId("conflict")
    account = key("account", tenant, ANN)
    blocked = AccountEntry(generation=1, blocked=Reason.EMAIL_TAKEN, other_moodle_user_id=MoodleUserId(8))
    conflict = replace(
        RESULT,
        tenant=tenant,
        command_id=CommandId("conflict"),
        outcome=Outcome.CONFLICT,
        moodle_user_id=MoodleUserId(6),
    )
    world.send(world.topics.results, conflict)
    world.send_state("people", account, blocked)
    query = (
        "SELECT subject, person_id, reason, moodle_user_id, other_moodle_user_id, state"
        " FROM read_model.conflicts WHERE tenant = 'conflict'"
    )
    found = ("USER", "ann", "EMAIL_TAKEN", 6, 8)
    since = "SELECT since FROM read_model.conflicts WHERE tenant = 'conflict'"
    with world.projecting():
        until(partial(world.has, query, (*found, "OPEN")))
        ((began,),) = rows(world.database, since)
        ignore = replace(DIRECTIVE, tenant=tenant, kind=DirectiveKind.RESOLVE, resolution=Resolution.IGNORE)
        older = replace(ignore, directive_id="c0", issued_at=began - timedelta(seconds=1))
        world.send(world.topics.directives, older)
        counted = "SELECT count(*)::int FROM read_model.directives WHERE tenant = 'conflict'"
        until(partial(world.has, counted, (1,)))
        assert world.has(query, (*found, "OPEN"))
        newer = replace(ignore, directive_id="c1", issued_at=began + timedelta(seconds=1))
        world.send(world.topics.directives, newer)
        until(partial(world.has, query, (*found, "IGNORED")))
        world.send_state("people", account, None)
        until(partial(world.has, query))


@pytest.mark.parametrize(("action", "state"), [("dlq.redrive", "REDRIVEN"), ("dlq.discard", "DISCARDED")])
def test_a_dead_letter_shows_what_was_decided_about_it(world: World, action: str, state: str) -> None:
    world.send_letter(replace(LETTER, tenant=action))
    query = f"SELECT state, decided_at, decided_by FROM read_model.dead_letters WHERE tenant = '{action}'"
    with world.projecting():
        until(partial(world.has, query, ("OPEN", None, None)))
        ((place,),) = rows(
            world.database, "SELECT place FROM read_model.dead_letters WHERE tenant = %s", action
        )
        entry = AuditEntry(
            audit_id=action, tenant=TenantId(action), at=AT, by="k1", action=action, subject=place
        )
        world.send(world.topics.audit, entry)
        until(partial(world.has, query, (state, AT, "k1")))


def test_a_rebuild_gives_the_same_while_the_projector_goes_on(world: World) -> None:
    tenant = TenantId("rebuild")
    people = [
        replace(PERSON, tenant=tenant, person_id=PersonId(f"p{number}"), version_sequence=number)
        for number in range(500)
    ]
    world.send(world.topics.people, *people)
    world.send_state("people", key("account", tenant, "p1"), AccountEntry(blocked=Reason.EMAIL_TAKEN))
    counted = "SELECT count(*)::int FROM read_model.people WHERE tenant = 'rebuild'"
    seen: list[tuple[int, int]] = []
    with world.projecting():
        until(lambda: world.has(counted, (500,)))
        until(lambda: world.has("SELECT 1 FROM read_model.conflicts WHERE tenant = 'rebuild'", (1,)))
        # As it is when the changelog was compacted: only what was written last is left of it.
        change(world, "UPDATE read_model.accounts SET since = since - interval '1 day'")
        before = world.everything()
        count = rebuild(world.settings, lambda done, total: seen.append((done, total)))
        assert world.everything() == before
        world.send(world.topics.people, replace(people[0], person_id=PersonId("later")))
        until(lambda: world.has(counted, (501,)))
    assert count > 500
    assert seen[-1] == (count, count)
    assert generations(world) == 1


def change(world: World, statement: str) -> None:
    with driver_connection(world.database) as connection:
        connection.execute(statement)


def generations(world: World) -> int:
    ((count,),) = rows(
        world.database, "SELECT count(*)::int FROM pg_namespace WHERE nspname ~ '^read_model_[0-9]+$'"
    )
    return int(count)


def test_a_rebuild_that_was_interrupted_changes_nothing_and_the_next_keeps_who_may_read(world: World) -> None:
    tenant = TenantId("interrupted")
    world.send(world.topics.people, replace(PERSON, tenant=tenant))
    world.project(PEOPLE.format(tenant), ("ann", "sis", "ann", False))
    change(world, "ALTER DEFAULT PRIVILEGES IN SCHEMA read_model GRANT SELECT ON TABLES TO PUBLIC")
    before = world.everything()

    def interrupt(_done: int, _total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rebuild(world.settings, interrupt)
    assert world.everything() == before
    assert generations(world) == 2
    rebuild(world.settings, ignored)
    assert generations(world) == 1
    assert world.everything() == before
    may_read = "SELECT has_table_privilege('pg_monitor', 'read_model.people', 'SELECT')"
    assert rows(world.database, may_read) == [(True,)]


def test_the_projector_builds_what_another_release_has_made_otherwise_anew(world: World) -> None:
    tenant = TenantId("release")
    world.send(world.topics.people, replace(PERSON, tenant=tenant))
    world.project(PEOPLE.format(tenant), ("ann", "sis", "ann", False))
    ((number,),) = rows(world.database, "SELECT generation FROM read_models")
    change(world, f"COMMENT ON SCHEMA read_model_{number} IS 'older'")
    change(world, f"DROP TABLE read_model_{number}.calls CASCADE")
    with world.projecting():
        until(lambda: rows(world.database, "SELECT generation FROM read_models") > [(number,)])
        world.send(world.topics.people, replace(PERSON, tenant=tenant, version_sequence=1, username="ann2"))
        until(lambda: world.has(PEOPLE.format(tenant), ("ann", "sis", "ann2", False)))
    assert world.has("SELECT 1 FROM read_model.calls", (1,))


def test_two_rebuilds_do_not_run_at_once(world: World) -> None:
    with driver_connection(world.database) as other:
        assert try_lock(other, "projector", "rebuild")
        with pytest.raises(HubError, match="another rebuild is running"):
            rebuild(world.settings, ignored)


def test_the_command_builds_anew_and_says_so_in_the_audit(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    world.send(world.topics.people, replace(PERSON, tenant=TenantId("command")))
    given = {
        "KAFKA_BOOTSTRAP_SERVERS": world.settings.kafka["bootstrap.servers"],
        "SCHEMA_REGISTRY_URL": world.registry_url,
        "DATABASE_URL": world.database,
        "TOPIC_PREFIX": world.prefix,
        "DATA_DIR": tmp_path,
    }
    for name, value in given.items():
        monkeypatch.setenv(name, str(value))
    result = CliRunner().invoke(app, ["rebuild", "--why", "a try"])
    assert result.exit_code == 0, result.output
    assert "read model built anew" in result.output
    assert world.has(PEOPLE.format("command"), ("ann", "sis", "ann", False))
    written = "SELECT record::json->>'action', record::json->>'why' FROM outbox WHERE topic LIKE '%%audit'"
    assert rows(world.database, written) == [("rebuild", "a try")]


def test_the_queries_of_the_guide_run_and_every_view_is_named_in_it(world: World) -> None:
    text = (DOCS / "read-model.md").read_text("utf-8")
    queries = re.findall(r"```sql\n(.*?)```", text, re.DOTALL)
    assert queries
    for query in queries:
        rows(world.database, query)
    named = set(re.findall(r"`(\w+)`", text))
    assert set(world.everything()) - named == set()
