"""What people speak of when they have something done: a person's account, a course, an enrolment."""

from dataclasses import dataclass

from infra.errors import BadArgument
from schemas.ids import CourseId, PersonId, TenantId
from schemas.moodle import CommandKind


class NotFound(BadArgument):
    """There is nothing of that name, or it is in no such state; the message says which."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A person's account, a course, or a person's enrolment; made by `person`, `course`, `enrolment`.

    As text it is the subject of audit entries, such as ``enrolment/P1/C1``.
    """

    tenant: TenantId
    kind: CommandKind
    person_id: PersonId | None = None
    course_id: CourseId | None = None

    @property
    def word(self) -> str:
        """The kind as people write it."""
        return "person" if self.kind is CommandKind.USER else self.kind.value.lower()

    def __str__(self) -> str:
        return "/".join((self.word, *(one for one in (self.person_id, self.course_id) if one is not None)))


def person(tenant: TenantId, person_id: str) -> Entity:
    """Return the account of a person."""
    return Entity(tenant, CommandKind.USER, person_id=PersonId(person_id))


def course(tenant: TenantId, course_id: str) -> Entity:
    """Return a course."""
    return Entity(tenant, CommandKind.COURSE, course_id=CourseId(course_id))


def enrolment(tenant: TenantId, person_id: str, course_id: str) -> Entity:
    """Return the enrolment of a person in a course."""
    return Entity(tenant, CommandKind.ENROLMENT, PersonId(person_id), CourseId(course_id))


def entity_of(tenant: TenantId, text: str) -> Entity:
    """Return the entity that ``text`` names, such as ``person/P1``, ``course/C1`` or ``enrolment/P1/C1``.

    Raises:
        BadArgument: it names none.
    """
    kind, _, name = text.partition("/")
    first, _, second = name.partition("/")
    if kind == "enrolment" and first and second:
        return enrolment(tenant, first, second)
    if kind in ("person", "course") and name:
        return person(tenant, name) if kind == "person" else course(tenant, name)
    msg = f"entity: {text!r} is none of person/ID, course/ID, enrolment/PERSON/COURSE"
    raise BadArgument(msg)
