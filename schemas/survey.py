"""What a bulk read of a Moodle site shows of accounts, courses and their members; it stands in no topic.

Texts are as people wrote them, not as Moodle escapes them for HTML. Times are UTC; none stands for never.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal

from schemas.ids import MoodleCourseId, MoodleUserId


@dataclass(frozen=True, slots=True, kw_only=True)
class AccountSeen:
    """An account of the site that is not deleted."""

    id: MoodleUserId
    idnumber: str = ""
    email: str = ""
    username: str = ""
    first_name: str = ""
    last_name: str = ""
    suspended: bool = False
    last_access: datetime | None = None
    profile_fields: Mapping[str, str] = field(default_factory=dict)
    """By short name; Moodle leaves empty ones out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CourseSeen:
    """A course of the site."""

    id: MoodleCourseId
    idnumber: str = ""
    short_name: str = ""
    full_name: str = ""
    visible: bool = True
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    custom_fields: Mapping[str, str] = field(default_factory=dict)
    """Raw values by short name, of every field that the site has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberSeen:
    """Somebody enrolled in a course, by whatever method: Moodle does not tell by which."""

    user_id: MoodleUserId
    idnumber: str = ""
    is_active: bool
    """False: suspended, or the present is outside of the enrolment's dates; Moodle does not tell which."""
    roles: frozenset[int] = frozenset()
    """Moodle's role ids in this very course."""
    last_access: datetime | None = None
    """Of the course."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GradeSeen:
    """The grade of a whole course that a user has; ``score`` is none where there is none."""

    user_id: MoodleUserId
    course_id: MoodleCourseId
    shown: str
    score: Decimal | None
