"""The course stage: resolves courses, parks enrolments for want of one, issues enrolment commands. By course.

A course is looked for once when the first enrolment needs it; after that the catalogue, read at an interval
for all courses together, tells when it appears. It is made in Moodle only where its source or the mapping
says so. Changes of an existing course go out at once or together once a day, by the mapping; at its end it
may be put away. What time brings comes as ticks.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime

import msgspec

from infra.mapping import Mapping, Waiting
from infra.mapping.model import Metadata
from infra.stage import Output, Table
from processors import timers
from processors.catalogue import (
    CatalogueEntry,
    Wanted,
    is_gone,
    profile_of,
    reference_name,
    reference_of,
    references_of,
    wanted,
)
from processors.expiry import late, letter, renewed
from processors.renewal import are_new
from processors.rulings import commands
from schemas.academics import Section
from schemas.directives import Directive, DirectiveKind
from schemas.events import Course, EnrolmentByCourse, EnrolmentStatus, Operation, Role
from schemas.ids import (
    CommandId,
    CourseId,
    MoodleCourseId,
    MoodleUserId,
    PersonId,
    SectionId,
    TenantId,
    deterministic_id,
    key,
    split,
)
from schemas.joins import CourseReference, ReferenceByCourse, ReferenceKind, Tick
from schemas.moodle import (
    CommandKind,
    EnrolmentWish,
    GroupWish,
    MoodleCommand,
    MoodleObserved,
    MoodleResult,
    Outcome,
)
from schemas.reasons import Reason
from schemas.topics import Sites
from schemas.version import Version

_FOUND = (Outcome.APPLIED, Outcome.UNCHANGED)
Place = tuple[TenantId, CourseId, PersonId]
"""Whose enrolment in what."""


class CourseEntry(msgspec.Struct, frozen=True, array_like=True):
    """The Moodle course, as far as it is known; kept apart from the catalogue: enrolments need only this.

    Attributes:
        asked: a command was issued for it.
        generation: number of commands issued.
        moodle_course_id: the course in Moodle, once known.
        blocked: why it cannot be used; none also while the answer is still out.
        is_out: the course has left the selection; its enrolments are kept, not issued.
        suspend: its enrolments are to be suspended, whatever they wish themselves.
        linked: the course in Moodle that people have linked, to be used whatever its source says.
        linked_from: the first generation that is issued with the link.
        directive_id: the last directive about the course that was obeyed.
    """

    asked: bool = False
    generation: int = 0
    moodle_course_id: MoodleCourseId | None = None
    blocked: Reason | None = None
    is_out: bool = False
    suspend: bool = False
    linked: MoodleCourseId | None = None
    linked_from: int = 0
    directive_id: str = ""

    @property
    def uses_link(self) -> bool:
        """Whether the course is the one that people have linked."""
        return self.linked is not None and self.linked == self.moodle_course_id


class SectionEntry(msgspec.Struct, frozen=True, array_like=True):
    """A part of a course that is a group in Moodle."""

    version: Version
    deleted: bool
    name: str


class Issued(msgspec.Struct, frozen=True, array_like=True):
    """What the last command for an enrolment wished."""

    moodle_user_id: MoodleUserId
    moodle_course_id: MoodleCourseId
    status: EnrolmentStatus
    role: Role
    starts_at: datetime | None
    ends_at: datetime | None
    section_ids: tuple[SectionId, ...] = ()


class EnrolmentEntry(msgspec.Struct, frozen=True, array_like=True):
    """The newest wish for a person in the course, the command for it, and what Moodle holds since.

    Attributes:
        issued: what the last command wished; none: it waits.
        generation: number of commands issued.
        applied: the status in Moodle that the last result told.
        refused: why the last command was refused.
        directive_id: the last directive about the enrolment that was obeyed.
        expired: it has waited too long and waits no more; see `processors.expiry`.
        renewed_at: since when it waits again after that.
    """

    version: Version
    moodle_user_id: MoodleUserId
    account_is_new: bool
    status: EnrolmentStatus
    role: Role
    recorded_at: datetime
    starts_at: datetime | None
    ends_at: datetime | None
    issued: Issued | None = None
    generation: int = 0
    applied: EnrolmentStatus | None = None
    refused: Reason | None = None
    section_ids: tuple[SectionId, ...] = ()
    directive_id: str = ""
    expired: bool = False
    renewed_at: datetime | None = None


def course_key(tenant: TenantId, course: CourseId) -> str:
    """Return the state key of a course in Moodle."""
    return key("course", tenant, course)


def catalogue_key(tenant: TenantId, course: CourseId) -> str:
    """Return the state key of a course as its sources tell it."""
    return key("catalogue", tenant, course)


def section_key(tenant: TenantId, course: CourseId, section: SectionId | str) -> str:
    """Return the state key of a section; with section "" the prefix of all of the course."""
    return key("section", tenant, course, section)


def enrolment_key(tenant: TenantId, course: CourseId, person: PersonId | str) -> str:
    """Return the state key of an enrolment; with person "" the prefix of all of the course."""
    return key("enrolment", tenant, course, person)


def waits(course: CourseEntry | None, enrolment: EnrolmentEntry) -> bool:
    """Whether ``enrolment`` is parked for want of its course."""
    if enrolment.issued is not None or enrolment.expired:
        return False
    return not (course is not None and course.is_out)


@dataclass(frozen=True, slots=True)
class CourseStage:
    """The handlers, bound to the rules and to the topics of each Moodle site."""

    mapping: Mapping
    sites: Sites

    def on_course(self, event: Course, table: Table) -> Iterable[Output]:
        """Take what a source's record says newly; ask for a course that is to be made or changed."""
        at = catalogue_key(event.tenant, event.course_id)
        entry = table.get(at, CatalogueEntry) or CatalogueEntry()
        name = f"{event.source_system}/{event.source_record_id}"
        known = entry.profiles.get(name)
        if known and event.version < known.version:
            return ()
        profile = profile_of(event)
        if profile == known:
            return ()
        entry = msgspec.structs.replace(entry, profiles={**entry.profiles, name: profile})
        table.put(at, entry)
        outputs = [
            self._refer(event, kind, reference_id)
            for kind, reference_id in references_of(profile)
            if known is None or (kind, reference_id) not in references_of(known)
        ]
        return [*outputs, *self._renew(event.tenant, event.course_id, entry, event.recorded_at, table)]

    def on_reference(self, event: ReferenceByCourse, table: Table) -> Iterable[Output]:
        """Take what a term or program of the course says."""
        at = catalogue_key(event.tenant, event.course_id)
        entry = table.get(at, CatalogueEntry)
        name = reference_name(event.source_system, event.kind, event.reference_id)
        if entry is None:
            return ()
        known = entry.references.get(name)
        if known and event.version < known.version:
            return ()
        entry = msgspec.structs.replace(entry, references={**entry.references, name: reference_of(event)})
        table.put(at, entry)
        return self._renew(event.tenant, event.course_id, entry, event.recorded_at, table)

    def on_section(self, event: Section, table: Table) -> Iterable[Output]:
        """Take a section; see that the course has the group."""
        at = section_key(event.tenant, event.course_id, event.section_id)
        known = table.get(at, SectionEntry)
        if known and event.version < known.version:
            return ()
        table.put(at, SectionEntry(event.version, event.operation is Operation.DELETE, event.name))
        entry = table.get(catalogue_key(event.tenant, event.course_id), CatalogueEntry)
        if entry is None:
            return ()
        outputs = self._renew(event.tenant, event.course_id, entry, event.recorded_at, table)
        if known is None or known.deleted:
            outputs += self._join(event, table)
        return outputs

    def _join(self, event: Section, table: Table) -> list[Output]:
        """Issue the enrolments again that wished to be in the section before there was one."""
        outputs: list[Output] = []
        course = table.get(course_key(event.tenant, event.course_id), CourseEntry)
        if course is None or course.moodle_course_id is None or event.operation is Operation.DELETE:
            return outputs
        prefix = enrolment_key(event.tenant, event.course_id, "")
        for stored, enrolment in table.scan(prefix, EnrolmentEntry):
            if enrolment.issued is not None and event.section_id in enrolment.section_ids:
                place = (event.tenant, event.course_id, PersonId(split(stored)[-1]))
                again = msgspec.structs.replace(enrolment, issued=None)
                outputs += self._enrol(place, again, course, event.recorded_at, table)
        return outputs

    def on_enrolment(self, event: EnrolmentByCourse, table: Table) -> Iterable[Output]:
        """Take the newest wish; issue a command if it differs from the last, or have the course sought."""
        at = enrolment_key(event.tenant, event.course_id, event.person_id)
        known = table.get(at, EnrolmentEntry)
        if known and event.version < known.version:
            return ()
        entry = _enrolment(event, known)
        course = table.get(course_key(event.tenant, event.course_id), CourseEntry) or CourseEntry()
        if course.moodle_course_id is not None and not course.is_out:
            place = (event.tenant, event.course_id, event.person_id)
            return self._enrol(place, entry, course, event.recorded_at, table)
        table.put(at, entry)
        if course.moodle_course_id is not None or course.asked or course.is_out:
            return ()
        catalogue = table.get(catalogue_key(event.tenant, event.course_id), CatalogueEntry)
        wish = self._wanted(event.tenant, event.course_id, catalogue or CatalogueEntry(), table)
        return self._ask(event.tenant, wish, event.recorded_at, table)

    def on_result(self, result: MoodleResult, table: Table) -> Iterable[Output]:
        """Take what became of a course or enrolment command."""
        if result.course_id is None or result.outcome is Outcome.SUPERSEDED:
            return ()
        if result.kind is CommandKind.COURSE:
            return self._on_course_result(result, table)
        if result.kind is CommandKind.ENROLMENT and result.person_id is not None:
            _on_enrolment_result(result, table)
        return ()

    def on_observed(self, observed: MoodleObserved, table: Table) -> Iterable[Output]:
        """Take a course from Moodle's catalogue, and let its enrolments go on."""
        if observed.course is None:
            return ()
        course_id = observed.course.course_id
        entry = table.get(course_key(observed.tenant, course_id), CourseEntry) or CourseEntry()
        found = observed.course.moodle_course_id
        if entry.uses_link and found != entry.linked:
            return ()  # another one that carries the same id number
        return self._found(observed.tenant, course_id, entry, found, observed.observed_at, table)

    def on_directive(self, directive: Directive, table: Table) -> Iterable[Output]:
        """Obey what was decided about a course or an enrolment."""
        if directive.course_id is None:
            return ()
        if directive.subject is CommandKind.COURSE:
            return self._decide(directive, directive.course_id, table)
        if directive.subject is CommandKind.ENROLMENT and directive.kind is DirectiveKind.REASSERT:
            return self._reassert(directive, directive.course_id, table)
        return ()

    def _decide(self, directive: Directive, course_id: CourseId, table: Table) -> Iterable[Output]:
        """Keep the course that is linked, also where none is known yet; ask for it if that is wished."""
        at = course_key(directive.tenant, course_id)
        known = table.get(at, CourseEntry) or CourseEntry()
        is_told = table.get(catalogue_key(directive.tenant, course_id), CatalogueEntry) is not None
        is_known = is_told or known.asked or known.moodle_course_id is not None
        if known.directive_id == directive.directive_id:
            return ()
        if is_known or directive.kind is not DirectiveKind.REASSERT:
            table.put(at, _linked(known, directive))
        if not is_known or not commands(directive):
            return ()
        return self._ask_again(directive.tenant, course_id, directive.issued_at, table)

    def _ask_again(self, tenant: TenantId, course_id: CourseId, now: datetime, table: Table) -> list[Output]:
        """Issue the command for the course as it is wished now, whatever was applied.

        What no source has any more stays as it is, and so does what has left the selection.
        """
        course = table.get(course_key(tenant, course_id), CourseEntry) or CourseEntry()
        catalogue = table.get(catalogue_key(tenant, course_id), CatalogueEntry) or CatalogueEntry()
        wish = self._wanted(tenant, course_id, catalogue, table)
        if wish.is_out or (is_gone(catalogue) and course.moodle_course_id is not None):
            return []
        may_update = wish.metadata is not Metadata.NEVER or catalogue.archived
        return self._ask(tenant, wish, now, table, update=may_update)

    def _reassert(self, directive: Directive, course_id: CourseId, table: Table) -> Iterable[Output]:
        """Issue the command for the enrolment as it is wished now; if its course is not known, for that."""
        place = (directive.tenant, course_id, directive.person_id or PersonId(""))
        at = enrolment_key(*place)
        entry = table.get(at, EnrolmentEntry)
        if entry is None or entry.directive_id == directive.directive_id:
            return ()
        entry = msgspec.structs.replace(entry, directive_id=directive.directive_id)
        if entry.expired:
            again = renewed(directive.issued_at, table)
            entry = msgspec.structs.replace(entry, expired=False, renewed_at=again)
        table.put(at, entry)
        course = table.get(course_key(directive.tenant, course_id), CourseEntry) or CourseEntry()
        if course.moodle_course_id is None:
            return self._ask_again(directive.tenant, course_id, directive.issued_at, table)
        if course.is_out and not (course.suspend and entry.issued):
            return ()
        return self._enrol(place, entry, course, directive.issued_at, table, is_repeat=True)

    def on_tick(self, tick: Tick, table: Table) -> Iterable[Output]:
        """Put ended courses away, send changes of the day, follow new rules, end what waits too long."""
        outputs: list[Output] = []
        for tenant, subject in timers.due(tick.at, table):
            course_id = CourseId(subject)
            at = catalogue_key(tenant, course_id)
            entry = table.get(at, CatalogueEntry)
            if entry is None:
                continue
            entry = msgspec.structs.replace(entry, timer=None)
            wish = self._wanted(tenant, course_id, entry, table)
            if wish.archive_at is not None and wish.archive_at <= tick.at:
                entry = msgspec.structs.replace(entry, archived=True)
            table.put(at, entry)
            outputs += self._renew(tenant, course_id, entry, tick.at, table, is_daily=True)
        if are_new(self.mapping.digest, table):
            for at, entry in table.scan(key("catalogue", ""), CatalogueEntry):
                _, tenant_id, course = split(at)
                outputs += self._renew(TenantId(tenant_id), CourseId(course), entry, tick.at, table)
        return [*outputs, *self._expire(tick.at, table)]

    def _expire(self, now: datetime, table: Table) -> Iterator[Output]:
        def since(at: str, enrolment: EnrolmentEntry) -> datetime | None:
            if enrolment.issued is not None:
                return None  # spares a look into the table
            _, tenant, course_id, _ = split(at)
            course = table.get(course_key(TenantId(tenant), CourseId(course_id)), CourseEntry)
            began = enrolment.renewed_at or enrolment.recorded_at
            return began if waits(course, enrolment) else None

        for at, enrolment, began in late(Waiting.ENROLMENT, since, EnrolmentEntry, self.mapping, now, table):
            table.put(at, msgspec.structs.replace(enrolment, expired=True))
            _, tenant, course_id, person = split(at)
            place = TenantId(tenant), PersonId(person), CourseId(course_id)
            yield letter(self.sites.shared.directives, CommandKind.ENROLMENT, place, "course", began, now)

    def _refer(self, event: Course, kind: ReferenceKind, reference_id: str) -> Output:
        reference = CourseReference(
            tenant=event.tenant,
            course_id=event.course_id,
            source_system=event.source_system,
            kind=kind,
            reference_id=reference_id,
            recorded_at=event.recorded_at,
        )
        return Output(self.sites.shared.course_references, reference)

    def _wanted(self, tenant: TenantId, course: CourseId, entry: CatalogueEntry, table: Table) -> Wanted:
        sections = table.scan(section_key(tenant, course, ""), SectionEntry)
        groups = tuple(
            GroupWish(section_id=SectionId(split(at)[-1]), name=section.name)
            for at, section in sections
            if not section.deleted
        )
        return wanted(course, entry, groups, self.mapping.of(tenant))

    def _renew(
        self,
        tenant: TenantId,
        course_id: CourseId,
        entry: CatalogueEntry,
        now: datetime,
        table: Table,
        *,
        is_daily: bool = False,
    ) -> list[Output]:
        """Bring course and enrolments in line with what the sources and the rules say now.

        A course that no source has any more stays as it was last wished: one that was put away or left out
        does not come back to life by its deletion.
        """
        if is_gone(entry):
            timer = timers.set_timer(tenant, course_id, entry.timer, None, table)
            if timer != entry.timer:
                table.put(catalogue_key(tenant, course_id), msgspec.structs.replace(entry, timer=timer))
            return []
        if entry.archived and self._has_time_again(tenant, course_id, entry, now, table):
            entry = msgspec.structs.replace(entry, archived=False)
            table.put(catalogue_key(tenant, course_id), entry)
        wish = self._wanted(tenant, course_id, entry, table)
        outputs = self._hold(tenant, course_id, wish, now, table)
        course = table.get(course_key(tenant, course_id), CourseEntry) or CourseEntry()
        later = self._change(tenant, course, entry, wish, now, table, is_daily, outputs)
        due = min((at for at in (later, wish.archive_at) if at is not None), default=None)
        entry = table.get(catalogue_key(tenant, course_id), CatalogueEntry) or entry
        timer = timers.set_timer(tenant, course_id, entry.timer, due, table)
        if timer != entry.timer:
            table.put(catalogue_key(tenant, course_id), msgspec.structs.replace(entry, timer=timer))
        return outputs

    def _has_time_again(
        self, tenant: TenantId, course_id: CourseId, entry: CatalogueEntry, now: datetime, table: Table
    ) -> bool:
        """Tell whether a course that was put away has another end now, or none."""
        as_live = self._wanted(tenant, course_id, msgspec.structs.replace(entry, archived=False), table)
        return as_live.archive_at is None or as_live.archive_at > now

    def _change(
        self,
        tenant: TenantId,
        course: CourseEntry,
        entry: CatalogueEntry,
        wish: Wanted,
        now: datetime,
        table: Table,
        is_daily: bool,
        outputs: list[Output],
    ) -> datetime | None:
        """Issue the course's command if there is reason; return when a change that was kept back is due."""
        if wish.is_out or _is_same(wish, entry):
            return None
        if course.moodle_course_id is None:
            if wish.wish.create or wish.wish.moodle_course_id is not None:
                # Asked before, it may have been made since as it was wished then.
                may_update = course.asked and wish.metadata is not Metadata.NEVER
                outputs += self._ask(tenant, wish, now, table, update=may_update)
            return None
        if entry.archived or is_daily or wish.metadata is Metadata.AT_ONCE or _has_new_group(wish, entry):
            may_update = wish.metadata is not Metadata.NEVER or entry.archived
            outputs += self._ask(tenant, wish, now, table, update=may_update)
            return None
        return None if wish.metadata is Metadata.NEVER else timers.next_day(now)

    def _hold(
        self, tenant: TenantId, course_id: CourseId, wish: Wanted, now: datetime, table: Table
    ) -> list[Output]:
        """Let the course's enrolments be suspended, held or go on, if that has changed."""
        at = course_key(tenant, course_id)
        course = table.get(at, CourseEntry) or CourseEntry()
        if (course.is_out, course.suspend) == (wish.is_out, wish.suspend):
            return []
        course = msgspec.structs.replace(course, is_out=wish.is_out, suspend=wish.suspend)
        table.put(at, course)
        return self._enrol_all(tenant, course_id, course, now, table)

    def _enrol_all(
        self, tenant: TenantId, course_id: CourseId, course: CourseEntry, now: datetime, table: Table
    ) -> list[Output]:
        outputs: list[Output] = []
        if course.moodle_course_id is None or (course.is_out and not course.suspend):
            return outputs
        for stored, enrolment in table.scan(enrolment_key(tenant, course_id, ""), EnrolmentEntry):
            if not enrolment.expired and not (course.is_out and enrolment.issued is None):
                place = (tenant, course_id, PersonId(split(stored)[-1]))
                outputs += self._enrol(place, enrolment, course, now, table)
        return outputs

    def _on_course_result(self, result: MoodleResult, table: Table) -> Iterable[Output]:
        course_id = result.course_id or CourseId("")
        at = course_key(result.tenant, course_id)
        entry = table.get(at, CourseEntry)
        if entry is None or result.generation < entry.generation:
            return ()
        if result.outcome in _FOUND and result.moodle_course_id is not None:
            found = result.moodle_course_id
            return self._found(result.tenant, course_id, entry, found, result.completed_at, table)
        reason = result.reason or Reason.COURSE_NOT_FOUND
        is_lost = (
            entry.linked is not None
            and reason is Reason.COURSE_NOT_FOUND
            and result.generation >= entry.linked_from
        )
        linked = None if is_lost else entry.linked  # a link that leads nowhere is as none
        table.put(at, msgspec.structs.replace(entry, blocked=reason, linked=linked))
        return self._ask_again(result.tenant, course_id, result.completed_at, table) if is_lost else ()

    def _found(
        self,
        tenant: TenantId,
        course_id: CourseId,
        entry: CourseEntry,
        found: MoodleCourseId,
        now: datetime,
        table: Table,
    ) -> Iterable[Output]:
        if entry.moodle_course_id == found and entry.blocked is None:
            return ()
        is_new = entry.moodle_course_id != found
        entry = msgspec.structs.replace(entry, moodle_course_id=found, blocked=None)
        table.put(course_key(tenant, course_id), entry)
        return self._enrol_all(tenant, course_id, entry, now, table) if is_new else ()

    def _ask(
        self, tenant: TenantId, wish: Wanted, now: datetime, table: Table, *, update: bool = False
    ) -> list[Output]:
        course_id = wish.wish.course_id
        at = course_key(tenant, course_id)
        course = table.get(at, CourseEntry) or CourseEntry()
        course = msgspec.structs.replace(course, asked=True, generation=course.generation + 1)
        table.put(at, course)
        catalogue = table.get(catalogue_key(tenant, course_id), CatalogueEntry)
        if catalogue is not None:
            table.put(catalogue_key(tenant, course_id), msgspec.structs.replace(catalogue, issued=wish.wish))
        target = self.mapping.of(tenant).target
        command_id = deterministic_id(target, CommandKind.COURSE, tenant, course_id, str(course.generation))
        command = MoodleCommand(
            command_id=CommandId(command_id),
            tenant=tenant,
            target=target,
            kind=CommandKind.COURSE,
            generation=course.generation,
            issued_at=now,
            course=replace(
                wish.wish, update=update, moodle_course_id=course.linked or wish.wish.moodle_course_id
            ),
        )
        return [Output(self.sites.of(target).commands, command)]

    def _enrol(
        self,
        place: Place,
        entry: EnrolmentEntry,
        course: CourseEntry,
        now: datetime,
        table: Table,
        *,
        is_repeat: bool = False,
    ) -> Iterable[Output]:
        at = enrolment_key(*place)
        moodle_course_id = course.moodle_course_id
        if moodle_course_id is None:
            raise ValueError("an enrolment needs its Moodle course")
        status = entry.status
        if course.suspend and status is EnrolmentStatus.ACTIVE:
            status = EnrolmentStatus.SUSPENDED
        issued = Issued(
            entry.moodle_user_id,
            moodle_course_id,
            status,
            entry.role,
            entry.starts_at,
            entry.ends_at,
            entry.section_ids,
        )
        if entry.issued == issued and not is_repeat:
            table.put(at, entry)
            return ()
        state_is_known = not is_repeat and _state_is_known(entry, issued)
        entry = msgspec.structs.replace(entry, issued=issued, generation=entry.generation + 1)
        table.put(at, entry)
        return [self._command(place, entry, issued, state_is_known, now)]

    def _command(
        self, place: Place, entry: EnrolmentEntry, issued: Issued, state_is_known: bool, now: datetime
    ) -> Output:
        tenant, course_id, person_id = place
        target = self.mapping.of(tenant).target
        wish = EnrolmentWish(
            person_id=person_id,
            course_id=course_id,
            moodle_user_id=issued.moodle_user_id,
            moodle_course_id=issued.moodle_course_id,
            status=issued.status,
            role=issued.role,
            state_is_known=state_is_known,
            starts_at=issued.starts_at,
            ends_at=issued.ends_at,
            section_ids=issued.section_ids,
        )
        command_id = deterministic_id(
            target, CommandKind.ENROLMENT, tenant, course_id, person_id, str(entry.generation)
        )
        command = MoodleCommand(
            command_id=CommandId(command_id),
            tenant=tenant,
            target=target,
            kind=CommandKind.ENROLMENT,
            generation=entry.generation,
            issued_at=now,
            enrolment=wish,
        )
        return Output(self.sites.of(target).commands, command)


def _linked(course: CourseEntry, directive: Directive) -> CourseEntry:
    """Return ``course`` after ``directive``."""
    course = msgspec.structs.replace(course, directive_id=directive.directive_id)
    if directive.moodle_course_id is None:
        return course
    linked = directive.moodle_course_id
    return msgspec.structs.replace(course, linked=linked, linked_from=course.generation + 1)


def _on_enrolment_result(result: MoodleResult, table: Table) -> None:
    at = enrolment_key(result.tenant, result.course_id or CourseId(""), result.person_id or "")
    entry = table.get(at, EnrolmentEntry)
    if entry is None or result.generation < entry.generation:
        return
    refused = None if result.outcome in _FOUND else result.reason or Reason.REFUSED
    applied = entry.applied if refused else result.status
    table.put(at, msgspec.structs.replace(entry, applied=applied, refused=refused))


def _is_same(wish: Wanted, entry: CatalogueEntry) -> bool:
    return entry.issued == wish.wish


def _has_new_group(wish: Wanted, entry: CatalogueEntry) -> bool:
    """Whether a group is wished that was not asked for yet; enrolments may need it at once."""
    known = {group.section_id for group in entry.issued.groups} if entry.issued else set()
    return any(group.section_id not in known for group in wish.wish.groups)


def _enrolment(event: EnrolmentByCourse, known: EnrolmentEntry | None) -> EnrolmentEntry:
    entry = EnrolmentEntry(
        version=event.version,
        moodle_user_id=event.moodle_user_id,
        account_is_new=event.account_is_new,
        status=event.status,
        role=event.role,
        recorded_at=event.recorded_at,
        starts_at=event.starts_at,
        ends_at=event.ends_at,
        section_ids=event.section_ids,
    )
    if known is None:
        return entry
    if known.moodle_user_id != event.moodle_user_id:
        return msgspec.structs.replace(entry, generation=known.generation, directive_id=known.directive_id)
    return msgspec.structs.replace(
        entry,
        issued=known.issued,
        generation=known.generation,
        applied=known.applied,
        refused=known.refused,
        directive_id=known.directive_id,
    )


def _state_is_known(entry: EnrolmentEntry, wished: Issued) -> bool:
    """Whether the sink can do without looking the enrolment up first.

    So it is after the hub's own enrolment, and for the first one of an account that the hub has just made. To
    suspend where the hub never enrolled, the sink has to look: a suspend must not make an enrolment. It also
    has to look after a change of the role or a refusal: the person may have a role that is to be taken away.
    """
    if entry.refused is not None or (entry.issued is not None and entry.issued.role is not wished.role):
        return False
    return entry.applied is not None or (entry.account_is_new and entry.status is EnrolmentStatus.ACTIVE)
