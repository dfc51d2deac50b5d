"""The forms in which records come: JSON in several shapes, and forms. Pure.

``{"data": [...]}``, ``{"data": {...}}``, ``{"records": [...]}``, a bare list, a single object, Zoho's
notification with ``ids``, and form encoding, flat or with JSON in the field ``data``.
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final
from urllib.parse import parse_qsl

from producers.web.body import decoded
from producers.web.problems import Problem

FORM: Final = "application/x-www-form-urlencoded"
_MOST_FIELDS: Final = 10_000
_JSON_FIELDS: Final = ("data", "records", "ids")


def unprocessable(path: str, reason: str) -> Problem:
    """Return the answer to a body of the wrong shape."""
    detail = f"The body has not the shape that is needed: {path} {reason}."
    errors = [{"path": path, "reason": reason}]
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=errors)


def value_of(body: bytes, content_type: str, charset: str | None) -> Any:
    """Return the JSON values of a body; a form becomes an object of texts.

    Raises:
        Problem: 400 broken or empty, 415 unknown character set, 422 too many fields.
    """
    if content_type == FORM:
        return _form(body)
    return decoded(body, charset)


def _form(body: bytes) -> dict[str, Any]:
    try:
        text = body.decode()
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=_MOST_FIELDS)
    except UnicodeDecodeError:
        raise Problem(HTTPStatus.BAD_REQUEST, "The form is not UTF-8.") from None
    except ValueError:
        raise unprocessable("$", "has too many fields") from None
    if not pairs:
        raise Problem(HTTPStatus.BAD_REQUEST, "Empty payload")
    fields: dict[str, Any] = dict(pairs)
    for name in _JSON_FIELDS:
        found = fields.get(name)
        if isinstance(found, str) and found.lstrip()[:1] in ("[", "{"):
            fields[name] = decoded(found.encode())
    return fields


def records_of(value: Any) -> list[Any]:
    """Return the records that a body brings, as they came.

    Raises:
        Problem: 422: it has another shape.
    """
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        raise unprocessable("$", "is neither an object nor a list")
    if not value:
        raise unprocessable("$.data", "is missing")
    for name in ("data", "records"):
        if name in value and not (name == "data" and value[name] in ([], None) and "records" in value):
            return _listed(name, value[name])
    if isinstance(value.get("ids"), list):
        return [{"id": each} for each in value["ids"]]
    return [value]


def _listed(name: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    if isinstance(value, Mapping):
        return [value]
    path = f"$.{name}"
    raise unprocessable(path, "is neither a list nor an object")
