"""The story of a person, a course or an enrolment: everything the read model knows to have happened, by time.

A person's story has the enrolments in it, an enrolment's the person's account. What only `hub trace` can
tell, as it reads the messages themselves, is told here as a message and its place.
"""

import base64
import binascii
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple

import msgspec
from aiohttp import web

from producers import entities
from producers.entities import Entity
from producers.web.admin.listing import BY_TENANT, MAX_LIMIT
from producers.web.admin.lists import TAG, Desk, answered, unknown
from producers.web.admin.reads import Cursor
from producers.web.admin.story_parts import query_of
from producers.web.problems import Problem
from producers.web.routes import TENANT, Parameter, Route, Scope
from schemas.ids import key
from schemas.moodle import CommandKind

LIMIT: Final = 100
_MOST_COURSES: Final = 1_000
_ABOUT: Final = """What happened, the newest first: `record` (of a source), `command`, `result`, `call`,
`completion`, `callback`, `callback result`, `directive`, `audit`, `dead letter`, what is `parked`, in
`conflict` or `refused`, and every other `message` about it. `place` is `topic/partition/offset`. Follow
`next` until it is null."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that happened."""

    at: datetime
    what: str
    id: str
    """Of its row in the list of such things."""
    place: str | None
    """Of the message that tells it: ``topic/partition/offset``; none where a table does."""
    told: dict[str, Any]
    """What it says, by name; what it does not say is left out."""


class Position(NamedTuple):
    """The place of an event in a story."""

    at: datetime
    what: str
    id: str


class StoryPage(msgspec.Struct, frozen=True, kw_only=True):
    """A part of a story."""

    items: list[Event]
    next: str | None


_COURSES: Final = """
    SELECT course_id FROM read_model.enrolments
    WHERE tenant = %(tenant)s AND person_id = %(person)s ORDER BY course_id LIMIT %(most)s
"""


def story(cursor: Cursor, entity: Entity, limit: int, after: Position | None = None) -> list[Event]:
    """Return what happened to ``entity``, the newest first.

    Args:
        cursor: of a transaction that reads.
        entity: a person's account, a course, or an enrolment.
        limit: most events.
        after: only what comes after it in this order, so what happened before.
    """
    at, what, id_ = after or (None, None, None)
    asked = {
        "tenant": entity.tenant,
        "person": entity.person_id,
        "course": entity.course_id,
        **_named(cursor, entity),
        "at": at,
        "what": what,
        "id": id_,
        "limit": limit,
    }
    return [Event(**row) for row in cursor.execute(query_of(entity.kind), asked, prepare=False).fetchall()]


def _named(cursor: Cursor, entity: Entity) -> dict[str, list[str]]:
    """Return how the audit and the log of calls name ``entity``, and with a person the enrolments."""
    tenant, person = entity.tenant, entity.person_id or ""
    if entity.kind is CommandKind.COURSE:
        return {"subjects": [str(entity)], "references": [key("course", tenant, entity.course_id or "")]}
    courses = [entity.course_id or ""] if entity.kind is CommandKind.ENROLMENT else _courses(cursor, entity)
    return {
        "subjects": [f"person/{person}", *(f"enrolment/{person}/{one}" for one in courses)],
        "references": [
            key("user", tenant, person),
            *(key("enrolment", tenant, one, person) for one in courses),
        ],
    }


def _courses(cursor: Cursor, entity: Entity) -> list[str]:
    asked = {"tenant": entity.tenant, "person": entity.person_id, "most": _MOST_COURSES}
    return [row["course_id"] for row in cursor.execute(_COURSES, asked).fetchall()]


@dataclass(frozen=True, slots=True)
class Chapter:
    """A part of a story.

    Attributes:
        events: the newest first.
        cursor: where the next part begins; empty: there is none.
    """

    events: Sequence[Event]
    cursor: str


async def read(desk: Desk, entity: Entity, query: Mapping[str, str], limit: int = LIMIT) -> Chapter:
    """Return the part of the story of ``entity`` that the query asks for by ``cursor`` and ``limit``.

    Raises:
        Problem: there is no such cursor or limit (400).
    """
    after = _position_of(query["cursor"]) if query.get("cursor") else None
    most = _limit_of(query["limit"]) if query.get("limit") else limit
    found = await desk.within(lambda cursor: story(cursor, entity, most + 1, after))
    events = found[:most]
    return Chapter(events, _cursor_of(events[-1]) if len(found) > most else "")


def story_routes(desk: Desk) -> list[Route]:
    """Return the routes of the stories."""
    return [
        _route(desk, "people", ("person_id",), entities.person),
        _route(desk, "courses", ("course_id",), entities.course),
        _route(desk, "enrolments", ("person_id", "course_id"), entities.enrolment),
    ]


def _route(desk: Desk, name: str, keys: tuple[str, ...], make: Callable[..., Entity]) -> Route:
    async def handle(request: web.Request) -> web.StreamResponse:
        parts = [request.match_info[one] for one in keys]
        if any("\0" in part for part in parts):
            raise unknown()
        chapter = await read(desk, make(request[TENANT], *parts), request.query)
        if not chapter.events and not request.query.get("cursor"):
            raise unknown()
        following = str(request.rel_url.update_query(cursor=chapter.cursor)) if chapter.cursor else None
        return answered(StoryPage(items=list(chapter.events), next=following))

    return Route(
        "GET",
        f"/admin/{name}/" + "/".join(f"{{{one}}}" for one in keys) + "/story",
        handle,
        Scope.READ,
        f"The story of one of the {name}",
        TAG,
        answer=StoryPage,
        description=_ABOUT,
        query=(
            BY_TENANT,
            Parameter(
                "limit", {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT}, "Most events; else 100."
            ),
            Parameter("cursor", {"type": "string", "maxLength": 4_000}, "From `next` of the part before."),
        ),
    )


def _limit_of(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and 1 <= int(text[:9]) <= MAX_LIMIT):
        raise _wrong("limit", f"is not from 1 to {MAX_LIMIT}")
    return int(text)


def _cursor_of(event: Event) -> str:
    place = msgspec.json.encode([event.at, event.what, event.id])
    return base64.urlsafe_b64encode(place).rstrip(b"=").decode()


def _position_of(cursor: str) -> Position:
    try:
        padded = cursor.encode() + b"=" * (-len(cursor) % 4)
        found = msgspec.json.decode(base64.b64decode(padded, b"-_", validate=True), type=Position)
    except (binascii.Error, msgspec.MsgspecError, UnicodeError):
        raise _wrong("cursor", "is no cursor of a story") from None
    if found.at.tzinfo is None or "\0" in found.what + found.id:
        raise _wrong("cursor", "is no cursor of a story")
    return found


def _wrong(name: str, reason: str) -> Problem:
    wrong = [{"path": f"query.{name}", "reason": reason}]
    return Problem(400, f"The parameter '{name}' {reason}.", errors=wrong)
