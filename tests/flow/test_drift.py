"""What the hub does itself makes no drift; what others do makes one, and asking once more mends it."""

from collections.abc import Callable
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.stage import Output
from processors.asked import Subject, asked
from processors.comparison import Comparison, Kind, Progress, Seen, compare
from processors.drift import Accounts, Drift, DriftKind
from schemas.directives import Directive, DirectiveKind
from schemas.events import EnrolmentStatus, Role
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, TenantId
from schemas.moodle import CommandKind, MoodleCommand
from schemas.survey import AccountSeen, CourseSeen, MemberSeen
from tests.flow.moodle_model import NOW, MoodleModel
from tests.flow.test_stages import (
    ACTIVE,
    ANN,
    COURSE,
    NO_RULES,
    SUSPENDED,
    TENANT,
    TOPICS,
    World,
    enrolment,
    person,
)

ROLES = {Role.STUDENT: 5, Role.TEACHER: 3, Role.NON_EDITING_TEACHER: 4}


def subject(command: MoodleCommand) -> Subject:
    if command.enrolment is not None:
        return command.kind, command.enrolment.person_id, command.enrolment.course_id
    if command.user is not None:
        return command.kind, command.user.person_id, None
    return command.kind, None, command.course.course_id if command.course else None


def seen(moodle: MoodleModel) -> Seen:
    """What a survey of the model would show."""
    wishes = {str(command.user.person_id): command.user for command in moodle.commands if command.user}
    found = Accounts()
    found.add(
        AccountSeen(
            id=MoodleUserId(number),
            idnumber=name,
            email=wishes[name].email or "",
            first_name=wishes[name].first_name or "",
            last_name=wishes[name].last_name or "",
        )
        for name, number in moodle.accounts.items()
        if name in wishes
    )
    courses = {
        MoodleCourseId(number): CourseSeen(id=MoodleCourseId(number), idnumber=name)
        for name, number in moodle.courses.items()
    }
    members: dict[MoodleCourseId, list[MemberSeen]] = {course: [] for course in courses}
    for (name, course), status in moodle.enrolments.items():
        member = MemberSeen(
            user_id=MoodleUserId(moodle.accounts[name]),
            idnumber=name,
            is_active=status is ACTIVE,
            roles=frozenset({5}),
        )
        members[MoodleCourseId(moodle.courses[course])].append(member)
    return Seen(NOW, found, courses, members)


def compared(world: World) -> Comparison:
    tables = {name: table.entries for name, table in world.hub.tables.items()}
    answered: dict[Subject, int] = {}
    for command in world.moodle.commands:
        answered[subject(command)] = command.generation
    wanted = asked(tables.get("people", {}), tables.get("courses", {}), TENANT, NO_RULES.of(TENANT))
    return compare(wanted, seen(world.moodle), Progress(answered, answered), ROLES, list(Kind))


events = st.tuples(
    st.sampled_from([ANN, "BO", "CY"]),
    st.sampled_from([COURSE, "32091", "unknown"]),
    st.sampled_from([ACTIVE, SUSPENDED]),
    st.integers(0, 9),
    st.booleans(),
)


@given(st.lists(events, max_size=12))
def test_what_the_hub_does_itself_is_no_drift(
    drawn: list[tuple[str, str, EnrolmentStatus, int, bool]],
) -> None:
    world = World(MoodleModel(TOPICS, courses={COURSE: 10, "32091": 11}, mixed_up={"CY"}))
    for number, (name, course, status, hour, tells_person) in enumerate(drawn):
        if tells_person:
            world.feed(person(name, hour))
        wish = enrolment(status, hour, person_id=name, course_id=course, enrolment_id=f"{name}{course}")
        world.feed(wish)
        found = compared(world)
        assert found.drifts == (), f"after event {number}"
        assert found.in_flight == found.unread == 0


def enrolled() -> World:
    world = World()
    world.feed(person(), person("BO"), enrolment(ACTIVE, 1), enrolment(ACTIVE, 1, person_id="BO"))
    assert compared(world).compared == {Kind.USERS: 2, Kind.COURSES: 1, Kind.ENROLMENTS: 2}
    return world


def reasserted(drift: Drift) -> Output:
    directive = Directive(
        directive_id="d1",
        tenant=TENANT,
        kind=DirectiveKind.REASSERT,
        subject=drift.subject,
        issued_at=NOW + timedelta(hours=1),
        person_id=drift.person_id,
        course_id=drift.course_id,
    )
    return Output(TOPICS.directives, directive)


def unenrol(moodle: MoodleModel) -> None:
    del moodle.enrolments[ANN, COURSE]


def suspend(moodle: MoodleModel) -> None:
    moodle.enrolments[ANN, COURSE] = SUSPENDED


def delete_account(moodle: MoodleModel) -> None:
    del moodle.accounts[ANN], moodle.enrolments[ANN, COURSE]
    moodle.accounts["SOMEBODY"] = 99


@pytest.mark.parametrize(
    ("harm", "kinds"),
    [
        (unenrol, {(CommandKind.ENROLMENT, DriftKind.MISSING)}),
        (suspend, {(CommandKind.ENROLMENT, DriftKind.SUSPENDED_ELSEWHERE)}),
        (
            delete_account,
            {(CommandKind.USER, DriftKind.ORPHANED), (CommandKind.ENROLMENT, DriftKind.MISSING)},
        ),
    ],
)
def test_what_others_did_is_found_and_mended_by_asking_once_more(
    harm: Callable[[MoodleModel], None], kinds: set[tuple[CommandKind, DriftKind]]
) -> None:
    world = enrolled()
    harm(world.moodle)
    drifts = compared(world).drifts
    assert {(one.subject, one.kind) for one in drifts} == kinds
    assert {one.person_id for one in drifts} == {ANN}
    for drift in sorted(drifts, key=lambda one: one.subject, reverse=True):
        world.feed(reasserted(drift))
    assert compared(world).drifts == ()
    assert world.moodle.enrolments == {(ANN, COURSE): ACTIVE, ("BO", COURSE): ACTIVE}


def test_what_is_parked_or_disputed_is_held_and_not_compared() -> None:
    world = World(MoodleModel(TOPICS, mixed_up={"BO"}))
    world.feed(person(), enrolment(ACTIVE, 1), person("BO"), enrolment(ACTIVE, 1, person_id="BO"))
    tables = {name: table.entries for name, table in world.hub.tables.items()}
    wanted = asked(tables["people"], tables["courses"], TENANT, NO_RULES.of(TENANT))
    assert [one.person_id for one in wanted.accounts] == [ANN]
    assert (wanted.courses, wanted.enrolments) == ((), ())
    assert wanted.held == 3, "an account in conflict, a course unknown, an enrolment that waits for it"


def test_other_tenants_are_not_looked_at() -> None:
    world, other = enrolled(), TenantId("other")
    world.feed(person("BO", tenant=other), enrolment(SUSPENDED, 1, person_id="CY", tenant=other))
    tables = {name: table.entries for name, table in world.hub.tables.items()}
    for tenant, counts in ((TENANT, (2, 1, 2)), (other, (0, 0, 0))):
        wanted = asked(tables["people"], tables["courses"], tenant, NO_RULES.of(tenant))
        assert (len(wanted.accounts), len(wanted.courses), len(wanted.enrolments)) == counts
    world.feed(enrolment(ACTIVE, 1, person_id="BO", tenant=other))
    tables = {name: table.entries for name, table in world.hub.tables.items()}
    wanted = asked(tables["people"], tables["courses"], TENANT, NO_RULES.of(TENANT))
    assert len(wanted.accounts) == 2, "BO of the other tenant is somebody else"


def test_a_course_that_was_made_anew_is_an_orphaned_mapping_and_is_found_again() -> None:
    world = enrolled()
    world.moodle.courses[COURSE] = 77
    (course,) = [one for one in compared(world).drifts if one.subject is CommandKind.COURSE]
    assert (course.kind, course.course_id) == (DriftKind.ORPHANED, CourseId(COURSE))
    assert compared(world).unread == 2
    world.feed(reasserted(course))
    assert (compared(world).drifts, compared(world).unread) == ((), 0)
