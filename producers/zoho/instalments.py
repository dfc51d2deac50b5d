"""The payment schedule of a registration: each row is a payment that is due. Pure."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from infra.stage import Output
from producers.candidates import SourceRecord
from producers.linked import DELETED
from producers.zoho import to_events, values
from producers.zoho.records import FieldProblem
from producers.zoho.to_events import Change
from producers.zoho.values import ValueProblem
from schemas.events import Operation

INSTALMENT: Final = "instalment"
"""Kind of a row; its id is that of the registration, a colon, and the row's number."""
SCHEDULED: Final = "Scheduled"
"""Status of a row that names none."""

_FIELDS: Final = (
    ("instalment_no", "Installment_No", values.text),
    ("amount", "Installment_Amount", values.amount),
    ("due_date", "Due_Date", values.day),
    ("payment_date", "Paid_Date", values.day),
    ("status", "Installment_Status", values.text),
)
_REQUIRED: Final = ("instalment_no", "amount")


def records_of(
    registration: Mapping[str, Any], before: Mapping[str, Any], change: Change
) -> tuple[SourceRecord, ...]:
    """Return the rows of a registration as records, the rows that it lost as deletions.

    Args:
        registration: its content.
        before: its content as it was last known; empty if it was not.
        change: of the registration.

    Raises:
        FieldProblem: a row cannot be used.
    """
    rows = list(_rows(registration, change))
    now = dict(rows)
    if len(now) < len(rows):
        raise FieldProblem("Payment_Schedule", "has two rows of one number")
    lost = {name: row for name, row in _rows({**before, **_owner(registration)}, change) if name not in now}
    kept = [_record(row, replace(change, record_id=name), Operation.UPSERT) for name, row in now.items()]
    gone = [_record(row, replace(change, record_id=name), Operation.DELETE) for name, row in lost.items()]
    return (*kept, *gone)


def _owner(registration: Mapping[str, Any]) -> dict[str, Any]:
    return {name: registration[name] for name in ("person_id", "student_id") if name in registration}


def _rows(registration: Mapping[str, Any], change: Change) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the rows by the ids they have as payments."""
    for place, row in enumerate(registration.get("payment_schedule", ())):
        content = _read(row, f"Payment_Schedule[{place}].")
        content |= {"registration_id": change.record_id, "kind": INSTALMENT, **_owner(registration)}
        if "currency" in registration:
            content["currency"] = registration["currency"]
        yield f"{change.record_id}:{content['instalment_no']}", content


def _read(row: Mapping[str, Any], path: str) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name, theirs, read in _FIELDS:
        if values.is_blank(row.get(theirs)):
            if name in _REQUIRED:
                raise FieldProblem(path + theirs, "is missing")
            continue
        try:
            content[name] = read(row[theirs])
        except ValueProblem as problem:
            raise FieldProblem(path + theirs, str(problem)) from None
    return {"status": SCHEDULED, **content}


def _record(row: dict[str, Any], change: Change, operation: Operation) -> SourceRecord:
    change = replace(change, operation=operation)
    content = row if operation is Operation.UPSERT else {**row, DELETED: True}
    output: Output = to_events.payment(content, change)
    return SourceRecord(INSTALMENT, change.record_id, change.version, content, (output,))
