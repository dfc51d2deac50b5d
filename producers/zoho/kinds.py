"""What each raw record of Zoho means beside what is known: kept, waiting, or refused. Pure.

A class with a teacher also gives that teacher's enrolment. It is a companion of the class: the class itself
never waits for its teacher, the teacher's enrolment does.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from typing import Any, Final

from infra.stage import Output
from producers.candidates import Answer, Candidate, Invalid, Skipped, SourceRecord, Valid
from producers.linked import DELETED, Follow, Kinds, Known, LinkedKind, Ref, Waiting, nothing_follows
from producers.zoho import instalments, records, to_events, values
from producers.zoho.records import MODIFIED, FieldProblem, Kind, attributes_of
from producers.zoho.to_events import Change, ZohoRules
from schemas.academics import Payment
from schemas.events import Operation
from schemas.ids import PersonId
from schemas.topics import PAYMENTS
from schemas.version import Version

TEACHING: Final = "teaching"
"""Kind of the teacher's enrolment of a class; its id is that of the class."""
NO_CLASS: Final = "no_usable_class"
"""Reason for which a class that cannot be used has no teacher's enrolment; it is not answered."""


@dataclass(frozen=True, slots=True)
class Deleted:
    """A raw record that says that the source no longer has a record.

    Attributes:
        record_id: of that record.
        time: when it was deleted (UTC), if the source says so.
    """

    record_id: str
    time: datetime | None = None


Make = Callable[[Mapping[str, Any], Change], Output]

_EVENTS: Final[Mapping[str, Make]] = {
    "person": to_events.person,
    "program": to_events.program,
    "course": to_events.course,
    "enrolment": to_events.enrolment,
    "registration": to_events.registration,
    "payment": to_events.payment,
    "unit": to_events.unit,
    "grade": to_events.grade,
    TEACHING: to_events.teaching,
}
_AWAITED: Final = {need.kind for kind in records.SYNCED for need in kind.needs}
_GIVEN: Final = {"person": ("person_id",), "course": ("course_id",), "registration": ("person_id",)}
"""What dependants take over from the record that they need."""


def zoho_kinds(rules: ZohoRules) -> dict[str, LinkedKind]:
    """Return how the records of each kind are read, by the name of the kind in the sync API."""
    return {name: _linked(kind, rules) for name, kind in records.KINDS.items()}


def by_kept_kind(kinds: Mapping[str, LinkedKind]) -> Kinds:
    """Return the same kinds under the names by which their records are kept and parked."""
    own = {kind.name: kind for kind in kinds.values()}
    return own | {companion.name: companion for kind in kinds.values() for companion in kind.companions}


def _linked(kind: Kind, rules: ZohoRules) -> LinkedKind:
    return LinkedKind(
        name=kind.kept_as,
        refs=partial(_refs, kind),
        parse=partial(_parse, kind, rules),
        follow=_follow(kind, rules),
        companions=(_teaching(rules),) if kind is records.CLASSES else (),
        is_awaited=kind.kept_as in _AWAITED,
    )


def _follow(kind: Kind, rules: ZohoRules) -> Follow:
    if kind is records.ENROLLMENTS:
        return partial(_moved, rules)
    return _not_owed_before if kind in (records.REGISTRATIONS, records.PAYMENTS) else nothing_follows


def _refs(kind: Kind, raw: object) -> Sequence[Ref]:
    if isinstance(raw, Deleted):
        return (Ref(kind.kept_as, raw.record_id),)
    if not kind.needs:
        return ()
    content = kind.read_only(raw, ("id", *(need.field for need in kind.needs)))
    needed = [Ref(need.kind, content[need.field]) for need in kind.needs if need.field in content]
    # The schedule of a registration is compared with the one before, for what vanished from it.
    has_own = kind is records.REGISTRATIONS and "id" in content
    own = [Ref(kind.kept_as, content["id"])] if has_own else []
    return (*own, *needed)


def _parse(
    kind: Kind, rules: ZohoRules, raw: object, known: Known, received_at: datetime
) -> Candidate | Waiting:
    if isinstance(raw, Deleted):
        return _deleted(kind, rules, raw, known, received_at)
    try:
        content = kind.read(raw)
        version = version_of(raw, received_at)
        if waiting := _missing(kind, content, known, version):
            return waiting
        _add_ids(kind, rules, content, known)
        change = Change(rules, content["id"], Operation.UPSERT, version, received_at)
        return Valid((*_parts(kind, content, known, change), _record(kind.kept_as, content, change)))
    except FieldProblem as problem:
        return Invalid(kind.kept_as, records.id_of(raw, kind), raw, problem.field, problem.reason)


def version_of(raw: object, received_at: datetime) -> Version:
    """Return the version of a record: Zoho's own time of its last change, else the time of receipt.

    Raises:
        FieldProblem: the time cannot be read.
    """
    fields: Mapping[str, Any] = raw if isinstance(raw, Mapping) else {}
    for name in MODIFIED:
        if not values.is_blank(fields.get(name)):
            try:
                return Version(values.moment(fields[name]), 0)
            except values.ValueProblem as problem:
                raise FieldProblem(name, str(problem)) from None
    return Version(received_at, 0)


def _missing(kind: Kind, content: Mapping[str, Any], known: Known, version: Version) -> Waiting | None:
    for need in kind.needs:
        if need.field in content:
            ref = Ref(need.kind, content[need.field])
            if ref not in known:
                return Waiting(kind.kept_as, content["id"], ref, need.reason, version)
    return None


def _add_ids(kind: Kind, rules: ZohoRules, content: dict[str, Any], known: Known) -> None:
    """Put the hub's ids of people and courses into ``content``."""
    if kind.kept_as in ("person", "course"):
        content[f"{kind.kept_as}_id"] = _identity(kind.kept_as, rules, content)
    for need in kind.needs:
        other = known.get(Ref(need.kind, content.get(need.field, "")), {})
        content |= {name: other[name] for name in _GIVEN.get(need.kind, ()) if name in other}


def _identity(what: str, rules: ZohoRules, content: Mapping[str, Any]) -> str:
    attributes = attributes_of(content)
    found = rules.identity.person(attributes) if what == "person" else rules.identity.course(attributes)
    if found is None:
        missing = rules.identity.missing(what, attributes)
        reason = f"is missing, and the rule for the id of a {what} needs it"
        raise FieldProblem(missing, reason)
    return found


def _record(kept_as: str, content: Mapping[str, Any], change: Change) -> SourceRecord:
    outputs = (_EVENTS[kept_as](content, change),)
    return SourceRecord(kept_as, change.record_id, change.version, content, outputs)


def _parts(kind: Kind, content: Mapping[str, Any], known: Known, change: Change) -> tuple[SourceRecord, ...]:
    if kind is not records.REGISTRATIONS:
        return ()
    return instalments.records_of(content, known.get(Ref(kind.kept_as, change.record_id), {}), change)


def _deleted(kind: Kind, rules: ZohoRules, raw: Deleted, known: Known, received_at: datetime) -> Valid:
    """Return the deletion with what was last known of the record; of an unknown one there is no event."""
    last = known.get(Ref(kind.kept_as, raw.record_id), {})
    content = {**last, "id": raw.record_id, DELETED: True}
    change = Change(rules, raw.record_id, Operation.DELETE, Version(raw.time or received_at, 0), received_at)
    if last.keys() - {"id", DELETED}:
        parts = _parts(kind, {**content, "payment_schedule": []}, known, change)
        return Valid((*parts, _record(kind.kept_as, content, change)))
    return Valid((SourceRecord(kind.kept_as, raw.record_id, change.version, content, ()),))


def _teaching(rules: ZohoRules) -> LinkedKind:
    return LinkedKind(
        name=TEACHING,
        refs=_teaching_refs,
        parse=partial(_parse_teaching, rules),
        follow=partial(_moved, rules),
        is_awaited=False,
    )


def _teaching_refs(raw: object) -> Sequence[Ref]:
    if isinstance(raw, Deleted):
        return (Ref(TEACHING, raw.record_id),)
    content = records.CLASSES.read_only(raw, ("id", "teacher_id"))
    named = {"id": TEACHING, "teacher_id": "person"}
    return [Ref(kind, content[name]) for name, kind in named.items() if name in content]


def _parse_teaching(
    rules: ZohoRules, raw: object, known: Known, received_at: datetime
) -> Candidate | Waiting:
    if isinstance(raw, Deleted):
        version = Version(raw.time or received_at, 0)
        return _no_teacher(rules, raw.record_id, known, version, received_at)
    try:
        lesson = records.CLASSES.read(raw)
        version = version_of(raw, received_at)
        course_id = _identity("course", rules, lesson)
    except FieldProblem:
        return Skipped(TEACHING, records.id_of(raw, records.CLASSES) or "", NO_CLASS)
    teacher = lesson.get("teacher_id")
    if teacher is None:
        return _no_teacher(rules, lesson["id"], known, version, received_at)
    ref = Ref("person", teacher)
    if ref not in known:
        return Waiting(TEACHING, lesson["id"], ref, "teacher_not_synced_yet", version)
    content = {
        "id": lesson["id"],
        "teacher_id": teacher,
        "person_id": known[ref]["person_id"],
        "course_id": course_id,
    }
    change = Change(rules, lesson["id"], Operation.UPSERT, version, received_at)
    return Valid((_record(TEACHING, content, change),))


def _no_teacher(
    rules: ZohoRules, class_id: str, known: Known, version: Version, received_at: datetime
) -> Valid:
    last = known.get(Ref(TEACHING, class_id), {})
    content = {**last, "id": class_id, DELETED: True}
    change = Change(rules, class_id, Operation.DELETE, version, received_at)
    if "person_id" in last:
        return Valid((_record(TEACHING, content, change),))
    return Valid((SourceRecord(TEACHING, class_id, version, content, ()),))


def _moved(rules: ZohoRules, candidate: Valid, answer: Answer) -> Sequence[Output]:
    """Return the end of the enrolment of the person, or in the course, that the record had before."""
    record, changes = candidate.records[-1], answer.changes or {}
    before = {name: changes.get(name, [record.content.get(name)])[0] for name in ("person_id", "course_id")}
    if not changes.keys() & before.keys() or None in before.values():
        return ()
    change = Change(rules, record.record_id, Operation.DELETE, record.version, _recorded_at(record))
    return (_EVENTS[record.kind]({**record.content, **before}, change),)


def _not_owed_before(candidate: Valid, answer: Answer) -> Sequence[Output]:
    """Return the end of payments as those of the person whose they were, when they are another's now."""
    before = (answer.changes or {}).get("person_id", [None])[0]
    if before is None:
        return ()
    events = [output.record for record in candidate.records for output in record.events]
    owed = [event for event in events if isinstance(event, Payment)]
    gone = [replace(event, operation=Operation.DELETE, person_id=PersonId(before)) for event in owed]
    return [Output(PAYMENTS, event) for event in gone]


def _recorded_at(record: SourceRecord) -> datetime:
    """Return when the record was received, as its events tell."""
    told = (getattr(output.record, "recorded_at", None) for output in record.events)
    return next((moment for moment in told if moment is not None), record.version.time)
