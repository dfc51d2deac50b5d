"""Which accounts and courses of an existing Moodle are those of people and courses that the hub knows. Pure.

Only what is beyond doubt is linked: one account for one person, and neither of them anybody else's.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from infra.mapping import TenantRules
from processors.accounts import AccountEntry, PersonEntry
from processors.accounts import wanted as wanted_account
from processors.catalogue import CatalogueEntry
from processors.catalogue import wanted as wanted_course
from processors.courses import CourseEntry
from processors.parking import Entries, entries_of
from schemas.ids import CourseId, MoodleCourseId, MoodleUserId, PersonId, TenantId
from schemas.moodle import UserWish


@dataclass(frozen=True, slots=True)
class Wanted:
    """A person or course of the hub that may have an account or course in Moodle.

    Attributes:
        id: the hub's id; Moodle's idnumber where it has one.
        value: what Moodle's one is looked for by; none: it has no such field.
        known: the id in Moodle that the hub knows already.
    """

    id: str
    value: str | None
    known: int | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """An account or course of Moodle with the value of the same field.

    Attributes:
        id: Moodle's.
        value: of the field.
        owner: the person or course of the hub whose it is: the id number that it carries, or, where that is
            empty, whom the hub knows it to belong to; empty: nobody's.
    """

    id: int
    value: str
    owner: str


class State(StrEnum):
    """What came of looking for one."""

    LINK = "LINK"
    """Found, and the hub did not know."""
    KNOWN = "KNOWN"
    """Found, and the hub knows it as the same."""
    DIFFERENT = "DIFFERENT"
    """The hub knows another one."""
    CLAIMED = "CLAIMED"
    """It is another person's or course's, by the id number that it carries or by what the hub knows."""
    AMBIGUOUS = "AMBIGUOUS"
    """Several in Moodle have the value, or several in the hub."""
    NONE = "NONE"
    """Moodle has none."""


@dataclass(frozen=True, slots=True)
class Match:
    """What came of looking for ``id``.

    Attributes:
        id: of a person or course of the hub.
        state: see `State`.
        moodle_ids: what was found.
        rivals: ids of the hub, or id numbers, that have a claim too.
    """

    id: str
    state: State
    moodle_ids: tuple[int, ...] = ()
    rivals: tuple[str, ...] = ()


def matched(wanted: Sequence[Wanted], found: Iterable[Found]) -> list[Match]:
    """Return what came of each of ``wanted``, in their order; values are compared as they are."""
    there: dict[str, list[Found]] = {}
    for one in found:
        there.setdefault(one.value, []).append(one)
    claims: dict[str, list[str]] = {}
    for want in wanted:
        if want.value:
            claims.setdefault(want.value, []).append(want.id)
    return [
        _match(want, there.get(want.value or "", ()), claims.get(want.value or "", ())) for want in wanted
    ]


def _match(want: Wanted, found: Sequence[Found], claims: Sequence[str]) -> Match:
    ids = tuple(sorted(one.id for one in found))
    if not want.value or not found:
        return Match(want.id, State.NONE)
    rivals = tuple(one for one in claims if one != want.id)
    if len(found) > 1 or rivals:
        return Match(want.id, State.AMBIGUOUS, ids, rivals)
    owner = found[0].owner
    if owner and owner != want.id:
        return Match(want.id, State.CLAIMED, ids, (owner,))
    if want.known is None:
        return Match(want.id, State.LINK, ids)
    return Match(want.id, State.KNOWN if want.known == ids[0] else State.DIFFERENT, ids)


@dataclass(frozen=True, slots=True)
class Person:
    """A person of the hub as an account would be made of them; ``known`` is the account known already."""

    person_id: PersonId
    username: str | None
    email: str | None
    known: MoodleUserId | None


@dataclass(frozen=True, slots=True)
class Course:
    """A course of the hub; ``known`` is the Moodle course known already."""

    course_id: CourseId
    short_name: str | None
    known: MoodleCourseId | None


def people_of(table: Entries, tenant: TenantId, rules: TenantRules) -> list[Person]:
    """Return the people of the table of the people stage who are in some source."""
    accounts = {
        person: entry.moodle_user_id
        for (whose, person), entry in entries_of(table, "account", AccountEntry)
        if whose == tenant
    }
    return [
        Person(wish.person_id, wish.username, wish.email, entry.ruling.linked or accounts.get(person))
        for (whose, person), entry in entries_of(table, "person", PersonEntry)
        if whose == tenant and (wish := _account(PersonId(person), entry, rules)) is not None
    ]


def _account(person: PersonId, entry: PersonEntry, rules: TenantRules) -> UserWish | None:
    """Return the account as it would be made if the person were enrolled somewhere."""
    return wanted_account(
        person, entry, rules, is_enrolled=True, has_enrolments=True, has_account=False, is_repeat=True
    )


def courses_of(table: Entries, tenant: TenantId, rules: TenantRules) -> list[Course]:
    """Return the courses of the table of the course stage, those included that only enrolments speak of."""
    known = {
        CourseId(course): entry.linked or entry.moodle_course_id
        for (whose, course), entry in entries_of(table, "course", CourseEntry)
        if whose == tenant
    }
    told = {
        CourseId(course): entry
        for (whose, course), entry in entries_of(table, "catalogue", CatalogueEntry)
        if whose == tenant
    }
    return [
        Course(course, _short_name(course, told.get(course), rules), known.get(course))
        for course in sorted(known.keys() | told.keys())
    ]


def _short_name(course: CourseId, entry: CatalogueEntry | None, rules: TenantRules) -> str | None:
    return wanted_course(course, entry, (), rules).wish.short_name if entry else None
