"""What a SIS application pushes: one documented model for each kind.

They are the schema of ``POST /v1/events/sis/{kind}`` and of plain CSV files, whose columns are mapped to
their fields. Unknown fields are refused by name, so that a misspelt one is not lost unseen; what has no
field of its own goes into ``attributes``.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Annotated, Final

import msgspec
from msgspec import Meta

Text = Annotated[str, Meta(max_length=1_000)]
Id = Annotated[str, Meta(min_length=1, max_length=255)]
IdOrNumber = str | int
Moment = datetime | None


class Pushed(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all models share."""

    updated_at: Annotated[
        Moment,
        Meta(description="Last change in the SIS; older never replaces newer. Default: time of receipt"),
    ] = None
    is_deleted: Annotated[bool, Meta(description="The SIS has the record no more")] = False
    attributes: Annotated[
        dict[str, str | int | float | bool | None],
        Meta(description="Anything else that mappings or analytics may use"),
    ] = {}


class PersonModel(Pushed, frozen=True, kw_only=True):
    """A person: student, teacher or staff, or several of these at once."""

    id: Annotated[
        IdOrNumber | None, Meta(description="The SIS's id, to which others refer; default: unique_id")
    ] = None
    unique_id: Annotated[IdOrNumber | None, Meta(description="Stable natural key, such as a UUID")] = None
    student_id: Annotated[IdOrNumber | None, Meta(description="Number of the student")] = None
    username: Text | None = None
    family_name: Annotated[Text | None, Meta(description="Required unless deleted")] = None
    personal_name: Annotated[Text | None, Meta(description="Given name. Required unless deleted")] = None
    full_name: Text | None = None
    khmer_name: Annotated[Text | None, Meta(description="The name in Khmer script")] = None
    school_email: Text | None = None
    personal_email: Annotated[Text | None, Meta(description="Used where there is no school_email")] = None
    date_of_birth: date | None = None
    citizenship: Annotated[Text | None, Meta(description="ISO 3166 code of the country")] = None
    preferred_gender: Text | None = None
    student_status: Annotated[Text | None, Meta(description="Such as ACTIVE, GRADUATED, DROPPED, FROZEN")] = (
        None
    )
    teacher_status: Annotated[Text | None, Meta(description="Such as ACTIVE, ON_LEAVE")] = None
    staff_status: Text | None = None
    roles: Annotated[list[Text], Meta(description="Such as student, teacher, staff; the main one first")] = []
    division: Text | None = None
    cycle: Text | None = None
    majors: Annotated[list[Text], Meta(description="Codes of the programs")] = []


class CourseModel(Pushed, frozen=True, kw_only=True):
    """A class header: a course held in one term for one section; it becomes a Moodle course.

    Without ``id`` the natural key ``course_code|term_code|section|time_of_day`` is the id.
    """

    id: Annotated[IdOrNumber | None, Meta(description="The SIS's id; default: the natural key")] = None
    course_code: Annotated[Text | None, Meta(description="Such as ACCT-301")] = None
    term_code: Annotated[Text | None, Meta(description="Such as 251215B-T4")] = None
    section: Annotated[Text | None, Meta(description="One letter, A to Z")] = None
    time_of_day: Annotated[Text | None, Meta(description="MORN, AFT, EVE, NIGHT or ALL")] = None
    term_id: Annotated[IdOrNumber | None, Meta(description="Id of the pushed term; default: term_code")] = (
        None
    )
    title: Annotated[Text | None, Meta(description="Title of the course. Required unless deleted")] = None
    short_title: Text | None = None
    class_type: Annotated[
        Text | None, Meta(description="STANDARD, COMBINED, READING, INTENSIVE, WORKSHOP")
    ] = None
    combined_group_id: Annotated[
        IdOrNumber | None, Meta(description="The same for all headers of one combined class")
    ] = None
    status: Annotated[Text | None, Meta(description="DRAFT, SCHEDULED, ACTIVE, COMPLETED, ...")] = None
    credits: Decimal | None = None
    division: Text | None = None
    cycle: Text | None = None
    majors: Annotated[list[Text], Meta(description="Codes of the programs")] = []
    faculty_code: Text | None = None
    program_type: Text | None = None
    term_type: Text | None = None
    is_language: bool | None = None
    max_enrollment: int | None = None
    start_date: date | None = None
    end_date: Annotated[date | None, Meta(description="The last day, included")] = None


class SectionModel(Pushed, frozen=True, kw_only=True):
    """A session or a part of a class; it becomes a group of the course. Its teachers are enrolled as such."""

    id: Annotated[IdOrNumber | None, Meta(description="Required")] = None
    course: Annotated[IdOrNumber | None, Meta(description="Id of the class header. Required")] = None
    kind: Annotated[Text, Meta(description="SESSION or PART")] = "PART"
    name: Annotated[Text | None, Meta(description="Required unless deleted")] = None
    session: Annotated[IdOrNumber | None, Meta(description="Of a part: id of its session")] = None
    session_number: int | None = None
    part_type: Annotated[Text | None, Meta(description="MAIN, LECTURE, LAB, GRAMMAR, ...")] = None
    part_code: IdOrNumber | None = None
    teachers: Annotated[list[IdOrNumber], Meta(description="Ids of the persons who teach it")] = []
    room: Text | None = None
    meeting_days: Annotated[Text | None, Meta(description="Such as MON,WED")] = None
    start_time: Text | None = None
    end_time: Text | None = None
    grade_weight: Decimal | None = None


class TermModel(Pushed, frozen=True, kw_only=True):
    """A term."""

    id: Annotated[IdOrNumber | None, Meta(description="Default: code")] = None
    code: Annotated[Text | None, Meta(description="Such as 251215B-T4. Required unless deleted")] = None
    name: Text | None = None
    term_type: Annotated[Text | None, Meta(description="Such as ENG A, ENG B, BA, MA")] = None
    start_date: date | None = None
    end_date: Annotated[date | None, Meta(description="The last day, included")] = None
    ba_cohort_number: int | None = None
    ma_cohort_number: int | None = None
    is_active: bool | None = None


class EnrolmentModel(Pushed, frozen=True, kw_only=True):
    """A person in a class. It waits until both are known.

    Without ``id`` the natural key ``person|course`` is the id.
    """

    id: Annotated[IdOrNumber | None, Meta(description="Default: the natural key")] = None
    person: Annotated[IdOrNumber | None, Meta(description="Id of the person. Required")] = None
    course: Annotated[IdOrNumber | None, Meta(description="Id of the class header. Required")] = None
    role: Annotated[Text, Meta(description="student, teacher, or assistant (non-editing teacher)")] = (
        "student"
    )
    status: Annotated[
        Text | None,
        Meta(description="ENROLLED, AUDIT, COMPLETED, DROPPED, NO_SHOW_ACADEMIC, ... Required for students"),
    ] = None
    sections: Annotated[list[IdOrNumber], Meta(description="Ids of the sections the person is in")] = []
    begin_date: Annotated[date | None, Meta(description="First day of access; default: at once")] = None
    end_date: Annotated[date | None, Meta(description="Last day of access, included; default: none")] = None
    enrollment_date: date | None = None
    completion_date: date | None = None
    is_audit: bool | None = None
    late_enrollment: bool | None = None
    final_grade: Text | None = None
    grade_points: Decimal | None = None


class GradeModel(Pushed, frozen=True, kw_only=True):
    """A grade of a person, as the SIS keeps it. It waits until the person, and a class named, are known."""

    id: Annotated[IdOrNumber | None, Meta(description="Required")] = None
    person: Annotated[IdOrNumber | None, Meta(description="Id of the person. Required")] = None
    course: Annotated[IdOrNumber | None, Meta(description="Id of the class header")] = None
    section: Annotated[
        IdOrNumber | None, Meta(description="Id of the session or part, if it is a part's grade")
    ] = None
    numeric_score: Annotated[
        Decimal | None, Meta(description="Percent, 0 to 100. Required unless letter_grade is given")
    ] = None
    letter_grade: Text | None = None
    gpa_points: Decimal | None = None
    grade_source: Annotated[Text | None, Meta(description="Such as MANUAL_TEACHER, MOODLE_IMPORT")] = None
    grade_status: Annotated[Text | None, Meta(description="DRAFT, SUBMITTED, APPROVED or FINALIZED")] = None
    graded_on: date | None = None


Model = PersonModel | CourseModel | SectionModel | TermModel | EnrolmentModel | GradeModel

MODELS: Final[dict[str, type[Pushed]]] = {
    "people": PersonModel,
    "courses": CourseModel,
    "sections": SectionModel,
    "terms": TermModel,
    "enrolments": EnrolmentModel,
    "grades": GradeModel,
}
"""Models by the last part of the address."""
