"""Who teaches which sections of a class, after changes of sections in any order."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from producers.sis.records import SECTION, Record
from producers.sis.teaching import Kept, Roster, changed
from schemas.version import Version

NOW = datetime(2026, 2, 1, tzinfo=UTC)


def section(name: str, course: str | None, *teachers: str, at: int = 0, deleted: bool = False) -> Record:
    time = NOW + timedelta(seconds=at)
    return Record(kind=SECTION, id=name, time=time, course=course, teachers=teachers, deleted=deleted)


def known(course: str, at: int = 0) -> Kept:
    return Kept(course, Version(NOW + timedelta(seconds=at), 0))


def test_a_section_is_added_to_what_the_class_has() -> None:
    before: dict[str, Roster] = {"c1": {"s1": ["ann"]}}
    after = changed(before, {"s1": known("c1")}, [section("s2", "c1", "ann", "bo")])
    assert after == {"c1": {"s1": ["ann"], "s2": ["ann", "bo"]}}
    assert before == {"c1": {"s1": ["ann"]}}


def test_a_section_that_moves_leaves_the_class_it_was_in() -> None:
    after = changed({"c1": {"s1": ["ann"]}}, {"s1": known("c1")}, [section("s1", "c2", "bo", at=1)])
    assert after == {"c1": {}, "c2": {"s1": ["bo"]}}


def test_a_deleted_section_need_not_name_its_class() -> None:
    after = changed({"c1": {"s1": ["ann"]}}, {"s1": known("c1")}, [section("s1", None, at=1, deleted=True)])
    assert after == {"c1": {}}


def test_an_older_version_changes_nothing() -> None:
    before: dict[str, Roster] = {"c1": {"s1": ["ann"]}}
    assert changed(before, {"s1": known("c1", at=5)}, [section("s1", "c1", "bo", at=4)]) == before


@given(st.permutations([0, 1, 2, 3]))
def test_the_newest_version_of_each_section_wins_whatever_the_order(order: list[int]) -> None:
    versions = [
        section("s1", "c1", "ann", at=1),
        section("s1", "c2", "bo", at=2),
        section("s2", "c1", "bo", at=1),
        section("s2", None, at=2, deleted=True),
    ]
    after = changed({}, {}, [versions[number] for number in order])
    assert {course: roster for course, roster in after.items() if roster} == {"c2": {"s1": ["bo"]}}
