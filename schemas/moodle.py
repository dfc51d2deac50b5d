"""Commands to a Moodle site, their results, and what was observed there.

Each record has a ``kind`` and the one nullable body that belongs to it. (A union of bodies could not grow
under FULL_TRANSITIVE compatibility; a further nullable body can.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import ClassVar

from schemas.events import EnrolmentStatus, Role
from schemas.ids import (
    CommandId,
    CourseId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
    SectionId,
    Target,
    TenantId,
    key,
)
from schemas.reasons import Reason


class CommandKind(StrEnum):
    """What a command is about."""

    USER = "USER"
    COURSE = "COURSE"
    ENROLMENT = "ENROLMENT"


@dataclass(frozen=True, slots=True, kw_only=True)
class UserWish:
    """An account as it shall be. Found by ``moodle_user_id`` if known, else by idnumber = person_id."""

    person_id: PersonId
    create: bool
    """Make the account if there is none; otherwise NOT_FOUND is the result."""
    username: str | None = None
    email: str | None = None
    first_name: str | None = None
    last_name: str | None = None
    auth: str | None = None
    moodle_user_id: MoodleUserId | None = None
    suspended: bool | None = None
    """Whether the account is to be suspended; none leaves that as it is."""
    profile_fields: Mapping[str, str] = field(default_factory=dict)
    """Custom profile fields by short name."""
    update_email: bool = False
    """Give the person's account this address if it has another one; otherwise CONFLICT is the result."""
    keep_email: bool = False
    """Use the person's account whatever address it has, and leave that as it is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CategoryWish:
    """A course category, found by its idnumber."""

    idnumber: str
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupWish:
    """A group of a course, found by idnumber = section_id."""

    section_id: SectionId
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseWish:
    """A course as it shall be, found by idnumber = course_id; with ``create`` false it is only resolved."""

    course_id: CourseId
    create: bool
    short_name: str | None = None
    full_name: str | None = None
    category_id: int | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    moodle_course_id: MoodleCourseId | None = None
    """An existing course to be used, whatever its idnumber."""
    update: bool = False
    """Bring an existing course to these values; otherwise only a new one gets them."""
    visible: bool | None = None
    """Whether learners see the course; none leaves that to Moodle."""
    categories: tuple[CategoryWish, ...] = ()
    """The path of categories from the top, made where missing; it goes before ``category_id``."""
    groups: tuple[GroupWish, ...] = ()
    """Groups that the course shall have; others are left alone."""
    custom_fields: Mapping[str, str] = field(default_factory=dict)
    """Custom course fields by short name."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentWish:
    """A manual enrolment as it shall be."""

    person_id: PersonId
    course_id: CourseId
    moodle_user_id: MoodleUserId
    moodle_course_id: MoodleCourseId
    status: EnrolmentStatus
    role: Role
    state_is_known: bool
    """The hub knows the enrolment in Moodle (its own, or a new account), so no look-up is needed."""
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    section_ids: tuple[SectionId, ...] = ()
    """Groups of the course that the person shall be in."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodleCommand:
    """An idempotent command. Topic ``moodle.<target>.commands``.

    The key is ``tenant|person_id`` for a user and ``tenant|course_id`` for a course or an enrolment, so one
    sink process at a time writes a course. All user commands of a tenant share one partition (see `route`):
    Moodle checks e-mail uniqueness without a lock, so two writers could make two accounts of one address.
    """

    TYPE: ClassVar[str] = "rosterhub.moodle.command"

    command_id: CommandId
    tenant: TenantId
    target: Target
    kind: CommandKind
    generation: int
    """Counts the commands issued for the entity, from 1."""
    issued_at: datetime
    user: UserWish | None = None
    course: CourseWish | None = None
    enrolment: EnrolmentWish | None = None

    @property
    def key(self) -> str:
        """The message key."""
        if self.user is not None:
            return key(self.tenant, self.user.person_id)
        if self.course is not None:
            return key(self.tenant, self.course.course_id)
        if self.enrolment is not None:
            return key(self.tenant, self.enrolment.course_id)
        msg = "a command without a body"
        raise ValueError(msg)

    @property
    def route(self) -> str | None:
        """What decides the partition when it is not the key."""
        return self.tenant if self.kind is CommandKind.USER else None

    @property
    def entity(self) -> str:
        """The entity written: of several commands for one entity only the last needs to be applied."""
        if self.enrolment is not None:
            return key("enrolment", self.tenant, self.enrolment.course_id, self.enrolment.person_id)
        return self.kind.value.lower() + "|" + self.key


class Outcome(StrEnum):
    """How a command ended."""

    APPLIED = "APPLIED"
    UNCHANGED = "UNCHANGED"
    NOT_FOUND = "NOT_FOUND"
    REJECTED = "REJECTED"
    CONFLICT = "CONFLICT"
    SUPERSEDED = "SUPERSEDED"


class Action(StrEnum):
    """What the sink did in Moodle."""

    NONE = "NONE"
    CREATED = "CREATED"
    UPDATED = "UPDATED"
    ENROLLED = "ENROLLED"
    SUSPENDED = "SUSPENDED"
    UNENROLLED = "UNENROLLED"


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodleResult:
    """The outcome of one command. Topic ``moodle.<target>.results``, key as the command's."""

    TYPE: ClassVar[str] = "rosterhub.moodle.result"

    command_id: CommandId
    tenant: TenantId
    target: Target
    kind: CommandKind
    generation: int
    outcome: Outcome
    action: Action
    completed_at: datetime
    person_id: PersonId | None = None
    course_id: CourseId | None = None
    reason: Reason | None = None
    moodle_user_id: MoodleUserId | None = None
    """The account; of a CONFLICT the account found under the person's id, if there is one."""
    moodle_course_id: MoodleCourseId | None = None
    other_moodle_user_id: MoodleUserId | None = None
    """Of a CONFLICT: the account that owns the e-mail address or username."""
    status: EnrolmentStatus | None = None
    """Of an enrolment: its status in Moodle afterwards; none when there is no enrolment."""

    @property
    def key(self) -> str:
        """The message key."""
        entity = self.person_id if self.kind is CommandKind.USER else self.course_id
        return key(self.tenant, entity or "")


class ObservedKind(StrEnum):
    """What was observed."""

    COURSE = "COURSE"
    COMPLETION = "COMPLETION"
    USER = "USER"
    ENROLMENT = "ENROLMENT"
    GRADE = "GRADE"


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseObserved:
    """A course as Moodle's catalogue shows it."""

    course_id: CourseId
    moodle_course_id: MoodleCourseId
    short_name: str
    visible: bool
    completion_opt_in: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionObserved:
    """A learner's completion of a course."""

    person_id: PersonId
    course_id: CourseId
    completed_on: date
    """The day in the Moodle site's zone."""
    completed_at: datetime | None = None
    """UTC, to the minute; none where Moodle tells only that the course is completed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UserObserved:
    """An account as Moodle's user directory shows it; only those that carry an idnumber."""

    person_id: PersonId
    moodle_user_id: MoodleUserId
    suspended: bool
    last_access: datetime | None = None
    """None: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentObserved:
    """A person's enrolment in a course as Moodle shows it."""

    person_id: PersonId
    course_id: CourseId
    moodle_user_id: MoodleUserId
    moodle_course_id: MoodleCourseId
    status: EnrolmentStatus
    last_access: datetime | None = None
    """Of the course; none: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeObserved:
    """A person's grade of a whole course, as Moodle's overview of grades shows it."""

    person_id: PersonId
    course_id: CourseId
    moodle_user_id: MoodleUserId
    moodle_course_id: MoodleCourseId
    shown: str
    """As Moodle shows it: points, a letter, a percentage, by the settings of the course."""
    score: Decimal | None = None
    """Points; none: there is no grade any more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodleObserved:
    """Something seen in Moodle that differs from what was last seen. Topic ``moodle.<target>.observed``.

    Key ``tenant|KIND|ids``, compacted: ids are the course of a COURSE, the person of a USER, person and
    course of the others. The partition is that of ``tenant|course_id`` (COURSE, ENROLMENT) or
    ``tenant|person_id`` (see `route`), beside the events it is joined with.
    """

    TYPE: ClassVar[str] = "rosterhub.moodle.observed"

    tenant: TenantId
    target: Target
    kind: ObservedKind
    observed_at: datetime
    course: CourseObserved | None = None
    completion: CompletionObserved | None = None
    user: UserObserved | None = None
    enrolment: EnrolmentObserved | None = None
    grade: GradeObserved | None = None

    @property
    def key(self) -> str:
        """The message key."""
        if self.course is not None:
            return key(self.tenant, self.kind, self.course.course_id)
        if self.user is not None:
            return key(self.tenant, self.kind, self.user.person_id)
        if (one := self.completion or self.enrolment or self.grade) is not None:
            return key(self.tenant, self.kind, one.person_id, one.course_id)
        msg = "an observation without a body"
        raise ValueError(msg)

    @property
    def route(self) -> str:
        """What decides the partition."""
        if (at_course := self.course or self.enrolment) is not None:
            return key(self.tenant, at_course.course_id)
        if (of_person := self.completion or self.user or self.grade) is not None:
            return key(self.tenant, of_person.person_id)
        msg = "an observation without a body"
        raise ValueError(msg)
