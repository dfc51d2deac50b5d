"""What other rules would do to a running hub, counted from its tables before they are in force. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from datetime import datetime

from infra.mapping import Mapping as Rules
from processors import accounts, catalogue, courses, debts, people
from processors.parking import Entries, entries_of
from schemas.events import EnrolmentStatus
from schemas.ids import CourseId, PersonId, TenantId

COURSES_IN = "courses that come into the selection"
COURSES_OUT = "courses that leave the selection"
COURSES_CHANGED = "courses whose names, dates, category or groups would be others"
COURSES_MADE = "courses that would be made"
ENROLMENTS_SUSPENDED = "enrolments that would be suspended"
ENROLMENTS_RESUMED = "enrolments that would go on"
ACCOUNTS_NEW = "accounts that would be asked for"
ACCOUNTS_SUSPENDED = "accounts that would be suspended"
ACCOUNTS_RESUMED = "accounts that would no longer be suspended"
ACCOUNTS_CHANGED = "accounts whose fields would be others"
COUNTS = (
    COURSES_IN,
    COURSES_OUT,
    COURSES_MADE,
    COURSES_CHANGED,
    ENROLMENTS_SUSPENDED,
    ENROLMENTS_RESUMED,
    ACCOUNTS_NEW,
    ACCOUNTS_SUSPENDED,
    ACCOUNTS_RESUMED,
    ACCOUNTS_CHANGED,
)


def compare(tables: Mapping[str, Entries], old: Rules, new: Rules, now: datetime) -> dict[str, int]:
    """Return how many courses, enrolments and accounts would change, by what would happen to them.

    Args:
        tables: the table of each stage by the stage's name.
        old: the rules in force.
        new: the rules to be judged.
        now: time by which payments are overdue.
    """
    none: Entries = {}
    found = Counter(_courses(tables.get("courses", none), old, new))
    found.update(_accounts(tables.get("people", none), old, new))
    found.update(_debtors(tables.get("people", none), old, new, now))
    return {name: found[name] for name in COUNTS}


def _courses(entries: Entries, old: Rules, new: Rules) -> Iterable[str]:
    active = Counter(
        (tenant, course)
        for (tenant, course, _), one in entries_of(entries, "enrolment", courses.EnrolmentEntry)
        if one.issued is not None and one.status is EnrolmentStatus.ACTIVE
    )
    known = {
        tuple(place): one.moodle_course_id is not None
        for place, one in entries_of(entries, "course", courses.CourseEntry)
    }
    for (tenant, course), entry in entries_of(entries, "catalogue", catalogue.CatalogueEntry):
        groups = entry.issued.groups if entry.issued else ()
        before, after = (
            catalogue.wanted(CourseId(course), entry, groups, rules.of(TenantId(tenant)))
            for rules in (old, new)
        )
        if before.is_out != after.is_out:
            yield COURSES_OUT if after.is_out else COURSES_IN
        elif before.wish != after.wish:
            yield COURSES_CHANGED
        if after.wish.create and not before.wish.create and not known.get((tenant, course)):
            yield COURSES_MADE
        if before.suspend != after.suspend:
            what = ENROLMENTS_SUSPENDED if after.suspend else ENROLMENTS_RESUMED
            yield from [what] * active[tenant, course]


def _accounts(entries: Entries, old: Rules, new: Rules) -> Iterable[str]:
    enrolments = _statuses(entries)
    known = {
        tuple(place): one.moodle_user_id is not None
        for place, one in entries_of(entries, "account", accounts.AccountEntry)
    }
    for (tenant, person), entry in entries_of(entries, "person", accounts.PersonEntry):
        statuses = enrolments.get((tenant, person), set())
        before, after = (
            accounts.wanted(
                PersonId(person),
                entry,
                rules.of(TenantId(tenant)),
                is_enrolled=EnrolmentStatus.ACTIVE in statuses,
                has_enrolments=bool(statuses),
                has_account=known.get((tenant, person), False),
            )
            for rules in (old, new)
        )
        if before == after or after is None:
            continue
        if before is None and not after.suspended:
            yield ACCOUNTS_NEW
        elif bool(before and before.suspended) != bool(after.suspended):
            yield ACCOUNTS_SUSPENDED if after.suspended else ACCOUNTS_RESUMED
        else:
            yield ACCOUNTS_CHANGED


def _debtors(entries: Entries, old: Rules, new: Rules, now: datetime) -> Iterable[str]:
    payments: dict[tuple[str, str], list[debts.PaymentEntry]] = {}
    for (tenant, person, _), payment in entries_of(entries, "payment", debts.PaymentEntry):
        payments.setdefault((tenant, person), []).append(payment)
    held = Counter(
        (tenant, person)
        for (tenant, person, _), one in entries_of(entries, "enrolment", people.EnrolmentEntry)
        if people.may_be_held(one)
    )
    for (tenant, person), owed in payments.items():
        moments = (debts.earliest(owed, rules.of(TenantId(tenant))) for rules in (old, new))
        before, after = (moment is not None and moment <= now for moment in moments)
        if before != after:
            yield from [ENROLMENTS_SUSPENDED if after else ENROLMENTS_RESUMED] * held[tenant, person]


def _statuses(entries: Entries) -> dict[tuple[str, str], set[EnrolmentStatus]]:
    found: dict[tuple[str, str], set[EnrolmentStatus]] = {}
    for (tenant, person, _), one in entries_of(entries, "enrolment", people.EnrolmentEntry):
        found.setdefault((tenant, person), set()).add(one.wish.status)
    return found
