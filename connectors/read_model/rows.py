"""What rows of the read model each record becomes. Pure, and made for many: a rebuild reads everything."""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from connectors.read_model import tables
from connectors.read_model.projection import Projection, Values
from connectors.read_model.views import DISCARD, REDRIVE
from schemas.academics import Payment, Section
from schemas.audit import AuditEntry
from schemas.calls import ApiCall
from schemas.deadletters import DeadLetter
from schemas.directives import Directive
from schemas.elm import CallbackResult, CompletionCallback
from schemas.events import Course, Enrolment, EnrolmentByCourse, Operation, Person
from schemas.moodle import CommandKind, MoodleCommand, MoodleObserved, MoodleResult
from schemas.rates import Rate
from schemas.topics import Record

_SHOWN_ENTITY: Final = 150
"""Characters of the entity of a dead letter: a message that cannot be read may have any key."""
Subject = tuple[str, str | None, str | None]
"""Tenant, person and course that a message is about."""


class Row(NamedTuple):
    """A row for the table of a projection, or the key of one that is gone.

    Attributes:
        projection: whose.
        values: in the order of the projection's columns; of one that is gone those of the key.
        is_gone: the row is to be deleted.
    """

    projection: Projection
    values: Values
    is_gone: bool = False


def rows_of(record: Record, place: str) -> Iterable[Row]:
    """Return the rows that ``record``, read at ``place``, becomes; none of a kind that is not kept."""
    make = _ROWS.get(type(record))
    return make(record, place) if make else ()


def letter_row(letter: DeadLetter) -> Row:
    """Return the row that a dead letter becomes."""
    return _letter(letter, letter.place)


def subject_of(record: Record) -> Subject | None:
    """Return what ``record`` is about, if the history of people and courses tells of it."""
    tell = _SUBJECTS.get(type(record))
    return tell(record) if tell else None


def _maker(projection: Projection, **own: str | Callable[[Any], Any]) -> Callable[[Any, str], Row]:
    """Return what makes a row: columns are fields of the record by their name, or as ``own`` tells.

    Args:
        projection: whose rows are made.
        own: of a column, the path to another field, or what makes the value of the record.
    """
    functions = {name: told for name, told in own.items() if callable(told)}
    plain = [name for name in projection.names if name not in functions and name != "place"]
    fields = attrgetter(*(str(own.get(name, name)) for name in plain))
    made = [*plain, *functions, "place"]
    ordered = itemgetter(*(made.index(name) for name in projection.names))

    def make(record: Any, place: str) -> Row:
        values = [function(record) for function in functions.values()]
        return Row(projection, ordered((*fields(record), *values, place)))

    return make


def _is_deletion(event: Any) -> bool:
    return event.operation is Operation.DELETE


def _wish(command: MoodleCommand) -> Any:
    return command.enrolment or command.user or command.course


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _of_person(result: MoodleResult) -> str:
    return "" if result.kind is CommandKind.COURSE else result.person_id or ""


def _of_course(result: MoodleResult) -> str:
    return "" if result.kind is CommandKind.USER else result.course_id or ""


_person = _maker(tables.PEOPLE, source="source_system", deleted=_is_deletion)
_course = _maker(tables.COURSES, source="source_system", deleted=_is_deletion)
_enrolment = _maker(tables.ENROLMENTS, source="source_system", deleted=_is_deletion)
_command = _maker(
    tables.COMMANDS,
    person_id=lambda command: getattr(_wish(command), "person_id", None),
    course_id=lambda command: getattr(_wish(command), "course_id", None),
    wish=lambda command: _json(_wish(command)),
)
_result = _maker(tables.RESULTS)
_standing = _maker(tables.STANDING, person_id=_of_person, course_id=_of_course)
_callback = _maker(tables.CALLBACKS)
_callback_result = _maker(tables.CALLBACK_RESULTS)
_call = _maker(tables.CALLS, references_=lambda call: list(call.references))
_rate = _maker(tables.RATES, buckets=lambda rate: list(rate.buckets))
_entry = _maker(tables.AUDIT, actor="by", details=lambda entry: _json(entry.details))
_decision = _maker(tables.LETTER_DECISIONS, actor="by")
_directive = _maker(tables.DIRECTIVES, actor="by")
_letter = _maker(
    tables.LETTERS,
    message_offset="offset",
    message_key="key",
    entity=lambda letter: letter.entity[:_SHOWN_ENTITY],
)


def _seen(projection: Projection, body: str) -> Callable[[Any, str], Row]:
    outer = ("tenant", "target", "observed_at", "place")
    return _maker(projection, **{name: f"{body}.{name}" for name in projection.names if name not in outer})


_SEEN: Final = {
    "course": _seen(tables.OBSERVED_COURSES, "course"),
    "completion": _seen(tables.COMPLETIONS, "completion"),
    "user": _seen(tables.OBSERVED_USERS, "user"),
    "enrolment": _seen(tables.OBSERVED_ENROLMENTS, "enrolment"),
    "grade": _seen(tables.GRADES, "grade"),
}


def _observed(observed: MoodleObserved, place: str) -> Iterable[Row]:
    return [make(observed, place) for body, make in _SEEN.items() if getattr(observed, body) is not None]


def _audit(entry: AuditEntry, place: str) -> Iterable[Row]:
    yield _entry(entry, place)
    if entry.action in (REDRIVE, DISCARD):
        yield _decision(entry, place)


_ROWS: Final[Mapping[type, Callable[[Any, str], Iterable[Row]]]] = {
    Person: lambda event, place: (_person(event, place),),
    Course: lambda event, place: (_course(event, place),),
    Enrolment: lambda event, place: (_enrolment(event, place),),
    MoodleCommand: lambda command, place: (_command(command, place),),
    MoodleResult: lambda result, place: (_result(result, place), _standing(result, place)),
    MoodleObserved: _observed,
    CompletionCallback: lambda callback, place: (_callback(callback, place),),
    CallbackResult: lambda result, place: (_callback_result(result, place),),
    ApiCall: lambda call, place: (_call(call, place),),
    Rate: lambda rate, place: (_rate(rate, place),),
    AuditEntry: _audit,
    Directive: lambda directive, place: (_directive(directive, place),),
}


def _of_both(record: Any) -> Subject:
    return record.tenant, record.person_id, record.course_id


def _of_wish(command: MoodleCommand) -> Subject:
    wish: Any = _wish(command)
    return command.tenant, getattr(wish, "person_id", None), getattr(wish, "course_id", None)


def _of_seen(observed: MoodleObserved) -> Subject:
    body: Any = (
        observed.enrolment or observed.completion or observed.grade or observed.user or observed.course
    )
    return observed.tenant, getattr(body, "person_id", None), getattr(body, "course_id", None)


_SUBJECTS: Final[Mapping[type, Callable[[Any], Subject]]] = {
    Person: lambda event: (event.tenant, event.person_id, None),
    Payment: lambda event: (event.tenant, event.person_id, None),
    Course: lambda event: (event.tenant, None, event.course_id),
    Section: lambda event: (event.tenant, None, event.course_id),
    Enrolment: _of_both,
    EnrolmentByCourse: _of_both,
    MoodleCommand: _of_wish,
    MoodleResult: _of_both,
    MoodleObserved: _of_seen,
    CompletionCallback: _of_both,
    CallbackResult: _of_both,
    Directive: _of_both,
}
KEPT: Final = frozenset({*_ROWS, *_SUBJECTS})
"""The types of the records that are kept."""
