"""What people write to have something done: names, ages, resolutions; and what that stands for."""

import shlex
import sys
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from infra.cli.asking import age_of, agree, before
from infra.cli.main import app
from infra.errors import BadArgument, Unsafe
from producers.entities import Entity, course, enrolment, entity_of, person
from producers.held import Conflict, Parked
from producers.operations import reassertions, resolution_of, word_of
from schemas.directives import ADMITTED, DirectiveKind, Resolution
from schemas.ids import CourseId, MoodleUserId, PersonId, TenantId
from schemas.moodle import CommandKind
from schemas.reasons import CONFLICTS, Reason

T = TenantId("t")
NOW = datetime(2026, 11, 21, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "entity"),
    [
        ("person/P1", person(T, "P1")),
        ("person/a/b", person(T, "a/b")),
        ("course/C1", course(T, "C1")),
        ("enrolment/P1/C1", enrolment(T, "P1", "C1")),
        ("enrolment/P1/C/1", enrolment(T, "P1", "C/1")),
    ],
)
def test_an_entity_is_read_as_it_is_written(text: str, entity: Entity) -> None:
    assert entity_of(T, text) == entity
    assert str(entity) == text


@pytest.mark.parametrize(
    "text", ["", "P1", "person/", "enrolment/P1", "enrolment/P1/", "enrolment//C", "user/P"]
)
def test_what_names_no_entity_is_told(text: str) -> None:
    with pytest.raises(BadArgument, match=f"entity: '{text}' is none of person/ID"):
        entity_of(T, text)


def test_resolutions_are_read_as_they_are_written() -> None:
    assert [resolution_of(word_of(one)) for one in Resolution] == list(Resolution)
    with pytest.raises(BadArgument, match="'TAKE_OVER' is none of take-over, update, keep, ignore"):
        resolution_of("TAKE_OVER")


def test_every_conflict_can_be_ignored_and_only_conflicts_can_be_settled() -> None:
    assert set(ADMITTED) == CONFLICTS
    assert all(Resolution.IGNORE in admitted for admitted in ADMITTED.values())


@pytest.mark.parametrize(("account", "way"), [(None, Resolution.TAKE_OVER), (5, Resolution.KEEP)])
def test_whoever_has_an_account_takes_over_no_other_for_its_address(
    account: MoodleUserId | None, way: Resolution
) -> None:
    mine = (account, None, MoodleUserId(7))
    conflict = Conflict(CommandKind.USER, T, PersonId("P1"), None, Reason.EMAIL_TAKEN, *mine, NOW, "OPEN")
    assert conflict.admitted == (way, Resolution.IGNORE)


@pytest.mark.parametrize(
    ("what", "waits_for", "needs"),
    [
        ("enrolment", "account", person(T, "P1")),
        ("enrolment", "course", course(T, "C1")),
        ("course", "term", None),
        ("completion", "learner or enrolment", None),
    ],
)
def test_what_is_parked_needs_an_account_a_course_or_its_source(
    what: str, waits_for: str, needs: Entity | None
) -> None:
    assert Parked(what, T, PersonId("P1"), CourseId("C1"), waits_for, None, NOW).needs == needs


def test_an_enrolment_is_asked_for_after_its_account_and_each_once() -> None:
    asked = [enrolment(T, "P1", "C1"), enrolment(T, "P1", "C2"), person(T, "P1"), course(T, "C1")]
    directives = reassertions(asked, "somebody", "because")
    assert [(one.subject, one.person_id, one.course_id) for one in directives] == [
        (CommandKind.USER, "P1", None),
        (CommandKind.ENROLMENT, "P1", "C1"),
        (CommandKind.ENROLMENT, "P1", "C2"),
        (CommandKind.COURSE, None, "C1"),
    ]
    assert {(one.kind, one.by, one.why) for one in directives} == {
        (DirectiveKind.REASSERT, "somebody", "because")
    }
    assert len({one.directive_id for one in directives}) == 4


@pytest.mark.parametrize(
    ("age", "expected"),
    [("30m", timedelta(minutes=30)), ("24h", timedelta(days=1)), ("7d", timedelta(days=7))],
)
def test_an_age_is_counted_back_from_now(age: str, expected: timedelta) -> None:
    earliest = datetime.now(UTC) - expected
    moment = before("older-than", age)
    assert moment is not None
    assert earliest <= moment <= datetime.now(UTC) - expected
    assert age_of(moment) == {"30m": "30m", "24h": "1d", "7d": "7d"}[age]


@pytest.mark.parametrize("age", ["", "7", "d", "-1d", "1w", "1.5h", "9999999d"])
def test_what_is_no_age_is_told_with_its_option(age: str) -> None:
    with pytest.raises(BadArgument, match=f"older-than: '{age}' is no age"):
        before("older-than", age)


def test_without_a_terminal_nothing_is_done_unless_it_was_agreed_beforehand(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "stdin", StringIO("y\n"))
    agree("go on?", yes=True)
    with pytest.raises(Unsafe, match="say --yes"):
        agree("go on?", yes=False)


def commands_of(page: str) -> list[str]:
    text = (Path(__file__).parents[2] / "docs" / page).read_text("utf-8")
    return [line for line in text.splitlines() if line.startswith("hub ")]


@pytest.mark.parametrize("line", commands_of("conflicts.md"))
def test_the_commands_of_the_guide_are_well_formed(line: str) -> None:
    words = shlex.split(line, comments=True)[1:]
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("hub", words)
