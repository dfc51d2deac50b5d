"""Domain events: the whole state of one person, course or enrolment, as a source last wished it.

All times are UTC with zone. ``version_time`` and ``version_sequence`` order the versions of one entity;
``source_record_id`` is the record of the source that the event was made from.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from schemas.ids import (
    CourseId,
    EnrolmentId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
    ProgramId,
    SectionId,
    TenantId,
    TermId,
    key,
)
from schemas.version import Version


class Operation(StrEnum):
    """What happened to the entity in its source."""

    UPSERT = "UPSERT"
    DELETE = "DELETE"


class AccountPolicy(StrEnum):
    """When a person gets a Moodle account."""

    ALWAYS = "ALWAYS"
    WHEN_ENROLLED = "WHEN_ENROLLED"
    """Only while some enrolment of theirs is wished active."""


class EnrolmentStatus(StrEnum):
    """The wished state of an enrolment in Moodle."""

    ACTIVE = "ACTIVE"
    SUSPENDED = "SUSPENDED"
    REMOVED = "REMOVED"
    """There shall be no enrolment."""


class Role(StrEnum):
    """The part a person plays in a course; role ids are the target's settings."""

    STUDENT = "STUDENT"
    TEACHER = "TEACHER"
    NON_EDITING_TEACHER = "NON_EDITING_TEACHER"


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """A person. Topic ``hub.people``, key ``tenant|person_id``."""

    TYPE: ClassVar[str] = "rosterhub.person"

    tenant: TenantId
    person_id: PersonId
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    account_policy: AccountPolicy
    username: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    auth: str | None = None
    source_status: str | None = None
    """The person's status as the source writes it."""
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of this person are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.person_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Course:
    """A course. Topic ``hub.courses``, key ``tenant|course_id``."""

    TYPE: ClassVar[str] = "rosterhub.course"

    tenant: TenantId
    course_id: CourseId
    operation: Operation
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    create: bool = False
    """Whether the hub makes the course in Moodle when it is missing there."""
    short_name: str | None = None
    full_name: str | None = None
    category_id: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    source_status: str | None = None
    """The course's status as the source writes it; rules decide what follows from it."""
    moodle_course_id: MoodleCourseId | None = None
    """An existing Moodle course that the source names."""
    term_id: TermId | None = None
    program_id: ProgramId | None = None
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of this course are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.course_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class Enrolment:
    """A person's enrolment in a course. Topic ``hub.enrolments``, key ``tenant|person_id``.

    The key is the person's, so that a person's enrolments and the person are in one partition.
    """

    TYPE: ClassVar[str] = "rosterhub.enrolment"

    tenant: TenantId
    enrolment_id: EnrolmentId
    person_id: PersonId
    course_id: CourseId
    operation: Operation
    status: EnrolmentStatus
    role: Role
    source_system: str
    source_record_id: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    source_status: str | None = None
    """The status as the source writes it; if given, rules decide on ``status`` by it."""
    section_ids: tuple[SectionId, ...] = ()
    attributes: Mapping[str, str] = field(default_factory=dict)

    @property
    def version(self) -> Version:
        """The version by which events of one person's enrolment in one course are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.person_id)


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentByCourse:
    """An enrolment whose person has a Moodle account. Internal topic, key ``tenant|course_id``."""

    TYPE: ClassVar[str] = "rosterhub.enrolment-by-course"

    tenant: TenantId
    enrolment_id: EnrolmentId
    person_id: PersonId
    course_id: CourseId
    moodle_user_id: MoodleUserId
    account_is_new: bool
    """The hub made the account, so it had no enrolment before the hub's own."""
    status: EnrolmentStatus
    role: Role
    source_system: str
    version_time: datetime
    version_sequence: int
    recorded_at: datetime
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    section_ids: tuple[SectionId, ...] = ()

    @property
    def version(self) -> Version:
        """The version by which events of one person's enrolment in one course are ordered."""
        return Version(self.version_time, self.version_sequence)

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.course_id)
