"""Errors as RFC 9457 problem details: one shape for whatever goes wrong, aiohttp's own errors included."""

import traceback
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from infra.errors import HubError, RetryLater
from producers.web.routes import Handler

_log = structlog.get_logger()

CONTENT_TYPE: Final = "application/problem+json"
RETRY_SECONDS: Final = 5
"""Asked for where the trouble names no time of its own."""


class FieldProblem(msgspec.Struct, frozen=True):
    """One thing that is wrong with the body.

    Attributes:
        path: of the field, such as ``$.data[3].price``.
        reason: what is wrong, without the value.
    """

    path: str
    reason: str


class ProblemDetails(msgspec.Struct, frozen=True, omit_defaults=True):
    """The body of every error (RFC 9457).

    Attributes:
        status: the HTTP status again.
        title: short text, the same for all problems of the kind.
        type: always ``about:blank``: the status tells the kind.
        detail: what is wrong this time; no personal data.
        errors: of 422: every field at fault.
    """

    status: int
    title: str
    type: str = ""
    detail: str = ""
    errors: tuple[FieldProblem, ...] = ()


class Problem(HubError):
    """A request that is refused; raised by handlers and shown to the client.

    Attributes:
        status: HTTP status.
        title: short text; that of the status if none is given.
        detail: what is wrong; no personal data, no secret.
        errors: ``{"path": ..., "reason": ...}`` of every field at fault.
        headers: further headers of the answer.
    """

    def __init__(
        self,
        status: int,
        detail: str = "",
        *,
        title: str | None = None,
        errors: Sequence[Mapping[str, str]] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.status = status
        self.title = title or HTTPStatus(status).phrase
        self.detail = detail
        self.errors = tuple(errors)
        self.headers = dict(headers or {})
        super().__init__(f"{self.status} {self.title}: {detail}")

    def response(self) -> web.Response:
        """Return the answer that tells it."""
        body: dict[str, Any] = {"type": "about:blank", "title": self.title, "status": self.status}
        if self.detail:
            body["detail"] = self.detail
        if self.errors:
            body["errors"] = [dict(error) for error in self.errors]
        return web.Response(
            status=self.status,
            body=msgspec.json.encode(body),
            content_type=CONTENT_TYPE,
            headers=self.headers,
        )


def unavailable(detail: str, retry_after: float | None = None) -> Problem:
    """Return the answer to a request that was not taken and may be sent again as it is."""
    seconds = max(1, round(retry_after if retry_after is not None else RETRY_SECONDS))
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(seconds)})


@web.middleware
async def problems(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn every error into a problem. The outermost middleware."""
    try:
        return await handler(request)
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        return problem_of(request, error).response()
    except Exception as error:  # noqa: BLE001 - the outermost boundary: the client gets an answer, we the place
        return problem_of(request, error).response()


def problem_of(request: web.Request, error: Exception) -> Problem:
    """Return what the client is told of ``error``; what nobody expected is logged."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, RetryLater):
        _log.warning("request_not_taken", path=route_of(request), reason=str(error))
        return unavailable(str(error), error.retry_after)
    if isinstance(error, web.HTTPException):
        return _of_aiohttp(error)
    # Texts of foreign errors may hold values of records: only their kind and place are told.
    places = [f"{frame.name}:{frame.lineno}" for frame in traceback.extract_tb(error.__traceback__)[-4:]]
    _log.error("request_failed", path=route_of(request), fault=type(error).__name__, places=places)
    return Problem(HTTPStatus.INTERNAL_SERVER_ERROR, "The request failed; it is logged.")


def _of_aiohttp(error: web.HTTPException) -> Problem:
    kept = {name: error.headers[name] for name in ("Allow",) if name in error.headers}
    return Problem(error.status, _DETAILS.get(error.status, ""), title=error.reason, headers=kept)


_DETAILS: Final[Mapping[int, str]] = {
    HTTPStatus.NOT_FOUND: "There is nothing at this address.",
    HTTPStatus.METHOD_NOT_ALLOWED: "The address does not take this method.",
}


def route_of(request: web.Request) -> str:
    """Return the pattern of the route: the address itself may hold anything."""
    resource = request.match_info.route.resource
    return resource.canonical if resource is not None else "unknown"
