from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from infra.simulators.moodle import MoodleState, Seed, SeedCourse, seed
from infra.simulators.moodle.state import Course
from schemas.moodle import Action, MoodleResult, Outcome
from schemas.reasons import Reason
from tests.unit.moodle_commands import MOMENT, bench, course

CREATE = "core_course_create_courses"
NEW: dict[str, Any] = {"create": True, "full_name": "A new course"}


def with_courses(*courses: SeedCourse) -> Callable[[MoodleState], object]:
    return lambda state: seed(state, Seed(courses=list(courses)))


def brief(result: MoodleResult) -> tuple[Outcome, Action, Reason | None]:
    return result.outcome, result.action, result.reason


def found(state: MoodleState, idnumber: str) -> Course:
    [row] = state.courses.find("idnumber", idnumber)
    return row


async def test_courses_are_found_by_their_id_numbers() -> None:
    rows = [SeedCourse(f"C{n}", idnumber=str(n), visible=n % 2) for n in range(100, 160)]
    async with bench(prepare=with_courses(*rows)) as b:
        results = await b.write(*map(course, range(100, 160)))
        assert [result.moodle_course_id for result in results] == [
            found(b.state, str(n)).id for n in range(100, 160)
        ]
        assert len(b.calls) == 3
    assert {brief(result) for result in results} == {(Outcome.UNCHANGED, Action.NONE, None)}


async def test_many_courses_are_looked_up_by_one_read_of_the_catalogue() -> None:
    rows = [SeedCourse(f"C{n}", idnumber=str(n)) for n in range(300)]
    async with bench(prepare=with_courses(*rows)) as b:
        results = await b.write(*map(course, range(1, 301)))
        assert b.called() == ["core_course_get_courses"]
    assert {brief(result) for result in results[:-1]} == {(Outcome.UNCHANGED, Action.NONE, None)}
    assert brief(results[-1]) == (Outcome.NOT_FOUND, Action.NONE, Reason.COURSE_NOT_FOUND)


async def test_an_unknown_course_is_reported_and_never_created_unasked() -> None:
    async with bench() as b:
        [result] = await b.write(course(32090, short_name="ITEM", full_name="Item"))
        assert brief(result) == (Outcome.NOT_FOUND, Action.NONE, Reason.COURSE_NOT_FOUND)
        assert CREATE not in b.called()


async def test_several_courses_with_one_id_number_are_a_conflict() -> None:
    rows = [SeedCourse("A", idnumber="7"), SeedCourse("B", idnumber="7")]
    async with bench(prepare=with_courses(*rows)) as b:
        [result] = await b.write(course(7))
    assert brief(result) == (Outcome.CONFLICT, Action.NONE, Reason.COURSE_AMBIGUOUS)


async def test_a_course_without_an_id_is_not_the_one_without_an_id_number() -> None:
    async with bench() as b:
        [result] = await b.write(course(" "))
    assert brief(result) == (Outcome.REJECTED, Action.NONE, Reason.INVALID_FIELD)


async def test_a_wished_course_is_created_in_its_category_with_its_dates() -> None:
    async with bench() as b:
        dates = {"starts_at": MOMENT, "ends_at": MOMENT + timedelta(days=30)}
        results = await b.write(
            course(7, short_name="ITEM-7", **NEW, **dates), course(8, short_name="8", **NEW)
        )
        row = found(b.state, "7")
        again = await b.write(course(7, short_name="ITEM-7", **NEW))
    assert [brief(result) for result in results] == [(Outcome.APPLIED, Action.CREATED, None)] * 2
    assert (row.shortname, row.fullname, row.category) == ("ITEM-7", "A new course", 1)
    assert (row.startdate, row.enddate - row.startdate) == (int(MOMENT.timestamp()), 30 * 86_400)
    assert results[0].moodle_course_id == row.id
    assert brief(again[0]) == (Outcome.UNCHANGED, Action.NONE, None)


@pytest.mark.parametrize(
    ("wish", "reason"),
    [
        ({"short_name": "TAKEN"}, Reason.SHORTNAME_TAKEN),
        ({"category_id": 99_999}, Reason.CATEGORY_NOT_FOUND),
        ({"short_name": "S" * 256}, Reason.VALUE_TOO_LONG),
        ({"full_name": "F" * 255}, Reason.VALUE_TOO_LONG),
        ({"short_name": None}, Reason.INVALID_FIELD),
        ({"full_name": "<b>bold</b>"}, Reason.INVALID_FIELD),
        ({"ends_at": MOMENT}, Reason.INVALID_FIELD),
        ({"starts_at": MOMENT, "ends_at": MOMENT - timedelta(days=1)}, Reason.INVALID_FIELD),
    ],
)
async def test_one_bad_course_among_good_ones_is_found(wish: dict[str, Any], reason: Reason) -> None:
    async with bench(prepare=with_courses(SeedCourse("TAKEN"))) as b:
        wishes = [course(n, **({"short_name": f"S{n}"} | NEW)) for n in range(1, 9)]
        wishes[5] = course(6, **({"short_name": "S6"} | NEW | wish))
        results = await b.write(*wishes)
    assert brief(results.pop(5)) == (Outcome.REJECTED, Action.NONE, reason)
    assert {brief(result) for result in results} == {(Outcome.APPLIED, Action.CREATED, None)}


async def test_of_two_courses_with_one_short_name_the_first_is_created() -> None:
    async with bench() as b:
        first, second = await b.write(course(1, short_name="S", **NEW), course(2, short_name="S", **NEW))
        assert len(b.state.courses.find("shortname", "S")) == 1
    assert brief(first) == (Outcome.APPLIED, Action.CREATED, None)
    assert brief(second) == (Outcome.REJECTED, Action.NONE, Reason.SHORTNAME_TAKEN)
