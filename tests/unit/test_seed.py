"""The generator: the same again, any size, and of everything as much as was asked for."""

import tracemalloc
import unicodedata
from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.simulators.elm.columns import FEED_FIELDS
from infra.simulators.seed import BREAKAGES, SeedPlan, course, courses, person, records
from infra.simulators.seed_names import SCRIPTS
from infra.simulators.seed_oracle import expected, invalid_field, version_of

PLAN = SeedPlan(seed=11, records=10_000, courses=40)


@pytest.fixture(scope="module")
def feed() -> list[dict[str, Any]]:
    return list(records(PLAN))


def test_same_seed_same_records(feed: list[dict[str, Any]]) -> None:
    assert list(records(PLAN)) == feed
    assert list(records(replace(PLAN, seed=12))) != feed


def test_a_record_has_all_fields_in_the_forms_of_the_feed(feed: list[dict[str, Any]]) -> None:
    record = feed[0]
    assert list(record) == list(FEED_FIELDS)
    assert datetime.fromisoformat(record["date_created"]).utcoffset() == timedelta(hours=-7)
    assert len(record["date_created"]) == len("2023-04-11T08:06:43.000-07:00")
    assert record["USER_STATE"] == "ACTIVE"
    int(record["GUID"], 16)


def _kinds(feed: list[dict[str, Any]]) -> Counter[str]:
    kinds: Counter[str] = Counter()
    newest: dict[tuple[str, int], tuple[Any, str]] = {}
    positions: set[int] = set()
    for record in feed:
        if invalid_field(record):
            kinds["broken"] += 1
            continue
        position = int(record["record_enrol_id"])
        if position in positions:
            kinds["duplicates"] += 1
            continue
        positions.add(position)
        pair = (record["GUID"], int(record["COURSE_IDENTIFIER"]))
        version, state = version_of(record, "1.5"), record["COURSE_STATE"]
        before = newest.get(pair)
        if before and version < before[0]:
            kinds["out_of_order"] += 1
            continue
        kinds[_kind(before[1] if before else None, state)] += 1
        newest[pair] = (version, state)
    return kinds


def _kind(before: str | None, state: str) -> str:
    if before is None:
        return "first" if state == "Enrol" else "suspend of nothing"
    if before == state:
        return "repeats"
    return "suspends" if state == "Suspend" else "reenrolments"


def test_shares_are_met(feed: list[dict[str, Any]]) -> None:
    kinds = _kinds(feed)
    assert sum(kinds.values()) == len(feed) == PLAN.records
    for kind in ("suspends", "reenrolments", "duplicates", "repeats", "out_of_order", "broken"):
        share: float = getattr(PLAN, kind)
        assert kinds[kind] == pytest.approx(share * PLAN.records, rel=0.3), kind
    assert kinds["suspend of nothing"] == 0


def test_some_reenrolments_carry_a_new_enrolment_id(feed: list[dict[str, Any]]) -> None:
    ids: dict[tuple[str, int], set[int]] = {}
    for record in feed:
        if not invalid_field(record):
            pair = (record["GUID"], int(record["COURSE_IDENTIFIER"]))
            ids.setdefault(pair, set()).add(int(record["ENROLMENT_ID"]))
    owners = Counter(number for numbers in ids.values() for number in numbers)
    assert set(owners.values()) == {1}  # an ENROLMENT_ID belongs to one person and course
    assert 20 <= sum(len(numbers) > 1 for numbers in ids.values()) <= 120


def test_some_suspends_are_of_the_instant_of_their_enrol(feed: list[dict[str, Any]]) -> None:
    stamps: dict[tuple[Any, ...], set[str]] = {}
    for record in feed:
        if not invalid_field(record):
            key = (record["GUID"], int(record["COURSE_IDENTIFIER"]), record["COURSE_STATE_DATE"])
            stamps.setdefault(key, set()).add(record["COURSE_STATE"])
    assert sum(len(states) == 2 for states in stamps.values()) >= 10


def test_numbers_come_as_strings_now_and_then(feed: list[dict[str, Any]]) -> None:
    strings = sum(isinstance(record["record_enrol_id"], str) for record in feed)
    assert strings == pytest.approx(PLAN.numeric_strings * PLAN.records, rel=0.2)


def test_every_breakage_occurs_and_is_blamed_on_its_field() -> None:
    broken = list(
        records(
            replace(
                PLAN,
                records=600,
                broken=1.0,
                suspends=0,
                reenrolments=0,
                duplicates=0,
                repeats=0,
                out_of_order=0,
            )
        )
    )
    blamed = Counter(invalid_field(record) for record in broken)
    assert set(blamed) == {field for field, _ in BREAKAGES}


def test_positions_and_creation_go_up(feed: list[dict[str, Any]]) -> None:
    first_seen = list(dict.fromkeys(int(record["record_enrol_id"]) for record in feed))
    assert first_seen == list(range(1, len(first_seen) + 1))
    made = {int(r["record_enrol_id"]): r["date_created"] for r in feed if invalid_field(r) is None}
    times = [datetime.fromisoformat(made[position]) for position in sorted(made)]
    assert times == sorted(times)


def test_names_come_in_many_scripts_and_addresses_in_ascii() -> None:
    people = [person(1, number) for number in range(2_000)]
    assert {one.script for one in people} == {script.name for script in SCRIPTS}
    words = {unicodedata.name(char).split()[0] for one in people for char in one.given + one.family}
    assert {"LATIN", "CYRILLIC", "GREEK", "KHMER", "CJK", "ARABIC", "TAMIL", "APOSTROPHE"} <= words
    assert all(one.email.isascii() and " " not in one.email for one in people)
    assert all(one.email.lower().endswith((".test", ".example")) for one in people)
    assert any(one.email != one.email.lower() for one in people)
    assert len({one.email.lower() for one in people}) == len({one.guid for one in people}) == len(people)


def test_a_person_keeps_one_address_whatever_its_case(feed: list[dict[str, Any]]) -> None:
    written: dict[str, set[str]] = {}
    for record in feed:
        if not invalid_field(record):
            written.setdefault(record["GUID"], set()).add(record["EMAIL"])
    assert any(len(forms) > 1 for forms in written.values())
    assert all(len({form.lower() for form in forms}) == 1 for forms in written.values())


def test_courses_are_those_of_the_feed(feed: list[dict[str, Any]]) -> None:
    known = {one.identifier: one for one in courses(PLAN.seed, PLAN.courses)}
    assert len(known) == len({one.shortname for one in known.values()}) == 40
    used = Counter(int(record["COURSE_IDENTIFIER"]) for record in feed if not invalid_field(record))
    assert set(used) == set(known)
    assert max(used.values()) > 3 * min(used.values())  # some courses are much fuller
    assert {one.completion_opt_in for one in known.values()} == {True, False}
    assert course(PLAN.seed, 7) == courses(PLAN.seed, 40)[7]


def test_memory_stays_flat_whatever_the_size() -> None:
    huge = records(SeedPlan(records=50_000_000, courses=500))
    for _ in islice(huge, 6_000):
        pass
    tracemalloc.start()
    for _ in islice(huge, 6_000):
        pass
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert held < 6_000_000  # 6,000 records kept would be far more than the bounded pools and caches


@pytest.mark.parametrize(
    "change",
    [
        {"records": -1},
        {"courses": 0},
        {"people": 10, "courses": 10, "records": 101},
        {"suspends": 0.9, "broken": 0.2},
        {"broken": -0.1},
        {"start": datetime(2023, 1, 1)},  # noqa: DTZ001 (the refusal of a time without zone is tested)
    ],
)
def test_refuses_a_plan_that_cannot_be(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"must|need|shares"):
        replace(PLAN, **change)


@given(
    seed=st.integers(),
    count=st.integers(0, 60),
    course_count=st.integers(1, 6),
    shares=st.lists(st.floats(0, 0.16), min_size=6, max_size=6),
)
def test_any_plan_gives_its_number_of_records(
    seed: int, count: int, course_count: int, shares: list[float]
) -> None:
    names = ("suspends", "reenrolments", "duplicates", "repeats", "out_of_order", "broken")
    plan = replace(
        SeedPlan(seed=seed, records=count, courses=course_count, start=datetime(2024, 3, 10, 9, tzinfo=UTC)),
    )
    changes: dict[str, Any] = dict(zip(names, shares, strict=True))
    plan = replace(plan, **changes)
    made = list(records(plan))
    assert len(made) == count
    result = expected(made)
    assert result.unreachable == ()
    assert not result.active & result.suspended
