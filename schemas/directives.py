"""What a person has the hub do about one entity: events like all others, so that a replay repeats them."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar

from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId, TenantId, key
from schemas.moodle import CommandKind
from schemas.reasons import Reason


class DirectiveKind(StrEnum):
    """What is to be done."""

    REASSERT = "REASSERT"
    RESOLVE = "RESOLVE"
    LINK = "LINK"


class Resolution(StrEnum):
    """How a conflict is settled."""

    TAKE_OVER = "TAKE_OVER"
    UPDATE = "UPDATE"
    KEEP = "KEEP"
    IGNORE = "IGNORE"


ADMITTED: dict[Reason, tuple[Resolution, ...]] = {
    Reason.EMAIL_MISMATCH: (Resolution.UPDATE, Resolution.KEEP, Resolution.TAKE_OVER, Resolution.IGNORE),
    Reason.EMAIL_TAKEN: (Resolution.TAKE_OVER, Resolution.KEEP, Resolution.IGNORE),
    Reason.USERNAME_TAKEN: (Resolution.TAKE_OVER, Resolution.IGNORE),
    Reason.IDNUMBER_AMBIGUOUS: (Resolution.TAKE_OVER, Resolution.IGNORE),
    Reason.COURSE_AMBIGUOUS: (Resolution.TAKE_OVER, Resolution.IGNORE),
    Reason.COURSE_ID_MISMATCH: (Resolution.TAKE_OVER, Resolution.IGNORE),
    Reason.SHORTNAME_TAKEN: (Resolution.TAKE_OVER, Resolution.IGNORE),
}
"""How each kind of conflict can be settled; every one also by a change at its source, or in Moodle."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Directive:
    """One decision about a person's account, a course or an enrolment. Topic ``hub.directives``.

    REASSERT issues the command for what is wished now once more, with the next generation, whatever was
    applied. RESOLVE settles a conflict, until another resolution takes its place: TAKE_OVER links to the
    account or course that is named, UPDATE lets the source win, KEEP lets Moodle win, IGNORE changes nothing
    and is for those who list conflicts. LINK remembers the account or course that is named, to be used by the
    next command; by itself it issues none.

    The key is ``tenant|person_id`` for an account and ``tenant|course_id`` for a course or an enrolment.
    """

    TYPE: ClassVar[str] = "rosterhub.directive"

    directive_id: str
    tenant: TenantId
    kind: DirectiveKind
    subject: CommandKind
    issued_at: datetime
    person_id: PersonId | None = None
    course_id: CourseId | None = None
    resolution: Resolution | None = None
    moodle_user_id: MoodleUserId | None = None
    """Of TAKE_OVER and LINK: the account."""
    moodle_course_id: MoodleCourseId | None = None
    """Of TAKE_OVER and LINK: the course."""
    by: str = ""
    """Who decided: the name of a user or the id of an API key, or the name of a rule."""
    why: str = ""

    @property
    def key(self) -> str:
        """The message key."""
        entity = self.person_id if self.subject is CommandKind.USER else self.course_id
        return key(self.tenant, entity or "")
