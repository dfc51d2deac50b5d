"""What a rehearsal would have the hub do otherwise than it has done. Pure.

Compared is what the stages would ask for, given what they have asked for last: not every step on the way
there. Only names of fields are told, no values.
"""

import heapq
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import groupby
from operator import itemgetter
from typing import Any, Final

import msgspec

from infra.mapping import Mapping as Rules
from infra.mapping.model import Metadata
from infra.stage import S, Table
from processors import catalogue, courses, people
from processors.accounts import AccountEntry, PersonEntry
from processors.accounts import wanted as wanted_account
from processors.catalogue import CatalogueEntry, Wanted
from processors.courses import CourseEntry, SectionEntry
from processors.shadow import NEW_COURSE, NEW_USER
from processors.verdicts import Choice, Compared, Verdict
from schemas.events import EnrolmentStatus
from schemas.ids import CourseId, PersonId, SectionId, TenantId, key, split
from schemas.moodle import CommandKind, CourseWish, GroupWish, UserWish

Tables = Mapping[str, Table]
"""The tables of a hub, by the name of the stage."""


def compare(shadow: Tables, live: Tables, rules: Rules, choice: Choice) -> Iterator[Compared]:
    """Yield what would become of everything that ``choice`` takes.

    Args:
        shadow: tables after the rehearsal; see `processors.shadow`.
        live: those of the running hub.
        rules: by which was rehearsed.
        choice: what is compared.
    """
    yield from _accounts(shadow["people"], live["people"], rules, choice)
    yield from _courses(shadow["courses"], live["courses"], rules, choice)
    yield from _enrolments(shadow, live, choice)


def _accounts(shadow: Table, live: Table, rules: Rules, choice: Choice) -> Iterator[Compared]:
    for at, told, held in _paired(shadow, live, "person", PersonEntry):
        tenant, person = TenantId(at[0]), PersonId(at[1])
        if not choice.takes(CommandKind.USER, tenant, person=person):
            continue
        issued = held.issued if held else None
        account = live.get(people.account_key(tenant, person), AccountEntry) or AccountEntry()
        entry = msgspec.structs.replace(told, **_done(held)) if told else None
        wish = _account_wish(tenant, person, entry, account, shadow, rules) if entry else None
        verdict = _of_account(wish, issued, account)
        if verdict is not None:
            names = _differing(wish, issued) if wish else ()
            otherwise = held is None or told is None or _told(told) != _told(held)
            yield Compared(CommandKind.USER, tenant, person, None, verdict, names, otherwise)


def _account_wish(
    tenant: TenantId,
    person: PersonId,
    entry: PersonEntry,
    account: AccountEntry,
    shadow: Table,
    rules: Rules,
) -> UserWish | None:
    """Return what the stage would ask for now if it held ``entry``."""
    enrolments = shadow.scan(people.enrolment_key(tenant, person, ""), people.EnrolmentEntry)
    statuses = {one.wish.status for _, one in enrolments}
    return wanted_account(
        person,
        entry,
        rules.of(tenant),
        is_enrolled=EnrolmentStatus.ACTIVE in statuses,
        has_enrolments=bool(statuses),
        has_account=account.moodle_user_id is not None,
    )


def _done(held: PersonEntry | None) -> dict[str, Any]:
    """Return what the running hub has asked for and what people have decided: no source tells of these."""
    return {} if held is None else {"issued": held.issued, "ruling": held.ruling}


def _told(entry: PersonEntry) -> object:
    return entry.profiles, entry.others


def _of_account(wish: UserWish | None, issued: UserWish | None, account: AccountEntry) -> Verdict | None:
    if wish is None:
        return None if issued is None else Verdict.LEFT
    if wish == issued:
        return Verdict.SAME
    if wish.create and account.moodle_user_id is None and not (issued and issued.create):
        return Verdict.CREATED
    if bool(wish.suspended) != bool(issued and issued.suspended):
        return Verdict.SUSPENDED if wish.suspended else Verdict.RESUMED
    return Verdict.CHANGED


def _courses(shadow: Table, live: Table, rules: Rules, choice: Choice) -> Iterator[Compared]:
    for at, told, held in _paired(shadow, live, "catalogue", CatalogueEntry):
        tenant, course = TenantId(at[0]), CourseId(at[1])
        if not choice.takes(CommandKind.COURSE, tenant, course=course):
            continue
        issued = held.issued if held else None
        if told is None or catalogue.is_gone(told):
            if issued is not None:
                yield Compared(CommandKind.COURSE, tenant, None, course, Verdict.LEFT)
            continue
        wanted = _course_wish(tenant, course, told, issued, shadow, rules)
        known = live.get(courses.course_key(tenant, course), CourseEntry) or CourseEntry()
        otherwise = held is None or (told.profiles, told.references) != (held.profiles, held.references)
        if wanted.wish != issued and not otherwise and held is not None and _in_hand(wanted, held, known):
            verdict: Verdict | None = Verdict.SAME
        else:
            verdict = _of_course(wanted, issued, known, is_archived=told.archived)
        if verdict is not None:
            names = _differing(wanted.wish, issued)
            yield Compared(CommandKind.COURSE, tenant, None, course, verdict, names, otherwise)


def _course_wish(
    tenant: TenantId,
    course: CourseId,
    told: CatalogueEntry,
    issued: CourseWish | None,
    shadow: Table,
    rules: Rules,
) -> Wanted:
    sections = shadow.scan(courses.section_key(tenant, course, ""), SectionEntry)
    groups = tuple(
        GroupWish(section_id=SectionId(split(at)[-1]), name=section.name)
        for at, section in sections
        if not section.deleted
    )
    entry = msgspec.structs.replace(told, issued=issued)
    return catalogue.wanted(course, entry, groups, rules.of(tenant))


def _in_hand(wanted: Wanted, held: CatalogueEntry, known: CourseEntry) -> bool:
    """Whether the running stage has the same before it and waits on purpose.

    It sends changes of the day together at night, and leaves a course alone that was there without its help.
    """
    if known.moodle_course_id is None:
        return False
    return held.issued is None or (wanted.metadata is Metadata.DAILY and held.timer is not None)


def _of_course(
    wanted: Wanted, issued: CourseWish | None, known: CourseEntry, *, is_archived: bool
) -> Verdict | None:
    wish = wanted.wish
    if wish == issued:
        return Verdict.SAME
    if wanted.is_out:
        return None if issued is None else Verdict.LEFT
    if known.moodle_course_id is None:
        if not wish.create and wish.moodle_course_id is None:
            return None
        return Verdict.CHANGED if issued and issued.create else Verdict.CREATED
    asked = {group.section_id for group in issued.groups} if issued else set()
    has_new_group = any(group.section_id not in asked for group in wish.groups)
    if wanted.metadata is Metadata.NEVER and not is_archived and not has_new_group:
        return Verdict.SAME
    return Verdict.CHANGED


def _enrolments(shadow: Tables, live: Tables, choice: Choice) -> Iterator[Compared]:
    paired = _paired(shadow["courses"], live["courses"], "enrolment", courses.EnrolmentEntry)
    for (tenant_text, course_text, person_text), told, held in paired:
        if not choice.takes(CommandKind.ENROLMENT, tenant_text, person_text, course_text):
            continue
        wish, issued = told.issued if told else None, held.issued if held else None
        verdict = _of_enrolment(wish, issued)
        if verdict is None:
            continue
        place = (TenantId(tenant_text), PersonId(person_text), CourseId(course_text))
        otherwise = verdict.is_difference and _wishes(shadow, *place) != _wishes(live, *place)
        yield Compared(CommandKind.ENROLMENT, *place, verdict, _differing(wish, issued), otherwise)


_STATUS_VERDICTS: Final = {
    EnrolmentStatus.ACTIVE: Verdict.RESUMED,
    EnrolmentStatus.SUSPENDED: Verdict.SUSPENDED,
    EnrolmentStatus.REMOVED: Verdict.REMOVED,
}


def _of_enrolment(wish: courses.Issued | None, issued: courses.Issued | None) -> Verdict | None:
    if wish is None:
        return None if issued is None else Verdict.LEFT
    if issued is None:
        is_active = wish.status is EnrolmentStatus.ACTIVE
        return Verdict.CREATED if is_active else _STATUS_VERDICTS[wish.status]
    if wish.status is not issued.status:
        return _STATUS_VERDICTS[wish.status]
    return Verdict.CHANGED if _differing(wish, issued) else Verdict.SAME


def _wishes(tables: Tables, tenant: TenantId, person: PersonId, course: CourseId) -> object:
    entry = tables["people"].get(people.enrolment_key(tenant, person, course), people.EnrolmentEntry)
    return entry and (entry.wish, entry.others)


def _differing(wish: Any, issued: Any) -> tuple[str, ...]:
    """Return the names of the fields that differ; what would be made in Moodle has no id to differ by."""
    if wish is None or issued is None or wish == issued:
        return ()
    if isinstance(wish, msgspec.Struct):
        names = list(wish.__struct_fields__)
    else:
        names = [one.name for one in fields(wish)]
    return tuple(name for name in names if _differs(name, getattr(wish, name), getattr(issued, name)))


def _differs(name: str, new: object, old: object) -> bool:
    made = ("moodle_user_id", NEW_USER), ("moodle_course_id", NEW_COURSE)
    return new != old and (name, new) not in made


def _paired(
    left: Table, right: Table, kind_of_entry: str, kind: type[S]
) -> Iterator[tuple[list[str], S | None, S | None]]:
    """Yield (parts of the key after the kind, entry on the left, entry on the right) of all keys in order."""
    prefix = key(kind_of_entry, "")
    merged = heapq.merge(
        _marked(0, left.scan(prefix, kind)), _marked(1, right.scan(prefix, kind)), key=itemgetter(0, 1)
    )
    for at, group in groupby(merged, key=itemgetter(0)):
        found = {side: entry for _, side, entry in group}
        yield split(at)[1:], found.get(0), found.get(1)


def _marked(side: int, rows: Iterator[tuple[str, S]]) -> Iterator[tuple[str, int, S]]:
    return ((at, side, entry) for at, entry in rows)
