"""Descriptions of parameters and their strict check, as `external_api::validate_parameters` does it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias
from zoneinfo import available_timezones

from infra.simulators.moodle.errors import MoodleError, invalid_parameter

_REQUIRED = object()
_OPTIONAL = object()

Spec: TypeAlias = "Scalar | Struct | Many"

# PHP's strip_tags takes a "<" for the start of a tag unless white space follows.
_TAG = re.compile(r"<(?!\s)|\0")
_ZONES = frozenset(available_timezones()) | {"99"}


@dataclass(frozen=True)
class Scalar:
    """One value of a PARAM_ type; `default` may be a value, or mark it required or optional."""

    kind: str
    default: Any = _REQUIRED


@dataclass(frozen=True)
class Struct:
    """An object with known keys; any other key is refused."""

    fields: Mapping[str, Spec]
    default: Any = _REQUIRED


@dataclass(frozen=True)
class Many:
    """A list of equal items; the keys sent with them do not matter, their order does."""

    item: Spec
    default: Any = _REQUIRED


def optional(kind: str) -> Scalar:
    """A value that may be left out and is then absent, not defaulted."""
    return Scalar(kind, _OPTIONAL)


def many(fields: Mapping[str, Spec], default: Any = _REQUIRED) -> Many:
    """A list of objects."""
    return Many(Struct(fields), default)


def many_optional(fields: Mapping[str, Spec]) -> Many:
    """A list of objects that may be left out."""
    return Many(Struct(fields), _OPTIONAL)


def _lower_username(text: str) -> str:
    return re.sub(r"[^-.@_a-z0-9]", "", text.strip().lower())


def _integer(text: str) -> str:
    match = re.match(r"\s*([+-]?\d+)", text)
    return str(int(match[1])) if match else "0"


def _without_tags(text: str) -> str:
    return "" if _TAG.search(text) else text


def _only(pattern: str) -> Callable[[str], str]:
    allowed = re.compile(f"[^{pattern}]")
    return lambda text: allowed.sub("", text)


def _same(text: str) -> str:
    return text


# Moodle's PARAM_ types: a value is accepted when cleaning leaves it as it was.
CLEANERS: dict[str, Callable[[str], str]] = {
    "int": _integer,
    "bool": lambda text: text if text in ("0", "1") else "",
    "raw": _same,
    "raw_trimmed": str.strip,
    "text": _without_tags,
    "notags": _without_tags,
    "username": _lower_username,
    "alpha": _only("a-zA-Z"),
    "alphanumext": _only("a-zA-Z0-9_-"),
    "plugin": lambda text: text if re.fullmatch(r"([a-z](?:[a-z0-9_](?!__))*[a-z0-9])?", text) else "",
    "safedir": _only("a-zA-Z0-9_-"),
    "timezone": lambda text: text if text in _ZONES else "",
}


def validate(spec: Spec, value: Any) -> Any:
    """Check a value against its description.

    Args:
        spec: what the function expects.
        value: nested dicts of strings from a form, or what `json.loads` gave.

    Returns:
        The same shape with ints and bools converted, defaults filled in, lists as lists.

    Raises:
        MoodleError: `invalidparameter`, with the path to the culprit in the debug text only.
    """
    if isinstance(spec, Scalar):
        return _scalar(spec, value)
    if not isinstance(value, dict | list):
        reason = f"Only arrays accepted. The bad value is: '{value}'"
        raise invalid_parameter(reason)
    if isinstance(spec, Many):
        items = value.values() if isinstance(value, dict) else value
        return [validate(spec.item, item) for item in items]
    return _struct(spec, value if isinstance(value, dict) else dict(enumerate(value)))


def _struct(spec: Struct, value: dict[Any, Any]) -> dict[str, Any]:
    result = {}
    for name, field in spec.fields.items():
        if name in value:
            result[name] = _at(name, field, value[name])
        elif field.default is _REQUIRED:
            reason = f"Missing required key in single structure: {name}"
            raise invalid_parameter(reason)
        elif field.default is not _OPTIONAL:
            result[name] = field.default
    unexpected = [str(key) for key in value if key not in spec.fields]
    if unexpected:
        reason = f"Unexpected keys ({', '.join(unexpected)}) detected in parameter array."
        raise invalid_parameter(reason)
    return result


def _at(name: str, spec: Spec, value: Any) -> Any:
    try:
        return validate(spec, value)
    except MoodleError as error:
        reason = f"{name} => {error.message}: {error.debuginfo}"
        raise invalid_parameter(reason) from error


def _scalar(spec: Scalar, value: Any) -> Any:
    if isinstance(value, dict | list):
        reason = "Scalar type expected, array or object received."
        raise invalid_parameter(reason)
    text = {True: "1", False: "0"}[value] if isinstance(value, bool) else str(value)
    if value is None or CLEANERS[spec.kind](text) != text:
        reason = (
            f'Invalid external api parameter: the value is "{value}", '
            f'the server was expecting "{spec.kind}" type'
        )
        raise invalid_parameter(reason)
    if spec.kind in ("int", "bool"):
        return int(text)
    return text
