"""What waits too long waits no more: a dead letter tells of it, and a redrive takes it up again."""

from datetime import date, timedelta

import pytest

from infra.mapping import parse
from infra.stage import Output
from processors import expiry
from processors.parking import Held, standing
from schemas.directives import Directive
from schemas.joins import Tick
from schemas.moodle import CommandKind
from schemas.reasons import Reason
from tests.flow.moodle_model import NOW, MoodleModel
from tests.flow.test_stages import (
    ACTIVE,
    COURSE,
    SUSPENDED,
    TENANT,
    TOPICS,
    World,
    completed,
    course_seen,
    enrolment,
    kinds,
    person,
)

RULES = parse("[expire_days]\nenrolment = 10\ncompletion = 20")


def tick(days: float) -> Output:
    return Output(TOPICS.ticks, Tick(partition=0, at=NOW + timedelta(days=days)))


def a_world(rules: str | None = None, courses: dict[str, int] | None = None) -> World:
    """Give stages under rules by which things expire, and a Moodle that by default has no course."""
    return World(MoodleModel(TOPICS, courses=courses or {}), RULES if rules is None else parse(rules))


def letters(world: World) -> list[Output]:
    return [one for one in world.hub.outputs if one.dead is not None]


def redriven(world: World) -> list[Output]:
    """Give the messages of all letters as a redrive sends them."""
    return [one._replace(dead=None) for one in letters(world)]


def held(world: World) -> list[Held]:
    return list(standing({name: table.entries for name, table in world.hub.tables.items()}).held)


def told(world: World) -> list[tuple[CommandKind, str, str, Reason, str]]:
    found = []
    for one in letters(world):
        assert isinstance(one.record, Directive)
        assert one.dead is not None
        assert one.topic == TOPICS.directives
        about = one.record
        found.append(
            (about.subject, str(about.person_id), str(about.course_id), one.dead.reason, str(one.dead))
        )
    return found


@pytest.mark.parametrize(
    ("waiting", "subject", "waits_for", "days"),
    [
        (enrolment(ACTIVE, 0), CommandKind.USER, "account", 10),
        (completed(date(2026, 11, 20)), CommandKind.USER, "learner or enrolment", 20),
    ],
)
def test_what_waits_too_long_becomes_a_letter_and_waits_no_more(
    waiting: Output, subject: CommandKind, waits_for: str, days: int
) -> None:
    world = a_world()
    world.feed(waiting, tick(days))
    assert [one.waits_for for one in held(world)] == [waits_for]
    assert letters(world) == []
    world.feed(tick(days + 1), tick(days + 2))
    assert held(world) == []
    text = f"it has waited for its {waits_for} since 2026-11-21T12:00Z"
    assert told(world) == [(subject, "0A1B", COURSE, Reason.EXPIRED, text)]


def test_an_enrolment_that_waits_for_its_course_expires_by_the_course() -> None:
    world = a_world()
    world.feed(person(), enrolment(ACTIVE, 0))
    world.feed(tick(11))
    assert [one[:2] for one in told(world)] == [(CommandKind.ENROLMENT, "0A1B")]
    assert held(world) == []
    (letter,) = letters(world)
    assert letter.record.key == f"{TENANT}|{COURSE}"


def test_what_has_expired_does_not_go_on_by_itself_but_by_a_redrive() -> None:
    world = a_world()
    world.feed(person(), enrolment(ACTIVE, 0))
    world.feed(tick(11))
    assert world.feed(course_seen()) == []
    world.moodle.courses[COURSE] = 10
    assert kinds(world.feed(*redriven(world))) == [CommandKind.ENROLMENT]
    assert list(world.moodle.enrolments.values()) == [ACTIVE]
    assert world.feed(*redriven(world), tick(30)) == []
    assert len(letters(world)) == 1


def test_a_redriven_enrolment_goes_on_with_its_account() -> None:
    world = a_world(courses={COURSE: 10})
    world.feed(enrolment(ACTIVE, 0), tick(11))
    assert kinds(world.feed(person())) == [CommandKind.USER]
    assert world.moodle.enrolments == {}
    issued = kinds(world.feed(*redriven(world)))
    assert CommandKind.ENROLMENT in issued
    assert list(world.moodle.enrolments.values()) == [ACTIVE]


def test_a_redriven_completion_goes_on_with_its_learner() -> None:
    world = a_world()
    world.feed(completed(date(2026, 11, 20)), tick(21))
    world.feed(person(), enrolment(ACTIVE, 0))
    assert world.callbacks() == []
    world.feed(*redriven(world))
    assert [one.completed_on for one in world.callbacks()] == [date(2026, 11, 20)]


def test_what_still_lacks_something_waits_anew_from_the_last_look_on() -> None:
    world = a_world()
    world.feed(enrolment(ACTIVE, 0), tick(11), tick(30))
    world.feed(*redriven(world), tick(40))
    assert [one.waits_for for one in held(world)] == ["account"]
    world.feed(tick(41))
    assert [text for *_, text in told(world)][1:] == ["it has waited for its account since 2026-12-21T12:00Z"]


def test_a_new_version_from_the_source_waits_anew() -> None:
    world = a_world()
    world.feed(enrolment(ACTIVE, 0), tick(11))
    later = NOW + timedelta(days=12)
    world.feed(enrolment(ACTIVE, 1, role="TEACHER", recorded_at=later), tick(13))
    assert [one.waits_for for one in held(world)] == ["account"]
    world.feed(person())
    assert [one.waits_for for one in held(world)] == ["course"]


@pytest.mark.parametrize(
    "rules", ["", "[expire_days]\ncompletion = 1", "[tenants.x.expire_days]\nenrolment = 1"]
)
def test_without_a_rule_for_it_everything_waits_for_ever(rules: str) -> None:
    world = a_world(rules)
    world.feed(enrolment(ACTIVE, 0), tick(4000))
    assert letters(world) == []
    assert len(held(world)) == 1


def test_what_goes_on_or_wishes_what_is_so_does_not_expire() -> None:
    world = a_world(courses={COURSE: 10})
    world.feed(person(), enrolment(ACTIVE, 0), completed(date(2026, 11, 20)))
    world.feed(person("B2"), enrolment(SUSPENDED, 0, person_id="B2", enrolment_id="8"))
    world.feed(tick(400))
    assert letters(world) == []


def test_a_tick_ends_no_more_than_fits_a_transaction_and_the_next_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expiry, "MOST", 2)
    world = a_world()
    world.feed(*(enrolment(ACTIVE, 0, person_id=f"P{n}", enrolment_id=str(n)) for n in range(5)))
    counts = []
    for _ in range(4):
        world.feed(tick(11))
        counts.append(len(letters(world)))
    assert counts == [2, 4, 5, 5]
