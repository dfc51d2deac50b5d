"""The simulated Moodle answers as the recorded one did, exchange by exchange, in the order recorded."""

import pytest

from tests.contract.replay import compare, left_out, recordings, replay_all

ALL = recordings()
LEFT_OUT = left_out()
RACES = LEFT_OUT["race"]


@pytest.fixture(scope="module")
def outcomes() -> dict[int, list[str]]:
    return replay_all()


@pytest.mark.parametrize("number", [number for number in ALL if number not in RACES])
def test_answers_as_recorded(outcomes: dict[int, list[str]], number: int) -> None:
    assert outcomes[number] == []


def test_every_recording_is_replayed_or_left_out_with_a_reason() -> None:
    listed = LEFT_OUT["not_simulated"] | RACES
    assert set(ALL) == set(range(1, 295))
    assert set(listed) <= set(ALL)
    assert all(len(reason) > 20 for reason in listed.values())


def test_races_are_those_recorded_in_parallel() -> None:
    parallel = {number for number, exchange in ALL.items() if "answers" in exchange}
    assert set(RACES) == parallel


def test_comparison_sees_a_difference() -> None:
    recorded = {"a": [1, {"b": "x"}], "cacherev": 5}
    assert compare({"a": [1, {"b": "x"}], "cacherev": 6}, recorded, "") == []
    assert compare({"a": [1, {"b": "y"}], "cacherev": 5}, recorded, "") == [".a[1].b: 'y', 'x' recorded"]
    assert compare({"a": [True, {"b": "x"}], "cacherev": 5}, recorded, "") != []
    assert compare({"a": [1]}, recorded, "") != []
