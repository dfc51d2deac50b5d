"""What people decide, as directives in: commands out, and the same state of Moodle however often they ask."""

from dataclasses import dataclass, replace
from itertools import count
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.mapping import parse
from infra.stage import Output
from processors import courses, people
from processors.accounts import PersonEntry
from processors.parking import standing
from schemas.directives import Directive, DirectiveKind, Resolution
from schemas.events import Course, Operation
from schemas.ids import CommandId, MoodleCourseId, MoodleUserId
from schemas.moodle import (
    CommandKind,
    CourseWish,
    EnrolmentWish,
    MoodleCommand,
    MoodleResult,
    Outcome,
    UserWish,
)
from schemas.reasons import Reason
from tests.flow.moodle_model import NOW, MoodleModel
from tests.flow.test_stages import (
    ACTIVE,
    ANN,
    COURSE,
    SUSPENDED,
    TENANT,
    TOPICS,
    World,
    at,
    course_seen,
    enrolment,
    kinds,
    person,
)

_numbers = count(1)


def directive(kind: DirectiveKind, subject: CommandKind, **changes: Any) -> Output:
    fields: dict[str, Any] = {
        "directive_id": f"d{next(_numbers)}",
        "tenant": TENANT,
        "issued_at": NOW,
        "person_id": None if subject is CommandKind.COURSE else ANN,
        "course_id": None if subject is CommandKind.USER else COURSE,
        "by": "somebody",
    }
    return Output(TOPICS.directives, Directive(kind=kind, subject=subject, **fields | changes))


def reassert(subject: CommandKind, **changes: Any) -> Output:
    return directive(DirectiveKind.REASSERT, subject, **changes)


def resolve(subject: CommandKind, resolution: Resolution, **changes: Any) -> Output:
    return directive(DirectiveKind.RESOLVE, subject, resolution=resolution, **changes)


def take_over(number: int) -> Output:
    return resolve(CommandKind.USER, Resolution.TAKE_OVER, moodle_user_id=MoodleUserId(number))


def take_over_course(number: int) -> Output:
    return resolve(CommandKind.COURSE, Resolution.TAKE_OVER, moodle_course_id=MoodleCourseId(number))


def user(commands: list[MoodleCommand]) -> UserWish:
    (wish,) = [command.user for command in commands if command.user is not None]
    return wish


def course_of(commands: list[MoodleCommand]) -> CourseWish:
    (wish,) = [command.course for command in commands if command.course is not None]
    return wish


def enrolled(commands: list[MoodleCommand]) -> EnrolmentWish:
    (wish,) = [command.enrolment for command in commands if command.enrolment is not None]
    return wish


def catalogued(**changes: Any) -> Output:
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "course_id": COURSE,
        "operation": Operation.UPSERT,
        "source_system": "sis",
        "source_record_id": "7",
        "version_time": at(0),
        "version_sequence": 0,
        "recorded_at": NOW,
        "create": True,
        "source_status": "ACTIVE",
        "attributes": {"class_code": "ITEM-1", "title": "Item one", "term_code": "T1"},
    }
    return Output(TOPICS.courses, Course(**fields | changes))


@pytest.mark.parametrize("subject", list(CommandKind))
def test_what_is_wished_is_issued_once_more_with_the_next_generation(subject: CommandKind) -> None:
    world = World()
    first = {command.kind: command for command in world.feed(person(), enrolment(ACTIVE, 1))}
    asked = reassert(subject)
    (again,) = world.feed(asked)
    assert again.kind is subject
    assert again.generation == first[subject].generation + 1
    assert again.command_id != first[subject].command_id
    assert (again.user, again.course) == (first[subject].user, first[subject].course)
    assert world.feed(asked) == []  # the same directive once more


def test_an_enrolment_that_is_issued_again_is_looked_up_first() -> None:
    world = World()
    assert enrolled(world.feed(person(), enrolment(ACTIVE, 1))).state_is_known
    world.moodle.enrolments.clear()  # somebody took it away
    wish = enrolled(world.feed(reassert(CommandKind.ENROLMENT)))
    assert (wish.status, wish.state_is_known) == (ACTIVE, False)
    assert world.moodle.enrolments == {(ANN, COURSE): ACTIVE}


def test_only_what_is_wished_now_is_issued() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1), enrolment(SUSPENDED, 2), person(hour=1, last_name="New"))
    assert enrolled(world.feed(reassert(CommandKind.ENROLMENT))).status is SUSPENDED
    assert user(world.feed(reassert(CommandKind.USER))).last_name == "New"


@pytest.mark.parametrize("subject", list(CommandKind))
def test_nothing_is_issued_where_nothing_is_wished(subject: CommandKind) -> None:
    world = World()
    assert world.feed(reassert(subject)) == []
    assert world.hub.tables["people"].entries == {}
    assert world.hub.tables["courses"].entries == {}
    world.feed(person(account_policy="WHEN_ENROLLED"))
    assert world.feed(reassert(subject)) == []


def test_an_account_that_is_wanted_but_was_never_asked_for_is_asked_for() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1))
    table = world.hub.tables["people"]
    entry = table.get(people.person_key(TENANT, ANN), PersonEntry)
    assert entry is not None
    table.put(people.person_key(TENANT, ANN), PersonEntry(profiles=entry.profiles))
    assert kinds(world.feed(reassert(CommandKind.USER))) == [CommandKind.USER]


def test_an_account_that_has_gone_is_made_again_and_its_enrolments_follow() -> None:
    world = World(MoodleModel(TOPICS, courses={COURSE: 10}, accounts={ANN: 5}))
    assert not user(world.feed(person(), enrolment(SUSPENDED, 1))).create
    world.feed(enrolment(ACTIVE, 2))
    world.moodle.accounts = {"somebody": 100}
    world.moodle.enrolments.clear()
    commands = world.feed(reassert(CommandKind.USER))
    assert user(commands).create
    assert enrolled(commands).moodle_user_id == world.moodle.accounts[ANN] != 5
    assert world.moodle.enrolments == {(ANN, COURSE): ACTIVE}


def test_what_waits_for_an_account_goes_on_when_that_is_asked_for_again() -> None:
    world = World()
    world.moodle.mixed_up.add(ANN)
    world.feed(person(), enrolment(ACTIVE, 1))
    world.moodle.mixed_up.clear()  # mended in Moodle
    assert kinds(world.feed(reassert(CommandKind.USER))) == list(CommandKind)
    assert world.moodle.enrolments == {(ANN, COURSE): ACTIVE}


@pytest.mark.parametrize("subject", [CommandKind.COURSE, CommandKind.ENROLMENT])
def test_what_waits_for_a_course_goes_on_when_that_is_asked_for_again(subject: CommandKind) -> None:
    world = World(MoodleModel(TOPICS))
    world.feed(person(), enrolment(ACTIVE, 1))
    assert kinds(world.feed(reassert(subject))) == [CommandKind.COURSE]
    world.moodle.courses[COURSE] = 10
    assert kinds(world.feed(reassert(subject))) == [CommandKind.COURSE, CommandKind.ENROLMENT]


def test_a_course_out_of_the_selection_is_left_alone() -> None:
    rules = parse('[sources.sis.courses.include]\nstatus = ["ACTIVE"]\n')
    world = World(mapping=rules)
    world.feed(catalogued(), person(), enrolment(ACTIVE, 1))
    world.feed(catalogued(version_sequence=1, source_status="CLOSED"))
    assert world.feed(reassert(CommandKind.COURSE), reassert(CommandKind.ENROLMENT)) == []


@pytest.mark.parametrize(("metadata", "expected"), [("never", False), ("daily", True), ("at once", True)])
def test_an_existing_course_is_brought_to_its_values_where_the_rules_ever_do(
    metadata: str, expected: bool
) -> None:
    world = World(mapping=parse(f'[sources.sis.course]\nmetadata = "{metadata}"\n'))
    world.feed(catalogued())
    wish = course_of(world.feed(reassert(CommandKind.COURSE)))
    assert (wish.update, wish.full_name) == (expected, "Item one (T1)")


@pytest.mark.parametrize(
    ("resolution", "expected"), [(Resolution.UPDATE, (True, False)), (Resolution.KEEP, (False, True))]
)
def test_a_decision_about_the_address_holds_for_the_commands_that_follow(
    resolution: Resolution, expected: tuple[bool, bool]
) -> None:
    world = World()
    world.moodle.mixed_up.add(ANN)
    world.feed(person(), enrolment(ACTIVE, 1))
    world.moodle.mixed_up.clear()
    for step in (resolve(CommandKind.USER, resolution), person(hour=1, last_name="New")):
        wish = user(world.feed(step))
        assert (wish.update_email, wish.keep_email) == expected
    assert world.moodle.enrolments == {(ANN, COURSE): ACTIVE}


def test_a_made_up_address_replaces_none_whatever_is_decided() -> None:
    world = World()
    world.feed(person(email="x@no-address.invalid"), enrolment(ACTIVE, 1))
    assert not user(world.feed(resolve(CommandKind.USER, Resolution.UPDATE))).update_email


def test_another_decision_takes_the_place_of_the_first_and_leaves_the_link() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1))
    steps = (
        take_over(7),
        resolve(CommandKind.USER, Resolution.KEEP),
        resolve(CommandKind.USER, Resolution.UPDATE),
    )
    wishes = [user(world.feed(step)) for step in (*steps, take_over(8))]
    assert [(wish.moodle_user_id, wish.keep_email, wish.update_email) for wish in wishes] == [
        (7, False, False),
        (7, True, False),
        (7, False, True),
        (8, False, True),
    ]


def test_what_is_ignored_or_only_linked_issues_no_command() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1))
    link = directive(DirectiveKind.LINK, CommandKind.USER, moodle_user_id=MoodleUserId(7))
    course_link = directive(DirectiveKind.LINK, CommandKind.COURSE, moodle_course_id=MoodleCourseId(4))
    ignored = [resolve(kind, Resolution.IGNORE) for kind in CommandKind]
    assert world.feed(link, course_link, *ignored) == []
    assert user(world.feed(person(hour=1, last_name="New"))).moodle_user_id == 7
    assert course_of(world.feed(reassert(CommandKind.COURSE))).moodle_course_id == 4


def test_a_decision_that_comes_before_what_it_is_about_is_kept() -> None:
    world = World(MoodleModel(TOPICS, courses={COURSE: 4}))
    assert world.feed(take_over(7), resolve(CommandKind.USER, Resolution.KEEP), take_over_course(4)) == []
    commands = world.feed(person(), enrolment(ACTIVE, 1))
    assert (user(commands).moodle_user_id, user(commands).keep_email) == (7, True)
    assert course_of(commands).moodle_course_id == 4
    assert world.feed(catalogued()) == [] or course_of(world.moodle.commands[-1:]).moodle_course_id == 4


def test_a_linked_course_goes_before_the_one_its_source_names_and_those_seen_under_its_id() -> None:
    world = World(MoodleModel(TOPICS, courses={COURSE: 4}))
    world.feed(catalogued(moodle_course_id=MoodleCourseId(3)), person(), enrolment(ACTIVE, 1))
    assert course_of(world.feed(take_over_course(4))).moodle_course_id == 4
    assert world.feed(course_seen(moodle_course_id=9)) == []
    entry = world.hub.tables["courses"].get(courses.course_key(TENANT, COURSE), courses.CourseEntry)
    assert entry is not None
    assert entry.moodle_course_id == 4


def test_a_link_that_leads_nowhere_is_dropped_and_the_course_sought_without_it() -> None:
    world = World(MoodleModel(TOPICS))
    world.feed(person(), enrolment(ACTIVE, 1))
    commands = world.feed(take_over_course(4))
    assert [one.course.moodle_course_id for one in commands if one.course] == [4, None]
    world.moodle.courses[COURSE] = 9
    assert enrolled(world.feed(course_seen(moodle_course_id=9))).moodle_course_id == 9


def test_a_conflict_of_a_course_ends_when_it_is_settled() -> None:
    world = World(MoodleModel(TOPICS))
    world.feed(person(), enrolment(ACTIVE, 1))
    entry = courses.CourseEntry(asked=True, generation=1, blocked=Reason.COURSE_AMBIGUOUS)
    world.hub.tables["courses"].put(courses.course_key(TENANT, COURSE), entry)
    world.moodle.courses[COURSE] = 4
    assert kinds(world.feed(take_over_course(4))) == [CommandKind.COURSE, CommandKind.ENROLMENT]
    assert standing({name: table.entries for name, table in world.hub.tables.items()}).held == ()


def test_the_key_leads_a_directive_to_its_person_or_course() -> None:
    keys = [reassert(kind).record.key for kind in CommandKind]
    assert keys == [person().record.key, "default|32090", "default|32090"]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from([ACTIVE, SUSPENDED]), st.integers(0, 5)),
        st.sampled_from(list(CommandKind)),
    ),
    max_size=12,
)


@settings(max_examples=50)
@given(STEPS)
def test_asking_again_never_changes_what_comes_of_the_events(steps: list[Any]) -> None:
    asked, unasked = World(), World()
    for world in (asked, unasked):
        world.feed(person())
    for number, step in enumerate(steps):
        if isinstance(step, CommandKind):
            asked.feed(reassert(step))
            continue
        event = enrolment(step[0], step[1], sequence=number, enrolment_id=str(number))
        for world in (asked, unasked):
            world.feed(event)
    assert asked.moodle.enrolments == unasked.moodle.enrolments
    assert set(asked.moodle.accounts) == set(unasked.moodle.accounts)
    generations = [(one.entity, one.generation) for one in asked.moodle.commands]
    assert len(set(generations)) == len(generations)


@settings(max_examples=50)
@given(STEPS, st.integers(0, 11))
def test_a_topic_read_again_ends_the_same(steps: list[Any], again: int) -> None:
    inputs = [
        reassert(step)
        if isinstance(step, CommandKind)
        else enrolment(step[0], step[1], sequence=number, enrolment_id=str(number))
        for number, step in enumerate(steps)
    ]
    world, other = World(), World()
    for item in (person(), *inputs):
        world.feed(item)
        other.feed(item)
    for item in inputs[again:]:
        other.feed(item)
    assert world.moodle.enrolments == other.moodle.enrolments


@dataclass(slots=True)
class Taken(MoodleModel):
    """A Moodle in which an account of nobody has what the person wants, until it is linked."""

    reason: Reason = Reason.EMAIL_TAKEN
    other: int = 7
    helps: bool = True

    def answer(self, outputs: list[Output]) -> list[Output]:
        answers = MoodleModel.answer(self, outputs)
        asked = {
            one.record.command_id: one.record for one in outputs if isinstance(one.record, MoodleCommand)
        }
        results = [one.record for one in answers if isinstance(one.record, MoodleResult)]
        return [Output(TOPICS.results, self._refused(one, asked)) for one in results]

    def _refused(self, result: MoodleResult, asked: dict[CommandId, MoodleCommand]) -> MoodleResult:
        wish = asked[result.command_id].user
        if wish is None or (self.helps and wish.moodle_user_id == self.other):
            return result
        return replace(
            result,
            outcome=Outcome.CONFLICT,
            reason=self.reason,
            moodle_user_id=None,
            other_moodle_user_id=MoodleUserId(self.other),
        )


def taken(reason: Reason, rule: str) -> World:
    rules = parse(f'[sources.elm.user]\ntake_over = "{rule}"\n')
    return World(Taken(TOPICS, courses={COURSE: 10}, reason=reason), rules)


@pytest.mark.parametrize(
    ("reason", "rule", "expected"),
    [
        (Reason.EMAIL_TAKEN, "email", [None, 7]),
        (Reason.USERNAME_TAKEN, "username", [None, 7]),
        (Reason.EMAIL_TAKEN, "username", [None]),
        (Reason.USERNAME_TAKEN, "email", [None]),
        (Reason.EMAIL_TAKEN, "never", [None]),
    ],
)
def test_a_rule_can_decide_that_the_account_in_the_way_is_the_persons(
    reason: Reason, rule: str, expected: list[int | None]
) -> None:
    world = taken(reason, rule)
    commands = world.feed(person(), enrolment(ACTIVE, 1))
    assert [command.user.moodle_user_id for command in commands if command.user] == expected
    assert ((ANN, COURSE) in world.moodle.enrolments) is (len(expected) == 2)


def test_a_rule_that_does_not_help_is_tried_once_and_never_over_a_persons_decision() -> None:
    world = taken(Reason.EMAIL_TAKEN, "email")
    world.feed(take_over(9))
    commands = world.feed(person(), enrolment(ACTIVE, 1))
    assert [command.user.moodle_user_id for command in commands if command.user] == [9]
    useless = Taken(TOPICS, courses={COURSE: 10}, helps=False)
    other = World(useless, parse('[sources.elm.user]\ntake_over = "email"\n'))
    assert kinds(other.feed(person(), enrolment(ACTIVE, 1))) == [CommandKind.USER] * 2
