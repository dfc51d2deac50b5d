"""Checked conversion between the frozen dataclasses and plain records as Avro holds them.

A reader fills fields that an older writer did not know with their defaults and passes over fields that a
newer writer added, which is what FULL_TRANSITIVE compatibility promises.
"""

from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

import msgspec

T = TypeVar("T")


class RecordError(ValueError):
    """A record does not fit its type; the message names the field, never its value."""


def to_record(value: Any) -> dict[str, Any]:
    """Return the dataclass ``value`` as a plain record: enums as text, times and days as they are."""
    record: dict[str, Any] = msgspec.to_builtins(value, builtin_types=(datetime, date, bytes, Decimal))
    return record


def from_record(record: dict[str, Any], kind: type[T]) -> T:
    """Return ``record`` as the dataclass ``kind``.

    Raises:
        RecordError: a field is missing, of a wrong type, or an enum value is not known here.
    """
    try:
        return msgspec.convert(record, kind)
    except msgspec.ValidationError as error:
        msg = f"{kind.__name__}: {error}"
        raise RecordError(msg) from None
