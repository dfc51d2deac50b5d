"""The addresses to which a SIS application pushes its records: ``POST /v1/events/sis/{kind}``."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from aiohttp import web
from msgspec import Meta

from producers.candidates import Answer, tally
from producers.intake import Also
from producers.sis import push
from producers.sis.models import MODELS
from producers.sis.rules import Rules
from producers.sis.taking import SisIntake
from producers.web.answering import answer
from producers.web.batcher import Take, Work
from producers.web.body import read_json
from producers.web.problems import Problem
from producers.web.routes import TENANT, Handler, Route, Scope
from producers.web.services import SERVICES
from schemas.ids import TenantId

RulesOf = Callable[[TenantId], Rules]
"""Returns how records of a tenant are read."""

_DESCRIPTION: Final = """One record, a list of records, or `{"data": [...]}`. Each is answered by itself, in
order: NEW, UPDATED with the changes, UNCHANGED, INVALID with field and reason, or SKIPPED with the reason. A
record that needs another one first (`person_not_known_yet`, `course_not_known_yet`) is kept and taken
by itself when that comes. Once answered, records are durable."""


class PushResult(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What became of one record."""

    id: str | None
    status: Annotated[str, Meta(description="NEW, UPDATED, UNCHANGED, INVALID, SKIPPED or ERROR")]
    changes: Annotated[
        dict[str, list[Any]] | None, Meta(description="Of UPDATED: old and new value by field")
    ] = None
    field: Annotated[str | None, Meta(description="Of INVALID: the field to blame")] = None
    reason: Annotated[str | None, Meta(description="Of INVALID, SKIPPED and ERROR")] = None
    missing: Annotated[str | None, Meta(description="Of SKIPPED: id of the record that is waited for")] = None


class PushAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to a push."""

    results: Annotated[list[PushResult], Meta(description="One for each record sent, in order")]
    counts: Annotated[dict[str, int], Meta(description="Records by status")]


def sis_routes(rules_of: RulesOf) -> list[Route]:
    """Return the routes, one for each kind of record.

    Args:
        rules_of: called for each request with its tenant.
    """
    return [
        Route(
            "POST",
            f"/events/sis/{name}",
            _handler(name, rules_of),
            Scope.EVENTS,
            f"Push {name} of a SIS",
            "SIS",
            body=model | list[model],  # type: ignore[valid-type]  # a type made for the documentation
            answer=PushAnswer,
            description=_DESCRIPTION,
            idempotent=True,
        )
        for name, model in MODELS.items()
    ]


def _handler(name: str, rules_of: RulesOf) -> Handler:
    async def handle(request: web.Request) -> web.StreamResponse:
        records = records_of(await read_json(request))
        sis = SisIntake(request.app[SERVICES].intake, rules_of(request[TENANT]))
        work = Work(sis.origin, f"push-{name}", _take(sis, name), records)
        return await answer(request, work, rendered)

    return handle


def records_of(body: Any) -> Sequence[Any]:
    """Return the records of a body.

    Raises:
        Problem: it is neither an object nor a list (422).
    """
    if isinstance(body, dict) and isinstance(body.get("data"), list):
        body = body["data"]
    if isinstance(body, list):
        return body
    if isinstance(body, dict):
        return [body]
    wrong = [{"path": "$", "reason": "is neither an object nor a list"}]
    raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "The body holds no records.", errors=wrong)


def _take(sis: SisIntake, name: str) -> Take:
    def take(raws: Sequence[object], also: Also) -> list[Answer]:
        received_at = datetime.now(UTC)
        return sis.take([push.to_record(name, raw, received_at) for raw in raws], received_at, also)

    return take


def rendered(answers: Sequence[Answer]) -> bytes:
    """Return the body of the answer to a push."""
    counts = tally(answers)
    shown = {"new", "unchanged", "updated", "invalid", "skipped", "errors"}
    body = PushAnswer(
        results=[
            PushResult(
                id=each.record_id,
                status=each.status,
                changes=None if each.changes is None else dict(each.changes),
                field=each.field,
                reason=each.reason,
                missing=each.missing,
            )
            for each in answers
        ],
        counts={name: value for name, value in counts._asdict().items() if name in shown},
    )
    return msgspec.json.encode(body)
