"""The completions stage: joins what Moodle completed with the learner's own ELM enrolment. Keyed by person.

A completion whose learner or enrolment the hub does not know is parked and goes on when they come. One
completion (person, course, day) makes one callback, however often it is seen.
"""

from collections.abc import Iterable
from collections.abc import Mapping as Texts
from dataclasses import dataclass
from datetime import date, datetime

import msgspec

from infra.mapping import Mapping, Waiting
from infra.stage import Output, Table
from processors.expiry import late, letter, renewed
from schemas.directives import Directive, DirectiveKind
from schemas.elm import CallbackOutcome, CallbackResult, CompletionCallback
from schemas.events import Enrolment, Operation, Person
from schemas.ids import CallbackId, CourseId, EnrolmentId, PersonId, TenantId, deterministic_id, key, split
from schemas.joins import Tick
from schemas.moodle import CommandKind, MoodleObserved
from schemas.reasons import Reason
from schemas.topics import TopicSet
from schemas.version import Version

ELM = "elm"
"""The source system whose enrolments get completion callbacks."""


class LearnerEntry(msgspec.Struct, frozen=True, array_like=True):
    """The learner as the newest event says."""

    version: Version
    email: str
    first_name: str
    last_name: str


class EnrolmentEntry(msgspec.Struct, frozen=True, array_like=True):
    """The newest ELM enrolment of the learner in a course."""

    version: Version
    enrolment_id: EnrolmentId
    attributes: Texts[str, str]


class CompletionEntry(msgspec.Struct, frozen=True, array_like=True):
    """A completion seen in Moodle, and what became of the callback.

    Attributes:
        callback_id: none while it waits for the learner or the enrolment.
        outcome: none until ELM has it.
        refused: why ELM did not take it.
        expired: it has waited too long and waits no more; see `processors.expiry`.
        renewed_at: since when it waits again after that.
        asked_at: when somebody last asked that ELM be told once more.
    """

    completed_on: date
    observed_at: datetime
    callback_id: CallbackId | None = None
    outcome: CallbackOutcome | None = None
    refused: Reason | None = None
    expired: bool = False
    renewed_at: datetime | None = None
    asked_at: datetime | None = None


def learner_key(tenant: TenantId, person: PersonId) -> str:
    """Return the state key of a learner."""
    return key("learner", tenant, person)


def enrolment_key(tenant: TenantId, person: PersonId, course: CourseId) -> str:
    """Return the state key of a learner's enrolment in a course."""
    return key("enrolment", tenant, person, course)


def completion_key(tenant: TenantId, person: PersonId, course: CourseId | str) -> str:
    """Return the state key of a completion; with course "" the prefix of all of the learner's."""
    return key("completion", tenant, person, course)


def waits(completion: CompletionEntry) -> bool:
    """Whether ``completion`` is parked for want of the learner's ELM enrolment."""
    return completion.callback_id is None and not completion.expired


def _is_asked_anew(completion: CompletionEntry, directive: Directive) -> bool:
    """Tell whether ``directive`` asks for another callback; the same one may come twice."""
    before = completion.asked_at
    return completion.callback_id is not None and (before is None or directive.issued_at > before)


@dataclass(frozen=True, slots=True)
class CompletionsStage:
    """The handlers, bound to the rules and to their topics."""

    mapping: Mapping
    topics: TopicSet

    def on_person(self, event: Person, table: Table) -> Iterable[Output]:
        """Keep the learner's newest name and address; let waiting completions go on."""
        at = learner_key(event.tenant, event.person_id)
        known = table.get(at, LearnerEntry)
        if event.operation is Operation.DELETE or (known and event.version < known.version):
            return ()
        learner = LearnerEntry(
            event.version, event.email or "", event.first_name or "", event.last_name or ""
        )
        if learner == known:
            return ()
        table.put(at, learner)
        if known is not None:
            return ()
        outputs: list[Output] = []
        for place, completion in table.scan(
            completion_key(event.tenant, event.person_id, ""), CompletionEntry
        ):
            course = CourseId(split(place)[-1])
            outputs += self._call_back(event.tenant, event.person_id, course, completion, table)
        return outputs

    def on_enrolment(self, event: Enrolment, table: Table) -> Iterable[Output]:
        """Keep the newest ELM enrolment; let a completion that waits for it go on."""
        if event.source_system != ELM:
            return ()
        at = enrolment_key(event.tenant, event.person_id, event.course_id)
        known = table.get(at, EnrolmentEntry)
        if known and event.version < known.version:
            return ()
        enrolment = EnrolmentEntry(event.version, event.enrolment_id, event.attributes)
        if enrolment == known:
            return ()
        table.put(at, enrolment)
        waiting = table.get(completion_key(event.tenant, event.person_id, event.course_id), CompletionEntry)
        if waiting is None:
            return ()
        return self._call_back(event.tenant, event.person_id, event.course_id, waiting, table)

    def on_observed(self, observed: MoodleObserved, table: Table) -> Iterable[Output]:
        """Take a completion; a second sight of the same day is nothing new."""
        seen = observed.completion
        if seen is None:
            return ()
        at = completion_key(observed.tenant, seen.person_id, seen.course_id)
        known = table.get(at, CompletionEntry)
        if known is not None and known.completed_on == seen.completed_on:
            return ()
        completion = CompletionEntry(seen.completed_on, observed.observed_at)
        table.put(at, completion)
        return self._call_back(observed.tenant, seen.person_id, seen.course_id, completion, table)

    def on_result(self, result: CallbackResult, table: Table) -> Iterable[Output]:
        """Keep what became of the callback."""
        at = completion_key(result.tenant, result.person_id, result.course_id)
        completion = table.get(at, CompletionEntry)
        if completion is not None and completion.callback_id == result.callback_id:
            refused = result.reason if result.outcome is CallbackOutcome.REJECTED else None
            table.put(at, msgspec.structs.replace(completion, outcome=result.outcome, refused=refused))
        return ()

    def on_directive(self, directive: Directive, table: Table) -> Iterable[Output]:
        """Let completions of a person that have expired go on or wait again, or the one that is named.

        The one that is named is told to ELM once more if it was told already.
        """
        tenant, person = directive.tenant, directive.person_id
        is_meant = directive.kind is DirectiveKind.REASSERT and directive.subject is CommandKind.USER
        outputs: list[Output] = []
        if not is_meant or person is None:
            return outputs
        for at, completion in table.scan(completion_key(tenant, person, ""), CompletionEntry):
            course = CourseId(split(at)[-1])
            if completion.expired and directive.course_id in (None, course):
                again = renewed(directive.issued_at, table)
                entry = msgspec.structs.replace(completion, expired=False, renewed_at=again)
                table.put(at, entry)
                outputs += self._call_back(tenant, person, course, entry, table)
            elif directive.course_id == course and _is_asked_anew(completion, directive):
                asked = msgspec.structs.replace(
                    completion, callback_id=None, outcome=None, refused=None, asked_at=directive.issued_at
                )
                outputs += self._call_back(tenant, person, course, asked, table)
        return outputs

    def on_tick(self, tick: Tick, table: Table) -> Iterable[Output]:
        """End what waits too long."""

        def since(_: str, completion: CompletionEntry) -> datetime | None:
            return (completion.renewed_at or completion.observed_at) if waits(completion) else None

        outputs = []
        for at, completion, began in late(
            Waiting.COMPLETION, since, CompletionEntry, self.mapping, tick.at, table
        ):
            table.put(at, msgspec.structs.replace(completion, expired=True))
            _, tenant, person, course = split(at)
            place = TenantId(tenant), PersonId(person), CourseId(course)
            of = "learner or enrolment"
            outputs.append(letter(self.topics.directives, CommandKind.USER, place, of, began, tick.at))
        return outputs

    def _call_back(
        self,
        tenant: TenantId,
        person: PersonId,
        course: CourseId,
        completion: CompletionEntry,
        table: Table,
    ) -> list[Output]:
        learner = table.get(learner_key(tenant, person), LearnerEntry)
        enrolment = table.get(enrolment_key(tenant, person, course), EnrolmentEntry)
        if not waits(completion) or learner is None or enrolment is None:
            return []
        parts = [tenant, person, course, completion.completed_on.isoformat()]
        if completion.asked_at is not None:
            parts.append(completion.asked_at.isoformat())
        callback_id = CallbackId(deterministic_id("callback", *parts))
        table.put(
            completion_key(tenant, person, course),
            msgspec.structs.replace(completion, callback_id=callback_id),
        )
        attributes = dict(enrolment.attributes)
        callback = CompletionCallback(
            callback_id=callback_id,
            tenant=tenant,
            enrolment_id=enrolment.enrolment_id,
            person_id=person,
            course_id=course,
            course_short_name=attributes.pop("course_short_name", ""),
            email=learner.email,
            first_name=learner.first_name,
            last_name=learner.last_name,
            completed_on=completion.completed_on,
            issued_at=completion.observed_at,
            attributes=attributes,
        )
        return [Output(self.topics.callbacks, callback)]
