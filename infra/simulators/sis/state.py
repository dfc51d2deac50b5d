"""The memory of the SIS: people, terms, courses, class headers, sessions, parts, enrolments, grades."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Final

from infra.simulators.sis.faults import Faults

CHANGEABLE: Final = frozenset({"DRAFT", "SUBMITTED"})
"""States in which a grade may still be changed."""


@dataclass(slots=True)
class Entity:
    """What all records share: the id, when it changed last, and whether it was deleted."""

    id: int
    updated_at: datetime
    is_deleted: bool = False


@dataclass(slots=True)
class Person(Entity):
    """A student, a teacher, or both."""

    unique_id: str = ""
    family_name: str = ""
    personal_name: str = ""
    khmer_name: str = ""
    school_email: str | None = None
    personal_email: str | None = None
    student_id: int | None = None
    student_status: str | None = None
    teacher_status: str | None = None

    @property
    def roles(self) -> list[str]:
        """What the person is, the student first."""
        held = (("student", self.student_status), ("teacher", self.teacher_status))
        return [role for role, status in held if status]


@dataclass(slots=True)
class Term(Entity):
    """A term; terms of different types overlap."""

    code: str = ""
    term_type: str = ""
    start_date: date = date.min
    end_date: date = date.min


@dataclass(slots=True)
class Course(Entity):
    """A course of the curriculum, which classes are held of."""

    code: str = ""
    title: str = ""
    division: str = ""
    cycle: str = ""
    major: str = ""
    credits: int = 3


@dataclass(slots=True)
class Header(Entity):
    """A class: one course held in one term for one section; unique by course, term, section, time of day."""

    course: int = 0
    term: int = 0
    section_id: str = "A"
    time_of_day: str = "MORN"
    class_type: str = "STANDARD"
    status: str = "ACTIVE"
    combined_group: int | None = None


@dataclass(slots=True)
class Part(Entity):
    """A part of a session of a class; teachers hang on parts."""

    header: int = 0
    session_number: int = 1
    part_type: str = "MAIN"
    teacher: int | None = None
    meeting_days: str = "MON,WED"


@dataclass(slots=True)
class Enrolment(Entity):
    """A student in a class; unique by both."""

    person: int = 0
    header: int = 0
    status: str = "ENROLLED"


@dataclass(slots=True)
class Grade(Entity):
    """A grade of a student in a part; unique by both."""

    enrollment_id: int = 0
    class_part_id: int = 0
    numeric_score: Decimal | None = None
    letter_grade: str | None = None
    notes: str = ""
    grade_source: str = "MOODLE_IMPORT"
    grade_status: str = "DRAFT"


@dataclass(frozen=True, slots=True)
class Credentials:
    """Who may ask: OAuth 2 client credentials for OneRoster, a bearer token for the grades."""

    client_id: str = "hub"
    client_secret: str = "sis-secret"  # noqa: S105 - of a stand-in
    grades_token: str = "sis-grades"  # noqa: S105 - of a stand-in


@dataclass(slots=True)
class SisState:
    """Everything the SIS knows; tests change it directly.

    Attributes:
        token_seconds: how long an access token lasts.
        page_cap: most records of one page, whatever is asked for.
        total_count: whether answers tell ``X-Total-Count``.
        links: whether answers tell ``Link``.
        requests: method, path and query of every request, in order.
    """

    school: str = "Sample University"
    credentials: Credentials = field(default_factory=Credentials)
    people: dict[int, Person] = field(default_factory=dict)
    terms: dict[int, Term] = field(default_factory=dict)
    courses: dict[int, Course] = field(default_factory=dict)
    headers: dict[int, Header] = field(default_factory=dict)
    parts: dict[int, Part] = field(default_factory=dict)
    enrolments: dict[int, Enrolment] = field(default_factory=dict)
    grades: dict[int, Grade] = field(default_factory=dict)
    started_at: datetime = datetime(2026, 1, 1, tzinfo=UTC)
    token_seconds: int = 3600
    page_cap: int = 10_000
    total_count: bool = True
    links: bool = True
    faults: Faults = field(default_factory=Faults)
    tokens: set[str] = field(default_factory=set)
    requests: list[str] = field(default_factory=list)

    def parts_of(self) -> dict[int, list[Part]]:
        """Return the parts by the id of their class."""
        found: dict[int, list[Part]] = {}
        for part in self.parts.values():
            found.setdefault(part.header, []).append(part)
        return found

    def teaching(self) -> Iterator[tuple[Header, int, datetime]]:
        """Yield class, teacher and time of the last change of who teaches which class."""
        by_header = self.parts_of()
        for header in self.headers.values():
            latest: dict[int, datetime] = {}
            for part in by_header.get(header.id, []):
                if part.teacher is not None and not part.is_deleted:
                    latest[part.teacher] = max(part.updated_at, latest.get(part.teacher, part.updated_at))
            for teacher, changed in latest.items():
                yield header, teacher, changed
