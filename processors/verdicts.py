"""What a rehearsal says of single accounts, courses and enrolments, and which of them it looks at."""

from collections.abc import Container
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from schemas.ids import CourseId, PersonId, TenantId, key
from schemas.moodle import CommandKind


class Verdict(StrEnum):
    """What a rehearsal says of one account, course or enrolment."""

    CREATED = "CREATED"
    CHANGED = "CHANGED"
    SUSPENDED = "SUSPENDED"
    RESUMED = "RESUMED"
    REMOVED = "REMOVED"
    SAME = "SAME"
    LEFT = "LEFT"
    """The hub has asked for it once; this history wishes nothing of it, so it stays as it is."""

    @property
    def is_difference(self) -> bool:
        """Whether Moodle would be asked for something else."""
        return self not in (Verdict.SAME, Verdict.LEFT)


class Compared(NamedTuple):
    """One account, course or enrolment.

    Attributes:
        kind: which of them.
        tenant: whose.
        person_id: of an account or enrolment.
        course_id: of a course or enrolment.
        verdict: what would be done.
        fields: names of those that would be others.
        is_told_otherwise: the running hub holds something else of what the sources say, so that their events
            have to be read again; otherwise it only has to ask again.
    """

    kind: CommandKind
    tenant: TenantId
    person_id: PersonId | None
    course_id: CourseId | None
    verdict: Verdict
    fields: tuple[str, ...] = ()
    is_told_otherwise: bool = False


@dataclass(frozen=True, slots=True)
class Choice:
    """Which accounts, courses and enrolments are compared.

    Attributes:
        tenant: whose; none: all.
        kinds: which of them.
        chosen: state keys: ``account|tenant|person``, ``person|tenant|person`` (account and enrolments),
            ``course|tenant|course`` (course and enrolments), ``enrolment|tenant|person|course``; none: all.
    """

    tenant: TenantId | None = None
    kinds: Container[CommandKind] = tuple(CommandKind)
    chosen: Container[str] | None = None

    def takes(self, kind: CommandKind, tenant: str, person: str = "", course: str = "") -> bool:
        """Tell whether it is compared."""
        if kind not in self.kinds or self.tenant not in (None, tenant):
            return False
        if self.chosen is None:
            return True
        names = {
            CommandKind.USER: (key("account", tenant, person), key("person", tenant, person)),
            CommandKind.COURSE: (key("course", tenant, course),),
            CommandKind.ENROLMENT: (
                key("enrolment", tenant, person, course),
                key("person", tenant, person),
                key("course", tenant, course),
            ),
        }
        return any(name in self.chosen for name in names[kind])
