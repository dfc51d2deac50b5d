"""What rows of the read model each record becomes. Pure, and made for many: a rebuild reads everything."""

from collections.abc import Callable, Iterable, Mapping
from operator import attrgetter, itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from connectors.read_model import tables
from connectors.read_model.tables import Projection
from schemas.deadletters import DeadLetter
from schemas.elm import CallbackResult, CompletionCallback
from schemas.events import Course, Enrolment, Operation, Person
from schemas.moodle import CommandKind, MoodleCommand, MoodleObserved, MoodleResult
from schemas.topics import Record

Values = tuple[Any, ...]


class Row(NamedTuple):
    """A row for the table of a projection: its values in the order of the projection's columns."""

    projection: Projection
    values: Values


def rows_of(record: Record, place: str) -> Iterable[Row]:
    """Return the rows that ``record``, read at ``place``, becomes; none of a kind that is not kept."""
    make = _ROWS.get(type(record))
    return make(record, place) if make else ()


def _maker(projection: Projection, **own: Callable[[Any], Any]) -> Callable[[Any, str], Row]:
    """Return what makes a row: ``own`` columns as told, the others are fields of the record by name."""
    plain = [name for name in projection.names if name not in own and name != "place"]
    fields, functions = attrgetter(*plain), tuple(own.values())
    made = [*plain, *own, "place"]
    ordered = itemgetter(*(made.index(name) for name in projection.names))

    def make(record: Any, place: str) -> Row:
        own_values = [function(record) for function in functions]
        return Row(projection, ordered((*fields(record), *own_values, place)))

    return make


_source = attrgetter("source_system")
_wish_of = {"USER": attrgetter("user"), "COURSE": attrgetter("course"), "ENROLMENT": attrgetter("enrolment")}


def _is_deletion(event: Any) -> bool:
    return event.operation is Operation.DELETE


def _wish(command: MoodleCommand) -> Any:
    return _wish_of[command.kind](command)


def _of_person(result: MoodleResult) -> str:
    return "" if result.kind is CommandKind.COURSE else result.person_id or ""


def _of_course(result: MoodleResult) -> str:
    return "" if result.kind is CommandKind.USER else result.course_id or ""


_person = _maker(tables.PEOPLE, source=_source, deleted=_is_deletion)
_course = _maker(tables.COURSES, source=_source, deleted=_is_deletion)
_enrolment = _maker(tables.ENROLMENTS, source=_source, deleted=_is_deletion)
_command = _maker(
    tables.COMMANDS,
    person_id=lambda command: getattr(_wish(command), "person_id", None),
    course_id=lambda command: getattr(_wish(command), "course_id", None),
    wish=lambda command: msgspec.json.encode(_wish(command)).decode(),
)
_result = _maker(tables.RESULTS)
_standing = _maker(tables.STANDING, person_id=_of_person, course_id=_of_course)
_callback = _maker(tables.CALLBACKS)
_callback_result = _maker(tables.CALLBACK_RESULTS)
_dead_letter = _maker(tables.DEAD_LETTERS, message_offset=attrgetter("offset"), message_key=attrgetter("key"))


def _seen(projection: Projection, body: str) -> Callable[[Any, str], Row]:
    outer = ("tenant", "target", "observed_at")
    inner = [name for name in projection.names if name not in (*outer, "place")]
    return _maker(projection, **{name: attrgetter(f"{body}.{name}") for name in inner})


_seen_course = _seen(tables.OBSERVED_COURSES, "course")
_seen_completion = _seen(tables.COMPLETIONS, "completion")


def _observed(observed: MoodleObserved, place: str) -> Iterable[Row]:
    if observed.course is not None:
        return (_seen_course(observed, place),)
    return (_seen_completion(observed, place),) if observed.completion is not None else ()


_ROWS: Final[Mapping[type, Callable[[Any, str], Iterable[Row]]]] = {
    Person: lambda event, place: (_person(event, place),),
    Course: lambda event, place: (_course(event, place),),
    Enrolment: lambda event, place: (_enrolment(event, place),),
    MoodleCommand: lambda command, place: (_command(command, place),),
    MoodleResult: lambda result, place: (_result(result, place), _standing(result, place)),
    MoodleObserved: _observed,
    CompletionCallback: lambda callback, place: (_callback(callback, place),),
    CallbackResult: lambda result, place: (_callback_result(result, place),),
    DeadLetter: lambda letter, place: (_dead_letter(letter, place),),
}
KEPT: Final = tuple(_ROWS)
"""The types of the records that are kept."""
