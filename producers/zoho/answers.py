"""The answers of the sync API, as its clients know them. Pure."""

import hashlib
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from producers.candidates import OLDER_VERSION, REPLACED, Answer, Status, canonical
from producers.zoho import records
from producers.zoho.records import EXTRAS, Kind
from schemas.ids import TenantId

UNKNOWN: Final = "unknown"
"""Id of a record that has none."""
NAMELESS_STUDENT: Final = "MISSING_ZOHO_ID_OR_NAME"

_CHANGES: Final = {"students": "changed"} | dict.fromkeys(("programs", "classes", "enrollments"), "changes")
_WITH_TENANT: Final = ("registrations", "payments", "units", "grades")
_SHA256: Final = ("programs", "classes", "enrollments")
_OURS: Final = ("person_id", "course_id")
_NUMBERS: Final = (
    "price",
    "amount",
    "score",
    "credit_hours",
    "program_price",
    "paid_amount",
    "remaining_amount",
)
_SKIPPED: Final = {
    OLDER_VERSION: "A newer version is known already",
    REPLACED: "Replaced by another content of the same version",
}


def envelope(
    kind: Kind, tenant: TenantId, body: Any, raws: Sequence[Any], answers: Sequence[Answer]
) -> bytes:
    """Return the whole answer as JSON.

    Args:
        kind: of the records.
        tenant: of the records.
        body: what was sent.
        raws: the records in it.
        answers: one for each.
    """
    head: dict[str, Any] = {"status": "success"}
    if kind.name in _WITH_TENANT:
        head["tenant_id"] = tenant
    results = [result(kind, raw, answer) for raw, answer in zip(raws, answers, strict=True)]
    return msgspec.json.encode({**head, "idempotency_key": body_hash(kind, body, raws), "results": results})


def body_hash(kind: Kind, body: Any, raws: Sequence[Any]) -> str:
    """Return the hash that stands for what was sent: SHA-256 of the records, or MD5 of the whole body."""
    if kind.name in _SHA256:
        return hashlib.sha256(canonical({"data": list(raws)}).encode()).hexdigest()
    return hashlib.md5(canonical(body).encode(), usedforsecurity=False).hexdigest()


def result(kind: Kind, raw: Any, answer: Answer) -> dict[str, Any]:
    """Return the answer to one record."""
    found: dict[str, Any] = {
        f"zoho_{kind.singular}_id": answer.record_id or UNKNOWN,
        "status": answer.status.value,
        "message": _message(kind, answer),
    }
    if answer.status is Status.UPDATED:
        found[_CHANGES.get(kind.name, "changed_fields")] = _changes(answer)
    elif answer.status is Status.NEW and kind is records.ENROLLMENTS:
        content = kind.read(raw)
        found |= {"student_id": content["student_id"], "class_id": content["class_id"]}
    elif answer.status is Status.INVALID:
        found |= {"field": answer.field, "reason": answer.reason}
    elif answer.reason:
        found["reason"] = answer.reason
    return found


def _message(kind: Kind, answer: Answer) -> str:
    noun = kind.singular.capitalize()
    match answer.status:
        case Status.NEW:
            return f"{noun} created"
        case Status.UNCHANGED:
            return "No changes detected"
        case Status.UPDATED:
            return "Student data updated" if kind is records.STUDENTS else f"{noun} updated"
        case Status.SKIPPED:
            return _skipped(kind, answer)
        case Status.INVALID:
            return _invalid(kind, answer)
    return f"{noun} could not be stored"


def _skipped(kind: Kind, answer: Answer) -> str:
    for need in kind.needs:
        if answer.missing is not None and answer.reason == need.reason:
            return f"{need.noun} {answer.missing} not synced yet"
    return _SKIPPED.get(answer.reason or "", "Left out")


def _invalid(kind: Kind, answer: Answer) -> str:
    if kind is records.STUDENTS and answer.field in ("id", "Name") and answer.reason == "is missing":
        return NAMELESS_STUDENT
    return f"{answer.field} {answer.reason}"


def _changes(answer: Answer) -> dict[str, list[Any]]:
    """Return the changed fields under their own names: ids of the hub are left out, other fields spread."""
    found: dict[str, list[Any]] = {}
    for name, (old, new) in (answer.changes or {}).items():
        if name == EXTRAS:
            before, after = old or {}, new or {}
            names = sorted({*before, *after})
            pairs = {each: [before.get(each), after.get(each)] for each in names}
            found |= {each: pair for each, pair in pairs.items() if pair[0] != pair[1]}
        elif name not in _OURS:
            found[name] = [_number(old), _number(new)] if name in _NUMBERS else [old, new]
    return found


def _number(text: str | None) -> float | None:
    return None if text is None else float(text)
