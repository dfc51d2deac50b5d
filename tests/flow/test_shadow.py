"""Rehearsals: history folded in a shadow, and what would differ from what the running hub has done."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.mapping import Mapping, parse
from infra.memory import MemoryTable
from infra.stage import Output
from processors import courses
from processors.differences import compare
from processors.past import as_of
from processors.shadow import NEW_COURSE, NEW_USER, STAGES, replayable, shadow
from processors.verdicts import Choice, Compared, Verdict
from schemas.directives import Directive, DirectiveKind, Resolution
from schemas.events import AccountPolicy, EnrolmentStatus, Operation
from schemas.ids import MoodleUserId, PersonId, SectionId, key
from schemas.moodle import CommandKind, MoodleResult
from schemas.topics import Record, Topic
from tests.flow import test_rules as sis
from tests.flow.moodle_model import NOW, MoodleModel
from tests.flow.test_stages import ANN, COURSE, SITES, TENANT, TOPICS, World, enrolment, person

ACTIVE, SUSPENDED, REMOVED = EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED, EnrolmentStatus.REMOVED
LATER = NOW + timedelta(days=400)
BEN = PersonId("0B2C")
ARCHIVED = "[sources.sis.course]\nmetadata = 'at once'\n[sources.sis.course.archive]\nafter_days = 30"
OWED = "[sources.zoho.overdue]\nafter_days = 7\n[sources.elm.enrolment]\non_delete = 'leave'"


@dataclass
class Rehearsal:
    """What a rehearsal found, and its tables."""

    found: list[Compared]
    own: dict[str, MemoryTable]

    @property
    def differences(self) -> list[tuple[CommandKind, str, Verdict, tuple[str, ...]]]:
        return [
            (one.kind, one.person_id or one.course_id or "", one.verdict, one.fields)
            for one in self.found
            if one.verdict.is_difference
        ]


def live_tables(world: World) -> dict[str, MemoryTable]:
    return {name: world.hub.tables.get(name, MemoryTable()) for name in STAGES}


def rehearse(
    world: World, history: Sequence[Output], rules: Mapping | None = None, choice: Choice | None = None
) -> Rehearsal:
    """Fold ``history`` beside what ``world`` holds, which is left as it is."""
    own = {name: MemoryTable() for name in STAGES}
    live = live_tables(world)
    before = {name: dict(table.entries) for name, table in live.items()}
    rehearsed = shadow(rules or world.mapping, SITES, own, live)

    def read(topic: Topic) -> Iterator[Record]:
        return (one.record for one in history if one.topic == topic)

    rehearsed.rehearse(read, LATER)
    found = list(compare(rehearsed.tables, live, rules or world.mapping, choice or Choice()))
    assert {name: table.entries for name, table in live.items()} == before
    return Rehearsal(found, own)


def lived(history: Sequence[Output], rules: str = "", **moodle: Any) -> World:
    """Return a hub through which ``history`` has gone, event by event, until today."""
    world = World(MoodleModel(TOPICS, **({"courses": {COURSE: 10}} | moodle)), parse(rules))
    for event in history:
        world.feed(event)
    world.feed(sis.tick(LATER))
    world.feed(sis.tick(LATER))
    return world


EVENTS = st.one_of(
    st.builds(
        person,
        st.sampled_from([ANN, BEN]),
        st.integers(0, 5),
        email=st.sampled_from(["a@example.test", "b@example.test"]),
        operation=st.sampled_from(list(Operation)),
        account_policy=st.sampled_from(list(AccountPolicy)),
        source_system=st.sampled_from(["elm", "zoho"]),
    ),
    st.builds(
        enrolment,
        st.sampled_from([ACTIVE, SUSPENDED, REMOVED]),
        st.integers(0, 5),
        person_id=st.sampled_from([ANN, BEN]),
        course_id=st.sampled_from([COURSE, sis.CLASS]),
        enrolment_id=st.sampled_from(["7001", "7002"]),
        operation=st.sampled_from(list(Operation)),
        source_system=st.sampled_from(["elm", "zoho"]),
        section_ids=st.sampled_from([(), (SectionId("S1"),)]),
    ),
    st.builds(
        sis.course,
        hour=st.integers(0, 5),
        record_id=st.sampled_from(["7", "8"]),
        operation=st.sampled_from(list(Operation)),
        ends_at=st.sampled_from([None, NOW, LATER]),
        term_id=st.sampled_from([None, "T1"]),
    ),
    st.builds(sis.term, hour=st.integers(0, 5)),
    st.builds(sis.section, st.just("S1"), st.sampled_from(["A", "B"]), st.integers(0, 5)),
    st.builds(
        sis.payment,
        st.sampled_from(["Paid", "Scheduled"]),
        st.integers(0, 5),
        person_id=st.sampled_from([ANN, BEN]),
    ),
)


@given(
    history=st.lists(EVENTS, max_size=25),
    rules=st.sampled_from(["", ARCHIVED, OWED]),
    mixed_up=st.sampled_from([set(), {ANN}]),
)
def test_the_whole_history_differs_in_nothing_from_what_it_led_to(
    history: list[Output], rules: str, mixed_up: set[str]
) -> None:
    assert rehearse(lived(history, rules, mixed_up=mixed_up), history).differences == []


def test_other_rules_show_exactly_what_they_would_change() -> None:
    history = [
        person(),
        person(BEN),
        enrolment(ACTIVE, 1, source_status="C"),
        enrolment(ACTIVE, 1, person_id=BEN, enrolment_id="7002"),
    ]
    world = lived(history, "[sources.elm.enrolment]\nactive = ['C']")
    after = parse("[sources.elm]\nuser.username = 'x{username}'\nenrolment.suspended = ['C']")
    found = rehearse(world, history, after)
    assert found.differences == [
        (CommandKind.USER, ANN, Verdict.CHANGED, ("username",)),
        (CommandKind.USER, BEN, Verdict.CHANGED, ("username",)),
        (CommandKind.ENROLMENT, ANN, Verdict.SUSPENDED, ("status",)),
    ]
    # Of the account the hub holds the same and only has to ask again; the status it has read otherwise.
    assert [one.is_told_otherwise for one in found.found if one.verdict.is_difference] == [False, False, True]


def test_an_event_that_is_published_again_is_read_by_the_rules_of_now_and_not_over_a_newer_one() -> None:
    history = [person(), enrolment(ACTIVE, 1, source_status="C")]
    before = lived(history, "[sources.elm.enrolment]\nactive = ['C']")
    world = World(before.moodle, parse("[sources.elm.enrolment]\nsuspended = ['C', 'D']"))
    world.hub.tables = before.hub.tables
    world.feed(sis.tick(LATER))  # accounts and courses follow new rules by themselves, wishes do not
    expected = [(CommandKind.ENROLMENT, ANN, Verdict.SUSPENDED, ("status",))]
    assert rehearse(world, history).differences == expected
    newer = enrolment(REMOVED, 2)
    assert len(world.feed(newer)) == 1
    assert world.feed(history[-1]) == []
    assert rehearse(world, [*history, newer]).differences == []


def test_an_event_that_is_published_again_makes_the_difference_go() -> None:
    history = [person(), enrolment(ACTIVE, 1, source_status="C")]
    before = lived(history, "[sources.elm.enrolment]\nactive = ['C']")
    world = World(before.moodle, parse("[sources.elm.enrolment]\nsuspended = ['C']"))
    world.hub.tables = before.hub.tables
    assert len(world.feed(history[-1])) == 1
    assert rehearse(world, history).differences == []


def test_to_ask_again_makes_a_difference_go_where_the_hub_holds_the_same() -> None:
    history = [person(), enrolment(ACTIVE, 1)]
    world = lived(history)
    table, at = world.hub.tables["courses"], courses.enrolment_key(TENANT, COURSE, ANN)
    entry = table.get(at, courses.EnrolmentEntry)
    assert entry is not None
    assert entry.issued is not None
    wrong = msgspec.structs.replace(entry.issued, status=SUSPENDED)
    table.put(at, msgspec.structs.replace(entry, issued=wrong))
    [found] = [one for one in rehearse(world, history).found if one.verdict.is_difference]
    assert (found.verdict, found.is_told_otherwise) == (Verdict.RESUMED, False)
    again = Directive(
        directive_id="d1",
        tenant=TENANT,
        kind=DirectiveKind.REASSERT,
        subject=CommandKind.ENROLMENT,
        issued_at=NOW,
        person_id=ANN,
        course_id=COURSE,
    )
    assert len(world.feed(Output(TOPICS.directives, again))) == 1
    assert rehearse(world, history).differences == []


def test_an_event_that_the_hub_has_missed_shows_as_made() -> None:
    history = [person(), enrolment(ACTIVE, 1)]
    found = rehearse(lived([]), history)
    assert found.differences == [
        (CommandKind.USER, ANN, Verdict.CREATED, ()),
        (CommandKind.ENROLMENT, ANN, Verdict.CREATED, ()),
    ]
    made = found.own["courses"].get(courses.enrolment_key(TENANT, COURSE, ANN), courses.EnrolmentEntry)
    assert made is not None
    assert made.issued is not None
    assert (made.issued.moodle_user_id, made.issued.moodle_course_id) == (NEW_USER, NEW_COURSE)


def test_an_account_that_is_being_made_is_waited_for_as_in_the_hub() -> None:
    world = World(mapping=parse(""))
    history = [person(), enrolment(ACTIVE, 1)]
    world.hub.feed(history)  # nobody answers
    found = rehearse(world, history)
    assert found.differences == []
    assert (
        found.own["courses"].get(courses.enrolment_key(TENANT, COURSE, ANN), courses.EnrolmentEntry) is None
    )


def test_what_history_no_longer_wishes_is_left_and_no_difference() -> None:
    world = lived([person(), enrolment(ACTIVE, 1)])
    found = rehearse(world, [])
    assert found.differences == []
    assert [(one.kind, one.verdict) for one in found.found] == [
        (CommandKind.USER, Verdict.LEFT),
        (CommandKind.ENROLMENT, Verdict.LEFT),
    ]


def test_what_people_have_decided_about_an_account_holds_in_the_shadow() -> None:
    history = [person(), enrolment(ACTIVE, 1)]
    world = lived(history, mixed_up={ANN})
    decided = Directive(
        directive_id="d1",
        tenant=TENANT,
        kind=DirectiveKind.RESOLVE,
        subject=CommandKind.USER,
        issued_at=NOW,
        person_id=ANN,
        resolution=Resolution.TAKE_OVER,
        moodle_user_id=MoodleUserId(77),
    )
    world.feed(Output(TOPICS.directives, decided))
    assert rehearse(world, history).differences == []


def test_a_change_that_is_kept_for_the_night_is_no_difference() -> None:
    history = [sis.term(), sis.course(), sis.course(hour=1, attributes={"title": "Accounts"})]
    world = World(MoodleModel(TOPICS), parse(""))
    for event in history:
        world.feed(event)
    assert [one.create for one in sis.courses(world.moodle.commands)] == [True]
    assert rehearse(world, history).differences == []


def test_a_course_that_was_put_away_and_then_deleted_stays_as_it_is() -> None:
    taken = enrolment(ACTIVE, 1, course_id=sis.CLASS)
    history = [sis.term(), sis.course(ends_at=NOW), person(), taken]
    world = lived(history, ARCHIVED)
    assert world.moodle.enrolments == {(ANN, sis.CLASS): SUSPENDED}
    history.append(sis.course(hour=2, operation=Operation.DELETE))
    world.feed(history[-1])
    assert rehearse(world, history).differences == []


@pytest.mark.parametrize(
    ("chosen", "expected"),
    [
        ({key("person", TENANT, ANN)}, [(CommandKind.USER, ANN), (CommandKind.ENROLMENT, ANN)]),
        ({key("account", TENANT, ANN)}, [(CommandKind.USER, ANN)]),
        ({key("enrolment", TENANT, ANN, COURSE)}, [(CommandKind.ENROLMENT, ANN)]),
        ({key("course", TENANT, COURSE)}, [(CommandKind.ENROLMENT, ANN), (CommandKind.ENROLMENT, BEN)]),
        ({key("person", "other", ANN)}, []),
    ],
)
def test_only_what_is_chosen_is_compared(chosen: set[str], expected: list[tuple[CommandKind, str]]) -> None:
    history = [
        person(),
        person(BEN),
        enrolment(ACTIVE, 1),
        enrolment(ACTIVE, 1, person_id=BEN, enrolment_id="7002"),
    ]
    found = rehearse(lived([]), history, choice=Choice(TENANT, chosen=chosen)).differences
    assert [(kind, entity) for kind, entity, *_ in found] == expected


def test_topics_of_history_come_in_the_order_in_which_they_need_each_other() -> None:
    names = [name.removeprefix("hub.") for name in replayable(SITES)]
    assert names == ["terms", "programs", "courses", "sections", "people", "payments", "enrolments"]


def test_the_past_is_as_it_was_before_what_came_later() -> None:
    world = World()
    history: list[Output] = []
    for event in (person(), enrolment(ACTIVE, 1), enrolment(SUSPENDED, 2)):
        pending = [event]
        while pending:
            history += pending
            pending = world.moodle.answer(world.hub.feed(pending))
    answered = [index for index, one in enumerate(history) if one.topic == TOPICS.results]
    then = as_of(world.mapping, SITES, history[: answered[2] + 1], NOW)
    now = as_of(world.mapping, SITES, history, NOW)
    assert [
        past.enrolments(TENANT, ANN)[COURSE].entry.applied  # type: ignore[union-attr]
        for past in (then, now)
    ] == [ACTIVE, SUSPENDED]
    before = as_of(world.mapping, SITES, history[:2], NOW)
    assert before.enrolments(TENANT, ANN)[COURSE].waits_for == "account"
    wish, account = then.account(TENANT, ANN)
    assert wish is not None
    assert account.moodle_user_id == 100


def test_the_past_takes_an_answer_however_many_commands_were_counted_then() -> None:
    world = lived([person(hour=1), enrolment(ACTIVE, 1), person(hour=2, email="new@example.test")])
    results = world.moodle.answer(list(world.hub.outputs))
    first = [replace(one.record, generation=1) for one in results if isinstance(one.record, MoodleResult)]
    history = [
        person(hour=1),
        enrolment(ACTIVE, 1),
        person(hour=2, email="new@example.test"),
        *(Output(TOPICS.results, one) for one in first),
    ]
    _, account = as_of(world.mapping, SITES, history, NOW).account(TENANT, ANN)
    assert account.moodle_user_id is not None
