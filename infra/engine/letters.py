"""Dead letters made of messages that could not be read or acted on."""

from datetime import UTC, datetime
from typing import Final

from confluent_kafka import Message

from infra.codec import UnreadableError
from infra.engine.envelope import headers_of
from infra.errors import Rejected
from infra.stage import Output
from schemas.deadletters import About, DeadLetter, Headers, Step, about, attempts, without_ours
from schemas.reasons import Reason
from schemas.topics import Record

NOWHERE: Final = -1
"""The offset of a message that was never in its topic."""
_LARGEST = 900_000
"""Bytes of a message that still fit, with what a letter adds, under Kafka's usual limit of 1 MiB."""


def unreadable(role: str, message: Message, error: UnreadableError) -> DeadLetter:
    """Return ``message``, which ``role`` could not read, as a dead letter."""
    key = (message.key() or b"").decode("utf-8", "replace")
    return _letter(role, message, About("", "", key), Step.VALUE_CONVERTER, Reason.UNREADABLE, error)


def refused(role: str, message: Message, record: Record, step: Step, error: Rejected) -> DeadLetter:
    """Return ``message``, which held ``record``, as a dead letter."""
    return _letter(role, message, about(record), step, error.reason, error)


def held_back(role: str, message: Message, output: Output, error: Rejected, value: bytes) -> DeadLetter:
    """Return ``output``, which ``role`` does not send, as a dead letter.

    It lies nowhere else, so its offset is -1. Its key is of the partition of ``message``.

    Args:
        role: the stage.
        message: on whose occasion.
        output: what is held back.
        error: why.
        value: the record, encoded.
    """
    told = about(output.record)
    return DeadLetter(
        role=role,
        topic=output.topic.name,
        partition=message.partition() or 0,
        offset=NOWHERE,
        step=Step.TRANSFORMATION,
        reason=error.reason,
        error_class=type(error).__name__,
        error=str(error),
        failed_at=datetime.now(UTC),
        tenant=told.tenant,
        kind=told.kind,
        entity=told.entity,
        message_key=output.record.key.encode(),
        message_value=value,
    )


def _letter(
    role: str, message: Message, told: About, step: Step, reason: Reason, error: Exception
) -> DeadLetter:
    """Return ``message`` as it was; what is too large for a letter is found where the message itself lies."""
    value, headers, text = message.value(), headers_of(message), str(error)
    size, left_out = _size(value, headers), None
    kept = without_ours(headers)
    if size > _LARGEST:
        value, kept, left_out = None, (), size
        text = f"{text} (the message of {size} bytes is left out)"
    return DeadLetter(
        role=role,
        topic=message.topic() or "",
        partition=message.partition() or 0,
        offset=message.offset() or 0,
        step=step,
        reason=reason,
        error_class=type(error).__name__,
        error=text,
        failed_at=datetime.now(UTC),
        attempt=attempts(headers) + 1,
        tenant=told.tenant,
        kind=told.kind,
        entity=told.entity,
        message_key=message.key(),
        message_value=value,
        message_headers=kept,
        left_out=left_out,
    )


def _size(value: bytes | None, headers: Headers) -> int:
    return len(value or b"") + sum(len(name) + len(content or b"") for name, content in headers)
