"""A kind of record of the tests' own, by which the HTTP application is tried without any source."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from aiohttp import web

from infra.stage import Output
from producers.candidates import Answer, Candidate, Invalid, Origin, SourceRecord, Valid
from producers.intake import Also
from producers.web.answering import answer
from producers.web.batcher import Work
from producers.web.body import read_json
from producers.web.routes import TENANT, Route, Scope
from producers.web.services import SERVICES
from schemas.events import AccountPolicy, Operation, Person
from schemas.ids import PersonId
from schemas.topics import PEOPLE
from schemas.version import Version


def candidate(origin: Origin, raw: Any, now: datetime) -> Candidate:
    """Give the person in ``raw``, or why there is none."""
    if not isinstance(raw, dict) or not isinstance(raw.get("id"), str) or not raw["id"]:
        return Invalid("person", None, raw, "id", "is missing")
    event = Person(
        tenant=origin.tenant,
        person_id=PersonId(raw["id"]),
        operation=Operation.UPSERT,
        source_system=origin.source,
        source_record_id=raw["id"],
        version_time=now,
        version_sequence=0,
        recorded_at=now,
        account_policy=AccountPolicy.ALWAYS,
        email=str(raw.get("email", "")),
        attributes={name: str(value) for name, value in raw.items()},
    )
    return Valid((SourceRecord("person", raw["id"], Version(now, 0), raw, (Output(PEOPLE, event),)),))


def body_of(answers: Sequence[Answer]) -> bytes:
    """Give the body of the answer."""
    results = [{"id": one.record_id, "status": one.status, "changes": one.changes} for one in answers]
    return msgspec.json.encode({"results": results})


async def people(request: web.Request) -> web.Response:
    """Take people in."""
    origin, intake = Origin(request[TENANT], "test"), request.app[SERVICES].intake
    records = (await read_json(request))["data"]

    def take(raws: Sequence[object], also: Also) -> list[Answer]:
        now = datetime.now(UTC)
        return intake.take(origin, [candidate(origin, raw, now) for raw in raws], also)

    return await answer(request, Work(origin, "person", take, records), body_of)


PEOPLE_ROUTE = Route("POST", "/test/people", people, Scope.SYNC, "Take people in", "test", idempotent=True)
