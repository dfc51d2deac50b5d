"""Every form of Zoho's records to what is kept and published."""

from __future__ import annotations

import io
import json
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import fastavro
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from infra.codec import schema_text
from infra.mapping import RuleIdentity, TenantRules
from infra.stage import Output
from producers.candidates import Invalid, SourceRecord, Valid, canonical
from producers.linked import Ref, Waiting
from producers.outbox import encode
from producers.zoho import records
from producers.zoho.kinds import Deleted, zoho_kinds
from producers.zoho.to_events import ZohoRules
from schemas.academics import Grade, Payment, Program, Registration, Unit
from schemas.convert import from_record, to_record
from schemas.events import AccountPolicy, Course, Enrolment, Operation, Person, Role
from schemas.ids import TenantId
from schemas.topics import Topic
from schemas.version import Version

NOW = datetime(2026, 2, 1, 12, tzinfo=UTC)
RULES = ZohoRules(TenantId("t1"), RuleIdentity(TenantRules(), "zoho"))
KINDS = zoho_kinds(RULES)
KNOWN: dict[Ref, dict[str, Any]] = {
    Ref("person", "s1"): {"person_id": "P1"},
    Ref("course", "c1"): {"course_id": "C1"},
    Ref("program", "p1"): {},
    Ref("registration", "r1"): {"person_id": "P1"},
    Ref("unit", "u1"): {},
}

STUDENT = {"id": "s1", "Name": "Ada Example", "Academic_Email": "ada@learn.example"}
PROGRAM = {"id": "p1", "Product_Name": "Business"}
CLASS = {"id": "c1", "BTEC_Class_Name": "Evening"}
ENROLMENT = {"id": "e1", "Student": "s1", "BTEC_Class": "c1"}
REGISTRATION = {"id": "r1", "Student": "s1", "Program": {"id": "p1"}, "Enrollment_Status": "Active"}
PAYMENT = {"id": "y1", "Registration": "r1", "Amount": 5, "Payment_Status": "Paid"}
UNIT = {"id": "u1", "Unit_Code": "U1", "Unit_Name": "Finance", "Status": "Active"}
GRADE = {"id": "g1", "Student": "s1", "Unit": "u1", "Grade_Value": "Merit"}
SMALLEST: dict[str, dict[str, Any]] = {
    "students": STUDENT,
    "programs": PROGRAM,
    "classes": CLASS,
    "enrollments": ENROLMENT,
    "registrations": REGISTRATION,
    "payments": PAYMENT,
    "units": UNIT,
    "grades": GRADE,
}


def parsed(kind: str, raw: object) -> Any:
    return KINDS[kind].parse(raw, KNOWN, NOW)


def kept(kind: str, raw: object) -> SourceRecord:
    meaning = parsed(kind, raw)
    assert isinstance(meaning, Valid), meaning
    return meaning.records[-1]


def event(kind: str, raw: object) -> Any:
    return kept(kind, raw).events[0].record


def without(raw: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in raw.items() if name not in names}


VARIANTS: list[tuple[str, dict[str, Any], str, object]] = [
    ("students", {**STUDENT, "id": 17}, "id", "17"),
    ("students", {**without(STUDENT, "id"), "ID": "s9"}, "id", "s9"),
    ("students", {**without(STUDENT, "Name"), "name": " Bo "}, "display_name", "Bo"),
    ("students", {**without(STUDENT, "Name"), "Display_Name": "Bo"}, "display_name", "Bo"),
    ("students", {**without(STUDENT, "Name"), "First_Name": "A", "Last_Name": "B"}, "display_name", "A B"),
    ("students", {**STUDENT, "Academic_Email": " One@X.EDU "}, "academic_email", "one@x.edu"),
    ("students", {**without(STUDENT, "Academic_Email"), "email": "a@b.c"}, "academic_email", "a@b.c"),
    ("students", {**without(STUDENT, "Academic_Email"), "Email": "a@b.c"}, "academic_email", "a@b.c"),
    ("students", {**STUDENT, "Academic_Email": ""}, "academic_email", None),
    ("students", {**STUDENT, "Phone_Number": 5}, "phone", "5"),
    ("students", {**STUDENT, "Phone": "6"}, "phone", "6"),
    ("students", {**STUDENT, "status": "Active"}, "status", "Active"),
    ("programs", {**without(PROGRAM, "id"), "Product_ID": "p9"}, "id", "p9"),
    ("programs", {**without(PROGRAM, "Product_Name"), "Name": "N"}, "name", "N"),
    ("programs", {**PROGRAM, "Program_Price": "99.990"}, "price", "99.99"),
    ("programs", {**PROGRAM, "Price": 5}, "price", "5"),
    ("programs", {**PROGRAM, "Program_Price": 0}, "price", None),
    ("programs", {**PROGRAM, "Program_Price": ""}, "price", None),
    ("programs", {**PROGRAM, "MoodleID": "12"}, "moodle_id", 12),
    ("programs", {**PROGRAM, "MoodleID": 12}, "moodle_id", 12),
    ("classes", {**without(CLASS, "BTEC_Class_Name"), "Class_Name": "N"}, "name", "N"),
    ("classes", {**without(CLASS, "BTEC_Class_Name"), "Name": "N"}, "name", "N"),
    ("classes", {**CLASS, "Class_Short_Name": "N"}, "short_name", "N"),
    ("classes", {**CLASS, "Short_Name": "N"}, "short_name", "N"),
    ("classes", {**CLASS, "status": "Active"}, "status", "Active"),
    ("classes", {**CLASS, "Class_Status": "Active"}, "status", "Active"),
    ("classes", {**CLASS, "Status": "Active"}, "status", "Active"),
    ("classes", {**CLASS, "Start_Date": "20260131"}, "start_date", "2026-01-31"),
    ("classes", {**CLASS, "Start_Date": "2026-01-31T09:00:00+03:00"}, "start_date", "2026-01-31"),
    ("classes", {**CLASS, "Moodle_Class_ID": "7"}, "moodle_class_id", 7),
    ("classes", {**CLASS, "MS_Teams_ID": "x"}, "ms_teams_id", "x"),
    ("classes", {**CLASS, "Teacher": {"id": "t", "name": "T"}}, "teacher_name", "T"),
    ("classes", {**CLASS, "Unit": "u"}, "unit_id", "u"),
    ("classes", {**CLASS, "BTEC_Program": {"id": "p"}}, "program_id", "p"),
    ("enrollments", {**without(ENROLMENT, "id"), "Enrollment_ID": "e9"}, "id", "e9"),
    ("enrollments", {**without(ENROLMENT, "Student"), "Contact": "s1"}, "student_id", "s1"),
    ("enrollments", {**without(ENROLMENT, "Student"), "Enrolled_Students": {"id": "s1"}}, "student_id", "s1"),
    ("enrollments", {**without(ENROLMENT, "BTEC_Class"), "Class": "c1"}, "class_id", "c1"),
    ("enrollments", {**without(ENROLMENT, "BTEC_Class"), "Classes": {"id": "c1"}}, "class_id", "c1"),
    ("enrollments", {**ENROLMENT, "Enrolled_Program": "p"}, "program_id", "p"),
    ("enrollments", {**ENROLMENT, "BTEC_Program": "p"}, "program_id", "p"),
    ("enrollments", {**ENROLMENT, "Enrollment_Status": "A"}, "status", "A"),
    ("enrollments", {**ENROLMENT, "status": "A"}, "status", "A"),
    ("enrollments", {**ENROLMENT, "Moodle_Course_ID": 3}, "moodle_course_id", "3"),
    ("enrollments", {**ENROLMENT, "Student": {"id": "s1", "name": "Ada"}}, "student_name", "Ada"),
    ("registrations", {**without(REGISTRATION, "Student"), "Student_ID": {"id": "s1"}}, "student_id", "s1"),
    (
        "registrations",
        {**without(REGISTRATION, "Enrollment_Status"), "Registration_Status": "A"},
        "status",
        "A",
    ),
    ("registrations", {**without(REGISTRATION, "Enrollment_Status"), "Status": "A"}, "status", "A"),
    ("registrations", {**REGISTRATION, "Version": "2"}, "version", 2),
    ("registrations", {**REGISTRATION, "Total_Fees": 10.5}, "program_price", "10.5"),
    ("registrations", {**REGISTRATION, "Registration_Number": "R-1"}, "registration_number", "R-1"),
    (
        "payments",
        {**without(PAYMENT, "Registration"), "Registration_ID": {"id": "r1"}},
        "registration_id",
        "r1",
    ),
    ("payments", {**without(PAYMENT, "Amount"), "Payment_Amount": "5.5"}, "amount", "5.5"),
    ("payments", {**without(PAYMENT, "Amount", "Payment_Status"), "Payment_Amount": 1}, "status", "Recorded"),
    ("payments", {**PAYMENT, "Note": "n"}, "description", "n"),
    ("payments", {**PAYMENT, "Voucher_Number": "v"}, "voucher_number", "v"),
    ("payments", {**PAYMENT, "Amount": 500.0}, "amount", "500"),
    ("payments", {**PAYMENT, "Amount": 1e-9}, "amount", "0"),
    ("units", {"id": "u1", "Name": "Finance", "P1_description": "d"}, "code", "Finance"),
    ("units", {**UNIT, "Credit_Hours": "10.50"}, "credit_hours", "10.5"),
    ("units", {**UNIT, "Level": 3}, "level", "3"),
    ("grades", {**without(GRADE, "Unit"), "BTEC_Unit": {"id": "u1"}}, "unit_id", "u1"),
    ("grades", {**without(GRADE, "Unit"), "Class": "c1"}, "class_id", "c1"),
    ("grades", {**without(GRADE, "Grade_Value"), "Grade": "P"}, "grade_value", "P"),
    ("grades", {**GRADE, "Score": "99.5"}, "score", "99.5"),
    ("grades", {**GRADE, "Attempt_Date": "2026-01-31"}, "grade_date", "2026-01-31"),
    ("grades", {**GRADE, "Feedback": "good"}, "comments", "good"),
    (
        "grades",
        {**GRADE, "Learning_Outcomes_Assessm": [{"LO_Code": "A", "LO_Score": 2}]},
        "learning_outcomes",
        '[{"lo_code":"A","lo_score":"2"}]',
    ),
]


@pytest.mark.parametrize(("kind", "raw", "field", "value"), VARIANTS)
def test_every_form_of_a_field_is_read(kind: str, raw: dict[str, Any], field: str, value: object) -> None:
    assert kept(kind, raw).content.get(field) == value


REFUSED: list[tuple[str, object, str | None, str, str]] = [
    ("students", [], None, "record", "is not an object"),
    ("students", {"Name": "A"}, None, "id", "is missing"),
    ("students", {"id": "s1"}, "s1", "Name", "is missing"),
    ("students", {**STUDENT, "id": True}, None, "id", "is not text"),
    ("students", {**STUDENT, "id": {"id": 1}}, None, "id", "is not text"),
    ("students", {**STUDENT, "Academic_Email": "a@b"}, "s1", "Academic_Email", "is not an e-mail address"),
    (
        "students",
        {**STUDENT, "Email": "x", "Academic_Email": None},
        "s1",
        "Email",
        "is not an e-mail address",
    ),
    ("students", {**STUDENT, "Name": "a\0"}, "s1", "Name", "holds characters that no text may hold"),
    ("students", {**STUDENT, "Name": "a" * 1001}, "s1", "Name", "is longer than 1000 characters"),
    ("students", {**STUDENT, "Modified_Time": "soon"}, "s1", "Modified_Time", "is not a time"),
    ("programs", {**PROGRAM, "Program_Price": "cheap"}, "p1", "Program_Price", "is not a number"),
    ("programs", {**PROGRAM, "Program_Price": -1}, "p1", "Program_Price", "is negative"),
    ("programs", {**PROGRAM, "Program_Price": float("nan")}, "p1", "Program_Price", "is not a number"),
    ("programs", {**PROGRAM, "Program_Price": 1e30}, "p1", "Program_Price", "is too large"),
    ("programs", {**PROGRAM, "MoodleID": "x"}, "p1", "MoodleID", "is not a whole number"),
    ("classes", {**CLASS, "Start_Date": "2026-02-30"}, "c1", "Start_Date", "is not a date"),
    ("classes", {**CLASS, "End_Date": 5}, "c1", "End_Date", "is not a date"),
    ("enrollments", without(ENROLMENT, "Student"), "e1", "Student", "is missing"),
    ("enrollments", {**ENROLMENT, "BTEC_Class": {"name": "x"}}, "e1", "BTEC_Class", "is missing"),
    ("registrations", without(REGISTRATION, "Enrollment_Status"), "r1", "Enrollment_Status", "is missing"),
    ("registrations", {**REGISTRATION, "Completion_Date": "x"}, "r1", "Completion_Date", "is not a date"),
    (
        "registrations",
        {**REGISTRATION, "Payment_Schedule": [{"Installment_No": 1}]},
        "r1",
        "Payment_Schedule[0].Installment_Amount",
        "is missing",
    ),
    ("payments", {**PAYMENT, "Amount": "-1"}, "y1", "Amount", "is negative"),
    ("payments", {**PAYMENT, "Amount": True}, "y1", "Amount", "is not a number"),
    ("payments", without(PAYMENT, "Payment_Status"), "y1", "Payment_Status", "is missing"),
    ("units", without(UNIT, "Status"), "u1", "Status", "is missing"),
    ("units", without(UNIT, "Unit_Code"), "u1", "Unit_Code", "is missing"),
    ("grades", {**GRADE, "Score": 101}, "g1", "Score", "is not between 0 and 100"),
    ("grades", without(GRADE, "Unit"), "g1", "Unit", "is missing"),
]


@pytest.mark.parametrize(("kind", "raw", "record_id", "field", "reason"), REFUSED)
def test_what_cannot_be_used_names_field_and_reason(
    kind: str, raw: object, record_id: str | None, field: str, reason: str
) -> None:
    meaning = parsed(kind, raw)
    assert isinstance(meaning, Invalid)
    assert (meaning.record_id, meaning.field, meaning.reason) == (record_id, field, reason)


def test_a_student_becomes_a_person() -> None:
    raw = {**STUDENT, "Status": "Active", "Student_Code": "A-1", "Owner": {"id": "o"}, "$approved": True}
    person = event("students", raw)
    assert isinstance(person, Person)
    assert (person.person_id, person.email, person.source_status) == ("s1", "ada@learn.example", "Active")
    assert person.account_policy is AccountPolicy.ALWAYS
    assert (person.username, person.auth, person.first_name) == (None, None, None)
    assert person.attributes == {
        "id": "s1",
        "person_id": "s1",
        "display_name": "Ada Example",
        "academic_email": "ada@learn.example",
        "email": "ada@learn.example",
        "status": "Active",
        "student_code": "A-1",
    }


def test_a_program_and_a_unit_keep_their_numbers_exact() -> None:
    program = event("programs", {**PROGRAM, "Program_Price": 99.99, "MoodleID": 4})
    assert isinstance(program, Program)
    assert (program.price, program.moodle_category_id) == (Decimal("99.99"), 4)
    unit = event("units", {**UNIT, "Credit_Hours": 10})
    assert isinstance(unit, Unit)
    assert (unit.code, unit.name, unit.credit_hours) == ("U1", "Finance", Decimal(10))


def test_a_class_becomes_a_course_that_ends_when_its_last_day_is_over() -> None:
    raw = {**CLASS, "Start_Date": "2026-01-31", "End_Date": "2026-02-28", "Moodle_Class_ID": 9}
    course = event("classes", {**raw, "BTEC_Program": "p1", "Class_Status": "Active"})
    assert isinstance(course, Course)
    assert (course.course_id, course.full_name, course.create) == ("c1", "Evening", False)
    assert (course.starts_at, course.ends_at) == (
        datetime(2026, 1, 31, tzinfo=UTC),
        datetime(2026, 3, 1, tzinfo=UTC),
    )
    assert (course.moodle_course_id, course.program_id, course.source_status) == (9, "p1", "Active")


def test_an_enrolment_takes_the_ids_of_its_person_and_course() -> None:
    enrolment = event("enrollments", {**ENROLMENT, "Status": "Completed", "Start_Date": "2026-01-31"})
    assert isinstance(enrolment, Enrolment)
    assert (enrolment.person_id, enrolment.course_id, enrolment.role) == ("P1", "C1", Role.STUDENT)
    assert enrolment.source_status == "Completed"


def test_a_registration_brings_its_instalments() -> None:
    rows = [
        {"Installment_No": 1, "Installment_Amount": 100, "Due_Date": "2026-03-01", "Paid_Date": "2026-02-01"},
        {"Installment_No": 2, "Installment_Amount": "50.5", "Installment_Status": "Pending"},
    ]
    meaning = parsed("registrations", {**REGISTRATION, "Payment_Schedule": rows, "Currency": "USD"})
    assert isinstance(meaning, Valid)
    first, second, registration = (record.events[0].record for record in meaning.records)
    assert isinstance(first, Payment)
    assert isinstance(second, Payment)
    assert isinstance(registration, Registration)
    assert (first.payment_id, first.amount, first.due_on, first.paid_on, first.status, first.currency) == (
        "r1:1",
        Decimal(100),
        date(2026, 3, 1),
        date(2026, 2, 1),
        "Scheduled",
        "USD",
    )
    assert (second.payment_id, second.amount, second.status) == ("r1:2", Decimal("50.5"), "Pending")
    assert (registration.person_id, registration.program_id) == ("P1", "p1")


def test_an_instalment_that_vanished_is_deleted() -> None:
    row = {"Installment_No": 1, "Installment_Amount": 100}
    before = {**kept("registrations", {**REGISTRATION, "Payment_Schedule": [row]}).content}
    known = {**KNOWN, Ref("registration", "r1"): before}
    meaning = KINDS["registrations"].parse(REGISTRATION, known, NOW)
    assert isinstance(meaning, Valid)
    gone, _ = (record.events[0].record for record in meaning.records)
    assert isinstance(gone, Payment)
    assert (gone.payment_id, gone.operation) == ("r1:1", Operation.DELETE)


def test_a_grade_carries_unit_course_and_score() -> None:
    grade = event("grades", {**GRADE, "Class": "c1", "Score": 67.5, "Grade_Date": "2026-01-31"})
    assert isinstance(grade, Grade)
    assert (grade.person_id, grade.unit_id, grade.course_id) == ("P1", "u1", "C1")
    assert (grade.value, grade.score, grade.graded_on) == ("Merit", Decimal("67.5"), date(2026, 1, 31))


@pytest.mark.parametrize(
    ("kind", "raw", "missing", "reason"),
    [
        ("enrollments", {**ENROLMENT, "Student": "x", "BTEC_Class": "y"}, Ref("person", "x"), "student"),
        ("enrollments", {**ENROLMENT, "BTEC_Class": "y"}, Ref("course", "y"), "class"),
        ("registrations", {**REGISTRATION, "Program": "y"}, Ref("program", "y"), "program"),
        ("payments", {**PAYMENT, "Registration": "y"}, Ref("registration", "y"), "registration"),
        ("grades", {**GRADE, "Unit": "y"}, Ref("unit", "y"), "unit"),
        ("grades", {**GRADE, "Class": "y"}, Ref("course", "y"), "class"),
    ],
)
def test_what_needs_another_record_waits_for_it(
    kind: str, raw: dict[str, Any], missing: Ref, reason: str
) -> None:
    meaning = parsed(kind, raw)
    assert isinstance(meaning, Waiting)
    assert (meaning.missing, meaning.reason) == (missing, f"{reason}_not_synced_yet")
    assert missing in KINDS[kind].refs(raw)


def test_the_version_is_zohos_time_or_that_of_receipt() -> None:
    raw = {**STUDENT, "Modified_Time": "2026-01-31T10:00:00+03:00"}
    assert kept("students", raw).version == Version(datetime(2026, 1, 31, 7, tzinfo=UTC), 0)
    assert kept("students", STUDENT).version == Version(NOW, 0)
    assert (
        kept("students", {**STUDENT, "Modified_Time": "20260131T070000Z"}).content
        == kept("students", STUDENT).content
    )


def test_a_deletion_tells_the_last_state_again() -> None:
    last = kept("enrollments", {**ENROLMENT, "Status": "Active"}).content
    meaning = KINDS["enrollments"].parse(Deleted("e1"), {Ref("enrolment", "e1"): last}, NOW)
    assert isinstance(meaning, Valid)
    record = meaning.records[-1]
    assert record.content == {**last, "deleted": True}
    gone = record.events[0].record
    assert isinstance(gone, Enrolment)
    assert (gone.operation, gone.person_id, gone.course_id) == (Operation.DELETE, "P1", "C1")


@pytest.mark.parametrize("kind", SMALLEST)
def test_a_deletion_of_what_was_never_known_is_kept_without_event(kind: str) -> None:
    meaning = KINDS[kind].parse(Deleted("x"), {}, NOW)
    assert isinstance(meaning, Valid)
    assert (meaning.records[-1].content, meaning.records[-1].events) == ({"id": "x", "deleted": True}, ())


def test_the_identity_rule_names_what_it_lacks() -> None:
    identity = TenantRules.model_validate(
        {"sources": {"zoho": {"identity": {"person": "{email|lower}", "course": "{short_name}"}}}}
    )
    kinds = zoho_kinds(ZohoRules(TenantId("t1"), RuleIdentity(identity, "zoho")))
    person = kinds["students"].parse(STUDENT, {}, NOW)
    assert isinstance(person, Valid)
    assert person.records[-1].content["person_id"] == "ada@learn.example"
    course = kinds["classes"].parse(CLASS, {}, NOW)
    assert isinstance(course, Invalid)
    assert "short_name" in course.field


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text()
    | st.sampled_from(["s1", "2026-01-01"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
FIELD_NAMES = sorted(
    {name for kind in records.KINDS.values() for field in kind.fields for name in field.names}
)
RECORDS = st.dictionaries(
    st.sampled_from([*FIELD_NAMES, "Modified_Time", "Extra", "$x", ""]), JSON, max_size=8
)


@cache
def avro(topic: Topic) -> Any:
    return fastavro.parse_schema(json.loads(schema_text(topic)))


def through_avro(output: Output) -> Any:
    """Give the record as a consumer gets it that was kept in the outbox and sent."""
    stored = msgspec.json.decode(encode(output.record), type=type(output.record))
    stream = io.BytesIO()
    fastavro.schemaless_writer(stream, avro(output.topic), to_record(stored))
    stream.seek(0)
    plain: Any = fastavro.schemaless_reader(stream, avro(output.topic), None)
    return from_record(plain, type(output.record))


@pytest.mark.parametrize("kind", SMALLEST)
def test_the_events_fit_the_schemas(kind: str) -> None:
    full = {
        "Program_Price": 99.99,
        "Score": 67.5,
        "Credit_Hours": "10.25",
        "MoodleID": 10**17,
        "Start_Date": "1900-01-01",
    }
    output = kept(kind, {**SMALLEST[kind], **full}).events[0]
    assert through_avro(output) == output.record


@given(st.sampled_from(sorted(records.KINDS)), JSON | RECORDS)
def test_any_json_value_is_answered(kind: str, raw: object) -> None:
    refs = KINDS[kind].refs(raw)
    known: dict[Ref, dict[str, Any]] = {ref: {"person_id": "P1", "course_id": "C1"} for ref in refs}
    empty: dict[Ref, dict[str, Any]] = {}
    for contents in (empty, known):
        meaning = KINDS[kind].parse(raw, contents, NOW)
        if isinstance(meaning, Waiting):
            assert meaning.missing in refs
        elif isinstance(meaning, Valid):
            for record in meaning.records:
                canonical(record.content).encode()
                for output in record.events:
                    assert through_avro(output) == output.record
    for companion in KINDS[kind].companions:
        companion.parse(raw, {ref: {"person_id": "P1"} for ref in companion.refs(raw)}, NOW)


@given(st.sampled_from(sorted(SMALLEST)), st.dictionaries(st.sampled_from(FIELD_NAMES), JSON, max_size=4))
def test_a_record_read_back_from_json_is_the_same(kind: str, more: dict[str, Any]) -> None:
    meaning = parsed(kind, {**SMALLEST[kind], **more})
    if isinstance(meaning, Valid):
        record = meaning.records[-1]
        assert msgspec.json.decode(canonical(record.content)) == dict(record.content)
