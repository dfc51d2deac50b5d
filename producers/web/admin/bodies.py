"""What requests of the admin API that change something hold, and what they are answered."""

from collections.abc import Mapping
from datetime import datetime
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar

import msgspec
from aiohttp import web
from msgspec import UNSET, Meta, UnsetType

from infra.errors import BadArgument, Unsafe
from producers.entities import NotFound
from producers.web.body import decoded, read_body
from producers.web.problems import Problem

T = TypeVar("T")
Text = Annotated[str, Meta(max_length=1_000, pattern=r"^[^\x00]*$")]
Why = Annotated[str, Meta(max_length=1_000, pattern=r"^[^\x00]*$", description="Kept in the audit")]
DryRun = Annotated[bool, Meta(description="Only say what would be done")]
All = Annotated[bool, Meta(description="All, without any filter")]
MoodleId = Annotated[int, Meta(ge=1, le=2**63 - 1)]
Moment = Annotated[datetime, Meta(tz=True)]
Places = Annotated[list[Text], Meta(max_length=1_000)]
Hours = Text | UnsetType | None


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something a person has done."""

    why: Why = ""


class SyncBody(Body, frozen=True):
    """Nothing but why."""


class ResolveBody(Body, frozen=True):
    """How a conflict is settled."""

    entity: Annotated[Text, Meta(description="person/ID, course/ID or enrolment/PERSON/COURSE")]
    resolution: Annotated[Text, Meta(description="take-over, update, keep or ignore")]
    moodle_id: Annotated[MoodleId | None, Meta(description="Of take-over: the account or course")] = None


class ReleaseBody(Body, frozen=True):
    """What is asked for once more: what all of this applies to."""

    what: Text | None = None
    waits_for: Text | None = None
    reason: Text | None = None
    person_id: Text | None = None
    course_id: Text | None = None
    before: Annotated[Moment | None, Meta(description="Waiting since before then")] = None
    all: All = False
    dry_run: DryRun = False


class LettersBody(Body, frozen=True):
    """Which open dead letters are meant: those to which all of this applies."""

    places: Places | None = None
    kind: Text | None = None
    reason: Text | None = None
    role: Text | None = None
    entity: Text | None = None
    failed_before: Moment | None = None
    failed_after: Moment | None = None
    ownerless: Annotated[bool, Meta(description="Those of no tenant; for the default tenant's keys")] = False
    all: All = False
    dry_run: DryRun = False


class ScheduleBody(Body, frozen=True):
    """How a schedule shall be; what is left out stays. `every_minutes` and `cron` replace each other."""

    enabled: bool | None = None
    every_minutes: Annotated[float, Meta(gt=0, le=525_600)] | None = None
    cron: Text | None = None
    only: Annotated[Hours, Meta(description="Such as mon-fri 06:00-18:00; null: at all hours")] = UNSET
    quiet: Annotated[Hours, Meta(description="Such as 22:00-06:00; null: none")] = UNSET
    zone: Text | None = None


class Done(msgspec.Struct, frozen=True, kw_only=True):
    """What was done."""

    done: Annotated[int, Meta(description="Entities asked for, decided about or released")]
    matched: Annotated[int, Meta(description="What the request applies to")]
    dry_run: bool = False
    outcomes: Annotated[dict[str, int], Meta(description="Of dead letters: by what was done")] = {}


class ConflictAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The conflict that was settled."""

    entity: str
    reason: str
    resolution: str


class ScheduleAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """One schedule, and in `told` how it is told in words."""

    target: str
    site: str
    enabled: bool
    every_minutes: float | None
    cron: str | None
    only: str | None
    quiet: str | None
    zone: str
    next_run_at: datetime | None
    requested_at: datetime | None
    requested_by: str | None
    updated_at: datetime | None
    updated_by: str | None
    told: str


class SchedulesAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """All schedules."""

    items: list[ScheduleAnswer]


FIELDS: Final = web.RequestKey("fields", Mapping[str, Any])
"""``request[FIELDS]``: what a form of the dashboard has brought, in place of a body; numbers are texts."""


async def read(request: web.Request, kind: type[T]) -> T:
    """Return the body of ``request``, an empty one as an object without fields.

    Raises:
        Problem: it is no JSON (400), or not of that kind: the field is named (422).
    """
    value, is_form = request.get(FIELDS), FIELDS in request
    if not is_form:
        content = await read_body(request)
        value = decoded(content, request.charset) if content.strip() else {}
    try:
        return msgspec.convert(value, kind, strict=not is_form)
    except msgspec.ValidationError as error:
        reason, _, path = str(error).partition(" - at `")
        wrong = [{"path": path.rstrip("`") or "$", "reason": reason}]
        detail = "The body is not as it should be."
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, errors=wrong) from None


_STATUSES: Final[Mapping[type[Exception], HTTPStatus]] = {
    NotFound: HTTPStatus.NOT_FOUND,
    BadArgument: HTTPStatus.UNPROCESSABLE_ENTITY,
    Unsafe: HTTPStatus.CONFLICT,
}


def refusal(error: BadArgument | Unsafe) -> Problem:
    """Return the answer to what cannot be done as it was asked; the text begins with the argument's name."""
    status = next(status for kind, status in _STATUSES.items() if isinstance(error, kind))
    name, _, reason = str(error).partition(": ")
    wrong = [{"path": f"$.{name}", "reason": reason}] if reason and name.isidentifier() else []
    return Problem(status, str(error), errors=wrong)


def filters_of(body: ReleaseBody | LettersBody) -> dict[str, Any]:
    """Return the filters that ``body`` holds, by name.

    Raises:
        BadArgument: it holds none and does not ask for all.
    """
    other = {"why", "all", "dry_run", "ownerless"}
    found = {name: getattr(body, name) for name in body.__struct_fields__ if name not in other}
    if not body.all and not any(value for value in found.values()):
        raise BadArgument('filters: name at least one, or say "all": true')
    return found
