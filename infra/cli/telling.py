"""What a record says, in one line: what is new against the one before; personal data only if asked for."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from schemas.audit import AuditEntry
from schemas.directives import Directive
from schemas.elm import CallbackResult, CompletionCallback
from schemas.events import EnrolmentByCourse
from schemas.moodle import MoodleCommand, MoodleObserved, MoodleResult
from schemas.topics import Record

PERSONAL: Final = frozenset(
    ("username", "email", "first_name", "last_name", "attributes", "profile_fields", "amount")
)
"""Fields that hold personal data, or may do so."""
_WORDS: Final[Mapping[type, str]] = {
    MoodleCommand: "command",
    MoodleResult: "result",
    MoodleObserved: "observed",
    CompletionCallback: "callback",
    CallbackResult: "callback result",
    Directive: "directive",
    AuditEntry: "audit",
    EnrolmentByCourse: "passed on",
}
_BODIES: Final = ("user", "course", "enrolment", "completion")
_LEFT_OUT: Final = frozenset(
    ("tenant", "issued_at", "completed_at", "observed_at", "recorded_at", "version_sequence")
)
_IDENTITY: Final = (
    "kind",
    "person_id",
    "course_id",
    "target",
    "source_system",
    "source_record_id",
    "enrolment_id",
)
_HIDDEN: Final = "(hidden)"


def word_of(record: Record) -> str:
    """Return what ``record`` is: ``event`` for everything that sources say, or ``command`` and the like."""
    return _WORDS.get(type(record), "event")


def fields_of(record: Record) -> dict[str, Any]:
    """Return what ``record`` says, by name and as plain values; a command's wish as if it were its own."""
    plain: dict[str, Any] = msgspec.to_builtins(record)
    for name in _BODIES:
        if isinstance(plain.get(name), dict):
            plain |= plain.pop(name)
    return {name: value for name, value in plain.items() if name not in _LEFT_OUT}


def identity_of(record: Record) -> dict[str, Any]:
    """Return what ``record`` is about, by name; those about the same are told by what is new each time."""
    plain = fields_of(record)
    return {name: plain[name] for name in _IDENTITY if not is_empty(plain.get(name))}


def is_empty(value: Any) -> bool:
    """Tell whether ``value`` says nothing; false and 0 do."""
    return value is None or value in ("", (), [], {})


def news(record: Record, before: Record | None, *, full: bool) -> dict[str, Any]:
    """Return the fields of ``record`` that say something new, by name.

    Args:
        record: what is told.
        before: the one before it that is about the same; none: it is the first.
        full: tell personal data; otherwise it stands hidden.
    """
    old = {} if before is None else fields_of(before)
    new = fields_of(record)
    changed = {name: value for name, value in new.items() if _is_news(value, name in old, old.get(name))}
    return {name: _shown(name, value, full=full) for name, value in changed.items()}


def line_of(told: Mapping[str, Any]) -> str:
    """Return fields as one line."""
    return " ".join(_words(told))


def _is_news(value: Any, has_old: bool, old: Any) -> bool:
    return value != old if has_old else not is_empty(value)


def _shown(name: str, value: Any, *, full: bool) -> Any:
    return value if full or name not in PERSONAL or is_empty(value) else _HIDDEN


def _words(told: Mapping[str, Any]) -> Iterator[str]:
    for name, value in told.items():
        text = "-" if is_empty(value) else value
        if isinstance(text, (dict, list, tuple)):
            text = msgspec.json.encode(text).decode()
        yield f"{name}={text}"
