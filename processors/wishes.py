"""Which of several enrolments of one person in one course counts. Pure.

A source may have more than one record of a person in a course: an enrolment entered twice, the part of a
teacher beside that of a student, an enrolment made anew. What each of them wishes is kept, and the mapping
tells whether a source's records live each for itself or the newest says it all.
"""

from collections.abc import Sequence
from datetime import datetime

import msgspec

from infra.mapping import TenantRules
from infra.mapping.model import Records
from schemas.events import Enrolment, EnrolmentStatus, Operation, Role
from schemas.ids import EnrolmentId, SectionId
from schemas.version import Version


class Wish(msgspec.Struct, frozen=True, array_like=True):
    """What the newest event of one enrolment of a source wishes.

    One that was deleted is kept with what its source's policy makes of it: an older event must not revive it.
    """

    version: Version
    enrolment_id: EnrolmentId
    status: EnrolmentStatus
    role: Role
    source_system: str
    recorded_at: datetime
    starts_at: datetime | None
    ends_at: datetime | None
    section_ids: tuple[SectionId, ...] = ()
    deleted: bool = False


def wish_of(event: Enrolment, status: EnrolmentStatus) -> Wish:
    """Return the wish that ``event`` tells, its status read by the rules as ``status``."""
    return Wish(
        version=event.version,
        enrolment_id=event.enrolment_id,
        status=status,
        role=event.role,
        source_system=event.source_system,
        recorded_at=event.recorded_at,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        section_ids=event.section_ids,
        deleted=event.operation is Operation.DELETE,
    )


def outdone(event: Enrolment, known: Sequence[Wish], rules: TenantRules) -> list[Wish]:
    """Return those of ``known`` that ``event`` takes the place of if it is newer, and else is beaten by.

    That is the wish of the same enrolment, or where the newest record says it all every wish of the source.
    """
    ours = [one for one in known if one.source_system == event.source_system]
    if not ours or _newest_says_all(event.source_system, rules):
        return ours
    return [one for one in ours if one.enrolment_id == event.enrolment_id]


def parted(wishes: Sequence[Wish], rules: TenantRules) -> tuple[Wish, tuple[Wish, ...]]:
    """Return the wish that counts, and the others; the order of ``wishes`` does not matter.

    Deleted ones count only where there are no others. The newest counts, unless it is of a source whose
    records live each for itself: then one of such a source that is active goes before it.
    """
    if len(wishes) == 1:
        return wishes[0], ()
    lead = _lead(wishes, rules)
    return lead, tuple(one for one in wishes if one is not lead)


def _lead(wishes: Sequence[Wish], rules: TenantRules) -> Wish:
    live = [one for one in wishes if not one.deleted]
    newest = max(live or wishes, key=_age)
    if _newest_says_all(newest.source_system, rules):
        return newest
    active = [one for one in live if one.status is EnrolmentStatus.ACTIVE]
    own = [one for one in active if not _newest_says_all(one.source_system, rules)]
    return max(own, key=_age, default=newest)


def is_same(wish: Wish, known: Wish) -> bool:
    """Whether ``wish`` says what ``known`` does, whenever recorded."""
    return wish == msgspec.structs.replace(known, recorded_at=wish.recorded_at)


def _newest_says_all(source: str, rules: TenantRules) -> bool:
    return rules.source(source).enrolment.records is Records.NEWEST


def _age(wish: Wish) -> tuple[Version, str, str]:
    return wish.version, wish.source_system, wish.enrolment_id
