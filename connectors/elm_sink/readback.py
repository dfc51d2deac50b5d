"""Which completions ELM has already: the queries, and what their answers say."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

from connectors.elm_sink.body import Delivery, integer
from infra.errors import RetryLater, Stop
from schemas.ids import PersonId

COMPLETE = "Complete"


def query(condition: str, skip: int) -> str:
    """Return the query string for a page of rows; blanks as ``%20``, since not every server reads ``+``.

    Args:
        condition: the text of ``$filter``.
        skip: rows read already.
    """
    order = "ENROLMENT_ID asc,COURSE_IDENTIFIER asc"
    options = {"$filter": condition, "$orderby": order, "$skip": str(skip)}
    return "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in options.items())


def of_people(people: Sequence[PersonId]) -> str:
    """Return the condition for all completions of several people."""
    return " or ".join(f"GUID eq {_quoted(person)}" for person in people)


def of_one(person: PersonId, course: int) -> str:
    """Return the condition for one learner in one course."""
    return f"GUID eq {_quoted(person)} and COURSE_IDENTIFIER eq {course}"


def rows(payload: object) -> list[Mapping[str, Any]]:
    """Return the rows of a JSON answer.

    Raises:
        RetryLater: it is not ``{"value": [ {...}, ... ]}``; some other page came instead.
    """
    value = payload.get("value") if isinstance(payload, dict) else None
    if not isinstance(value, list) or not all(isinstance(row, dict) for row in value):
        raise RetryLater("ELM's read-back has no list of rows under 'value'")
    return value


def completed(found: Iterable[Mapping[str, Any]]) -> set[Delivery]:
    """Return the completions among the rows.

    Raises:
        Stop: a row lacks a number by which completions are told apart.
    """
    return {
        (_number(row, "ENROLMENT_ID"), _number(row, "COURSE_IDENTIFIER"))
        for row in found
        if str(row.get("COURSE_STATE")).casefold() == COMPLETE.casefold()
    }


def _number(row: Mapping[str, Any], field: str) -> int:
    number = integer(row.get(field))
    if number is None:
        msg = f"ELM's read-back shows a completion without a number in {field}"
        raise Stop(msg)
    return number


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
