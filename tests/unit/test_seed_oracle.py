"""The oracle on cases made by hand: who wins, who needs an account, what is unusable."""

from itertools import permutations
from typing import Any

import pytest

from infra.simulators.seed import SeedPlan, records
from infra.simulators.seed_oracle import Expected, Invalid, expected

Record = dict[str, Any]
PAIR = ("A1", 32090)
BOTH_RELEASES = pytest.mark.parametrize("feed", ["1.4", "1.5"])


def _record(position: int, state: str, minute: int, created: int | None = None, **other: Any) -> Record:
    return {
        "record_enrol_id": position,
        "ENROLMENT_ID": 7,
        "COURSE_IDENTIFIER": 32090,
        "COURSE_SHORTNAME": "ITEM-2162-1",
        "COURSE_STATE": state,
        "COURSE_STATE_DATE": f"2023-04-11T08:{minute:02d}:00.000-07:00",
        "date_created": f"2023-04-11T09:{minute if created is None else created:02d}:00.000-07:00",
        "GUID": "A1",
        "EMAIL": "zoe@example.test",
        "FIRST_NAME": "Zoë",
        "LAST_NAME": "Fernsby",
        "USER_STATE": "ACTIVE",
    } | other


def _state(result: Expected) -> str:
    assert len(result.active) + len(result.suspended) == 1
    return "Enrol" if result.active else "Suspend"


@BOTH_RELEASES
def test_highest_state_date_wins_in_any_order(feed: Any) -> None:
    three = [_record(1, "Enrol", 1), _record(2, "Suspend", 2), _record(3, "Enrol", 3)]
    for order in permutations(three):
        assert _state(expected(order, feed)) == "Enrol"


@BOTH_RELEASES
def test_late_arrival_of_an_older_wish_changes_nothing(feed: Any) -> None:
    late = _record(9, "Suspend", 1, created=50)
    assert _state(expected([_record(1, "Enrol", 5), late], feed)) == "Enrol"


def test_the_same_instant_is_decided_by_position_or_creation() -> None:
    suspend, enrol = _record(2, "Suspend", 1, created=1), _record(1, "Enrol", 1, created=2)
    for order in permutations([suspend, enrol]):
        assert _state(expected(order, "1.5")) == "Suspend"
        assert _state(expected(order, "1.4")) == "Enrol"


def test_positions_are_numbers_also_when_written_as_text() -> None:
    assert (
        _state(expected([_record(9, "Enrol", 1), _record(10, "Suspend", 1, record_enrol_id="10")]))
        == "Suspend"
    )


@BOTH_RELEASES
def test_equal_versions_the_later_in_the_feed_wins(feed: Any) -> None:
    assert _state(expected([_record(1, "Enrol", 1), _record(1, "Suspend", 1)], feed)) == "Suspend"


def test_dates_compare_as_instants_not_as_text() -> None:
    older = _record(2, "Suspend", 0, COURSE_STATE_DATE="2023-04-11T09:00:00.000-04:00")
    assert (
        _state(expected([_record(1, "Enrol", 0, COURSE_STATE_DATE="2023-04-11T08:00:00.000-07:00"), older]))
        == "Enrol"
    )


def test_a_course_number_is_one_number_in_both_forms() -> None:
    result = expected([_record(1, "Enrol", 1), _record(2, "Suspend", 2, COURSE_IDENTIFIER="32090")])
    assert result.suspended == {PAIR}


def test_account_only_where_an_enrol_wins() -> None:
    feed = [
        _record(1, "Enrol", 1),
        _record(2, "Suspend", 2),
        _record(3, "Suspend", 1, GUID="B2"),
        _record(4, "Enrol", 1, GUID="C3"),
        _record(5, "Suspend", 1, GUID="C3", COURSE_IDENTIFIER=5),
    ]
    result = expected(feed)
    assert result.accounts == {"C3"}
    assert result.active == {("C3", 32090)}
    assert result.suspended == {PAIR, ("B2", 32090), ("C3", 5)}


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"GUID": None}, "GUID"),
        ({"GUID": " "}, "GUID"),
        ({"EMAIL": "zoe at example.test"}, "EMAIL"),
        ({"COURSE_STATE": "enrol"}, "COURSE_STATE"),
        ({"COURSE_IDENTIFIER": "C1"}, "COURSE_IDENTIFIER"),
        ({"ENROLMENT_ID": ""}, "ENROLMENT_ID"),
        ({"COURSE_STATE_DATE": "2023-02-30T00:00:00.000-08:00"}, "COURSE_STATE_DATE"),
        ({"date_created": "soon"}, "date_created"),
    ],
)
def test_unusable_record_is_named_and_harms_nobody(change: Record, field: str) -> None:
    result = expected([_record(1, "Enrol", 1), _record(2, "Suspend", 9) | change])
    assert result.invalid == (Invalid(1, field),)
    assert result.active == {PAIR}


def test_what_a_release_never_asks_for_is_unreachable() -> None:
    odd = [
        _record(1, "Enrol", 1, date_created=None),
        _record(2, "Enrol", 1, USER_STATE="INACTIVE", GUID="B2"),
    ]
    old, new = expected(odd, "1.4"), expected(odd, "1.5")
    assert old == Expected(frozenset({("B2", 32090)}), frozenset(), frozenset({"B2"}), (), (0,))
    assert new == Expected(frozenset(), frozenset(), frozenset(), (Invalid(0, "date_created"),), (1,))


def test_both_releases_agree_on_generated_feeds() -> None:
    feed = list(records(SeedPlan(seed=4, records=3_000, suspends=0.2, reenrolments=0.1, out_of_order=0.1)))
    old, new = expected(feed, "1.4"), expected(feed, "1.5")
    assert (old.active, old.suspended, old.accounts) == (new.active, new.suspended, new.accounts)
    assert len(old.invalid) + len(old.unreachable) == len(new.invalid)
    assert new.suspended
    assert len(new.active) > 1_000
