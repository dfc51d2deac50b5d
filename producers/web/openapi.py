"""The OpenAPI 3.1 document, made from the routes and the types they name. Pure."""

import re
from collections.abc import Iterator, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from producers.web.problems import CONTENT_TYPE, ProblemDetails
from producers.web.routes import Parameter, Route
from producers.web.settings import WebSettings

VERSION: Final = "3.1.0"
_REF: Final = "#/components/schemas/{name}"
_VARIABLE: Final = re.compile(r"{(\w+)(?::([^{}]+))?}")
_WORDS: Final = re.compile(r"[\w-]+(\|[\w-]+)*")
_JSON: Final = "application/json"
_ABOUT: Final = """
Records from the sources of the hub, and its administration. Once a request is answered, what it brought is
stored and goes on by itself. Every address is served under `/v1` and `/api/v1`. Errors are problem details
(RFC 9457).
"""
_SECURITY: Final[list[dict[str, list[str]]]] = [{"bearer": []}, {"apiKey": []}]
_SCHEMES: Final = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key, see `hub keys create`."},
    "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}
_VISIBLE: Final = "^[!-~]([ -~]*[!-~])?$"
"""Blanks around a header's value do not count; within, they do."""
_TENANT: Final = {
    "name": "X-Tenant-ID",
    "in": "header",
    "description": "Tenant the request is about; needed if the key speaks for several.",
    "schema": {"type": "string", "pattern": _VISIBLE, "maxLength": 100},
}
_IDEMPOTENCY: Final = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The answer is kept, and given again to the same request with the same key.",
    "schema": {"type": "string", "pattern": _VISIBLE, "maxLength": 255},
}


def document(routes: Sequence[Route], settings: WebSettings) -> dict[str, Any]:
    """Return the document as JSON values.

    Args:
        routes: of the sources; liveness is added.
        settings: for the version.

    Raises:
        TypeError: a type of a route cannot be described.
    """
    named = [kind for route in routes for kind in (route.body, route.answer) if kind is not None]
    schemas, components = msgspec.json.schema_components([ProblemDetails, *named], ref_template=_REF)
    schema_of = iter(schemas[1:])
    paths: dict[str, dict[str, Any]] = {"/health": {"get": _liveness()}}
    for route in routes:
        body = next(schema_of) if route.body is not None else None
        answer = next(schema_of) if route.answer is not None else {}
        operation = _operation(route, body, answer, schemas[0])
        paths.setdefault(_plain(route.path), {})[route.method.lower()] = operation
    return {
        "openapi": VERSION,
        "info": {"title": "Rosterhub", "version": settings.version, "description": _ABOUT.strip()},
        "servers": [{"url": "/v1"}, {"url": "/api/v1"}],
        "tags": [{"name": name} for name in dict.fromkeys(["liveness", *(route.tag for route in routes)])],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": _SCHEMES},
    }


def _operation(
    route: Route, body: Mapping[str, Any] | None, answer: Mapping[str, Any], problem: Mapping[str, Any]
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{route.method.lower()}{_plain(route.path)}").strip("_"),
        "summary": route.summary,
        "tags": [route.tag],
        "security": _SECURITY if route.scope else [],
        "parameters": [*_variables(route), *_headers(route), *map(_parameter, route.query)],
        "responses": {
            "200": {"description": "Done", "content": _content(route, answer)},
            **{str(status.value): _problem(status, problem) for status in _statuses(route)},
        },
    }
    description = [route.description] if route.description else []
    if route.scope:
        description.append(f"Needs a key with the scope `{route.scope}`.")
    if description:
        operation["description"] = "\n\n".join(description)
    if body is not None:
        operation["requestBody"] = {"required": True, "content": {_JSON: {"schema": body}}}
    return operation


def _liveness() -> dict[str, Any]:
    texts = {"type": "object", "properties": {"status": {"const": "ok"}, "message": {"type": "string"}}}
    return {
        "operationId": "get_health",
        "summary": "Whether the application answers",
        "tags": ["liveness"],
        "security": [],
        "responses": {"200": {"description": "It does", "content": {_JSON: {"schema": texts}}}},
    }


def _plain(path: str) -> str:
    """Return ``path`` with its variables as OpenAPI writes them."""
    return _VARIABLE.sub(r"{\1}", path)


def _variables(route: Route) -> Iterator[dict[str, Any]]:
    for name, pattern in _VARIABLE.findall(route.path):
        schema: dict[str, Any] = {"type": "string"}
        if values := route.values.get(name) or _alternatives(pattern):
            schema["enum"] = list(values)
        elif pattern:
            schema["pattern"] = f"^(?:{pattern})$"
        yield {"name": name, "in": "path", "required": True, "schema": schema}


def _alternatives(pattern: str) -> Sequence[str]:
    return pattern.split("|") if _WORDS.fullmatch(pattern) else ()


def _headers(route: Route) -> list[dict[str, Any]]:
    return [_TENANT, _IDEMPOTENCY] if route.idempotent else [_TENANT]


def _parameter(parameter: Parameter) -> dict[str, Any]:
    schema: Mapping[str, Any] = parameter.schema
    if parameter.is_list:
        schema = {"type": "array", "items": schema, "minItems": 1, "maxItems": 100}
    found = {"name": parameter.name, "in": "query", "schema": schema}
    return found | ({"description": parameter.about} if parameter.about else {})


def _content(route: Route, answer: Mapping[str, Any]) -> dict[str, Any]:
    also = {"text/csv": {"schema": {"type": "string"}}} if route.exports else {}
    return {_JSON: {"schema": answer}, **also}


def _statuses(route: Route) -> Iterator[HTTPStatus]:
    yield HTTPStatus.BAD_REQUEST
    # Without a scope, the handler finds out itself who asks.
    yield from (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS)
    yield HTTPStatus.NOT_FOUND
    if route.idempotent:
        yield HTTPStatus.CONFLICT
    if route.method not in ("GET", "HEAD", "DELETE"):
        yield from (
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
            HTTPStatus.UNPROCESSABLE_ENTITY,
        )
    yield HTTPStatus.SERVICE_UNAVAILABLE


def _problem(status: HTTPStatus, schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": status.phrase, "content": {CONTENT_TYPE: {"schema": schema}}}
