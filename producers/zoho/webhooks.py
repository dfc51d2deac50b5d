"""What a webhook of Zoho says: which records came, changed or went. Pure.

Zoho and what is built around it send several forms; all become one `Notice`:

- an envelope with ``notification_id`` (or ``event_id``, or ``id``), ``timestamp``, ``operation`` (or
  ``event_type``, ``event``), ``record_id`` or ``ids``, and ``data``, an object or a list;
- ``{"zoho_id": ..., "module": ...}`` of a workflow rule, the id perhaps in the address;
- the record itself, as JSON or as a form.
"""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from producers.zoho import values
from producers.zoho.bodies import unprocessable
from producers.zoho.records import MODIFIED
from producers.zoho.values import ValueProblem
from schemas.events import Operation
from schemas.ids import deterministic_id

_EVENT_IDS: Final = ("notification_id", "event_id")
_OPERATIONS: Final = ("operation", "event_type", "event")
_ENVELOPE: Final = frozenset(
    {
        *_EVENT_IDS,
        *_OPERATIONS,
        "timestamp",
        "module",
        "record_id",
        "ids",
        "data",
        "zoho_id",
        "user_id",
        "org_id",
        "channel_id",
        "token",
        "server_time",
        "resource_uri",
        "query_params",
        "channel_expiry",
    }
)
_MEANINGS: Final = {
    **dict.fromkeys(
        ("insert", "create", "created", "add", "update", "updated", "edit", "all"), Operation.UPSERT
    ),
    **dict.fromkeys(("delete", "deleted", "remove", "removed"), Operation.DELETE),
}


@dataclass(frozen=True, slots=True)
class Notice:
    """What one webhook says.

    Attributes:
        event_id: the same for the same event.
        operation: whether the records are there or were deleted.
        time: when it happened (UTC), if that is said.
        records: that came with it.
        ids: of records to be fetched, or that were deleted.
    """

    event_id: str
    operation: Operation
    time: datetime | None
    records: tuple[dict[str, Any], ...]
    ids: tuple[str, ...]


def read(kind: str, body: Any, zoho_id: str | None = None, operation: Operation | None = None) -> Notice:
    """Return what ``body`` says.

    Args:
        kind: of the records that it is about.
        body: JSON values; a form as an object of texts; none: nothing was sent.
        zoho_id: id of the record in the address, if it stands there.
        operation: what the address says; none: the body does.

    Raises:
        Problem: 422: it says nothing that can be understood.
    """
    told: Mapping[str, Any] = body if isinstance(body, Mapping) else {"data": body} if body else {}
    operation = operation or _operation(told)
    records = _records(told)
    ids = _ids(told, zoho_id, records)
    if not records and not ids:
        raise unprocessable("$", "names no record")
    if operation is Operation.DELETE:
        ids = tuple(dict.fromkeys([*ids, *(str(each["id"]) for each in records if _is_id(each.get("id")))]))
        if not ids:
            raise unprocessable("$.record_id", "is missing")
    else:
        ids = tuple(each for each in ids if each not in {str(record.get("id")) for record in records})
    event_id = _event_id(told, records, ids, (kind, operation))
    return Notice(event_id, operation, _time(told), records, ids)


def _operation(told: Mapping[str, Any]) -> Operation:
    for name in _OPERATIONS:
        if isinstance(said := told.get(name), str) and said.strip():
            word = said.strip().lower().rpartition(".")[2].rpartition("_")[2]
            if word not in _MEANINGS:
                path = f"$.{name}"
                raise unprocessable(path, "is no operation (insert, update, delete)")
            return _MEANINGS[word]
    return Operation.UPSERT


def _records(told: Mapping[str, Any]) -> tuple[dict[str, Any], ...]:
    found = told.get("data")
    if found is None or found == "":
        bare = {name: value for name, value in told.items() if name not in _ENVELOPE}
        is_more = any(name not in ("id", "ID", *MODIFIED) for name in bare)
        return (bare,) if is_more else ()
    listed = found if isinstance(found, list) else [found]
    if not all(isinstance(each, Mapping) for each in listed):
        raise unprocessable("$.data", "is neither an object nor a list of objects")
    # Without ``record_id``, ``id`` is the record's if the record itself has none.
    named = told["record_id"] if _is_id(told.get("record_id")) else told.get("id")
    if len(listed) == 1 and _is_id(named) and not any(_is_id(listed[0].get(name)) for name in ("id", "ID")):
        return ({**listed[0], "id": named},)
    return tuple(dict(each) for each in listed)


def _ids(
    told: Mapping[str, Any], zoho_id: str | None, records: tuple[dict[str, Any], ...]
) -> tuple[str, ...]:
    listed = told.get("ids")
    found = [told.get("record_id"), told.get("zoho_id"), zoho_id]
    found += listed if isinstance(listed, list) else [listed]
    if not records and not any(_is_id(each) for each in found):
        found += [told.get("id"), told.get("ID")]
    try:
        return tuple(dict.fromkeys(values.record_id(each) for each in found if not values.is_blank(each)))
    except ValueProblem as problem:
        raise unprocessable("$.ids", str(problem)) from None


def _is_id(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and str(value).strip() != ""


def _event_id(
    told: Mapping[str, Any], records: tuple[dict[str, Any], ...], ids: tuple[str, ...], about: tuple[str, str]
) -> str:
    """Return the sender's id of the event; where there is none, one made of the record's id and time.

    ``id`` is that of the event only where the record is named otherwise: one that is the record's would make
    all its later events look like the first. Without a time nobody can tell whether a second message of the
    same words is a new event: it is then taken as one, which does no harm.
    """
    candidates = [told.get(name) for name in _EVENT_IDS]
    theirs = {
        *ids,
        *(str(record[name]) for record in records for name in ("id", "ID") if _is_id(record.get(name))),
    }
    if theirs and str(told.get("id")).strip() not in theirs:
        candidates.append(told.get("id"))
    for found in candidates:
        if _is_id(found):
            return str(found).strip()[: values.MAX_TEXT]
    times = [str(record.get(name)) for record in records for name in MODIFIED if record.get(name)]
    if len(times) == 1 and len(records) == 1 and not ids:
        return deterministic_id(*about, str(records[0].get("id")), times[0])
    return uuid.uuid4().hex


def _time(told: Mapping[str, Any]) -> datetime | None:
    said = told.get("timestamp")
    if values.is_blank(said):
        return None
    try:
        return values.moment(said)
    except ValueProblem as problem:
        raise unprocessable("$.timestamp", str(problem)) from None
