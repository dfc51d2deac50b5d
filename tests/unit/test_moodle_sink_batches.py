import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connectors.moodle.faults import FormCut, Refused, UnknownOutcome
from connectors.moodle_sink.batches import isolate, lanes, rival_free, together
from connectors.moodle_sink.verdicts import Ledger, Verdict, winners
from infra.errors import RetryLater, Stop
from schemas.moodle import Action, MoodleCommand, Outcome
from schemas.reasons import Reason
from tests.unit.moodle_commands import course, enrolment, person


@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 10_000)), max_size=200), st.integers(1, 30))
def test_no_course_is_in_two_lanes_and_no_request_is_too_large(
    pairs: list[tuple[int, int]], room: int
) -> None:
    packed = lanes(pairs, lambda pair: pair[0], room)
    assert sorted(pair for lane in packed for request in lane for pair in request) == sorted(pairs)
    assert all(0 < len(request) <= room for lane in packed for request in lane)
    courses = [{pair[0] for request in lane for pair in request} for lane in packed]
    assert sum(map(len, courses)) == len({pair[0] for pair in pairs})


def test_courses_share_requests() -> None:
    pairs = [(course, person) for course in range(20) for person in range(50)]
    assert [len(request) for lane in lanes(pairs, lambda pair: pair[0], 166) for request in lane] == [
        150
    ] * 6 + [100]


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(10, 15)), max_size=30))
def test_rivals_are_sent_one_after_the_other(items: list[tuple[int, int]]) -> None:
    waves = rival_free(enumerate(items), lambda item: item[1])
    order = {item: place for place, wave in enumerate(waves) for item in wave}
    assert len(order) == len(items)
    for wave in waves:
        keys = [key for _, pair in wave for key in pair]
        assert len(keys) == len(set(keys))
    for first in enumerate(items):
        for second in enumerate(items):
            if first[0] < second[0] and set(first[1]) & set(second[1]):
                assert order[first] < order[second]


@given(st.integers(0, 100), st.sets(st.integers(0, 99)))
async def test_all_culprits_are_found_and_all_others_sent(number: int, culprits: set[int]) -> None:
    sent: list[int] = []
    alone: list[int] = []

    async def send(items: Sequence[int]) -> None:
        if culprits & set(items):
            raise Refused("function", "invalidparameter")
        sent.extend(items)

    await isolate(range(number), send, lambda item, _: alone.append(item))
    assert sorted(sent) == sorted(set(range(number)) - culprits)
    assert sorted(alone) == sorted(set(range(number)) & culprits)


@pytest.mark.parametrize(
    ("errors", "gravest"),
    [
        ([FormCut("a"), UnknownOutcome("b")], UnknownOutcome),
        ([RetryLater("a", 5), Stop("b"), FormCut("c")], Stop),
        ([Stop("a"), ValueError("b")], ValueError),
    ],
)
async def test_the_gravest_error_is_told_after_all_have_ended(
    errors: list[Exception], gravest: type[Exception]
) -> None:
    ended: list[int] = []

    async def fail(place: int, error: Exception) -> None:
        await asyncio.sleep(0)
        ended.append(place)
        raise error

    with pytest.raises(gravest) as caught:
        await together(fail(place, error) for place, error in enumerate(errors))
    assert type(caught.value) is gravest
    assert len(ended) == len(errors)


def test_what_an_unknown_outcome_may_have_done_is_reported_as_done_when_found() -> None:
    ledger, (one, other, third) = Ledger(), (person(1), person(2), person(3))
    with pytest.raises(UnknownOutcome), ledger.doubting([(one, Action.CREATED), (other, Action.CREATED)]):
        raise UnknownOutcome("a time-out")
    unchanged = Verdict(outcome=Outcome.UNCHANGED)
    nothing = Verdict(outcome=Outcome.UNCHANGED, reason=Reason.NOT_ENROLLED)
    for command, verdict in ((one, unchanged), (other, nothing), (third, unchanged)):
        ledger.settle(command, verdict)
    assert ledger.verdict(one) == Verdict(outcome=Outcome.APPLIED, action=Action.CREATED)
    assert ledger.verdict(other) == nothing
    assert ledger.verdict(third) == unchanged


def test_the_last_command_for_an_entity_wins() -> None:
    old, new = person(1, last_name="Old"), person(1, last_name="New")
    others: list[MoodleCommand] = [person(2), course(1), enrolment(1, 1), enrolment(1, 2)]
    assert winners([old, *others, new]) == [*others, new]
