"""Dead letters: messages that a stage or connector could not read or act on, as they lie in their topics.

A dead letter is the message as it was (key, value, headers) with further headers that tell why it ended here.
Those named ``__connect.errors.*`` are Kafka Connect's own (KIP-298), so that tools for its dead letters read
ours as well.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple, TypeVar

from schemas.convert import RecordError
from schemas.reasons import Reason

T = TypeVar("T")
Header = tuple[str, bytes | None]
Headers = Sequence[Header]

CONNECT: Final = "__connect.errors."
OURS: Final = "rosterhub."
TOPIC: Final = CONNECT + "topic"
PARTITION: Final = CONNECT + "partition"
OFFSET: Final = CONNECT + "offset"
CONNECTOR: Final = CONNECT + "connector.name"
STAGE: Final = CONNECT + "stage"
ERROR_CLASS: Final = CONNECT + "exception.class.name"
ERROR: Final = CONNECT + "exception.message"
TENANT: Final = OURS + "tenant"
KIND: Final = OURS + "kind"
ENTITY: Final = OURS + "entity"
REASON: Final = OURS + "reason"
ATTEMPT: Final = OURS + "attempt"
"""How often the message has failed by now. A message that is redriven keeps this header, to be counted on."""
FAILED_AT: Final = OURS + "failed-at"
LEFT_OUT: Final = OURS + "left-out"
"""Only where the message was too large to be kept in the letter: its size in bytes."""


class Step(StrEnum):
    """Where the message failed, in the words of Kafka Connect."""

    VALUE_CONVERTER = "VALUE_CONVERTER"
    """It could not be read."""
    TRANSFORMATION = "TRANSFORMATION"
    """The handler of a stage rejected it."""
    TASK_PUT = "TASK_PUT"
    """The other system does not take it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """One message as it was, and why it ended here."""

    role: str
    """The stage or sink that it failed at."""
    topic: str
    """Where the message itself lies: topic, partition and offset."""
    partition: int
    offset: int
    step: Step
    reason: Reason
    error_class: str
    error: str
    """What was wrong, naming the field; without personal data."""
    failed_at: datetime
    attempt: int = 1
    tenant: str = ""
    """Empty where the message cannot be read; so is the kind."""
    kind: str = ""
    """As of `about`."""
    entity: str = ""
    """As of `about`; the message key where the message cannot be read."""
    message_key: bytes | None = None
    message_value: bytes | None = None
    message_headers: Headers = ()
    """Without those of a dead letter."""
    left_out: int | None = None
    """Of a message too large for a letter: its size in bytes; value and headers are then left out."""
    place: str = ""
    """Where the letter itself lies: ``topic/partition/offset``; empty before it is written."""

    @property
    def key(self) -> str:
        """The message key as text."""
        return (self.message_key or b"").decode("utf-8", "replace")


class RawMessage(NamedTuple):
    """Key, value and headers of a message."""

    key: bytes | None
    value: bytes | None
    headers: Headers


def to_message(letter: DeadLetter) -> RawMessage:
    """Return ``letter`` as a message of a topic of dead letters."""
    told: dict[str, str] = {
        TOPIC: letter.topic,
        PARTITION: str(letter.partition),
        OFFSET: str(letter.offset),
        CONNECTOR: letter.role,
        STAGE: letter.step,
        ERROR_CLASS: letter.error_class,
        ERROR: letter.error,
        TENANT: letter.tenant,
        KIND: letter.kind,
        ENTITY: letter.entity,
        REASON: letter.reason,
        ATTEMPT: str(letter.attempt),
        FAILED_AT: letter.failed_at.isoformat(),
    }
    if letter.left_out is not None:
        told[LEFT_OUT] = str(letter.left_out)
    own = [(name, text.encode()) for name, text in told.items()]
    return RawMessage(letter.message_key, letter.message_value, [*letter.message_headers, *own])


def from_message(key: bytes | None, value: bytes | None, headers: Headers, place: str) -> DeadLetter:
    """Return the dead letter that lies at ``place`` (``topic/partition/offset``) of a topic of dead letters.

    Raises:
        RecordError: it is none of ours; the text names the header.
    """
    told = _told(headers)
    return DeadLetter(
        role=_read(str, told, CONNECTOR),
        topic=_read(str, told, TOPIC),
        partition=_read(int, told, PARTITION),
        offset=_read(int, told, OFFSET),
        step=_read(Step, told, STAGE),
        reason=_read(Reason, told, REASON),
        error_class=_read(str, told, ERROR_CLASS),
        error=_read(str, told, ERROR),
        failed_at=_read(datetime.fromisoformat, told, FAILED_AT),
        attempt=_read(int, told, ATTEMPT),
        tenant=_read(str, told, TENANT),
        kind=_read(str, told, KIND),
        entity=_read(str, told, ENTITY),
        message_key=key,
        message_value=value,
        message_headers=without_ours(headers),
        left_out=_read(int, told, LEFT_OUT) if LEFT_OUT in told else None,
        place=place,
    )


def without_ours(headers: Headers) -> tuple[Header, ...]:
    """Return ``headers`` in their order without those that make a message a dead letter."""
    return tuple((name, value) for name, value in headers if not name.startswith((CONNECT, OURS)))


def attempts(headers: Headers) -> int:
    """Return how often a message with these ``headers`` has failed before; 0 for one that is not redriven."""
    text = _told(headers).get(ATTEMPT, "")
    return int(text) if text.isdecimal() else 0


def again(letter: DeadLetter) -> RawMessage:
    """Return the message of ``letter`` as it goes back to its topic: as it was, and its attempts counted."""
    counted = (ATTEMPT, str(letter.attempt).encode())
    return RawMessage(letter.message_key, letter.message_value, [*letter.message_headers, counted])


class About(NamedTuple):
    """What a record is about.

    Attributes:
        tenant: empty for a record of no tenant.
        kind: the type of the record, such as ``person``; of one of several kinds also that, such as
            ``moodle.command.user``.
        entity: ``person/ID``, ``course/ID`` or ``enrolment/PERSON/COURSE``; the message key of any other.
    """

    tenant: str
    kind: str
    entity: str


def about(record: Any) -> About:
    """Return what ``record``, of any topic, is about."""
    kind = str(record.TYPE).removeprefix("rosterhub.")
    own = getattr(record, "kind", None)
    named = f"{kind}.{own.lower()}" if isinstance(own, StrEnum) else kind
    return About(getattr(record, "tenant", ""), named, _entity(record))


def _entity(record: Any) -> str:
    bodies = (getattr(record, name, None) for name in ("user", "course", "enrolment", "completion", "grade"))
    body = next((one for one in bodies if one is not None), record)
    person, course = getattr(body, "person_id", None), getattr(body, "course_id", None)
    if person is not None and course is not None:
        return f"enrolment/{person}/{course}"
    if person is not None:
        return f"person/{person}"
    return f"course/{course}" if course is not None else _key(record)


def _key(record: Any) -> str:
    try:
        return str(record.key)
    except ValueError:  # a command without a body
        return ""


def _told(headers: Headers) -> dict[str, str]:
    """Return the headers of a dead letter by name; the last of each name, as others may write them too."""
    return {
        name: (value or b"").decode("utf-8", "replace")
        for name, value in headers
        if name.startswith((CONNECT, OURS))
    }


def _read(parse: Callable[[str], T], told: Mapping[str, str], name: str) -> T:
    if name not in told:
        msg = f"no dead letter of the hub: the header {name} is missing"
        raise RecordError(msg)
    try:
        return parse(told[name])
    except ValueError:
        msg = f"no dead letter of the hub: the header {name} cannot be understood"
        raise RecordError(msg) from None
