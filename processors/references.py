"""The reference stage: tells courses what their terms and programs say. Keyed by term or program.

A course says once that it refers to a term; whatever the order of arrival, it is told what the term says, and
again when that changes.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime

import msgspec

from infra.stage import Output, Table
from schemas.academics import Program, Term
from schemas.events import Operation
from schemas.ids import CourseId, TenantId, key, split
from schemas.joins import CourseReference, ReferenceByCourse, ReferenceKind
from schemas.topics import TopicSet
from schemas.version import Version


class ReferenceEntry(msgspec.Struct, frozen=True, array_like=True):
    """What the newest event of the term or program says; ``fields`` carry their names in templates."""

    version: Version
    deleted: bool
    recorded_at: datetime
    starts_at: datetime | None
    ends_at: datetime | None
    moodle_category_id: int | None
    fields: dict[str, str]


class ReferrerEntry(msgspec.Struct, frozen=True, array_like=True):
    """A course that refers to it; its key says which."""


def _entry_key(tenant: TenantId, source: str, kind: ReferenceKind, reference_id: str) -> str:
    return key("reference", tenant, source, kind, reference_id)


def _referrer_key(
    tenant: TenantId, source: str, kind: ReferenceKind, reference_id: str, course: CourseId | str
) -> str:
    return key("referrer", tenant, source, kind, reference_id, course)


@dataclass(frozen=True, slots=True)
class ReferenceStage:
    """The handlers, bound to their topics."""

    topics: TopicSet

    def on_term(self, event: Term, table: Table) -> Iterable[Output]:
        """Take the newest state of a term; tell its courses."""
        said = {"term_code": event.code, "term_name": event.name, "term_type": event.term_type}
        entry = ReferenceEntry(
            event.version,
            event.operation is Operation.DELETE,
            event.recorded_at,
            event.starts_at,
            event.ends_at,
            None,
            _fields("term", said, event.attributes),
        )
        return self._take(event.tenant, event.source_system, ReferenceKind.TERM, event.term_id, entry, table)

    def on_program(self, event: Program, table: Table) -> Iterable[Output]:
        """Take the newest state of a program; tell its courses."""
        said = {"program_code": event.code, "program_name": event.name, "program_status": event.status}
        entry = ReferenceEntry(
            event.version,
            event.operation is Operation.DELETE,
            event.recorded_at,
            None,
            None,
            event.moodle_category_id,
            _fields("program", said, event.attributes),
        )
        kind = ReferenceKind.PROGRAM
        return self._take(event.tenant, event.source_system, kind, event.program_id, entry, table)

    def on_reference(self, event: CourseReference, table: Table) -> Iterable[Output]:
        """Note a course that refers to a term or program; tell it what is known."""
        place = (event.tenant, event.source_system, event.kind, event.reference_id)
        at = _referrer_key(*place, event.course_id)
        if table.get(at, ReferrerEntry) is not None:
            return ()
        table.put(at, ReferrerEntry())
        entry = table.get(_entry_key(*place), ReferenceEntry)
        return () if entry is None else [self._tell(*place, event.course_id, entry)]

    def _take(
        self,
        tenant: TenantId,
        source: str,
        kind: ReferenceKind,
        reference_id: str,
        entry: ReferenceEntry,
        table: Table,
    ) -> Iterator[Output]:
        place = (tenant, source, kind, reference_id)
        known = table.get(_entry_key(*place), ReferenceEntry)
        if known is not None and (entry.version < known.version or entry == known):
            return
        table.put(_entry_key(*place), entry)
        for at, _ in table.scan(_referrer_key(*place, ""), ReferrerEntry):
            yield self._tell(*place, CourseId(split(at)[-1]), entry)

    def _tell(
        self,
        tenant: TenantId,
        source: str,
        kind: ReferenceKind,
        reference_id: str,
        course: CourseId,
        entry: ReferenceEntry,
    ) -> Output:
        event = ReferenceByCourse(
            tenant=tenant,
            course_id=course,
            source_system=source,
            kind=kind,
            reference_id=reference_id,
            version_time=entry.version.time,
            version_sequence=entry.version.sequence,
            recorded_at=entry.recorded_at,
            deleted=entry.deleted,
            starts_at=entry.starts_at,
            ends_at=entry.ends_at,
            moodle_category_id=entry.moodle_category_id,
            attributes=entry.fields,
        )
        return Output(self.topics.references_by_course, event)


def _fields(kind: str, said: Mapping[str, str | None], attributes: Mapping[str, str]) -> dict[str, str]:
    """Return the fields under names that tell where they come from, such as ``term_code``."""
    named = {
        name if name.startswith(f"{kind}_") else f"{kind}_{name}": value for name, value in attributes.items()
    }
    return named | {name: value for name, value in said.items() if value}
