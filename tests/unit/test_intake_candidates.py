"""The rule by which a record that comes in is compared with the one kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from producers.candidates import (
    OLDER_VERSION,
    REPLACED,
    Answer,
    State,
    Status,
    Tally,
    canonical,
    changes,
    decide,
    digest_of,
    storable,
    tally,
)
from schemas.ids import deterministic_id
from schemas.version import Version

T0 = datetime(2026, 1, 5, tzinfo=UTC)
OLD, SAME, NEW = Version(T0, 1), Version(T0, 2), Version(T0 + timedelta(seconds=1), 0)


def state(content: str, version: Version = SAME, replaced: bytes = b"", revision: int = 3) -> State:
    return State(revision, version, digest_of(content), replaced, content)


KEPT = state("a")


@pytest.mark.parametrize(
    ("kept", "version", "content", "status", "after", "reason"),
    [
        (None, SAME, "a", Status.NEW, state("a", revision=1), None),
        (KEPT, SAME, "a", Status.UNCHANGED, KEPT, None),
        (KEPT, OLD, "a", Status.UNCHANGED, KEPT, None),
        (KEPT, NEW, "a", Status.UNCHANGED, state("a", NEW), None),
        (KEPT, NEW, "b", Status.UPDATED, state("b", NEW, revision=4), None),
        (KEPT, OLD, "b", Status.SKIPPED, KEPT, OLDER_VERSION),
        (KEPT, SAME, "b", Status.UPDATED, state("b", replaced=digest_of("a"), revision=4), None),
    ],
)
def test_a_record_is_compared_by_content_and_version(
    kept: State | None, version: Version, content: str, status: Status, after: State, reason: str | None
) -> None:
    verdict = decide(kept, version, digest_of(content), content)
    assert (verdict.status, verdict.state, verdict.reason) == (status, after, reason)


def test_two_contents_of_one_version_read_again_and_again_change_nothing_more() -> None:
    kept: State | None = None
    seen = []
    for content in ("a", "b", "c", "a", "b", "c", "a"):
        verdict = decide(kept, SAME, digest_of(content), content)
        kept = verdict.state
        seen.append((verdict.status, verdict.reason))
    assert seen[:3] == [(Status.NEW, None), (Status.UPDATED, None), (Status.UPDATED, None)]
    assert seen[3:] == [
        (Status.SKIPPED, REPLACED),
        (Status.SKIPPED, REPLACED),
        (Status.UNCHANGED, None),
        (Status.SKIPPED, REPLACED),
    ]
    assert decide(kept, NEW, digest_of("a"), "a").status is Status.UPDATED


def test_contents_are_equal_only_if_every_field_is() -> None:
    assert canonical({"b": 1, "a": "x"}) == canonical({"a": "x", "b": 1})
    pairs = [({"a": "x", "b": "y"}, {"a": "xy", "b": ""}), ({"a": None}, {"a": ""}), ({"a": 1}, {"a": "1"})]
    for left, right in pairs:
        assert digest_of(canonical(left)) != digest_of(canonical(right))


def test_changes_name_old_and_new_of_each_field_that_differs() -> None:
    old = canonical({"name": "A", "phone": "1", "gone": True})
    found = changes(old, {"name": "A", "phone": "2", "added": 5})
    assert found == {"phone": ["1", "2"], "gone": [True, None], "added": [None, 5]}


def test_what_postgresql_cannot_keep_is_replaced() -> None:
    raw = {"a\0": ["x\0y", "\ud800"], "n": 1}
    assert storable(raw) == {"a\N{REPLACEMENT CHARACTER}": ["x\N{REPLACEMENT CHARACTER}y", "?"], "n": 1}


def test_answers_are_counted_and_what_was_known_is_not_fresh() -> None:
    answers = [
        Answer("e", "1", Status.NEW, events=3),
        Answer("e", "2", Status.UNCHANGED),
        Answer("e", "3", Status.UNCHANGED, events=1),
        Answer("e", None, Status.INVALID, known=True),
        Answer("e", "4", Status.INVALID),
        Answer("e", "5", Status.SKIPPED),
        Answer("e", "6", Status.ERROR),
    ]
    counted = tally(answers)
    assert counted == Tally(7, 1, 2, 0, 2, 1, 1, events=4, fresh=3)
    assert counted + counted == Tally(*(2 * count for count in counted))


PARTS = st.lists(st.text("ab|\\"), min_size=1, max_size=4)


@given(PARTS, PARTS)
def test_ids_are_the_same_for_the_same_parts_only(left: list[str], right: list[str]) -> None:
    assert (deterministic_id(*left) == deterministic_id(*right)) is (left == right)


def test_ids_stay_what_they_are_from_release_to_release() -> None:
    assert deterministic_id("hub.people", "default|A", "1") == "f2705d69214b55d7ff65219d187a7fe2"
