"""What waits, what is disputed and what was refused, read from the tables of the stages.

The functions take a whole table as its changelog gives it: key (text) to encoded value. They are pure; who
folds the changelog is another matter.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from processors import completions, courses, people
from processors.accounts import AccountEntry
from processors.catalogue import CatalogueEntry, missing_references
from schemas.elm import CallbackOutcome
from schemas.events import EnrolmentStatus
from schemas.ids import CourseId, PersonId, TenantId, split
from schemas.reasons import CONFLICTS, Reason

S = TypeVar("S", bound=msgspec.Struct)
Entries = Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Held:
    """Something that does not go on by itself now.

    Attributes:
        what: "enrolment", "account", "course" or "completion".
        tenant: whose.
        person_id: of whom, if of one person.
        course_id: of which course, if of one.
        waits_for: "account", "course", "term", "program", "learner or enrolment"; none for what was
            disputed or refused.
        reason: why it is disputed or refused, or why the thing it waits for is not there.
        other_moodle_user_id: of a conflict, the account that owns the e-mail address or username.
    """

    what: str
    tenant: TenantId
    person_id: PersonId | None = None
    course_id: CourseId | None = None
    waits_for: str | None = None
    reason: Reason | None = None
    other_moodle_user_id: int | None = None

    @property
    def is_conflict(self) -> bool:
        """Whether a person has to decide."""
        return self.waits_for is None and self.reason in CONFLICTS

    @property
    def is_rejected(self) -> bool:
        """Whether it ended with a refusal."""
        return self.waits_for is None and self.reason not in CONFLICTS


@dataclass(frozen=True, slots=True)
class Standing:
    """How things stand in the tables of all stages.

    Attributes:
        held: everything that waits, is disputed or was refused.
        active: enrolments that are active in Moodle by the hub.
        suspended: enrolments that are suspended there by the hub.
        delivered: completions that ELM has.
    """

    held: tuple[Held, ...]
    active: int
    suspended: int
    delivered: int


def standing(tables: Mapping[str, Entries]) -> Standing:
    """Return how things stand, from the table of each stage by the stage's name."""
    none: Entries = {}
    at_courses, at_completions = tables.get("courses", none), tables.get("completions", none)
    enrolments = entries_of(at_courses, "enrolment", courses.EnrolmentEntry)
    applied = Counter(entry.applied for _, entry in enrolments)
    done = (CallbackOutcome.DELIVERED, CallbackOutcome.ALREADY_THERE)
    delivered = entries_of(at_completions, "completion", completions.CompletionEntry)
    held = [
        *_held_by_people(tables.get("people", none)),
        *_held_by_courses(at_courses),
        *_held_by_completions(at_completions),
    ]
    return Standing(
        held=tuple(held),
        active=applied[EnrolmentStatus.ACTIVE],
        suspended=applied[EnrolmentStatus.SUSPENDED],
        delivered=sum(entry.outcome in done for _, entry in delivered),
    )


def _held_by_people(entries: Entries) -> Iterator[Held]:
    accounts = {tuple(parts): entry for parts, entry in entries_of(entries, "account", AccountEntry)}
    for (tenant, person), entry in accounts.items():
        if entry.blocked:
            yield Held(
                what="account",
                tenant=TenantId(tenant),
                person_id=PersonId(person),
                reason=entry.blocked,
                other_moodle_user_id=entry.other_moodle_user_id,
            )
    for (tenant, person, course), wish in entries_of(entries, "enrolment", people.EnrolmentEntry):
        account = accounts.get((tenant, person))
        if people.waits(account, wish):
            yield Held(
                what="enrolment",
                tenant=TenantId(tenant),
                person_id=PersonId(person),
                course_id=CourseId(course),
                waits_for="account",
                reason=account.blocked if account else None,
            )


def _held_by_courses(entries: Entries) -> Iterator[Held]:
    known = {tuple(parts): entry for parts, entry in entries_of(entries, "course", courses.CourseEntry)}
    for (tenant, course), catalogue in entries_of(entries, "catalogue", CatalogueEntry):
        if missing := missing_references(catalogue):
            waits_for = " and ".join(sorted({kind.lower() for kind in missing}))
            yield Held("course", TenantId(tenant), course_id=CourseId(course), waits_for=waits_for)
    for (tenant, course), entry in known.items():
        if entry.blocked and entry.blocked is not Reason.COURSE_NOT_FOUND:
            yield Held("course", TenantId(tenant), course_id=CourseId(course), reason=entry.blocked)
    for (tenant, course, person), wish in entries_of(entries, "enrolment", courses.EnrolmentEntry):
        place = (TenantId(tenant), PersonId(person), CourseId(course))
        course_entry = known.get((tenant, course))
        if courses.waits(course_entry, wish):
            reason = course_entry.blocked if course_entry else None
            yield Held("enrolment", *place, waits_for="course", reason=reason)
        elif wish.refused:
            yield Held("enrolment", *place, reason=wish.refused)


def _held_by_completions(entries: Entries) -> Iterator[Held]:
    for (tenant, person, course), entry in entries_of(entries, "completion", completions.CompletionEntry):
        place = (TenantId(tenant), PersonId(person), CourseId(course))
        if completions.waits(entry):
            yield Held("completion", *place, waits_for="learner or enrolment")
        elif entry.refused:
            yield Held("completion", *place, reason=entry.refused)


def entries_of(entries: Entries, kind_of_entry: str, kind: type[S]) -> Iterable[tuple[list[str], S]]:
    """Yield (parts of the key after the kind, entry) of all entries of one kind of a table."""
    decoder = msgspec.msgpack.Decoder(kind)
    start = kind_of_entry + "|"
    for key, value in entries.items():
        if key.startswith(start):
            yield split(key)[1:], decoder.decode(value)
