"""Dead letters on the real broker and database: found, shown, redriven, discarded, whatever interrupts."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from base64 import b64decode
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any, cast

import psycopg
import pytest
from sqlalchemy import Engine

from infra.cli.parts import kafka_of, sites_of
from infra.db.connect import driver_connection, engine
from infra.db.locks import try_lock
from infra.dead_letters import Choice, Found, State, count, find
from infra.partitioning import partition_of
from producers.redriving import Busy, Who, discard, redrive, rehearse
from producers.remedies import Means, Remedy, plans
from schemas.deadletters import ATTEMPT, DeadLetter, Step, about
from schemas.directives import Directive, DirectiveKind, Resolution
from schemas.elm import CompletionCallback
from schemas.events import AccountPolicy, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import (
    CallbackId,
    CommandId,
    CourseId,
    EnrolmentId,
    MoodleCourseId,
    PersonId,
    Target,
    TenantId,
)
from schemas.moodle import (
    CommandKind,
    CourseObserved,
    MoodleCommand,
    MoodleObserved,
    ObservedKind,
    UserWish,
)
from schemas.reasons import Reason
from schemas.topics import Record, Topic
from tests.integration.dead_letters_support import Hub, small_hub
from tests.integration.intake_support import rows, until

pytestmark = pytest.mark.integration

AT = datetime(2026, 11, 1, tzinfo=UTC)
WHO = Who("tester", "because", TenantId("default"))
COUNT = 520
"""More letters than one batch of a redrive takes."""


@pytest.fixture(scope="module")
def hub(
    kafka: str, registry_url: str, database_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Hub]:
    with small_hub(kafka, registry_url, database_url, tmp_path_factory.mktemp("hub")) as running:
        yield running


@pytest.fixture
def means(hub: Hub) -> Iterator[Means]:
    pool = engine(hub.database, pool_size=2)
    yield Means(pool, kafka_of(hub.settings), hub.codec, sites_of(hub.settings))
    pool.dispose()


def person(tenant: str, number: int, version: int = 0, **changes: Any) -> Person:
    fields: dict[str, Any] = {
        "tenant": TenantId(tenant),
        "person_id": PersonId(f"{tenant}-{number}"),
        "operation": Operation.UPSERT,
        "source_system": "crm",
        "source_record_id": str(number),
        "version_time": AT + timedelta(hours=version),
        "version_sequence": version,
        "recorded_at": AT,
        "account_policy": AccountPolicy.ALWAYS,
        "username": f"{tenant}{number}",
        "email": f"{tenant}{number}@example.test",
        "first_name": "Ann",
        "last_name": f"Version {version}",
        "auth": "oauth2",
    }
    return Person(**fields | changes)


def command(tenant: str, number: int) -> MoodleCommand:
    """A command as it was issued long ago."""
    return MoodleCommand(
        command_id=CommandId(f"old-{tenant}-{number}"),
        tenant=TenantId(tenant),
        target=Target("default"),
        kind=CommandKind.USER,
        generation=1,
        issued_at=AT,
        user=UserWish(person_id=PersonId(f"{tenant}-{number}"), create=True, last_name="Long ago"),
    )


def letter(hub: Hub, topic: Topic, record: Record, **changes: Any) -> DeadLetter:
    told = about(record)
    fields: dict[str, Any] = {
        "role": "people",
        "topic": topic.name,
        "partition": partition_of(record.key, 2),
        "offset": 0,
        "step": Step.VALUE_CONVERTER,
        "reason": Reason.UNREADABLE,
        "error_class": "UnreadableError",
        "error": "of a later release",
        "failed_at": datetime.now(UTC),
        "tenant": told.tenant,
        "kind": told.kind,
        "entity": told.entity,
        "message_key": record.key.encode(),
        "message_value": hub.codec.encode(topic, record),
    }
    return DeadLetter(**fields | changes)


def found(pool: Engine, *places: str) -> list[Found]:
    return find(pool, Choice(places=places))


def accounts(hub: Hub, tenant: str) -> dict[str, str]:
    """Give the last names of the tenant's accounts in Moodle by the person's id."""
    own = [user for user in hub.moodle.users if user.idnumber.startswith(f"{tenant}-")]
    assert len({user.idnumber for user in own}) == len(own), "nobody has two accounts"
    return {user.idnumber: user.lastname for user in own}


def outcomes(hub: Hub, tenant: str) -> Counter[str]:
    """Give how the tenant's commands have ended."""
    query = "SELECT outcome, count(*)::int FROM read_model.results WHERE tenant = %s GROUP BY outcome"
    return Counter(dict(rows(hub.database, query, tenant)))


def acts(hub: Hub, *places: str) -> Counter[tuple[str, str]]:
    query = "SELECT subject, action FROM read_model.audit WHERE subject = ANY(%s)"
    return Counter(rows(hub.database, query, list(places)))


def is_free(hub: Hub) -> bool:
    """Tell whether nobody decides; the server takes a moment to notice that a client was killed."""
    with driver_connection(hub.database) as connection:
        return try_lock(connection, "dead-letters")


def test_what_moodle_refused_is_redriven_as_it_is_wished_now(hub: Hub) -> None:
    hub.send(hub.topics.people, *(person("saml", number, auth="saml2") for number in range(3)))
    first = hub.open_letters("saml", 3)
    listed = hub.run("dlq", "list", "--tenant", "saml", "--json")
    lines = [json.loads(line) for line in listed.output.splitlines()]
    assert {(one["role"], one["kind"], one["topic"]) for one in lines} == {
        ("moodle-sink.default", "moodle.command.user", hub.topics.commands.name)
    }
    assert {one["entity"] for one in lines} == {f"person/saml-{number}" for number in range(3)}
    assert {one["reason"] for one in lines} <= {"REFUSED", "INVALID_FIELD"}

    assert hub.run("dlq", "redrive", "--tenant", "saml", "--yes").status == 0
    hub.until_states(first, "REDRIVEN")
    second = hub.open_letters("saml", 3)
    assert not accounts(hub, "saml"), "Moodle refuses them still"

    hub.send(hub.topics.people, person("saml", 0, version=1, auth="saml2"))
    third = hub.open_letters("saml", 4)
    hub.moodle.settings.further_auth = ("saml2",)
    chosen = ("--kind", "moodle.command", "--tenant", "saml")
    done = hub.run("dlq", "redrive", *chosen, "--yes", "--why", "on now")
    assert "4 have what is wished now issued again" in done.output
    until(lambda: len(accounts(hub, "saml")) == 3)
    assert accounts(hub, "saml") == {
        "saml-0": "Version 1",
        "saml-1": "Version 0",
        "saml-2": "Version 0",
    }
    hub.until_states([*second, *third], "REDRIVEN")
    until(lambda: outcomes(hub, "saml").total() == 10)
    assert outcomes(hub, "saml") == {"REJECTED": 7, "APPLIED": 3}, "letters about one account: one command"
    why = "SELECT DISTINCT why FROM read_model.audit WHERE subject = ANY(%s)"
    assert rows(hub.database, why, third) == [("on now",)]
    assert set(acts(hub, *first, *third).values()) == {1}


def test_messages_of_stages_go_back_as_they_were_and_the_newest_version_wins(hub: Hub, means: Means) -> None:
    people, own = hub.topics.people, (("x", b"1"), ("x", None), ("traceparent", b"00-a-b-01"))
    hub.send(people, person("back", 0, version=1), person("back", 1, version=1))
    newer, older, large = person("back", 0, version=2), person("back", 1, version=0), person("back", 2)
    partition, offset = hub.send_raw(people, b"large", hub.codec.encode(people, large), [("y", b"2")])
    until(lambda: len(accounts(hub, "back")) == 3)
    places = hub.bury(
        hub.topics.dead_letters,
        letter(hub, people, newer, message_headers=own, attempt=2),
        letter(hub, people, older, message_headers=own),
        letter(hub, people, large, message_value=None, left_out=9, partition=partition, offset=offset),
    )
    hub.until_states(places, "OPEN")
    assert redrive(means, found(means.pool, *places), WHO) == {Remedy.AGAIN: 3}
    until(lambda: accounts(hub, "back")["back-0"] == "Version 2")
    hub.until_states(places, "REDRIVEN")
    assert accounts(hub, "back")["back-1"] == "Version 1", "an older version changes nothing"
    back = {
        (one.key() or b"").decode(): one
        for one in hub.messages(people)
        if ATTEMPT in dict(one.headers() or []) and b"back" in (one.key() or b"")
    }
    assert back.keys() == {newer.key, older.key, large.key}
    homes = [partition_of(newer.key, 2), partition_of(older.key, 2), partition]
    assert [back[one.key].partition() for one in (newer, older, large)] == homes
    assert cast(Any, back[newer.key].headers()) == [*own, (ATTEMPT, b"2")]
    assert cast(Any, back[large.key].headers()) == [("y", b"2"), (ATTEMPT, b"1")]
    assert hub.codec.decode(people, back[large.key].value()) == large
    assert redrive(means, found(means.pool, *places), WHO) == {Remedy.DECIDED: 3}


def test_what_waits_too_long_is_a_letter_until_it_is_redriven(hub: Hub, means: Means) -> None:
    tenant, courses = TenantId("patience"), hub.topics.enrolments_by_course
    wish = Enrolment(
        tenant=tenant,
        enrolment_id=EnrolmentId("7"),
        person_id=PersonId("patience-0"),
        course_id=CourseId("C1"),
        operation=Operation.UPSERT,
        status=EnrolmentStatus.ACTIVE,
        role=Role.STUDENT,
        source_system="elm",
        source_record_id="7",
        version_time=AT,
        version_sequence=0,
        recorded_at=AT,
    )
    hub.send(hub.topics.enrolments, wish)
    parked = "SELECT waits_for FROM read_model.parked WHERE tenant = 'patience'"
    until(lambda: hub.has_read_model() and rows(hub.database, parked) == [("account",)])
    hub.tick(AT + timedelta(days=4))
    places = hub.open_letters(tenant, 1)
    until(lambda: rows(hub.database, parked) == [])
    (found_letter,) = found(means.pool, *places)
    assert (found_letter.reason, found_letter.role) == (Reason.EXPIRED, "people")
    assert (found_letter.entity, found_letter.topic) == (
        "enrolment/patience-0/C1",
        hub.topics.directives.name,
    )

    def sent_on() -> int:
        return sum(one.key() == b"patience|C1" for one in hub.messages(courses))

    hub.send(hub.topics.people, person(tenant, 0))
    until(lambda: "patience-0" in accounts(hub, tenant))
    accounts_known = "SELECT moodle_user_id FROM read_model.accounts WHERE tenant = 'patience'"
    until(lambda: [*rows(hub.database, accounts_known)] not in ([], [(None,)]))
    assert sent_on() == 0, "it does not go on by itself"
    answer = hub.run("dlq", "redrive", "--tenant", tenant, "--reason", "EXPIRED", "--why", "asked", "--yes")
    assert answer.status == 0, answer.errors
    until(lambda: sent_on() == 1)
    hub.until_states(places, "REDRIVEN")


def test_what_cannot_be_done_stays_open_and_what_is_overtaken_does_not_go_back(
    hub: Hub, means: Means
) -> None:
    topics = hub.topics
    callback = CompletionCallback(
        callback_id=CallbackId("cb1"),
        tenant=TenantId("over"),
        enrolment_id=EnrolmentId("e1"),
        person_id=PersonId("over-1"),
        course_id=CourseId("C1"),
        course_short_name="C",
        email="a@example.test",
        first_name="A",
        last_name="B",
        completed_on=date(2026, 11, 1),
        issued_at=AT,
    )
    course = CourseObserved(
        course_id=CourseId("C1"),
        moodle_course_id=MoodleCourseId(4),
        short_name="C",
        visible=True,
        completion_opt_in=False,
    )
    seen = MoodleObserved(
        tenant=TenantId("over"),
        target=Target("default"),
        kind=ObservedKind.COURSE,
        observed_at=AT,
        course=course,
    )
    later = replace(callback, callback_id=CallbackId("cb2"), issued_at=AT + timedelta(days=1))
    hub.send(topics.callbacks, callback, later)
    other = replace(callback, callback_id=CallbackId("cb3"), enrolment_id=EnrolmentId("e2"))
    hub.send(topics.callbacks, other)
    value = hub.codec.encode(topics.observed, seen)
    partition, offset = hub.send_raw(topics.observed, seen.key.encode(), value, [])
    hub.send(topics.observed, seen)
    ruling = Directive(
        directive_id="d1",
        tenant=TenantId("over"),
        kind=DirectiveKind.RESOLVE,
        subject=CommandKind.COURSE,
        issued_at=AT,
        course_id=CourseId("C1"),
        resolution=Resolution.KEEP,
    )
    hub.send(topics.directives, replace(ruling, directive_id="d2", issued_at=AT + timedelta(days=1)))
    hub.send(topics.people, person("over", 1))
    until(lambda: len(accounts(hub, "over")) == 1)
    old_command, nonsense = letter(hub, topics.commands, command("over", 1)), b"nonsense"
    cases: list[tuple[Topic, DeadLetter, Remedy]] = [
        (topics.elm_dead_letters, letter(hub, topics.callbacks, callback), Remedy.OVERTAKEN),
        (topics.elm_dead_letters, letter(hub, topics.callbacks, other), Remedy.AGAIN),
        (
            topics.dead_letters,
            letter(hub, topics.observed, seen, partition=partition, offset=offset),
            Remedy.OVERTAKEN,
        ),
        (
            topics.dead_letters,
            letter(hub, topics.observed, replace(seen, course=replace(course, course_id=CourseId("C2")))),
            Remedy.AGAIN,
        ),
        (topics.dead_letters, letter(hub, topics.directives, ruling), Remedy.OVERTAKEN),
        (
            topics.dead_letters,
            letter(hub, topics.directives, replace(ruling, course_id=CourseId("C2"))),
            Remedy.AGAIN,
        ),
        (topics.moodle_dead_letters, old_command, Remedy.REASSERTED),
        (topics.moodle_dead_letters, replace(old_command, message_value=nonsense), Remedy.REASSERTED),
        (topics.moodle_dead_letters, replace(old_command, left_out=9, message_value=None), Remedy.REASSERTED),
        (
            topics.moodle_dead_letters,
            replace(old_command, message_value=nonsense, message_key=b"over|nobody"),
            Remedy.UNREADABLE,
        ),
        (
            topics.moodle_dead_letters,
            replace(old_command, message_value=None, message_key=None),
            Remedy.UNREADABLE,
        ),
        (
            topics.dead_letters,
            letter(hub, topics.people, person("over", 2), message_value=nonsense),
            Remedy.UNREADABLE,
        ),
        (
            topics.dead_letters,
            letter(hub, topics.people, person("over", 2), left_out=9, offset=10**9),
            Remedy.GONE,
        ),
        (
            topics.dead_letters,
            replace(letter(hub, topics.people, person("over", 2)), topic="another.hub.people"),
            Remedy.FOREIGN,
        ),
    ]
    places = [hub.bury(topic, one)[0] for topic, one, _ in cases]
    hub.until_states(places, "OPEN")
    until(lambda: rows(hub.database, "SELECT count(*)::int FROM read_model.callbacks") == [(3,)])
    decided = {plan.found.place: plan.remedy for plan in plans(means, found(means.pool, *places))}
    assert [decided[place] for place in places] == [remedy for _, _, remedy in cases]
    assert rehearse(means, found(means.pool, *places)) == Counter(remedy for _, _, remedy in cases)
    redrive(means, found(means.pool, *places), WHO)
    stays = {Remedy.UNREADABLE, Remedy.GONE, Remedy.FOREIGN}
    hub.until_states(places, *("OPEN" if remedy in stays else "REDRIVEN" for _, _, remedy in cases))
    until(lambda: outcomes(hub, "over") == {"APPLIED": 1, "UNCHANGED": 1})
    assert accounts(hub, "over") == {"over-1": "Version 0"}, "what the old command wished is not done"
    counted = [one for one in hub.messages(topics.callbacks) if ATTEMPT in dict(one.headers() or [])]
    assert [hub.codec.decode(topics.callbacks, one.value()) for one in counted] == [other]


def test_killed_and_interrupted_each_letter_is_redriven_and_noted_once(hub: Hub, means: Means) -> None:
    hub.send(hub.topics.people, *(person("bulk", number, version=1) for number in range(COUNT)))
    until(lambda: len(accounts(hub, "bulk")) == COUNT)
    events = [letter(hub, hub.topics.people, person("bulk", number)) for number in range(COUNT)]
    commands = [letter(hub, hub.topics.commands, command("bulk", number)) for number in range(100)]
    places = hub.bury(hub.topics.dead_letters, *events) + hub.bury(hub.topics.moodle_dead_letters, *commands)
    hub.until_states(places, "OPEN")
    sent = hub.length(hub.topics.people)
    with psycopg.connect(hub.database) as holding:
        holding.execute("LOCK TABLE outbox IN EXCLUSIVE MODE")  # the note of the first batch has to wait
        argv = [sys.executable, "-m", "infra.cli.main", "dlq", "redrive", "--tenant", "bulk", "--yes"]
        with subprocess.Popen(argv, env={**os.environ, **hub.env}, stdout=subprocess.DEVNULL) as process:
            try:
                until(lambda: hub.length(hub.topics.people) == sent + 500)
            finally:
                process.kill()
    assert not acts(hub, *places)
    until(lambda: is_free(hub))

    def interrupt(_done: int) -> None:
        raise KeyboardInterrupt

    letters = find(means.pool, Choice(tenant="bulk"))
    with pytest.raises(KeyboardInterrupt):
        redrive(means, letters, WHO, interrupt)
    tally = redrive(means, letters, WHO)
    assert tally == {Remedy.DECIDED: 500, Remedy.AGAIN: COUNT - 500, Remedy.REASSERTED: 100}
    hub.until_states(places, "REDRIVEN")
    assert acts(hub, *places) == {(place, "dlq.redrive"): 1 for place in places}
    until(lambda: outcomes(hub, "bulk") == {"APPLIED": COUNT, "UNCHANGED": 100})
    assert set(accounts(hub, "bulk").values()) == {"Version 1"}
    assert len(accounts(hub, "bulk")) == COUNT


def test_a_discard_is_noted_with_who_and_why_and_is_no_more_redriven(hub: Hub, means: Means) -> None:
    two = [letter(hub, hub.topics.people, person("gone", number)) for number in range(2)]
    kept, gone = hub.bury(hub.topics.dead_letters, *two)
    hub.until_states([kept, gone], "OPEN")
    asked = ("dlq", "discard", "--place", gone)
    assert hub.run(*asked).status == 2
    assert hub.run(*asked, "--why", " ").errors == "why: say why\n"
    refused = hub.run(*asked, "--why", "left")
    assert (refused.status, "terminal" in refused.errors) == (3, True)
    assert hub.run(*asked, "--why", "left", "--dry-run").output.startswith("1 open: 1 UNREADABLE")
    assert hub.states([gone]) == ["OPEN"]
    assert hub.run(*asked, "--why", "left the school", "--yes").output.endswith("1 discarded\n")
    hub.until_states([kept, gone], "OPEN", "DISCARDED")
    query = "SELECT action, tenant, why, actor LIKE 'cli:%%' FROM read_model.audit WHERE subject = %s"
    assert rows(hub.database, query, gone) == [("dlq.discard", "gone", "left the school", True)]
    assert redrive(means, found(means.pool, gone), WHO) == {Remedy.DECIDED: 1}
    assert discard(means, found(means.pool, gone), WHO) == 0
    shown = hub.run("dlq", "list", "--state", "discarded", "--tenant", "gone")
    assert gone in shown.output
    assert "1 discarded: 1 UNREADABLE" in shown.output


def test_only_one_decides_at_a_time(hub: Hub, means: Means) -> None:
    with driver_connection(hub.database) as other:
        assert try_lock(other, "dead-letters")
        with pytest.raises(Busy):
            redrive(means, [], WHO)
        with pytest.raises(Busy):
            discard(means, [], WHO)


def test_letters_are_chosen_by_what_is_known_of_them(hub: Hub, means: Means) -> None:
    long_ago = datetime.now(UTC) - timedelta(days=3)
    one = letter(hub, hub.topics.people, person("pick", 1), failed_at=long_ago)
    two = replace(letter(hub, hub.topics.commands, command("pick", 2)), role="moodle-sink.default")
    places = hub.bury(hub.topics.dead_letters, one, two)
    hub.until_states(places, "OPEN")
    first, second = places
    day = datetime.now(UTC) - timedelta(days=1)
    cases: list[tuple[dict[str, Any], set[str]]] = [
        ({}, {first, second}),
        ({"kind": "person"}, {first}),
        ({"kind": "moodle.command"}, {second}),
        ({"kind": "moodle.command.user"}, {second}),
        ({"kind": "moodle"}, {second}),
        ({"kind": "moodle.comm"}, set()),
        ({"role": "people"}, {first}),
        ({"entity": "person/pick-2"}, {second}),
        ({"reason": "USER_DELETED"}, set()),
        ({"failed_before": day}, {first}),
        ({"failed_after": day}, {second}),
        ({"places": (second,)}, {second}),
        ({"state": State.REDRIVEN}, set()),
        ({"state": State.OPEN}, {first, second}),
    ]
    for choice, expected in cases:
        assert {row.place for row in find(means.pool, Choice(tenant="pick", **choice))} == expected, choice
        assert sum(count(means.pool, Choice(tenant="pick", **choice)).values()) == len(expected)
    assert [row.place for row in find(means.pool, Choice(tenant="pick"), limit=1)] == [second]
    listed = hub.run("dlq", "list", "--tenant", "pick", "--older-than", "2d")
    assert (first in listed.output, second in listed.output) == (True, False)
    dry = hub.run("dlq", "redrive", "--tenant", "pick", "--newer-than", "2d", "--dry-run")
    assert dry.output.splitlines() == ["1 open: 1 UNREADABLE", "1 have what is wished now issued again"]
    assert hub.states(places) == ["OPEN", "OPEN"]


def test_one_letter_is_shown_with_its_headers_and_content(hub: Hub) -> None:
    good = letter(hub, hub.topics.people, person("show", 1), message_headers=(("x", b"\xff1"),))
    bad = replace(good, message_value=b"\x00nonsense")
    places = hub.bury(hub.topics.dead_letters, good, bad, replace(good, message_value=None))
    shown = hub.run("dlq", "show", places[0]).output
    assert "__connect.errors.exception.message: of a later release" in shown
    assert '"last_name": "Version 0"' in shown
    assert "The message is no record of its topic's schema." in shown
    assert "12 bytes; see --raw" not in shown
    assert "9 bytes; see --raw" in hub.run("dlq", "show", places[1]).output
    assert b64decode(hub.run("dlq", "show", places[1], "--raw").output) == b"\x00nonsense"
    assert "no value" in hub.run("dlq", "show", places[2]).output


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["redrive"], "--all"),
        (["discard", "--why", "x"], "--all"),
        (["list", "--older-than", "soon"], "older-than"),
        (["list", "--place", "hub.dlq"], "hub.dlq"),
        (["show", "hub.dlq/x/1"], "topic/partition/offset"),
        (["show", "hub.dlq/0/99999999"], "no dead letter"),
        (["list", "--state", "lost"], "state"),
    ],
)
def test_a_bad_argument_ends_with_one_line_and_status_2(hub: Hub, arguments: list[str], named: str) -> None:
    answer = hub.run("dlq", *arguments)
    assert answer.status == 2
    assert named in answer.errors
    assert "Traceback" not in answer.errors


def test_the_commands_of_the_documentation_are_understood(hub: Hub) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "dead-letters.md").read_text("utf-8")
    commands = re.findall(r"^hub (dlq .*)$", page, re.MULTILINE)
    assert len(commands) == 10
    for text in commands:
        words = shlex.split(text, comments=True)
        answer = hub.run(*words, *(["--dry-run"] if words[1] in {"redrive", "discard"} else []))
        known = answer.status == 0 or "there is no dead letter at moodle.default.dlq/3/17" in answer.errors
        assert known, (text, answer)
