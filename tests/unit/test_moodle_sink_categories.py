"""The path of categories in which a course is made."""

import asyncio
from typing import Any

import pytest

from connectors.moodle_sink.categories import CREATE, UPDATE
from connectors.moodle_sink.settings import SinkSettings
from connectors.moodle_sink.sink import MoodleSink
from infra.calls import Call
from infra.errors import RetryLater
from infra.simulators.moodle import Fault, MoodleState, Seed, SeedCourse, Settings, seed
from infra.simulators.moodle.state import Category
from schemas.moodle import Action, CategoryWish, MoodleResult, Outcome
from schemas.reasons import Reason
from schemas.topics import COMMANDS, MOODLE_DEAD_LETTERS, RESULTS
from tests.unit.moodle_commands import TARGET, Bench, bench, course, moodle_settings, results_of

CREATED = (Outcome.APPLIED, Action.CREATED, None)
UPDATED = (Outcome.APPLIED, Action.UPDATED, None)
SAME = (Outcome.UNCHANGED, Action.NONE, None)
PATH = (CategoryWish(idnumber="DIV-A", name="Arts & Letters"), CategoryWish(idnumber="T-1", name="Term 1"))


def brief(result: MoodleResult) -> tuple[Outcome, Action, Reason | None]:
    return result.outcome, result.action, result.reason


def new(number: int, *path: CategoryWish, **changes: Any) -> Any:
    return course(number, **{"create": True, "short_name": f"S{number}", "categories": path, **changes})


def place(b: Bench, number: int) -> list[str]:
    """The names of the categories above a course, from the top."""
    [row] = b.state.courses.find("idnumber", str(number))
    ids = b.state.categories.rows[(row.category,)].path.split("/")[1:]
    return [b.state.categories.rows[(int(one),)].name for one in ids]


async def test_missing_categories_are_made_from_the_top_down_once() -> None:
    async with bench() as b:
        results = await b.write(new(1, *PATH), new(2, *PATH), new(3, PATH[0]), new(4))
        again = await b.write(new(5, *PATH))
        assert [place(b, n) for n in (1, 2, 3, 4, 5)] == [
            ["Arts & Letters", "Term 1"],
            ["Arts & Letters", "Term 1"],
            ["Arts & Letters"],
            ["Category 1"],
            ["Arts & Letters", "Term 1"],
        ]
        assert len(b.state.categories) == 3
        assert b.called().count(CREATE) == 2
    assert {brief(result) for result in (*results, *again)} == {CREATED}


async def test_many_terms_of_many_divisions_take_few_calls() -> None:
    async with bench() as b:
        paths = [
            tuple(CategoryWish(idnumber=f"{depth}-{n % 10**depth}", name=f"N{depth}") for depth in (1, 2))
            for n in range(100)
        ]
        await b.write(*(new(n, *path) for n, path in enumerate(paths)))
        assert len(b.state.categories) == 1 + 10 + 100
        assert b.called().count(CREATE) == 2
        assert len(b.calls) <= 12


async def test_a_course_that_is_there_needs_no_category() -> None:
    async with bench(prepare=lambda state: seed(state, Seed(courses=[SeedCourse("S", idnumber="1")]))) as b:
        [result] = await b.write(new(1, *PATH))
        assert len(b.state.categories) == 1
        assert b.called() == ["tool_mobile_call_external_functions"]
    assert brief(result) == SAME


async def test_an_updated_course_is_moved_to_its_category() -> None:
    async with bench() as b:
        await b.write(new(1, *PATH))
        archive = CategoryWish(idnumber="ARCHIVE", name="Archive")
        [moved] = await b.write(new(1, archive, update=True, visible=False))
        assert place(b, 1) == ["Archive"]
        [again] = await b.write(new(1, archive, update=True, visible=False))
    assert (brief(moved), brief(again)) == (UPDATED, SAME)


async def test_a_category_is_renamed_only_with_an_update() -> None:
    async with bench() as b:
        await b.write(new(1, *PATH))
        other = (PATH[0], CategoryWish(idnumber="T-1", name="First term"))
        await b.write(new(2, *other))
        assert place(b, 2) == ["Arts & Letters", "Term 1"]
        [result] = await b.write(new(1, *other, update=True))
        assert place(b, 1) == ["Arts & Letters", "First term"]
        assert b.called().count(UPDATE) == 1
        await b.write(new(1, *other, update=True))
        assert b.called().count(UPDATE) == 1
    assert brief(result) == SAME  # nothing of the course itself


def put_category(state: MoodleState, number: int, idnumber: str) -> None:
    with state.transaction():
        row = Category(number, "Of another sink", 1, 1, idnumber, path=f"/{number}")
        state.put(state.categories, row)


class Rival:
    """Another sink: makes a category right after this one's n-th call of a function."""

    def __init__(self, function: str, nth: int, number: int) -> None:
        self.function, self.left, self.number = function, nth, number

    def __call__(self, state: MoodleState, call: Call) -> None:
        self.left -= call.function == self.function
        if self.left == 0 and call.function == self.function:
            put_category(state, self.number, "DIV-A")


async def test_a_category_that_somebody_made_meanwhile_is_used() -> None:
    # The first multiplexed look-up is that of the course, the second that of the categories.
    async with bench(after_call=Rival("tool_mobile_call_external_functions", 2, 50)) as b:
        [result] = await b.write(new(1, *PATH))
        assert place(b, 1) == ["Of another sink", "Term 1"]
        assert b.state.categories.count("idnumber", "DIV-A") == 1
    assert brief(result) == CREATED


async def test_of_two_categories_made_at_once_everybody_takes_the_older() -> None:
    def reserve(state: MoodleState) -> None:
        assert state.next_id("categories") == 2

    async with bench(prepare=reserve, after_call=Rival(CREATE, 1, 2)) as b:
        first = await b.write(new(1, *PATH))
        second = await b.write(new(2, *PATH))
        assert b.state.categories.count("idnumber", "DIV-A") == 2
        assert [place(b, n) for n in (1, 2)] == [["Of another sink", "Term 1"]] * 2
    assert [brief(result) for result in (*first, *second)] == [CREATED] * 2


@pytest.mark.parametrize("depth", [1, 2])
async def test_trouble_while_categories_are_made_makes_none_twice(depth: int) -> None:
    async with bench(max_retries=0) as b:
        b.state.faults.add(Fault("reset_after_commit", functions=[CREATE], skip=depth - 1, count=1))
        wishes = [new(1, *PATH), new(2, *PATH)]
        with pytest.raises(RetryLater):
            await b.write(*wishes)
        results = await b.write(*wishes)
        assert len(b.state.categories) == 3
        assert [place(b, n) for n in (1, 2)] == [["Arts & Letters", "Term 1"]] * 2
    assert [brief(result) for result in results] == [CREATED] * 2


BAD = [
    (CategoryWish(idnumber="C", name="<b>bold</b>"),),
    (CategoryWish(idnumber="C", name="N" * 256),),
    (CategoryWish(idnumber=" ", name="Nameless"),),
    (CategoryWish(idnumber="C", name="N" * 256), CategoryWish(idnumber="D", name="Below")),
]


@pytest.mark.parametrize("path", BAD)
async def test_a_category_that_moodle_refuses_harms_only_its_courses(path: tuple[CategoryWish, ...]) -> None:
    async with bench() as b:
        bad, good = await b.write(new(1, *path), new(2, *PATH))
        assert place(b, 2) == ["Arts & Letters", "Term 1"]
        assert b.state.courses.find("idnumber", "1") == []
    assert brief(bad) == (Outcome.REJECTED, Action.NONE, Reason.CATEGORY_REFUSED)
    assert brief(good) == CREATED


async def test_a_name_that_moodle_refuses_leaves_the_category_and_its_courses_be() -> None:
    async with bench() as b:
        await b.write(new(1, *PATH))
        other = (CategoryWish(idnumber="DIV-A", name="N" * 256), PATH[1])
        [result] = await b.write(new(1, *other, update=True, visible=False))
        assert place(b, 1) == ["Arts & Letters", "Term 1"]
        assert b.state.courses.find("idnumber", "1")[0].visible == 0
    assert brief(result) == UPDATED


async def test_categories_stay_within_the_variables_that_the_site_takes() -> None:
    async with bench(site=Settings(max_input_vars=40), max_input_vars=40) as b:
        results = await b.write(*(new(n, CategoryWish(idnumber=f"C{n}", name=f"N{n}")) for n in range(40)))
        assert {call.code for call in b.calls} == {"ok"}
        assert len(b.state.categories) == 41
    assert {brief(result) for result in results} == {CREATED}


async def test_two_sinks_at_once_make_each_category_once() -> None:
    async with bench() as b:
        other = MoodleSink(
            SinkSettings(),
            moodle_settings(b.state.settings.url, b.state),
            commands=COMMANDS.of(TARGET),
            results=RESULTS.of(TARGET),
            dead_letters=MOODLE_DEAD_LETTERS.of(TARGET),
        )
        await other.open()
        try:
            mine, theirs = await asyncio.gather(
                b.write(*(new(n, *PATH) for n in range(10))),
                results_of(other, [new(n, *PATH) for n in range(10, 20)]),
            )
        finally:
            await other.close()
        assert len(b.state.categories) == 3
        assert {tuple(place(b, n)) for n in range(20)} == {("Arts & Letters", "Term 1")}
    assert {brief(result) for result in (*mine, *theirs)} == {CREATED}
