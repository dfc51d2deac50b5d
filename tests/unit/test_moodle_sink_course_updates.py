"""Existing courses: named by Moodle's id, brought to the wished values, moved between categories."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.moodle_sink.course_plan import changes
from connectors.moodle_sink.course_plan import course as course_of
from connectors.moodle_sink.courses import CREATE, UPDATE
from infra.errors import RetryLater
from infra.simulators.moodle import Fault, MoodleState, Seed, SeedCourse, Settings, seed
from infra.simulators.moodle.state import Course
from schemas.ids import CourseId, MoodleCourseId
from schemas.moodle import Action, CourseWish, MoodleResult, Outcome
from schemas.reasons import Reason
from tests.unit.moodle_commands import MOMENT, bench, course

UPDATED = (Outcome.APPLIED, Action.UPDATED, None)
SAME = (Outcome.UNCHANGED, Action.NONE, None)
START = int(MOMENT.timestamp())
DAY = 86_400


def with_courses(*courses: SeedCourse) -> Callable[[MoodleState], object]:
    """The first gets the id 2."""
    return lambda state: seed(state, Seed(courses=list(courses), categories=[{"name": "Archive"}]))


def brief(result: MoodleResult) -> tuple[Outcome, Action, Reason | None]:
    return result.outcome, result.action, result.reason


def row(state: MoodleState, number: int = 2) -> Course:
    return state.courses.rows[(number,)]


OLD = SeedCourse("OLD", "Old name", "7", startdate=START, enddate=START + 9 * DAY)


async def test_without_the_wish_to_update_an_existing_course_keeps_its_values() -> None:
    async with bench(prepare=with_courses(OLD)) as b:
        before = row(b.state)
        [result] = await b.write(
            course(7, create=True, short_name="NEW", full_name="New", visible=False, category_id=2)
        )
        assert row(b.state) == before
    assert brief(result) == SAME


@pytest.mark.parametrize(
    ("wish", "changed"),
    [
        ({"short_name": "NEW"}, {"shortname": "NEW"}),
        ({"full_name": "R&D, 漢字"}, {"fullname": "R&D, 漢字"}),
        ({"visible": False}, {"visible": 0}),
        ({"category_id": 2}, {"category": 2}),
        ({"starts_at": MOMENT - timedelta(days=1)}, {"startdate": START - DAY}),
        ({"ends_at": MOMENT + timedelta(days=1)}, {"enddate": START + DAY}),
        ({"custom_fields": {"elm_code": "E1"}}, {"customfields": {"elm_code": "E1"}}),
        ({"custom_fields": {"completion_opt_in": "1"}}, {"customfields": {"completion_opt_in": "1"}}),
    ],
)
async def test_what_differs_is_changed_once_and_nothing_else(
    wish: dict[str, Any], changed: dict[str, Any]
) -> None:
    async with bench(prepare=with_courses(OLD)) as b:
        before = row(b.state)
        [result] = await b.write(course(7, update=True, **wish))
        after = row(b.state)
        [again] = await b.write(course(7, update=True, **wish))
        assert b.called().count(UPDATE) == 1
    differing = {
        name: getattr(after, name)
        for name in Course.__struct_fields__
        if name != "timemodified" and getattr(after, name) != getattr(before, name)
    }
    assert differing == changed
    assert (brief(result), brief(again)) == (UPDATED, SAME)
    assert result.moodle_course_id == 2


async def test_custom_fields_that_the_site_does_not_have_are_not_written_again_and_again() -> None:
    async with bench(prepare=with_courses(OLD)) as b:
        [result] = await b.write(course(7, update=True, custom_fields={"nosuch": "x"}))
        assert UPDATE not in b.called()
    assert brief(result) == SAME


async def test_a_new_course_gets_visibility_and_custom_fields() -> None:
    async with bench() as b:
        wish = {"visible": False, "custom_fields": {"elm_code": "E1", "completion_opt_in": ""}}
        [result] = await b.write(course(7, create=True, short_name="S", **wish))
        assert (row(b.state).visible, row(b.state).customfields) == (0, {"elm_code": "E1"})
    assert brief(result) == (Outcome.APPLIED, Action.CREATED, None)


async def test_many_courses_are_updated_in_few_calls_and_the_culprits_named() -> None:
    rows = [SeedCourse(f"C{n}", idnumber=str(n)) for n in range(100)]
    async with bench(prepare=with_courses(*rows, SeedCourse("TAKEN"))) as b:
        wishes = [course(n, update=True, full_name=f"Name {n}") for n in range(100)]
        wishes[5] = course(5, update=True, short_name="TAKEN")
        wishes[6] = course(6, update=True, ends_at=MOMENT)
        wishes[7] = course(7, update=True, category_id=99_999)
        wishes[8] = course(8, update=True, full_name="F" * 255)
        wishes[9] = course(9, update=True, full_name="<b>bold</b>")
        results = await b.write(*wishes)
        assert row(b.state, 2 + 99).fullname == "Name 99"
    reasons = [results.pop(5).reason for _ in range(5)]
    assert reasons == [
        Reason.SHORTNAME_TAKEN,
        Reason.INVALID_FIELD,
        Reason.CATEGORY_NOT_FOUND,
        Reason.VALUE_TOO_LONG,
        Reason.INVALID_FIELD,
    ]
    assert {brief(result) for result in results} == {UPDATED}


async def test_a_refused_update_still_tells_the_course() -> None:
    async with bench(prepare=with_courses(OLD, SeedCourse("TAKEN"))) as b:
        [result] = await b.write(course(7, update=True, short_name="TAKEN"))
    assert brief(result) == (Outcome.REJECTED, Action.NONE, Reason.SHORTNAME_TAKEN)
    assert result.moodle_course_id == 2


async def test_updates_stay_within_the_variables_that_the_site_takes() -> None:
    rows = [SeedCourse(f"C{n}", idnumber=str(n)) for n in range(60)]
    site = Settings(max_input_vars=60)
    async with bench(prepare=with_courses(*rows), site=site, max_input_vars=60) as b:
        wish = {"update": True, "custom_fields": {"elm_code": "E", "completion_opt_in": "1"}}
        results = await b.write(*(course(n, full_name=f"N{n}", **wish) for n in range(60)))
        assert {call.code for call in b.calls} == {"ok"}
        assert max(call.entries for call in b.calls if call.function == UPDATE) == 9
    assert {brief(result) for result in results} == {UPDATED}


async def test_a_named_course_without_an_id_number_is_given_it() -> None:
    async with bench(prepare=with_courses(SeedCourse("HAND", "By hand"))) as b:
        [result] = await b.write(course(7, moodle_course_id=MoodleCourseId(2), full_name="Other"))
        assert (row(b.state).idnumber, row(b.state).fullname) == ("7", "By hand")
        [again] = await b.write(course(7, moodle_course_id=MoodleCourseId(2)))
        assert CREATE not in b.called()
    assert brief(result) == UPDATED
    assert (brief(again), again.moodle_course_id) == (SAME, 2)


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ({"course_id": "8"}, (Outcome.CONFLICT, Reason.COURSE_ID_MISMATCH)),
        ({"moodle_course_id": 3, "course_id": "7"}, (Outcome.CONFLICT, Reason.COURSE_AMBIGUOUS)),
        ({"moodle_course_id": 99_999}, (Outcome.NOT_FOUND, Reason.COURSE_NOT_FOUND)),
        ({"moodle_course_id": 1}, (Outcome.NOT_FOUND, Reason.COURSE_NOT_FOUND)),
    ],
    ids=["other id number", "another course has it", "unknown", "front page"],
)
async def test_a_named_course_that_cannot_be_used_is_left_alone(
    wish: dict[str, Any], expected: tuple[Outcome, Reason]
) -> None:
    fields: dict[str, Any] = {"moodle_course_id": 2, "create": True, "short_name": "S", "update": True}
    async with bench(prepare=with_courses(OLD, SeedCourse("HAND"))) as b:
        before = list(b.state.courses)
        [result] = await b.write(course(wish.get("course_id", "70"), **(fields | wish)))
        assert list(b.state.courses) == before
    assert (result.outcome, result.reason) == expected


async def test_two_courses_that_name_the_same_one_do_not_share_it() -> None:
    async with bench(prepare=with_courses(SeedCourse("HAND"))) as b:
        first, second = await b.write(*(course(n, moodle_course_id=MoodleCourseId(2)) for n in (7, 8)))
        assert row(b.state).idnumber == "7"
    assert brief(first) == UPDATED
    assert brief(second) == (Outcome.CONFLICT, Action.NONE, Reason.COURSE_ID_MISMATCH)


async def test_named_courses_are_looked_up_together() -> None:
    rows = [SeedCourse(f"C{n}", idnumber=str(n)) for n in range(100)]
    async with bench(prepare=with_courses(*rows)) as b:
        results = await b.write(*(course(n, moodle_course_id=MoodleCourseId(2 + n)) for n in range(100)))
        assert len(b.calls) == 1
    assert {brief(result) for result in results} == {SAME}


async def test_an_update_of_unknown_outcome_is_reported_as_done_when_found_so() -> None:
    async with bench(prepare=with_courses(OLD), max_retries=0) as b:
        b.state.faults.add(Fault("reset_after_commit", functions=[UPDATE], count=1))
        wish = course(7, update=True, visible=False)
        with pytest.raises(RetryLater):
            await b.write(wish)
        [result] = await b.write(wish)
        assert b.called().count(UPDATE) == 1
    assert brief(result) == UPDATED


def test_an_end_date_goes_with_the_start_date() -> None:
    there = course_of({"id": 2, "shortname": "S", "fullname": "F", "categoryid": 1, "startdate": START})
    wish = CourseWish(course_id=CourseId("7"), create=False, update=True, ends_at=MOMENT + timedelta(days=1))
    assert changes(wish, there, None) == {"idnumber": "7", "startdate": START, "enddate": START + DAY}


_texts = st.none() | st.sampled_from(["S", "T", "R&D"])
_moments = st.none() | st.sampled_from([MOMENT, MOMENT + timedelta(days=1)])
_wishes = st.builds(
    CourseWish,
    course_id=st.just(CourseId("7")),
    create=st.booleans(),
    short_name=_texts,
    full_name=_texts,
    starts_at=_moments,
    ends_at=_moments,
    update=st.booleans(),
    visible=st.none() | st.booleans(),
    custom_fields=st.dictionaries(st.sampled_from(["elm_code", "nosuch"]), st.sampled_from(["", "x"])),
)
_rows = st.fixed_dictionaries(
    {
        "id": st.just(2),
        "idnumber": st.sampled_from(["", "7"]),
        "shortname": st.sampled_from(["S", "R&amp;D"]),
        "fullname": st.sampled_from(["S", "R&amp;D"]),
        "categoryid": st.integers(1, 3),
        "visible": st.integers(0, 1),
        "startdate": st.sampled_from([0, START]),
        "enddate": st.sampled_from([0, START + DAY]),
    }
)


@given(_wishes, _rows, st.none() | st.integers(1, 3))
def test_a_course_that_was_changed_as_wished_needs_no_further_change(
    wish: CourseWish, row: dict[str, Any], category: int | None
) -> None:
    shown = row | {"customfields": [{"shortname": "elm_code", "valueraw": "y"}]}
    fields: dict[str, Any] = dict(changes(wish, course_of(shown), category))
    for one in fields.pop("customfields", []):
        assert one["shortname"] == "elm_code"
        shown["customfields"] = [{"shortname": "elm_code", "valueraw": one["value"]}]
    assert changes(wish, course_of(shown | fields), category) == {}


async def test_a_short_name_that_an_update_frees_can_be_taken_by_a_new_course() -> None:
    async with bench(prepare=with_courses(OLD)) as b:
        new = course(8, create=True, short_name="OLD")
        results = await b.write(new, course(7, update=True, short_name="NEWER"))
        assert len(b.state.courses.find("shortname", "OLD")) == 1
    assert [brief(result)[:2] for result in results] == [
        (Outcome.APPLIED, Action.CREATED),
        (Outcome.APPLIED, Action.UPDATED),
    ]
