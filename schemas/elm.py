"""Completion callbacks to ELM, and their results."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import ClassVar

from schemas.ids import CallbackId, CourseId, EnrolmentId, PersonId, TenantId, key
from schemas.reasons import Reason


@dataclass(frozen=True, slots=True, kw_only=True)
class CompletionCallback:
    """Tell ELM that a learner completed a course. Topic ``elm.callbacks``, key ``tenant|person_id``."""

    TYPE: ClassVar[str] = "rosterhub.elm.callback"

    callback_id: CallbackId
    tenant: TenantId
    enrolment_id: EnrolmentId
    person_id: PersonId
    course_id: CourseId
    course_short_name: str
    email: str
    first_name: str
    last_name: str
    completed_on: date
    issued_at: datetime
    attributes: Mapping[str, str] = field(default_factory=dict)
    """What the feed gave and ELM wants back: oprid, person_id, activity_id, course_long_name."""

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.person_id)


class CallbackOutcome(StrEnum):
    """How a callback ended."""

    DELIVERED = "DELIVERED"
    ALREADY_THERE = "ALREADY_THERE"
    """The read-back found the completion in ELM, so nothing was posted again."""
    REJECTED = "REJECTED"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallbackResult:
    """The outcome of one callback. Topic ``elm.results``, key ``tenant|person_id``."""

    TYPE: ClassVar[str] = "rosterhub.elm.result"

    callback_id: CallbackId
    tenant: TenantId
    enrolment_id: EnrolmentId
    person_id: PersonId
    course_id: CourseId
    outcome: CallbackOutcome
    completed_at: datetime
    reason: Reason | None = None
    http_status: int | None = None

    @property
    def key(self) -> str:
        """The message key."""
        return key(self.tenant, self.person_id)
