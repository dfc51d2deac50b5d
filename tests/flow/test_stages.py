"""Events in, commands and callbacks out: what the stages do, with a model of Moodle that answers."""

from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from infra.mapping import Mapping, parse
from infra.memory import MemoryHub
from infra.stage import Output
from processors import completions, courses, people
from processors.accounts import AccountEntry
from processors.parking import standing
from processors.topology import topology
from schemas.directives import Directive, DirectiveKind
from schemas.elm import CompletionCallback
from schemas.events import AccountPolicy, Course, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import CourseId, EnrolmentId, MoodleCourseId, PersonId, Target, TenantId
from schemas.moodle import (
    CommandKind,
    CompletionObserved,
    CourseObserved,
    MoodleCommand,
    MoodleObserved,
    ObservedKind,
)
from schemas.reasons import Reason
from schemas.topics import sites
from tests.flow.moodle_model import NOW, MoodleModel

TENANT, TARGET = TenantId("default"), Target("default")
SITES = sites([TARGET])
TOPICS = SITES.shared
NO_RULES = parse("")
ANN, COURSE = PersonId("0A1B"), CourseId("32090")
ACTIVE, SUSPENDED = EnrolmentStatus.ACTIVE, EnrolmentStatus.SUSPENDED


def at(hour: int) -> datetime:
    return datetime(2026, 11, 1, tzinfo=UTC) + timedelta(hours=hour)


def person(person_id: str = ANN, hour: int = 0, **changes: Any) -> Output:
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "person_id": PersonId(person_id),
        "operation": Operation.UPSERT,
        "source_system": "elm",
        "source_record_id": person_id,
        "version_time": at(hour),
        "version_sequence": 0,
        "recorded_at": NOW,
        "account_policy": AccountPolicy.WHEN_ENROLLED,
        "username": f"{person_id.lower()}@example.test",
        "email": f"{person_id.lower()}@example.test",
        "first_name": "Ada",
        "last_name": "Example",
        "auth": "oauth2",
    }
    return Output(TOPICS.people, Person(**fields | changes))


def enrolment(
    status: EnrolmentStatus,
    hour: int,
    *,
    person_id: str = ANN,
    course_id: str = COURSE,
    sequence: int = 0,
    enrolment_id: str = "7001",
    **changes: Any,
) -> Output:
    fields: dict[str, Any] = {
        "tenant": TENANT,
        "enrolment_id": EnrolmentId(enrolment_id),
        "person_id": PersonId(person_id),
        "course_id": CourseId(course_id),
        "operation": Operation.UPSERT,
        "status": status,
        "role": Role.STUDENT,
        "source_system": "elm",
        "source_record_id": enrolment_id,
        "version_time": at(hour),
        "version_sequence": sequence,
        "recorded_at": NOW,
        "attributes": {"course_short_name": "ITEM-1", "oprid": "X77"},
    }
    return Output(TOPICS.enrolments, Enrolment(**fields | changes))


def course_seen(course_id: str = COURSE, moodle_course_id: int = 10) -> Output:
    body = CourseObserved(
        course_id=CourseId(course_id),
        moodle_course_id=MoodleCourseId(moodle_course_id),
        short_name="ITEM-1",
        visible=True,
        completion_opt_in=True,
    )
    observed = MoodleObserved(
        tenant=TENANT, target=TARGET, kind=ObservedKind.COURSE, observed_at=NOW, course=body
    )
    return Output(TOPICS.observed, observed)


def completed(day: date, person_id: str = ANN, course_id: str = COURSE) -> Output:
    body = CompletionObserved(person_id=PersonId(person_id), course_id=CourseId(course_id), completed_on=day)
    observed = MoodleObserved(
        tenant=TENANT, target=TARGET, kind=ObservedKind.COMPLETION, observed_at=NOW, completion=body
    )
    return Output(TOPICS.observed, observed)


@dataclass(slots=True)
class World:
    """The stages and the model of Moodle; commands are answered at once until nothing moves."""

    moodle: MoodleModel = field(default_factory=lambda: MoodleModel(TOPICS, courses={COURSE: 10}))
    mapping: Mapping = NO_RULES
    hub: MemoryHub = field(init=False)

    def __post_init__(self) -> None:
        self.hub = MemoryHub(topology(self.mapping, SITES))

    def feed(self, *inputs: Output) -> list[MoodleCommand]:
        """Return the commands that ``inputs`` led to."""
        before = len(self.moodle.commands)
        pending = list(inputs)
        while pending:
            pending = self.moodle.answer(self.hub.feed(pending))
        return self.moodle.commands[before:]

    def callbacks(self) -> list[CompletionCallback]:
        return [o.record for o in self.hub.outputs if isinstance(o.record, CompletionCallback)]


def kinds(commands: list[MoodleCommand]) -> list[CommandKind]:
    return [command.kind for command in commands]


def test_a_new_enrolment_makes_account_resolves_course_and_enrols() -> None:
    world = World()
    commands = world.feed(person(), enrolment(ACTIVE, 1))
    assert kinds(commands) == [CommandKind.USER, CommandKind.COURSE, CommandKind.ENROLMENT]
    assert commands[0].user is not None
    assert commands[0].user.create
    assert commands[1].course is not None
    assert not commands[1].course.create
    assert commands[2].enrolment is not None
    assert commands[2].enrolment.state_is_known
    assert world.moodle.enrolments == {(ANN, COURSE): ACTIVE}


def test_a_repeat_makes_no_command() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1))
    assert world.feed(person(), enrolment(ACTIVE, 1), course_seen()) == []


def test_a_person_without_enrolment_gets_no_account() -> None:
    world = World()
    assert world.feed(person()) == []


def test_a_person_whose_source_says_always_gets_an_account() -> None:
    world = World()
    assert kinds(world.feed(person(account_policy=AccountPolicy.ALWAYS))) == [CommandKind.USER]


def test_a_suspend_never_makes_an_account_and_does_not_wait_for_one() -> None:
    world = World()
    commands = world.feed(person(), enrolment(SUSPENDED, 1))
    assert kinds(commands) == [CommandKind.USER]
    assert commands[0].user is not None
    assert not commands[0].user.create
    assert world.moodle.accounts == {}
    table = world.hub.tables["people"]
    entry = table.get(people.account_key(TENANT, ANN), AccountEntry)
    wish = table.get(people.enrolment_key(TENANT, ANN, COURSE), people.EnrolmentEntry)
    assert wish is not None
    assert not people.waits(entry, wish)


def test_a_suspend_of_an_existing_account_is_looked_up_before_it_is_applied() -> None:
    world = World(MoodleModel(TOPICS, courses={COURSE: 10}, accounts={ANN: 5}))
    commands = world.feed(person(), enrolment(SUSPENDED, 1))
    assert commands[-1].enrolment is not None
    assert commands[-1].enrolment.status is SUSPENDED
    assert not commands[-1].enrolment.state_is_known


def test_a_change_of_the_role_is_looked_up_as_the_old_role_has_to_go() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1, role=Role.TEACHER))
    wishes = [
        command.enrolment
        for inputs in (
            enrolment(ACTIVE, 2),
            enrolment(SUSPENDED, 3),
            enrolment(SUSPENDED, 4, role=Role.TEACHER),
        )
        for command in world.feed(inputs)
    ]
    assert [(wish.role, wish.state_is_known) for wish in wishes if wish] == [
        (Role.STUDENT, False),
        (Role.STUDENT, True),
        (Role.TEACHER, False),
    ]


def test_suspend_and_re_enrol_follow_each_other() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1))
    assert kinds(world.feed(enrolment(SUSPENDED, 2))) == [CommandKind.ENROLMENT]
    assert world.moodle.enrolments == {(ANN, COURSE): SUSPENDED}
    assert kinds(world.feed(enrolment(ACTIVE, 3, enrolment_id="7002"))) == [CommandKind.ENROLMENT]
    assert world.moodle.enrolments == {(ANN, COURSE): ACTIVE}


def test_a_deleted_enrolment_is_suspended() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1))
    world.feed(enrolment(ACTIVE, 2, operation=Operation.DELETE))
    assert world.moodle.enrolments == {(ANN, COURSE): SUSPENDED}


def test_an_older_record_changes_nothing() -> None:
    world = World()
    world.feed(person(), enrolment(SUSPENDED, 5, enrolment_id="7002"), enrolment(ACTIVE, 6))
    assert world.feed(enrolment(SUSPENDED, 4), person(hour=-1, first_name="Old")) == []
    assert world.moodle.enrolments == {(ANN, COURSE): ACTIVE}


def test_enrolments_before_their_person_wait_and_go_on() -> None:
    world = World()
    assert world.feed(enrolment(ACTIVE, 1)) == []
    assert world.feed(person())[-1].kind is CommandKind.ENROLMENT


def test_enrolments_of_an_unknown_course_wait_and_go_on_when_it_appears() -> None:
    world = World(MoodleModel(TOPICS))
    world.feed(person(), enrolment(ACTIVE, 1), person("0A1C"), enrolment(ACTIVE, 1, person_id="0A1C"))
    assert kinds(world.moodle.commands).count(CommandKind.COURSE) == 1
    table = world.hub.tables["courses"]
    entry = table.get(courses.enrolment_key(TENANT, COURSE, ANN), courses.EnrolmentEntry)
    assert entry is not None
    assert courses.waits(None, entry)
    world.moodle.courses[COURSE] = 10
    assert kinds(world.feed(course_seen())) == [CommandKind.ENROLMENT] * 2
    assert world.moodle.enrolments == {(ANN, COURSE): ACTIVE, ("0A1C", COURSE): ACTIVE}


def test_a_course_is_made_where_its_source_says_so() -> None:
    world = World(MoodleModel(TOPICS))
    event = Course(
        tenant=TENANT,
        course_id=COURSE,
        operation=Operation.UPSERT,
        source_system="elm",
        source_record_id=COURSE,
        version_time=at(0),
        version_sequence=0,
        recorded_at=NOW,
        create=True,
        short_name="ITEM-1",
        full_name="Item one",
    )
    world.feed(person(), enrolment(ACTIVE, 1))
    commands = world.feed(Output(TOPICS.courses, event))
    assert kinds(commands) == [CommandKind.COURSE, CommandKind.ENROLMENT]
    assert commands[0].course is not None
    assert commands[0].course.short_name == "ITEM-1"


def test_a_conflict_holds_the_enrolments_until_the_source_changes() -> None:
    world = World()
    world.moodle.mixed_up.add(ANN)
    assert kinds(world.feed(person(), enrolment(ACTIVE, 1))) == [CommandKind.USER]
    table = world.hub.tables["people"]
    entry = table.get(people.account_key(TENANT, ANN), AccountEntry)
    assert entry is not None
    assert entry.blocked is Reason.EMAIL_MISMATCH
    assert world.feed(enrolment(ACTIVE, 2)) == []
    world.moodle.mixed_up.clear()
    commands = world.feed(person(hour=1, email="other@example.test"))
    assert kinds(commands) == [CommandKind.USER, CommandKind.COURSE, CommandKind.ENROLMENT]


def test_commands_of_one_entity_have_different_ids_and_a_replay_has_the_same() -> None:
    def run() -> list[str]:
        world = World()
        world.feed(person(), enrolment(ACTIVE, 1))
        world.feed(enrolment(SUSPENDED, 2), enrolment(ACTIVE, 3))
        return [command.command_id for command in world.moodle.commands]

    ids = run()
    assert len(set(ids)) == len(ids) == 5
    assert run() == ids


def test_a_completion_is_called_back_once_with_the_learners_own_enrolment() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1), completed(date(2026, 11, 20)), completed(date(2026, 11, 20)))
    (callback,) = world.callbacks()
    assert (callback.enrolment_id, callback.completed_on) == ("7001", date(2026, 11, 20))
    assert callback.course_short_name == "ITEM-1"
    assert callback.attributes == {"oprid": "X77"}


def test_a_completion_without_enrolment_waits_for_it() -> None:
    world = World()
    world.feed(completed(date(2026, 11, 20)), person())
    entry = world.hub.tables["completions"].get(
        completions.completion_key(TENANT, ANN, COURSE), completions.CompletionEntry
    )
    assert entry is not None
    assert completions.waits(entry)
    assert world.callbacks() == []
    world.feed(enrolment(ACTIVE, 1))
    assert len(world.callbacks()) == 1


def test_elm_is_told_once_more_when_somebody_asks() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1), completed(date(2026, 11, 20)))
    asked = Directive(
        directive_id="d1",
        tenant=TENANT,
        kind=DirectiveKind.REASSERT,
        subject=CommandKind.USER,
        issued_at=NOW,
        person_id=ANN,
        course_id=COURSE,
    )
    wanted = Output(TOPICS.directives, asked)
    world.feed(wanted, wanted, completed(date(2026, 11, 20)))
    for course in (None, CourseId("9")):
        world.feed(Output(TOPICS.directives, replace(asked, course_id=course)))
    first, again = world.callbacks()
    assert first.callback_id != again.callback_id
    assert (again.enrolment_id, again.completed_on) == (first.enrolment_id, first.completed_on)


def test_only_elm_enrolments_are_called_back() -> None:
    world = World()
    world.feed(person(), enrolment(ACTIVE, 1, source_system="sis"), completed(date(2026, 11, 20)))
    assert world.callbacks() == []


WISHES = st.lists(
    st.tuples(
        st.sampled_from(["P1", "P2"]),
        st.sampled_from(["C1", "C2"]),
        st.sampled_from([ACTIVE, SUSPENDED]),
        st.integers(0, 5),
    ),
    max_size=12,
)


@given(WISHES, st.randoms(use_true_random=False), st.booleans())
def test_newest_wins_whatever_the_order_of_arrival(wishes: list[Any], random: Any, course_late: bool) -> None:
    records = [
        enrolment(status, hour, person_id=who, course_id=what, sequence=number, enrolment_id=str(number))
        for number, (who, what, status, hour) in enumerate(wishes)
    ]
    newest: dict[tuple[str, str], EnrolmentStatus] = {}
    for who, what, status, _ in sorted(wishes, key=lambda wish: wish[3]):  # stable: then by sequence
        newest[who, what] = status
    inputs = [*records, person("P1"), person("P2")]
    random.shuffle(inputs)
    world = World(MoodleModel(TOPICS, courses={} if course_late else {"C1": 10, "C2": 11}))
    for item in inputs:
        world.feed(item)
    world.moodle.courses = {"C1": 10, "C2": 11}
    world.feed(course_seen("C1", 10), course_seen("C2", 11))
    active = {pair for pair, status in newest.items() if status is ACTIVE}
    assert {pair for pair, status in world.moodle.enrolments.items() if status is ACTIVE} == active
    assert {who for who, _ in active} <= set(world.moodle.accounts)


def test_what_is_held_is_listed_with_what_it_waits_for() -> None:
    world = World(MoodleModel(TOPICS, courses={COURSE: 10}))
    world.moodle.mixed_up.add("P2")
    world.feed(
        person(),
        enrolment(ACTIVE, 1),
        enrolment(ACTIVE, 1, course_id="nowhere", enrolment_id="7002"),
        person("P2"),
        enrolment(ACTIVE, 1, person_id="P2", enrolment_id="7003"),
        person("P3"),
        enrolment(SUSPENDED, 1, person_id="P3", enrolment_id="7004"),
        completed(date(2026, 11, 20), person_id="P4"),
    )
    stands = standing({name: table.entries for name, table in world.hub.tables.items()})
    assert sorted((held.what, held.person_id, held.waits_for, held.reason) for held in stands.held) == [
        ("account", "P2", None, Reason.EMAIL_MISMATCH),
        ("completion", "P4", "learner or enrolment", None),
        ("enrolment", ANN, "course", Reason.COURSE_NOT_FOUND),
        ("enrolment", "P2", "account", Reason.EMAIL_MISMATCH),
    ]
    assert (stands.active, stands.suspended) == (1, 0)
    assert [held.what for held in stands.held if held.is_conflict] == ["account"]
    assert [held.what for held in stands.held if held.is_rejected] == []
