"""The kinds of Zoho's records: under which names their fields come, and how each is read. Pure tables.

The first of a field's names that says something counts. The names are those of the sync API, of its
documentation, and of the live CRM; ``docs/guides/zoho.md`` lists them from here.
"""

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from producers.zoho import values
from producers.zoho.values import ValueProblem

Raw = Mapping[str, Any]
Content = dict[str, Any]
"""A record by canonical names, as JSON values; what says nothing is not in it."""

MODIFIED: Final = ("Modified_Time", "modified_time")
"""Zoho's own time of the last change: the version of a record."""
EXTRAS: Final = "attributes"
"""Where a record's other plain fields are kept."""

_PASSED_OVER: Final = frozenset(
    {
        *MODIFIED,
        "Created_Time",
        "created_time",
        "Last_Activity_Time",
        "Last_Sync_Date",
        "last_sync",
        "Record_Image",
        "record_image",
        "Modified_By",
        "Created_By",
        "Owner",
        "Tag",
        "Layout",
    }
)
"""Fields that tell of the record's handling, not of what it stands for."""


class FieldProblem(ValueError):
    """A record cannot be used.

    Attributes:
        field: to blame, by Zoho's name of it.
        reason: what is wrong with it; no value.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field} {reason}")
        self.field = field
        self.reason = reason


@dataclass(frozen=True, slots=True)
class Field:
    """One field of a kind.

    Attributes:
        name: canonical.
        names: under which it may come.
        read: gives its value in one form; raises `ValueProblem`.
        required: whether a record without it is refused.
    """

    name: str
    names: tuple[str, ...]
    read: Callable[[Any], Any] = values.text
    required: bool = False


class Need(NamedTuple):
    """A record of another kind that has to be known first.

    Attributes:
        field: canonical field with its id.
        kind: the kind as it is kept.
        reason: of waiting for it.
        noun: what it is called in messages.
    """

    field: str
    kind: str
    reason: str
    noun: str


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of record.

    Attributes:
        name: in the addresses of the sync API.
        singular: in the keys of its answers, and in the addresses of the webhooks.
        kept_as: the kind under which the hub keeps it.
        module: in Zoho's CRM.
        fields: what is read; an id field ``x_id`` that comes as a lookup also gives ``x_name``.
        needs: which records have to be known first, in the order in which they are looked for.
        finish: completes what was read, given the record as it came.
    """

    name: str
    singular: str
    kept_as: str
    module: str
    fields: tuple[Field, ...]
    needs: tuple[Need, ...] = ()
    finish: Callable[[Raw, Content], None] = lambda _raw, _content: None
    _names: frozenset[str] = field(init=False, default=frozenset())

    def __post_init__(self) -> None:
        names = {name for each in self.fields for name in each.names} | _PASSED_OVER
        object.__setattr__(self, "_names", frozenset(names))

    def read(self, raw: object) -> Content:
        """Return ``raw`` by canonical names.

        Raises:
            FieldProblem: it cannot be used.
        """
        if not isinstance(raw, Mapping):
            raise FieldProblem("record", "is not an object")
        content: Content = {}
        for each in self.fields:
            _read_field(each, raw, content)
        self.finish(raw, content)
        for each in self.fields:
            if each.required and each.name not in content:
                raise FieldProblem(each.names[0], "is missing")
        if extras := self._extras(raw, content):
            content[EXTRAS] = extras
        return content

    def read_only(self, raw: object, names: Collection[str]) -> Content:
        """Return the fields ``names`` (canonical) of ``raw``, as far as they can be read."""
        content: Content = {}
        if isinstance(raw, Mapping):
            for each in self.fields:
                if each.name in names:
                    with suppress(FieldProblem):
                        _read_field(each, raw, content)
        return content

    def _extras(self, raw: Raw, content: Content) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in sorted(name for name in raw if isinstance(name, str) and name not in self._names):
            if not name.startswith("$") and len(name) <= values.MAX_ID:
                found |= _extra(values.snake(name), raw[name])
        return {name: value for name, value in found.items() if name and name not in content}


def _read_field(field: Field, raw: Raw, content: Content) -> None:
    for name in field.names:
        value = raw.get(name)
        if values.is_blank(value):
            continue
        try:
            found = field.read(value)
            named = values.lookup_name(value) if field.name.endswith("_id") else None
        except ValueProblem as problem:
            raise FieldProblem(name, str(problem)) from None
        if found not in (None, ""):
            content[field.name] = found
            if named:
                content[f"{field.name.removesuffix('_id')}_name"] = named
            return


def _extra(name: str, value: object) -> dict[str, str]:
    """Return what an unlisted field gives: its text; of a lookup, name and id."""
    if isinstance(value, Mapping) and set(value) <= {"id", "name"}:
        parts = {name: value.get("name"), f"{name}_id": value.get("id")}
    else:
        parts = {name: value}
    found = {part: values.attribute(item) for part, item in parts.items()}
    return {part: item for part, item in found.items() if item is not None}


def id_of(raw: object, kind: Kind) -> str | None:
    """Return the id of a record, or none where it cannot be told."""
    return kind.read_only(raw, ("id",)).get("id")


def attributes_of(content: Mapping[str, Any]) -> dict[str, str]:
    """Return the content's plain values as attributes of an event or of an identity rule."""
    own = {
        name: str(value)
        for name, value in content.items()
        if isinstance(value, str | int) and not isinstance(value, bool)
    }
    aliases = {"email": own["academic_email"]} if "academic_email" in own else {}
    return {**content.get(EXTRAS, {}), **own, **aliases}


def _id(*more: str) -> Field:
    return Field("id", ("id", "ID", *more), values.record_id, required=True)


def _lookup(name: str, *names: str, required: bool = False) -> Field:
    return Field(name, names, values.lookup_id, required)


def _finish_person(_raw: Raw, content: Content) -> None:
    parts = [content[name] for name in ("first_name", "last_name") if name in content]
    if "display_name" not in content and parts:
        content["display_name"] = " ".join(parts)


_PERSON_FIELDS = (
    _id(),
    Field("display_name", ("Name", "name", "Display_Name"), required=True),
    Field("first_name", ("First_Name",)),
    Field("last_name", ("Last_Name",)),
    Field("academic_email", ("Academic_Email", "email", "Email"), values.email),
    Field("phone", ("Phone_Number", "Phone")),
    Field("status", ("Status", "status")),
)

STUDENTS: Final = Kind(
    "students", "student", "person", "BTEC_Students", _PERSON_FIELDS, finish=_finish_person
)
TEACHERS: Final = Kind(
    "teachers", "teacher", "person", "BTEC_Teachers", _PERSON_FIELDS, finish=_finish_person
)

PROGRAMS: Final = Kind(
    "programs",
    "program",
    "program",
    "Products",
    (
        _id("Product_ID"),
        Field("name", ("Product_Name", "Name", "name"), required=True),
        Field("code", ("Product_Code",)),
        Field("price", ("Program_Price", "Price"), values.price),
        Field("moodle_id", ("MoodleID",), values.moodle_id),
        Field("status", ("Status", "status")),
    ),
)

CLASSES: Final = Kind(
    "classes",
    "class",
    "course",
    "BTEC_Classes",
    (
        _id(),
        Field("name", ("BTEC_Class_Name", "Class_Name", "Name", "name"), required=True),
        Field("short_name", ("Short_Name", "Class_Short_Name")),
        Field("status", ("status", "Class_Status", "Status")),
        Field("start_date", ("Start_Date",), values.day),
        Field("end_date", ("End_Date",), values.day),
        Field("moodle_class_id", ("Moodle_Class_ID",), values.moodle_id),
        Field("ms_teams_id", ("MS_Teams_ID",)),
        _lookup("teacher_id", "Teacher"),
        _lookup("unit_id", "Unit"),
        _lookup("program_id", "BTEC_Program"),
    ),
)

_STUDENT_FIRST = Need("student_id", "person", "student_not_synced_yet", "Student")

ENROLLMENTS: Final = Kind(
    "enrollments",
    "enrollment",
    "enrolment",
    "BTEC_Enrollments",
    (
        _id("Enrollment_ID"),
        _lookup("student_id", "Student", "Contact", "Enrolled_Students", required=True),
        _lookup("class_id", "BTEC_Class", "Class", "Classes", required=True),
        _lookup("program_id", "Enrolled_Program", "BTEC_Program"),
        Field("student_name", ("Student_Name",)),
        Field("class_name", ("Class_Name",)),
        Field("start_date", ("Start_Date",), values.day),
        Field("status", ("Status", "status", "Enrollment_Status")),
        Field("moodle_course_id", ("Moodle_Course_ID",), values.text),
    ),
    (_STUDENT_FIRST, Need("class_id", "course", "class_not_synced_yet", "Class")),
)

REGISTRATIONS: Final = Kind(
    "registrations",
    "registration",
    "registration",
    "BTEC_Registrations",
    (
        _id(),
        _lookup("student_id", "Student", "Student_ID", required=True),
        _lookup("program_id", "Program", "Program_ID", "BTEC_Program", "Enrolled_Program", required=True),
        Field("status", ("Enrollment_Status", "Registration_Status", "Status", "status"), required=True),
        Field("registration_date", ("Registration_Date",), values.day),
        Field("completion_date", ("Completion_Date",), values.day),
        Field("version", ("Version",), values.whole),
        Field("registration_number", ("Registration_Number", "Name")),
        Field("program_price", ("Program_Price", "Total_Fees"), values.amount),
        Field("paid_amount", ("Paid_Amount",), values.amount),
        Field("remaining_amount", ("Remaining_Amount",), values.number),
        Field("currency", ("Currency",)),
        Field("study_mode", ("Study_Mode",)),
        Field("number_of_installments", ("Number_of_Installments",), values.whole),
        Field("payment_schedule", ("Payment_Schedule",), values.rows),
    ),
    (_STUDENT_FIRST, Need("program_id", "program", "program_not_synced_yet", "Program")),
)

RECORDED: Final = "Recorded"
"""Status of a payment of the live CRM, which has no field for one: what is there has been recorded."""


def _finish_payment(raw: Raw, content: Content) -> None:
    if "status" not in content and "Payment_Amount" in raw:
        content["status"] = RECORDED


PAYMENTS: Final = Kind(
    "payments",
    "payment",
    "payment",
    "BTEC_Payments",
    (
        _id(),
        _lookup("registration_id", "Registration", "Registration_ID", required=True),
        _lookup("student_id", "Student", "Student_ID"),
        Field("amount", ("Amount", "Payment_Amount"), values.amount, required=True),
        Field("status", ("Payment_Status", "Status", "status"), required=True),
        Field("payment_date", ("Payment_Date",), values.day),
        Field("payment_method", ("Payment_Method",)),
        Field("description", ("Description", "Note"), values.long_text),
        Field("currency", ("Currency",)),
        Field("payment_number", ("Name",)),
        Field("voucher_number", ("Voucher_Number",)),
        Field("receipt_number", ("Receipt_Number",)),
        Field("bank_name", ("Bank_Name",)),
    ),
    (Need("registration_id", "registration", "registration_not_synced_yet", "Registration"),),
    _finish_payment,
)


def _finish_unit(raw: Raw, content: Content) -> None:
    """Complete a record of the live CRM, which is a definition with a name and criteria only."""
    if "Unit_Name" not in raw and "Unit_Code" not in raw and "name" in content:
        content.setdefault("code", content["name"])
    elif "status" not in content:
        raise FieldProblem("Status", "is missing")


UNITS: Final = Kind(
    "units",
    "unit",
    "unit",
    "BTEC",
    (
        _id(),
        Field("code", ("Unit_Code",), required=True),
        Field("name", ("Unit_Name", "Name"), required=True),
        Field("status", ("Status", "status")),
        Field("description", ("Description",), values.long_text),
        Field("credit_hours", ("Credit_Hours",), values.amount),
        Field("level", ("Level",)),
    ),
    finish=_finish_unit,
)


def _finish_grade(_raw: Raw, content: Content) -> None:
    if "unit_id" not in content and "class_id" not in content:
        raise FieldProblem("Unit", "is missing")


GRADES: Final = Kind(
    "grades",
    "grade",
    "grade",
    "BTEC_Grades",
    (
        _id(),
        _lookup("student_id", "Student", required=True),
        _lookup("unit_id", "Unit", "BTEC_Unit"),
        _lookup("class_id", "Class", "BTEC_Class"),
        Field("grade_value", ("Grade_Value", "Grade"), required=True),
        Field("score", ("Score",), values.percent),
        Field("grade_date", ("Grade_Date", "Attempt_Date"), values.day),
        Field("comments", ("Comments", "Feedback"), values.long_text),
        Field("attempt_number", ("Attempt_Number",)),
        Field("grade_status", ("Grade_Status",)),
        Field("assignment_name", ("Assignment_Name",)),
        Field("grade_name", ("BTEC_Grade_Name", "Name")),
        Field("composite_key", ("Moodle_Grade_Composite_Key",)),
        Field("moodle_grade_id", ("Moodle_Grade_ID",)),
        Field("grader_name", ("Grader_Name",)),
        Field("iv_name", ("IV_Name",)),
        Field("learning_outcomes", ("Learning_Outcomes_Assessm",), values.table),
    ),
    (
        _STUDENT_FIRST,
        Need("unit_id", "unit", "unit_not_synced_yet", "Unit"),
        Need("class_id", "course", "class_not_synced_yet", "Class"),
    ),
    _finish_grade,
)

SYNCED: Final = (STUDENTS, PROGRAMS, CLASSES, ENROLLMENTS, REGISTRATIONS, PAYMENTS, UNITS, GRADES)
"""The kinds of the sync API."""
KINDS: Final = {kind.name: kind for kind in (*SYNCED, TEACHERS)}
SINGULARS: Final = {kind.singular: kind for kind in SYNCED}
