"""Several records of one person, or of one in one course: which counts, and that the others do no harm."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.stage import Output
from processors import courses, people
from processors.accounts import PersonEntry
from schemas.events import Enrolment, EnrolmentStatus, Operation, Role
from schemas.ids import EnrolmentId
from tests.flow.test_rules import (
    ACTIVE,
    ANN,
    CLASS,
    REMOVED,
    SUSPENDED,
    course,
    enrolment,
    person,
    statuses,
    term,
    users,
    world,
)
from tests.flow.test_stages import TENANT, World


def record(name: str, status: str | None, hour: int, source: str = "sis", **changes: Any) -> Output:
    """Give an event of the enrolment ``name``: with a status of its source or of Moodle, or deleted."""
    fields: dict[str, Any] = {"enrolment_id": EnrolmentId(name), "source_record_id": name} | changes
    if status is None:
        return enrolment(None, hour, source, operation=Operation.DELETE, **fields)
    if isinstance(status, EnrolmentStatus):
        made = enrolment(None, hour, source, **fields)
        assert isinstance(made.record, Enrolment)
        return made._replace(record=replace(made.record, status=status))
    return enrolment(status, hour, source, **fields)


def ready(rules: str = "") -> World:
    hub = world(rules)
    hub.feed(person(), term(), course())
    return hub


def in_moodle(hub: World) -> EnrolmentStatus | None:
    return hub.moodle.enrolments.get((ANN, CLASS))


@pytest.mark.parametrize("end", ["COMPLETED", "DROPPED", None])
@pytest.mark.parametrize("ends", ["A", "B"])
def test_the_end_of_one_enrolment_leaves_the_other_alone(end: str | None, ends: str) -> None:
    hub = ready()
    hub.feed(record("A", "ENROLLED", 1), record("B", "ENROLLED", 2))
    hub.feed(record(ends, end, 3))
    assert in_moodle(hub) is ACTIVE
    assert SUSPENDED not in statuses(hub.moodle.commands)
    assert REMOVED not in statuses(hub.moodle.commands)


@pytest.mark.parametrize(("end", "found"), [("COMPLETED", SUSPENDED), ("DROPPED", None), (None, SUSPENDED)])
def test_when_the_last_active_enrolment_ends_so_does_the_person(
    end: str | None, found: EnrolmentStatus | None
) -> None:
    hub = ready()
    hub.feed(record("A", "ENROLLED", 1), record("B", "ENROLLED", 2), record("B", None, 3))
    assert in_moodle(hub) is ACTIVE
    hub.feed(record("A", end, 4))
    assert in_moodle(hub) is found


def test_what_is_deleted_counts_no_more_beside_what_is_suspended() -> None:
    hub = ready('[sources.sis.enrolment]\non_delete = "remove"')
    hub.feed(record("A", "ENROLLED", 1), record("B", "COMPLETED", 2), record("A", None, 3))
    assert in_moodle(hub) is SUSPENDED
    hub.feed(record("B", None, 4))
    assert in_moodle(hub) is None


def test_an_older_repeat_does_not_revive_what_was_deleted() -> None:
    hub = ready()
    hub.feed(record("A", "ENROLLED", 1), record("B", "COMPLETED", 2), record("A", None, 5))
    assert hub.feed(record("A", "ENROLLED", 4)) == []
    assert in_moodle(hub) is SUSPENDED
    hub.feed(record("A", "ENROLLED", 6))
    assert in_moodle(hub) is ACTIVE


def test_an_enrolment_deleted_before_it_came_stays_so() -> None:
    hub = ready()
    hub.feed(record("A", None, 5))
    assert hub.feed(record("A", "ENROLLED", 4)) == []
    assert in_moodle(hub) is None


def test_news_of_the_older_record_are_applied_after_those_of_a_newer_one() -> None:
    hub = ready()
    hub.feed(record("A", "ENROLLED", 1), record("B", "ENROLLED", 9), record("B", "COMPLETED", 10))
    assert statuses(hub.feed(record("A", "COMPLETED", 2))) == [SUSPENDED]
    assert statuses(hub.feed(record("A", "ENROLLED", 3))) == [ACTIVE]


def test_a_teacher_who_was_enrolled_as_a_student_is_a_student_again() -> None:
    hub = ready()
    hub.feed(record("A", "ENROLLED", 1), record("T", "ENROLLED", 2, role=Role.TEACHER))
    commands = hub.feed(record("T", None, 3))
    assert [one.enrolment.role for one in commands if one.enrolment] == [Role.STUDENT]
    assert in_moodle(hub) is ACTIVE


def test_where_deleted_records_are_left_alone_the_last_leaves_everything_as_it_was() -> None:
    hub = ready('[sources.sis.enrolment]\non_delete = "leave"')
    hub.feed(record("A", "ENROLLED", 1), record("B", None, 2))
    assert hub.feed(record("A", None, 3)) == []
    assert in_moodle(hub) is ACTIVE


@pytest.mark.parametrize(("source", "rules"), [("elm", ""), ("sis", 'records = "newest"'), ("other", "")])
def test_where_the_newest_says_it_all_a_later_record_suspends(source: str, rules: str) -> None:
    hub = ready(f"[sources.sis.enrolment]\n{rules}")
    hub.feed(record("A", ACTIVE, 1, source), record("B", SUSPENDED, 2, source))
    assert in_moodle(hub) is SUSPENDED
    assert hub.feed(record("A", ACTIVE, 1, source)) == []
    hub.feed(record("A", ACTIVE, 3, source))
    assert in_moodle(hub) is ACTIVE


def test_a_source_whose_newest_record_says_it_all_takes_the_room_of_one() -> None:
    hub = ready()
    for hour in range(1, 20):
        hub.feed(record(f"E{hour}", ACTIVE, hour, "elm"))
    entry = hub.hub.tables["people"].get(people.enrolment_key(TENANT, ANN, CLASS), people.EnrolmentEntry)
    assert entry is not None
    assert (entry.wish.enrolment_id, entry.others) == ("E19", ())


def test_of_different_sources_the_newest_counts_where_one_says_it_all() -> None:
    hub = ready()
    hub.feed(record("A", "ENROLLED", 1), record("E", SUSPENDED, 2, "elm"))
    assert in_moodle(hub) is SUSPENDED
    hub.feed(record("A", "ENROLLED", 3))
    assert in_moodle(hub) is ACTIVE


def test_the_end_in_one_source_leaves_the_enrolment_of_another_alone() -> None:
    hub = ready()
    hub.feed(record("A", "ENROLLED", 1), record("A", "Active", 2, "zoho"))
    hub.feed(record("A", "Withdrawn", 3, "zoho"))
    assert in_moodle(hub) is ACTIVE


def test_an_older_repeat_of_a_record_deleted_before_it_came_is_left_out() -> None:
    hub = ready('[sources.sis.enrolment]\non_delete = "leave"')
    hub.feed(record("A", "ENROLLED", 1), record("B", None, 5), record("B", "ENROLLED", 4))
    assert statuses(hub.feed(record("A", "COMPLETED", 6))) == [SUSPENDED]


def profile(name: str, hour: int, **changes: Any) -> Output:
    """Give an event of the record ``name`` of one and the same person."""
    email = f"{name.lower()}{hour}@example.test"
    fields: dict[str, Any] = {"source_record_id": name, "attributes": {"id": "17", "school_email": email}}
    return person(hour=hour, **fields | changes)


def deleted(name: str, hour: int) -> Output:
    return profile(name, hour, operation=Operation.DELETE)


@pytest.mark.parametrize(("goes", "stays"), [("A", "b2@example.test"), ("B", "a1@example.test")])
def test_a_record_that_is_deleted_leaves_the_account_to_the_other(goes: str, stays: str) -> None:
    hub = world()
    hub.feed(profile("A", 1), profile("B", 2), deleted(goes, 3))
    wish = users(hub.moodle.commands)[-1]
    assert (wish.email, wish.suspended) == (stays, None)
    assert hub.feed(profile(goes, 2)) == []
    (other,) = {"A", "B"} - {goes}
    assert [one.suspended for one in users(hub.feed(deleted(other, 4)))] == [True]
    assert [one.suspended for one in users(hub.feed(profile(goes, 5)))] == [False]


@given(
    st.lists(st.tuples(st.sampled_from("ABC"), st.booleans()), min_size=1, max_size=7),
    st.randoms(use_true_random=False),
)
def test_the_profile_that_counts_does_not_depend_on_the_order_of_arrival(
    events: list[tuple[str, bool]], random: Any
) -> None:
    inputs = [(deleted if gone else profile)(name, hour) for hour, (name, gone) in enumerate(events)]
    inputs += inputs[:2]
    random.shuffle(inputs)
    hub = world()
    for one in inputs:
        hub.feed(one)
    last = {name: (hour, gone) for hour, (name, gone) in enumerate(events)}
    live = [(hour, name) for name, (hour, gone) in last.items() if not gone]
    hour, name = max(live or [(hour, name) for name, (hour, _) in last.items()])
    entry = hub.hub.tables["people"].get(people.person_key(TENANT, ANN), PersonEntry)
    assert entry is not None
    lead = entry.profiles["sis"]
    assert (lead.fields["school_email"], lead.deleted) == (f"{name.lower()}{hour}@example.test", not live)
    if live:
        assert entry.issued is not None
        assert (entry.issued.email, bool(entry.issued.suspended)) == (lead.fields["school_email"], False)


STATUSES = {"sis": ["ENROLLED", "COMPLETED", "DROPPED", None], "zoho": ["Active", "Inactive", None]}
EVENTS = st.lists(
    st.sampled_from(
        [(source, name, status) for source, some in STATUSES.items() for name in "AB" for status in some]
        + [("elm", name, status) for name in "AB" for status in (ACTIVE, SUSPENDED)]
    ),
    min_size=1,
    max_size=8,
)
GOING_ON = ("ENROLLED", "Active", ACTIVE)


def counts(events: list[tuple[str, str, str | None]]) -> bool:
    """Say whether the person shall be active, the rule written down a second time."""
    last = {(source, name): (hour, status) for hour, (source, name, status) in enumerate(events)}
    live = {place: one for place, one in last.items() if one[1] is not None}
    if not live:
        return False
    (source, _), (_, status) = max(live.items(), key=lambda item: item[1][0])
    if source == "elm":
        return status in GOING_ON
    return any(one[1] in GOING_ON for (of, _), one in live.items() if of != "elm")


@given(EVENTS, st.randoms(use_true_random=False))
def test_what_counts_does_not_depend_on_the_order_of_arrival(
    events: list[tuple[str, str, str | None]], random: Any
) -> None:
    inputs = [record(name, status, hour, source) for hour, (source, name, status) in enumerate(events)]
    inputs += inputs[:2]
    random.shuffle(inputs)
    hub = ready()
    for one in inputs:
        hub.feed(one)
    assert (in_moodle(hub) is ACTIVE) is counts(events)
    assert held(hub) == held(in_order(inputs))


def in_order(inputs: list[Output]) -> World:
    hub = ready()
    hub.feed(*sorted(inputs, key=lambda one: one.record.version_time))  # type: ignore[union-attr]  # enrolments
    return hub


def held(hub: World) -> object:
    """Give what the stages keep of the enrolment, as far as the order of arrival must not matter."""
    tables = hub.hub.tables
    entry = tables["people"].get(people.enrolment_key(TENANT, ANN, CLASS), people.EnrolmentEntry)
    later = tables["courses"].get(courses.enrolment_key(TENANT, CLASS, ANN), courses.EnrolmentEntry)
    assert entry is not None
    assert later is not None
    others = sorted((one.source_system, one.enrolment_id, one.version) for one in entry.others)
    return entry.wish, others, later.status, later.role
