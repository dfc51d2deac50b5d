"""Domain events beside people, courses and enrolments: what courses belong to, what learners reach and pay.

Fields that all have in common are told of in `schemas.events`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from typing import ClassVar

from schemas.events import Operation
from schemas.ids import (
    CourseId,
    GradeId,
    PaymentId,
    PersonId,
    ProgramId,
    RegistrationId,
    SectionId,
    TenantId,
    TermId,
    UnitId,
    key,
)
from schemas.version import Version


@dataclass(frozen=True, slots=True, kw_only=True)
class Program:
    """A program of study. Topic ``hub.programs``, key ``tenant|program_id``."""

    TYPE: ClassVar[str] = "rosterhub.program"

    tenant: TenantId
    program_id: ProgramId
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    name: str
    code: str | None = None
    status: str | None = None
    price: Decimal | None = None
    moodle_category_id: int | None = None
    """An existing Moodle category for the program's courses."""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of this program are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.program_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A term. Topic ``hub.terms``, key ``tenant|term_id``."""

    TYPE: ClassVar[str] = "rosterhub.term"

    tenant: TenantId
    term_id: TermId
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    code: str
    name: str | None = None
    term_type: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of this term are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.term_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Section:
    """A part of a course that becomes a group in Moodle. Topic ``hub.sections``, key ``tenant|course_id``."""

    TYPE: ClassVar[str] = "rosterhub.section"

    tenant: TenantId
    section_id: SectionId
    course_id: CourseId
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    name: str
    kind: str | None = None
    """Such as SESSION or PART."""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of this section are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.course_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Registration:
    """A person's registration for a program. Topic ``hub.registrations``, key ``tenant|person_id``."""

    TYPE: ClassVar[str] = "rosterhub.registration"

    tenant: TenantId
    registration_id: RegistrationId
    person_id: PersonId
    program_id: ProgramId
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    status: str
    registered_on: date | None = None
    completed_on: date | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of this registration are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.person_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment for a registration. Topic ``hub.payments``, key ``tenant|person_id``."""

    TYPE: ClassVar[str] = "rosterhub.payment"

    tenant: TenantId
    payment_id: PaymentId
    registration_id: RegistrationId
    person_id: PersonId
    """Whose registration it is."""
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    amount: Decimal
    status: str
    currency: str | None = None
    method: str | None = None
    paid_on: date | None = None
    due_on: date | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of this payment are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.person_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """A unit of study that is graded by itself. Topic ``hub.units``, key ``tenant|unit_id``."""

    TYPE: ClassVar[str] = "rosterhub.unit"

    tenant: TenantId
    unit_id: UnitId
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    code: str
    name: str
    status: str | None = None
    credit_hours: Decimal | None = None
    level: str | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of this unit are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.unit_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grade:
    """A person's grade in a course or unit. Topic ``hub.grades``, key ``tenant|person_id``."""

    TYPE: ClassVar[str] = "rosterhub.grade"

    tenant: TenantId
    grade_id: GradeId
    person_id: PersonId
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    course_id: CourseId | None = None
    unit_id: UnitId | None = None
    value: str | None = None
    """As the source writes it: a letter, a word, a number."""
    score: Decimal | None = None
    """Percent, 0 to 100."""
    graded_on: date | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of this grade are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.person_id)
