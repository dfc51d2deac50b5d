"""Feed records of ELM to what is kept and published."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from infra.settings import ElmFeed
from infra.simulators.seed import SeedPlan
from infra.simulators.seed import records as seeded
from infra.simulators.seed_oracle import invalid_field
from producers.candidates import Invalid, Skipped, SourceRecord, Valid, canonical
from producers.elm.settings import Rules
from producers.elm.to_events import POSITION, to_candidate
from schemas.convert import from_record, to_record
from schemas.events import AccountPolicy, Course, Enrolment, EnrolmentStatus, Operation, Person
from schemas.ids import TenantId
from schemas.version import Version

NOW = datetime(2026, 2, 1, tzinfo=UTC)
RULES = Rules(TenantId("t1"))
RULES_14 = Rules(TenantId("t1"), release=ElmFeed.TIME)
RECORD: dict[str, Any] = {
    "record_enrol_id": 77,
    "ENROLMENT_ID": 700123,
    "COURSE_IDENTIFIER": 32090,
    "COURSE_SHORTNAME": "ITEM-2162-1",
    "COURSE_LONG_NAME": "Fire safety",
    "COURSE_START_DATE": "2023-05-01",
    "COURSE_STATE": "Enrol",
    "COURSE_STATE_DATE": "2023-04-11T08:06:43.000-07:00",
    "date_created": "2023-04-11T08:10:00.250-07:00",
    "date_updated": None,
    "date_deleted": None,
    "GUID": "AB12",
    "EMAIL": "Ada.Example@gov.example",
    "FIRST_NAME": "Ada",
    "LAST_NAME": "Example",
    "USER_STATE": "ACTIVE",
    "USER_EFFECTIVE_DATE": "2023-06-09",
    "OPRID": "OP1",
    "PERSON_ID": 5,
    "ACTIVITY_ID": 6,
}


def kept(record: dict[str, Any], rules: Rules = RULES) -> tuple[SourceRecord, SourceRecord, SourceRecord]:
    candidate = to_candidate(record, rules, NOW)
    assert isinstance(candidate, Valid), candidate
    person, course, enrolment = candidate.records
    return person, course, enrolment


def enrolment_of(record: dict[str, Any], rules: Rules = RULES) -> Enrolment:
    event = kept(record, rules)[2].events[0].record
    assert isinstance(event, Enrolment)
    return event


def test_one_record_stands_for_person_course_and_enrolment() -> None:
    person, course, enrolment = kept(RECORD)
    assert [(r.kind, r.record_id) for r in (person, course, enrolment)] == [
        ("person", "AB12"),
        ("course", "32090"),
        ("enrolment", "700123"),
    ]
    who, what, wish = (r.events[0].record for r in (person, course, enrolment))
    assert isinstance(who, Person)
    assert isinstance(what, Course)
    assert isinstance(wish, Enrolment)
    assert (who.username, who.email, who.auth) == (
        "ada.example@gov.example",
        "Ada.Example@gov.example",
        "oauth2",
    )
    assert [one.source_record_id for one in (who, what, wish)] == ["AB12", "32090", "700123"]
    assert who.account_policy is AccountPolicy.WHEN_ENROLLED
    assert who.version == Version(datetime(2023, 4, 11, 15, 10, 0, 250_000, UTC), 77)
    assert (what.full_name, what.create) == ("Fire safety", False)
    assert what.starts_at == datetime(2023, 5, 1, 7, tzinfo=UTC)
    assert (wish.person_id, wish.course_id, wish.status) == ("AB12", "32090", EnrolmentStatus.ACTIVE)
    assert wish.version == Version(datetime(2023, 4, 11, 15, 6, 43, tzinfo=UTC), 77)
    assert wish.attributes == {
        "course_short_name": "ITEM-2162-1",
        "course_long_name": "Fire safety",
        "oprid": "OP1",
        "person_id": "5",
        "activity_id": "6",
    }


BREAKS: list[tuple[str, Any, str]] = [
    ("ENROLMENT_ID", "n/a", "is not a whole number"),
    ("ENROLMENT_ID", True, "is not a whole number"),
    ("ENROLMENT_ID", -1, "is not a whole number"),
    ("ENROLMENT_ID", 7.5, "is not a whole number"),
    ("ENROLMENT_ID", "9" * 40, "is not a whole number"),
    ("ENROLMENT_ID", "٣", "is not a whole number"),
    ("COURSE_IDENTIFIER", None, "is empty"),
    ("COURSE_IDENTIFIER", [], "is not a whole number"),
    ("record_enrol_id", "", "is empty"),
    ("COURSE_STATE", "enrolled", "is neither Enrol nor Suspend"),
    ("COURSE_STATE", 1, "is not text"),
    ("COURSE_STATE_DATE", "2023-02-30T08:06:43.000-07:00", "is not a time"),
    ("COURSE_STATE_DATE", 20230411, "is not a time"),
    ("date_created", "yesterday", "is not a time"),
    ("date_created", "0001-01-01T00:00:00+10:00", "is not a time"),
    ("date_updated", "soon", "is not a time"),
    ("date_deleted", {}, "is not a time"),
    ("GUID", "  ", "is empty"),
    ("GUID", "x" * 256, "is longer than 255 characters"),
    ("EMAIL", "ada at gov.example", "is not an e-mail address"),
    ("EMAIL", "a@b@c", "is not an e-mail address"),
    ("EMAIL", None, "is empty"),
    ("FIRST_NAME", "A\0B", "holds characters that no text may hold"),
    ("LAST_NAME", "\ud83d", "holds characters that no text may hold"),
    ("LAST_NAME", "x" * 1001, "is longer than 1000 characters"),
    ("COURSE_SHORTNAME", "", "is empty"),
    ("COURSE_LONG_NAME", 5, "is not text"),
]


@pytest.mark.parametrize(("field", "value", "reason"), BREAKS)
def test_a_broken_field_is_named_with_its_reason(field: str, value: Any, reason: str) -> None:
    broken = RECORD | {field: value}
    found = to_candidate(broken, RULES, NOW)
    known = None if field == "ENROLMENT_ID" else "700123"
    assert found == Invalid("enrolment", known, broken, field, reason)


@pytest.mark.parametrize(
    "field",
    [
        "ENROLMENT_ID",
        "date_created",
        "COURSE_IDENTIFIER",
        "COURSE_STATE",
        "COURSE_SHORTNAME",
        "FIRST_NAME",
        "LAST_NAME",
        "EMAIL",
        "GUID",
        "record_enrol_id",
    ],
)
def test_a_missing_required_field_is_named(field: str) -> None:
    found = to_candidate({name: value for name, value in RECORD.items() if name != field}, RULES, NOW)
    assert isinstance(found, Invalid)
    assert (found.field, found.reason) == (field, "is missing")


@pytest.mark.parametrize("raw", [None, 5, "x", [], [RECORD]])
def test_an_element_that_is_no_object_is_invalid(raw: object) -> None:
    assert to_candidate(raw, RULES, NOW) == Invalid("enrolment", None, raw, "record", "is not an object")


def test_numbers_may_come_as_text() -> None:
    numbers = ("record_enrol_id", "ENROLMENT_ID", "COURSE_IDENTIFIER", "PERSON_ID", "ACTIVITY_ID")
    assert kept(RECORD | {name: str(RECORD[name]) for name in numbers}) == kept(RECORD)


def test_only_optional_fields_may_be_missing() -> None:
    optional = (
        "COURSE_LONG_NAME",
        "COURSE_START_DATE",
        "COURSE_STATE_DATE",
        "OPRID",
        "PERSON_ID",
        "ACTIVITY_ID",
    )
    small = {name: value for name, value in RECORD.items() if name not in optional}
    event = enrolment_of(small)
    assert event.version_time == datetime(2023, 4, 11, 15, 10, 0, 250_000, UTC)
    assert event.attributes == {"course_short_name": "ITEM-2162-1"}


def test_a_time_without_zone_is_meant_in_the_servers_zone() -> None:
    event = enrolment_of(RECORD | {"COURSE_STATE_DATE": "2023-12-01 08:00:00"})
    assert event.version_time == datetime(2023, 12, 1, 16, tzinfo=UTC)
    there = Rules(TenantId("t1"), zone=ZoneInfo("Europe/Paris"))
    assert enrolment_of(
        RECORD | {"COURSE_STATE_DATE": "2023-12-01 08:00:00"}, there
    ).version_time == datetime(2023, 12, 1, 7, tzinfo=UTC)


def test_a_deleted_enrolment_is_a_suspended_one_of_the_later_time() -> None:
    event = enrolment_of(RECORD | {"date_deleted": "2023-04-12T00:00:00Z"})
    assert (event.operation, event.status) == (Operation.DELETE, EnrolmentStatus.SUSPENDED)
    assert event.version_time == datetime(2023, 4, 12, tzinfo=UTC)
    early = enrolment_of(RECORD | {"date_deleted": "2023-04-01T00:00:00Z"})
    assert early.version_time == datetime(2023, 4, 11, 15, 6, 43, tzinfo=UTC)


def test_a_later_update_makes_person_and_course_newer() -> None:
    person, course, enrolment = kept(RECORD | {"date_updated": "2023-05-01T00:00:00Z"})
    assert person.version == course.version == Version(datetime(2023, 5, 1, tzinfo=UTC), 77)
    assert enrolment.version.time == datetime(2023, 4, 11, 15, 6, 43, tzinfo=UTC)


def test_without_positions_the_time_of_creation_breaks_ties_below_every_position() -> None:
    earlier = enrolment_of(RECORD, RULES_14).version
    later = enrolment_of(RECORD | {"date_created": "2023-04-11T08:10:00.251-07:00"}, RULES_14).version
    assert earlier < later < enrolment_of(RECORD | {"record_enrol_id": 0}).version
    assert later.sequence - earlier.sequence == 1000
    assert -(2**63) < earlier.sequence < 0


def test_courses_can_be_ignored_and_created() -> None:
    ignoring = Rules(TenantId("t1"), ignored_courses=frozenset({"32090"}))
    assert to_candidate(RECORD, ignoring, NOW) == Skipped("enrolment", "700123", "ignored_course")
    creating = kept(RECORD, Rules(TenantId("t1"), create_courses=True))[1]
    event = creating.events[0].record
    assert isinstance(event, Course)
    assert event.create
    assert canonical(creating.content) != canonical(kept(RECORD)[1].content)


def test_fields_may_have_other_names() -> None:
    names = {"GUID": "person_guid", "EMAIL": "GUID", POSITION: "pos"}
    swapped = {names.get(name, name): value for name, value in RECORD.items()}
    assert kept(swapped, Rules(TenantId("t1"), names=names)) == kept(RECORD)
    broken = to_candidate(swapped | {"person_guid": ""}, Rules(TenantId("t1"), names=names), NOW)
    assert isinstance(broken, Invalid)
    assert broken.field == "person_guid"


def test_every_field_of_the_contract_decides_whether_something_changed() -> None:
    before = [canonical(record.content) for record in kept(RECORD)]
    changed: dict[str, Any] = {
        "COURSE_STATE": "Suspend",
        "date_updated": "2023-05-01T00:00:00Z",
        "date_deleted": "2023-05-01T00:00:00Z",
        "COURSE_STATE_DATE": "2023-05-01T00:00:00Z",
        "date_created": "2023-05-01T00:00:00Z",
    }
    for field, value in RECORD.items():
        other = changed.get(field, value + 1 if isinstance(value, int) else f"{value}x")
        after = [canonical(record.content) for record in kept(RECORD | {field: other})]
        assert after != before, field


def test_the_same_records_are_refused_as_by_the_plain_rules() -> None:
    plan = SeedPlan(seed=3, records=1500, broken=0.3)
    for record in seeded(plan):
        found = to_candidate(record, RULES, NOW)
        assert (found.field if isinstance(found, Invalid) else None) == invalid_field(record)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
times = st.datetimes(timezones=st.none() | st.timezones()).map(lambda moment: moment.isoformat())
feed_values = json_values | times | st.sampled_from(["Enrol", "Suspend", "a@b", "", " 12 ", "2023-06-09"])


@settings(max_examples=400, deadline=None)
@given(
    st.dictionaries(st.sampled_from(sorted(RECORD)), feed_values, max_size=6),
    st.sampled_from([RULES, RULES_14]),
)
def test_any_record_is_answered_and_a_usable_one_can_be_stored_and_read_back(
    changed: dict[str, Any], rules: Rules
) -> None:
    found = to_candidate(RECORD | changed, rules, NOW)
    if isinstance(found, Invalid):
        assert found.field in RECORD
        return
    assert isinstance(found, Valid)
    for record in found.records:
        canonical(record.content)
        assert 0 < len(record.record_id) <= 255
        for output in record.events:
            event = output.record
            assert type(event) is output.topic.record
            assert from_record(to_record(event), type(event)) == event
            assert msgspec.json.decode(msgspec.json.encode(event), type=type(event)) == event
            assert -(2**63) <= event.version.sequence < 2**63  # type: ignore[union-attr]


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_any_json_value_is_answered(raw: Any) -> None:
    assert isinstance(to_candidate(raw, RULES, NOW), Invalid)
