"""Groups of courses, and who is in them."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.moodle_sink.enrolments import ENROL
from connectors.moodle_sink.group_reads import Group as Known
from connectors.moodle_sink.groups import CREATE, UPDATE, changes_of
from connectors.moodle_sink.memberships import ADD, REMOVE
from connectors.moodle_sink.settings import SinkSettings
from infra.errors import RetryLater, Stop
from infra.simulators.moodle import (
    Fault,
    MoodleState,
    Seed,
    SeedCourse,
    SeedEnrolment,
    SeedUser,
    Settings,
    seed,
)
from infra.simulators.moodle.state import Group
from schemas.events import EnrolmentStatus
from schemas.ids import MoodleCourseId, SectionId
from schemas.moodle import Action, GroupWish, MoodleCommand, MoodleResult, Outcome
from schemas.reasons import Reason
from tests.unit.moodle_commands import Bench, bench, course, enrolment

CREATED = (Outcome.APPLIED, Action.CREATED, None)
UPDATED = (Outcome.APPLIED, Action.UPDATED, None)
ENROLLED = (Outcome.APPLIED, Action.ENROLLED, None)
SAME = (Outcome.UNCHANGED, Action.NONE, None)
MULTIPLEX = "tool_mobile_call_external_functions"


def brief(result: MoodleResult) -> tuple[Outcome, Action, Reason | None]:
    return result.outcome, result.action, result.reason


def furnished(state: MoodleState) -> None:
    """Courses 2 to 21 with id numbers 0 to 19, accounts 4 to 503, of whom 4 to 7 are enrolled in course 2."""
    people = [SeedUser(f"u{n}@example.test", idnumber=f"GUID{n}") for n in range(500)]
    seed(state, Seed(users=people, courses=[SeedCourse(f"C{n}", idnumber=str(n)) for n in range(20)]))
    seed(state, Seed(enrolments=[SeedEnrolment(user, 2) for user in range(4, 8)]))


def put_group(state: MoodleState, name: str, idnumber: str = "", members: Sequence[int] = ()) -> int:
    with state.transaction():
        number = state.next_id("groups")
        return state.put(state.groups, Group(number, 2, name, "", idnumber, tuple(members))).id


def groups(*names: str) -> dict[str, Any]:
    """Groups of these names; the ids of their sections are the names in small letters."""
    return {"groups": tuple(GroupWish(section_id=SectionId(name.lower()), name=name) for name in names)}


def in_course(b: Bench, number: int = 2) -> dict[str, str]:
    return {group.idnumber: group.name for group in b.state.groups.find("course", number)}


def sections(*names: str, **changes: Any) -> dict[str, Any]:
    return {"section_ids": tuple(map(SectionId, names)), **changes}


async def test_groups_are_made_for_new_and_existing_courses_and_only_once() -> None:
    async with bench(prepare=furnished) as b:
        wishes = [course(0, **groups("A", "B & C")), course(99, create=True, short_name="S", **groups("A"))]
        results = await b.write(*wishes)
        assert in_course(b) == {"a": "A", "b & c": "B & C"}
        assert in_course(b, results[1].moodle_course_id or 0) == {"a": "A"}
        assert b.called().count(CREATE) == 1
        again = await b.write(course(0, **groups("A", "B & C")), course(99, **groups("A")))
        assert len(b.state.groups) == 3
    assert [brief(result) for result in results] == [UPDATED, CREATED]
    assert [brief(result) for result in again] == [SAME, SAME]


async def test_groups_are_renamed_only_with_an_update_and_others_left_alone() -> None:
    async with bench(prepare=furnished) as b:
        put_group(b.state, "By hand")
        number = put_group(b.state, "Old", "s1", [4])
        wish = {"groups": (GroupWish(section_id=SectionId("s1"), name="New"),)}
        [kept] = await b.write(course(0, **wish))
        assert in_course(b) == {"": "By hand", "s1": "Old"}
        [renamed] = await b.write(course(0, update=True, **wish))
        [again] = await b.write(course(0, update=True, **wish))
        assert in_course(b) == {"": "By hand", "s1": "New"}
        assert b.state.groups.rows[(number,)].members == (4,)
        assert b.called().count(UPDATE) == 1
    assert [brief(result) for result in (kept, renamed, again)] == [SAME, UPDATED, SAME]


async def test_sections_of_one_name_get_names_that_differ() -> None:
    async with bench(prepare=furnished) as b:
        put_group(b.state, "Part")
        wish = {"groups": tuple(GroupWish(section_id=SectionId(one), name="Part") for one in ("s1", "s2"))}
        [result] = await b.write(course(0, **wish))
        assert in_course(b) == {"": "Part", "s1": "Part (s1)", "s2": "Part (s2)"}
        [again] = await b.write(course(0, update=True, **wish))
    assert (brief(result), brief(again)) == (UPDATED, SAME)


async def test_a_group_that_moodle_refuses_leaves_the_course_and_the_others_in_order() -> None:
    async with bench(prepare=furnished) as b:
        results = await b.write(course(0, **groups("<b>A</b>", "B")), course(1, **groups("A", "B")))
        assert in_course(b) == {"b": "B"}
        assert in_course(b, 3) == {"a": "A", "b": "B"}
    assert brief(results[0]) == (Outcome.APPLIED, Action.UPDATED, Reason.GROUP_REFUSED)
    assert results[0].moodle_course_id == 2
    assert brief(results[1]) == UPDATED


async def test_people_come_into_the_groups_of_their_sections_and_out_of_others() -> None:
    async with bench(prepare=furnished) as b:
        by_hand = put_group(b.state, "By hand", members=[4, 5])
        a, other = put_group(b.state, "A", "a", [5]), put_group(b.state, "B", "b", [4, 6])
        results = await b.write(
            enrolment(4, 2, **sections("a")),
            enrolment(5, 2, **sections("a")),
            enrolment(6, 2),
            enrolment(8, 2, **sections("a", "b")),
        )
        members = {number: set(b.state.groups.rows[(number,)].members) for number in (by_hand, a, other)}
        assert (b.called().count(ADD), b.called().count(REMOVE)) == (1, 1)
    assert members == {by_hand: {4, 5}, a: {4, 5, 8}, other: {6, 8}}
    assert [brief(result) for result in results] == [UPDATED, SAME, SAME, ENROLLED]
    assert [result.status for result in results] == [EnrolmentStatus.ACTIVE] * 4


async def test_whoever_has_no_section_leaves_the_groups_where_the_hub_keeps_them() -> None:
    async with bench(prepare=furnished, settings=SinkSettings(groups=True)) as b:
        by_hand, a = put_group(b.state, "By hand", members=[4]), put_group(b.state, "A", "a", [4])
        results = await b.write(enrolment(4, 2), enrolment(5, 2), enrolment(8, 3))
        assert b.state.groups.rows[(by_hand,)].members == (4,)
        assert b.state.groups.rows[(a,)].members == ()
    assert [brief(result) for result in results] == [UPDATED, SAME, ENROLLED]


async def test_without_sections_no_function_of_groups_is_called() -> None:
    async with bench(prepare=furnished) as b:
        put_group(b.state, "A", "a", [4])
        await b.write(enrolment(4, 2), enrolment(8, 2, state_is_known=True), course(0))
        assert b.called() == [MULTIPLEX, MULTIPLEX, ENROL]  # who is enrolled, which course, enrol


async def test_a_service_that_may_not_change_groups_stops_the_sink() -> None:
    async with bench(prepare=furnished) as b:
        put_group(b.state, "A", "a")
        b.state.faults.add(Fault("access_denied", functions=[ADD]))
        with pytest.raises(Stop):
            await b.write(enrolment(4, 2, **sections("a")))


async def test_groups_of_a_course_command_are_there_for_the_enrolments_of_the_same_batch() -> None:
    async with bench(prepare=furnished) as b:
        results = await b.write(
            enrolment(8, 2, state_is_known=True, **sections("a")), course(0, **groups("A"))
        )
        [group] = b.state.groups.find("course", 2)
        assert group.members == (8,)
    assert [brief(result) for result in results] == [ENROLLED, UPDATED]


async def test_a_section_without_a_group_is_told_and_the_enrolment_stands() -> None:
    async with bench(prepare=furnished) as b:
        a = put_group(b.state, "A", "a")
        results = await b.write(enrolment(8, 2, **sections("a", "gone")), enrolment(4, 2, **sections("gone")))
        assert b.state.enrolments.get(8, 2) is not None
        assert b.state.groups.rows[(a,)].members == (8,)
    assert brief(results[0]) == (Outcome.APPLIED, Action.ENROLLED, Reason.GROUP_NOT_FOUND)
    assert brief(results[1]) == (Outcome.UNCHANGED, Action.NONE, Reason.GROUP_NOT_FOUND)


async def test_a_membership_that_moodle_refuses_is_found_among_good_ones() -> None:
    async with bench(prepare=furnished) as b:
        a = put_group(b.state, "A", "a")
        wishes = [enrolment(user, 2, state_is_known=True, **sections("a")) for user in range(8, 40)]

        def leave(state: MoodleState) -> None:
            with state.transaction():
                state.delete(state.enrolments, 20, 2)

        # Between enrolling and grouping somebody unenrols account 20 by hand.
        b.state.faults.add(Fault("too_many_requests", functions=[ADD], count=1, retry_after=60))
        with pytest.raises(RetryLater):
            await b.write(*wishes)
        leave(b.state)
        results = await b.write(*wishes)
        assert set(b.state.groups.rows[(a,)].members) == set(range(8, 40)) - {20}
        assert b.called().count(ENROL) == 1
    assert brief(results.pop(12)) == (Outcome.APPLIED, Action.ENROLLED, Reason.GROUP_REFUSED)
    assert {brief(result) for result in results} == {ENROLLED}


async def test_removed_and_never_enrolled_people_have_no_groups() -> None:
    async with bench(prepare=furnished) as b:
        a = put_group(b.state, "A", "a", [4])
        results = await b.write(
            enrolment(4, 2, EnrolmentStatus.REMOVED, **sections("a")),
            enrolment(9, 2, EnrolmentStatus.SUSPENDED, **sections("a")),
            enrolment(5, 2, EnrolmentStatus.SUSPENDED, **sections("a")),
        )
        assert b.state.groups.rows[(a,)].members == (5,)
    assert [result.action for result in results] == [Action.UNENROLLED, Action.NONE, Action.SUSPENDED]
    assert results[1].reason is Reason.NOT_ENROLLED


def plenty() -> list[MoodleCommand]:
    """Three new courses with groups, an updated one, people with sections and people who leave."""
    path = {"create": True, "full_name": "New", "update": True}
    return [
        *(course(f"N{n}", short_name=f"N{n}", **path, **groups("A", "B")) for n in range(3)),
        course(0, update=True, full_name="Renamed", **groups("A", "B")),
        *(enrolment(8 + n, 2, **sections("a" if n % 2 else "b")) for n in range(40)),
        enrolment(4, 2, EnrolmentStatus.REMOVED),
    ]


def check_plenty(state: MoodleState, results: list[MoodleResult]) -> None:
    assert [brief(result) for result in results[:3]] == [CREATED] * 3
    assert brief(results[3]) == UPDATED
    assert [brief(result) for result in results[4:-1]] == [ENROLLED] * 40
    assert results[-1].action is Action.UNENROLLED
    assert len(state.groups) == 8
    a, b = (group for group in state.groups.find("course", 2))
    assert (set(a.members), set(b.members)) == (set(range(9, 48, 2)), set(range(8, 48, 2)))
    assert state.enrolments.get(4, 2) is None


@pytest.mark.parametrize("kind", ["too_many_requests", "bad_gateway", "reset_after_commit", "maintenance_ui"])
async def test_an_outage_at_any_call_loses_nothing_and_does_nothing_twice(kind: str) -> None:
    async with bench(prepare=furnished) as clean:
        check_plenty(clean.state, await clean.write(*plenty()))
        calls = len(clean.calls)
    assert calls > 10
    for skip in range(calls):
        async with bench(prepare=furnished, max_retries=0) as b:
            b.state.faults.add(Fault(kind, skip=skip, count=1, retry_after=60))
            wishes = plenty()
            with pytest.raises(RetryLater):
                await b.write(*wishes)
            check_plenty(b.state, await b.write(*wishes))


@pytest.mark.parametrize("limit", [300, 60])
async def test_a_site_that_takes_fewer_variables_than_configured_gets_smaller_requests(limit: int) -> None:
    async with bench(prepare=furnished, site=Settings(max_input_vars=limit), max_input_vars=5000) as b:
        check_plenty(b.state, await b.write(*plenty()))


async def test_groups_of_many_courses_are_read_in_few_calls() -> None:
    async with bench(prepare=furnished) as b:
        await b.write(*(course(n, **groups("A", "B")) for n in range(20)))
        made = len(b.calls)
        wishes = [
            enrolment(4 + n, 2 + n % 20, state_is_known=True, **sections("a" if n % 3 else "b"))
            for n in range(400)
        ]
        results = await b.write(*wishes)
        called = b.called()[made:]
        assert (called.count(MULTIPLEX), called.count(ADD), called.count(REMOVE)) == (2, 1, 0)
    assert {brief(result) for result in results} == {ENROLLED}


_names = st.sampled_from(["A", "B", "A (1)", "C"])
_known = st.lists(st.tuples(st.sampled_from(["", "1", "2", "3", "9"]), _names), max_size=6)


@given(_known, st.dictionaries(st.sampled_from(["1", "2", "3"]), _names))
def test_names_of_groups_never_clash_and_every_section_has_its_group(
    there: list[tuple[str, str]], wished: dict[str, str]
) -> None:
    unique = {name: idnumber for idnumber, name in there}
    known = [Known(number, unique[name], name) for number, name in enumerate(unique)]
    wish = {"groups": tuple(GroupWish(section_id=SectionId(one), name=name) for one, name in wished.items())}
    for _ in range(3):
        for change in changes_of(course(0, update=True, **wish), MoodleCourseId(2), known):
            name = str(change.entry["name"])
            if change.function == CREATE:
                known.append(Known(len(known), str(change.entry["idnumber"]), name))
            else:
                number = change.entry["id"]
                known = [Known(one.id, one.idnumber, name) if one.id == number else one for one in known]
            assert len({one.name for one in known}) == len(known)
    assert {one.idnumber for one in known} >= wished.keys()
