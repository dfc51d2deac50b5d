"""OneRoster records and pushed records to what is kept and published."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.simulators.sis import SisPlan, seeded
from infra.simulators.sis.views import COLLECTIONS, collection, pushes
from producers.candidates import Answer, Candidate, Invalid, Skipped, SourceRecord, Status, Valid, canonical
from producers.linked import Ref, Waiting
from producers.sis import oneroster, push
from producers.sis.models import MODELS
from producers.sis.oneroster import RESOURCES
from producers.sis.records import COURSE, ENROLMENT, GRADE, PERSON, SECTION, TERM, Record, Refused
from producers.sis.rules import Rules
from producers.sis.to_events import kinds, parse, refs
from schemas.academics import Grade, Section, Term
from schemas.events import AccountPolicy, Course, Enrolment, EnrolmentStatus, Operation, Person, Role
from schemas.ids import CourseId, PersonId, TenantId

NOW = datetime(2026, 2, 1, tzinfo=UTC)
RULES = Rules(TenantId("t1"), zone=ZoneInfo("Asia/Phnom_Penh"))
KNOWN = {
    Ref(PERSON, "p1"): {"person_id": "P-1"},
    Ref(COURSE, "c1"): {"course_id": "C-1"},
}
USER: dict[str, Any] = {
    "sourcedId": "p1",
    "status": "active",
    "dateLastModified": "2026-01-05T03:00:00.250Z",
    "userMasterIdentifier": "3f1f",
    "username": "s18001@uni.example",
    "userIds": [{"type": "LDAP Id", "identifier": "x7"}],
    "enabledUser": "true",
    "givenName": "SOPHEA",
    "familyName": "KEO",
    "roles": [
        {"roleType": "secondary", "role": "teacher", "org": {"sourcedId": "o2", "type": "org"}},
        {"roleType": "primary", "role": "student", "org": {"sourcedId": "o1", "type": "org"}},
    ],
    "identifier": "18001",
    "email": "s18001@uni.example",
    "grades": ["09", "10"],
    "metadata": {"khmerName": "កែវ សុភា", "nested": {"left": "out"}},
}
CLASS: dict[str, Any] = {
    "sourcedId": "c1",
    "status": "active",
    "dateLastModified": "2026-01-05T03:00:00Z",
    "title": "Cost Accounting",
    "classCode": "ACCT-301-A",
    "classType": "scheduled",
    "course": {"sourcedId": "k1", "type": "course"},
    "school": {"sourcedId": "o1", "type": "org"},
    "terms": [{"sourcedId": "t1"}, {"sourcedId": "t2"}],
    "periods": ["1", "2"],
    "metadata": {"sourceStatus": "SCHEDULED"},
}
ENROLLMENT: dict[str, Any] = {
    "sourcedId": "e1",
    "status": "active",
    "dateLastModified": "2026-01-05T03:00:00Z",
    "user": {"sourcedId": "p1", "type": "user"},
    "class": {"sourcedId": "c1", "type": "class"},
    "school": {"sourcedId": "o1", "type": "org"},
    "role": "student",
    "beginDate": "2026-01-12",
    "endDate": "2026-04-05",
}


def meaning(
    raw: object, kind: str = "", known: Mapping[Ref, Mapping[str, Any]] | None = None
) -> Candidate | Waiting:
    record = oneroster.to_record(kind, raw, NOW) if kind else raw
    return parse(record, KNOWN if known is None else known, NOW, RULES)


def kept(raw: object, kind: str = "", known: Mapping[Ref, Mapping[str, Any]] | None = None) -> SourceRecord:
    found = meaning(raw, kind, known)
    assert isinstance(found, Valid), found
    return found.records[-1]


def event(raw: object, kind: str = "", known: Mapping[Ref, Mapping[str, Any]] | None = None) -> Any:
    return kept(raw, kind, known).events[0].record


def pushed(name: str, raw: object, known: Mapping[Ref, Mapping[str, Any]] | None = None) -> Any:
    return event(push.to_record(name, raw, NOW), known=known)


def test_a_user_becomes_a_person_with_all_it_tells() -> None:
    person = event(USER, PERSON)
    assert isinstance(person, Person)
    assert (person.person_id, person.source_record_id, person.operation) == ("3f1f", "p1", Operation.UPSERT)
    assert (person.username, person.email) == ("s18001@uni.example", "s18001@uni.example")
    assert (person.first_name, person.last_name) == ("SOPHEA", "KEO")
    assert (person.account_policy, person.auth, person.source_status) == (
        AccountPolicy.ALWAYS,
        None,
        "active",
    )
    assert person.version_time == datetime(2026, 1, 5, 3, 0, 0, 250_000, tzinfo=UTC)
    assert person.attributes == {
        "id": "p1",
        "unique_id": "3f1f",
        "identifier": "18001",
        "student_id": "18001",
        "role": "student",
        "roles": "student,teacher",
        "grades": "09,10",
        "org_id": "o1",
        "enabled_user": "true",
        "user_id_ldap_id": "x7",
        "khmer_name": "កែវ សុភា",
    }
    assert kept(USER, PERSON).content["person_id"] == "3f1f"


def test_a_user_of_1_1_has_one_role_and_its_own_id() -> None:
    old = {name: value for name, value in USER.items() if name not in ("roles", "userMasterIdentifier")}
    person = event({**old, "role": "teacher", "orgs": [{"sourcedId": "o9"}]}, PERSON)
    assert (person.person_id, person.attributes["role"], person.attributes["org_id"]) == (
        "p1",
        "teacher",
        "o9",
    )
    assert "student_id" not in person.attributes


def test_a_user_who_may_not_log_in_says_so_in_the_status() -> None:
    assert event({**USER, "enabledUser": False}, PERSON).source_status == "disabled"


def test_a_class_becomes_a_course_that_takes_over_what_its_template_and_term_tell() -> None:
    known = {
        Ref("course_template", "k1"): {"title": "Cost Accounting I", "course_code": "ACCT-301"},
        Ref(TERM, "t1"): {
            "code": "260112-T1",
            "term_type": "BA",
            "start_date": "2026-01-12",
            "end_date": "2026-04-05",
        },
        Ref("org", "o1"): {"name": "Sample University"},
    }
    record = oneroster.to_record(COURSE, CLASS, NOW)
    assert set(refs(record)) == set(known)
    course = event(CLASS, COURSE, known)
    assert isinstance(course, Course)
    assert (course.course_id, course.term_id, course.source_status) == ("c1", "t1", "SCHEDULED")
    assert (course.short_name, course.full_name, course.create) == ("ACCT-301-A", "Cost Accounting", False)
    # A day of the SIS begins at its own midnight, and the last day belongs to the term.
    assert course.starts_at == datetime(2026, 1, 11, 17, tzinfo=UTC)
    assert course.ends_at == datetime(2026, 4, 5, 17, tzinfo=UTC)
    wanted = {
        "title": "Cost Accounting",
        "course_title": "Cost Accounting I",
        "course_code": "ACCT-301",
        "term_code": "260112-T1",
        "term_type": "BA",
        "term_ids": "t1,t2",
        "periods": "1,2",
        "org_name": "Sample University",
    }
    assert wanted.items() <= course.attributes.items()


def test_a_class_waits_for_nothing() -> None:
    course = event(CLASS, COURSE, {})
    assert (course.term_id, course.starts_at) == ("t1", None)


@pytest.mark.parametrize(
    ("role", "wanted"),
    [
        ("student", Role.STUDENT),
        ("Teacher", Role.TEACHER),
        ("aide", Role.NON_EDITING_TEACHER),
        ("proctor", Role.NON_EDITING_TEACHER),
    ],
)
def test_an_enrolment_is_of_the_person_and_class_as_the_hub_knows_them(role: str, wanted: Role) -> None:
    enrolment = event({**ENROLLMENT, "role": role}, ENROLMENT)
    assert isinstance(enrolment, Enrolment)
    assert (enrolment.person_id, enrolment.course_id, enrolment.enrolment_id) == ("P-1", "C-1", "e1")
    assert (enrolment.role, enrolment.status, enrolment.source_status) == (
        wanted,
        EnrolmentStatus.ACTIVE,
        "active",
    )
    assert enrolment.starts_at == datetime(2026, 1, 11, 17, tzinfo=UTC)
    assert enrolment.ends_at == datetime(2026, 4, 5, 17, tzinfo=UTC)


@pytest.mark.parametrize("role", ["parent", "guardian", "administrator", "relative"])
def test_who_is_not_enrolled_in_moodle_is_skipped(role: str) -> None:
    assert meaning({**ENROLLMENT, "role": role}, ENROLMENT) == Skipped(ENROLMENT, "e1", "role_not_enrolled")


@pytest.mark.parametrize("missing", [PERSON, COURSE])
def test_an_enrolment_waits_for_its_person_and_its_class(missing: str) -> None:
    known = {ref: content for ref, content in KNOWN.items() if ref.kind != missing}
    found = meaning(ENROLLMENT, ENROLMENT, known)
    assert isinstance(found, Waiting)
    assert (found.missing.kind, found.reason) == (missing, f"{missing}_not_known_yet")


def test_what_waits_means_the_same_after_it_was_kept_as_json() -> None:
    record = oneroster.to_record(ENROLMENT, ENROLLMENT, NOW)
    again = msgspec.json.decode(canonical(record))
    assert kept(again) == kept(record)
    assert refs(again) == refs(record)


@pytest.mark.parametrize(
    ("kind", "raw", "field"),
    [
        (PERSON, {**USER, "givenName": " "}, "givenName"),
        (PERSON, {**USER, "sourcedId": None}, "sourcedId"),
        (PERSON, {**USER, "dateLastModified": "yesterday"}, "dateLastModified"),
        (PERSON, {**USER, "email": ["a"]}, "email"),
        (PERSON, {**USER, "phone": "1" * 2_000}, "phone"),
        (PERSON, {**USER, "phone": "\ud800"}, "phone"),
        (COURSE, {**CLASS, "title": None}, "title"),
        (COURSE, {**CLASS, "course": "k1"}, "course"),
        (ENROLMENT, {**ENROLLMENT, "user": {}}, "user"),
        (ENROLMENT, {**ENROLLMENT, "role": ""}, "role"),
        (ENROLMENT, {**ENROLLMENT, "endDate": "2026-02-30"}, "endDate"),
        (TERM, {"sourcedId": "t", "title": "T", "startDate": "soon"}, "startDate"),
        (PERSON, ["no", "object"], "record"),
    ],
)
def test_a_record_that_cannot_be_used_names_its_field(kind: str, raw: object, field: str) -> None:
    found = meaning(raw, kind)
    assert isinstance(found, Invalid), found
    assert found.field == field
    assert found.reason


def test_a_deleted_record_may_be_a_mere_id_and_keeps_what_was_known() -> None:
    raw = {"sourcedId": "p1", "status": "tobedeleted", "dateLastModified": "2026-01-06T00:00:00Z"}
    record = oneroster.to_record(PERSON, raw, NOW)
    assert refs(record) == [Ref(PERSON, "p1")]
    known = {Ref(PERSON, "p1"): {"person_id": "3f1f", "first_name": "SOPHEA"}}
    gone = kept(record, known=known)
    assert gone.content["deleted"] is True
    person = gone.events[0].record
    assert isinstance(person, Person)
    assert (person.operation, person.person_id, person.first_name) == (Operation.DELETE, "3f1f", "SOPHEA")


def test_a_deleted_enrolment_nobody_knew_is_kept_without_an_event() -> None:
    raw = {**ENROLLMENT, "status": "tobedeleted"}
    assert kept(raw, ENROLMENT, {}).events == ()
    gone = event(raw, ENROLMENT, {Ref(ENROLMENT, "e1"): {"person_id": "P-1", "course_id": "C-1"}})
    assert (gone.operation, gone.person_id, gone.course_id) == (Operation.DELETE, "P-1", "C-1")


def test_an_enrolment_that_moves_leaves_the_class_it_was_in() -> None:
    found = meaning(ENROLLMENT, ENROLMENT)
    assert isinstance(found, Valid)
    answer = Answer(ENROLMENT, "e1", Status.UPDATED, changes={"course_id": ["C-0", "C-1"]})
    (left,) = kinds(RULES)[ENROLMENT].follow(found, answer)
    assert isinstance(left.record, Enrolment)
    assert (left.record.course_id, left.record.person_id) == ("C-0", "P-1")
    assert left.record.operation is Operation.DELETE
    quiet = Answer(ENROLMENT, "e1", Status.UPDATED, changes={"status": ["a", "b"]})
    assert list(kinds(RULES)[ENROLMENT].follow(found, quiet)) == []


class ByCode:
    """A rule that needs a field which not every record has."""

    def person(self, attributes: Mapping[str, str]) -> PersonId | None:
        found = attributes.get("student_id")
        return PersonId(found) if found else None

    def course(self, attributes: Mapping[str, str]) -> CourseId | None:
        found = attributes.get("natural_key")
        return CourseId(found) if found else None

    def missing(self, kind: str, attributes: Mapping[str, str]) -> str:
        needed = "natural_key" if kind == COURSE else "student_id"
        return "" if needed in attributes else needed


def test_ids_come_from_the_rule_and_a_record_without_its_field_is_invalid() -> None:
    rules = Rules(TenantId("t1"), ByCode())
    good = parse(oneroster.to_record(PERSON, USER, NOW), {}, NOW, rules)
    assert isinstance(good, Valid)
    assert good.records[0].content["person_id"] == "18001"
    bad = parse(oneroster.to_record(COURSE, CLASS, NOW), {}, NOW, rules)
    assert isinstance(bad, Invalid)
    assert bad.field == "natural_key"


def test_a_pushed_person() -> None:
    person = pushed(
        "people",
        {
            "id": 7,
            "unique_id": "9a",
            "student_id": 18001,
            "family_name": "KEO",
            "personal_name": "SOPHEA",
            "khmer_name": "កែវ សុភា",
            "personal_email": "p7@mail.example",
            "student_status": "ACTIVE",
            "roles": ["student"],
            "attributes": {"isMonk": False, "note": None, "deleted": "no", "personId": "other"},
        },
    )
    assert (person.person_id, person.source_record_id, person.email) == ("9a", "7", "p7@mail.example")
    assert (person.first_name, person.last_name, person.source_status) == ("SOPHEA", "KEO", "ACTIVE")
    assert person.version_time == NOW
    wanted = {
        "student_id": "18001",
        "khmer_name": "កែវ សុភា",
        "role": "student",
        "is_monk": "false",
        "id": "7",
    }
    assert wanted.items() <= person.attributes.items()


def test_a_pushed_class_has_its_natural_key_as_id() -> None:
    raw = {
        "course_code": "ACCT-301",
        "term_code": "251215B-T4",
        "section": "A",
        "time_of_day": "EVE",
        "title": "Cost Accounting",
        "status": "DRAFT",
        "majors": ["BUSADMIN", "FIN-BANK"],
        "credits": 3,
    }
    course = pushed("courses", raw)
    assert course.course_id == "ACCT-301|251215B-T4|A|EVE"
    assert (course.term_id, course.source_status) == ("251215B-T4", "DRAFT")
    assert (course.attributes["majors"], course.attributes["credits"]) == ("BUSADMIN,FIN-BANK", "3")


def test_a_pushed_enrolment_keeps_the_status_for_the_rules() -> None:
    raw = {"person": "p1", "course": "c1", "status": "NO_SHOW_ACADEMIC", "sections": [4, "s2"]}
    enrolment = pushed("enrolments", raw)
    assert (enrolment.enrolment_id, enrolment.source_status) == ("p1|c1", "NO_SHOW_ACADEMIC")
    assert (enrolment.section_ids, enrolment.role) == (("4", "s2"), Role.STUDENT)


def test_pushed_sections_terms_and_grades() -> None:
    section = pushed("sections", {"id": "s1", "course": "c1", "name": "MAIN 1", "kind": "SESSION"})
    assert isinstance(section, Section)
    assert (section.section_id, section.course_id, section.name, section.kind) == (
        "s1",
        "C-1",
        "MAIN 1",
        "SESSION",
    )
    term = pushed("terms", {"code": "T1", "term_type": "BA", "start_date": "2026-01-12"})
    assert isinstance(term, Term)
    assert (term.term_id, term.code, term.term_type) == ("T1", "T1", "BA")
    grade = pushed(
        "grades",
        {"id": 1, "person": "p1", "course": "c1", "numeric_score": "87.50", "graded_on": "2026-03-01"},
    )
    assert isinstance(grade, Grade)
    assert (grade.score, grade.value, grade.course_id) == (Decimal("87.50"), "87.50", "C-1")
    assert grade.graded_on == date(2026, 3, 1)


@pytest.mark.parametrize(
    ("name", "raw", "field"),
    [
        ("people", {"id": 1}, "family_name"),
        ("people", {"family_name": "A", "personal_name": "B"}, "id"),
        ("people", {"id": 1, "family_name": "A", "personal_name": "B", "emial": "x"}, "emial"),
        ("people", {"id": 1, "family_name": 5, "personal_name": "B"}, "family_name"),
        ("people", {"id": 1, "date_of_birth": "1.2.2003"}, "date_of_birth"),
        ("people", "text", "record"),
        ("courses", {"id": 1}, "title"),
        ("courses", {"title": "x"}, "id"),
        ("sections", {"id": 1, "name": "x"}, "course"),
        ("terms", {"id": 1}, "code"),
        ("enrolments", {"course": "c1"}, "person"),
        ("enrolments", {"person": "p1", "course": "c1"}, "status"),
        ("grades", {"id": 1, "person": "p1"}, "numeric_score"),
        ("grades", {"id": 1, "person": "p1", "numeric_score": 101}, "numeric_score"),
        ("grades", {"id": 1, "person": "p1", "numeric_score": "NaN"}, "numeric_score"),
        ("courses", {"id": 1, "title": "x", "credits": "1e999999999"}, "credits"),
    ],
)
def test_a_push_that_cannot_be_used_names_its_field_and_no_value(name: str, raw: object, field: str) -> None:
    found = push.to_record(name, raw, NOW)
    assert isinstance(found, Refused), found
    assert found.field == field
    assert "1.2.2003" not in found.reason


def test_everything_the_stand_in_tells_can_be_used() -> None:
    state = seeded(SisPlan(students=30))
    seen = dict.fromkeys(COLLECTIONS, 0)
    for release in ("1.1", "1.2"):
        for name in COLLECTIONS:
            for raw in collection(state, name, release):
                assert isinstance(oneroster.to_record(RESOURCES[name], raw, NOW), Record)
                seen[name] += 1
    assert all(seen.values()), seen
    found = [push.to_record(name, raw, NOW) for name, raw in pushes(state)]
    assert {type(each) for each in found} == {Record}
    assert {each.kind for each in found} == {PERSON, COURSE, SECTION, TERM, ENROLMENT}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=12,
)
VALUES = JSON | st.sampled_from(
    ["active", "tobedeleted", "2026-01-05", "true", "0001-01-01T00:00:00+23:00", "student", "9" * 400, "\0"]
)


def objects(names: list[str]) -> st.SearchStrategy[dict[str, Any]]:
    return st.dictionaries(st.sampled_from(names), VALUES, max_size=len(names))


ROSTER_NAMES = sorted({*USER, *CLASS, *ENROLLMENT, "role", "orgs", "primaryOrg", "startDate"})
MODEL_NAMES = sorted({name for model in MODELS.values() for name in model.__struct_fields__})


def answered(found: object) -> None:
    """Check that a record has a meaning, whatever it is, that can be kept."""
    assert isinstance(found, Record | Refused)
    refs(found)
    means = parse(found, KNOWN, NOW, RULES)
    if isinstance(means, Valid):
        canonical(means.records[0].content)
        assert all(msgspec.json.encode(output.record) for output in means.records[0].events)
    elif isinstance(means, Invalid):
        assert means.field
        assert means.reason


@given(st.sampled_from(sorted(RESOURCES.values())), objects(ROSTER_NAMES) | JSON)
def test_any_oneroster_value_is_answered(kind: str, raw: Any) -> None:
    answered(oneroster.to_record(kind, raw, NOW))


@given(st.sampled_from(sorted(RESOURCES.values())), objects(ROSTER_NAMES))
def test_any_change_of_a_good_record_is_answered(kind: str, changes: dict[str, Any]) -> None:
    good = {**ENROLLMENT, **CLASS, **USER}
    answered(oneroster.to_record(kind, {**good, **changes}, NOW))


@given(st.sampled_from(sorted(MODELS)), objects(MODEL_NAMES) | JSON, st.booleans())
def test_any_pushed_value_is_answered(name: str, raw: Any, lax: bool) -> None:
    answered(push.to_record(name, raw, NOW, lax=lax))


def test_kinds_are_complete() -> None:
    assert {GRADE, SECTION} <= set(kinds(RULES))
