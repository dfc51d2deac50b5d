"""The OpenAPI document says what the routes are, and the pages that show it load nothing from elsewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from aiohttp import web

from producers.web.openapi import document
from producers.web.routes import Route, Scope
from producers.web.settings import WebSettings
from tests.unit.web_support import client_of


class Person(msgspec.Struct):
    """Someone."""

    id: Annotated[str, msgspec.Meta(description="Their id")]
    age: int | None = None


class Answer(msgspec.Struct):
    """What became of it."""

    results: list[Person]


async def nothing(_: web.Request) -> web.Response:
    return web.Response()


ROUTES = [
    Route(
        "POST",
        "/sync/{kind:people|courses}",
        nothing,
        Scope.SYNC,
        "Take in",
        "sync",
        body=list[Person],
        answer=Answer,
        idempotent=True,
    ),
    Route("GET", "/runs/{id:[0-9]+}", nothing, Scope.READ, "One run", "runs", description="Told **once**."),
    Route("GET", "/runs", nothing, Scope.READ, "All runs", "runs", answer=list[Answer]),
    Route("POST", "/hook/{name}", nothing, None, "Signed", "hooks", body=Any, values={"name": ["a", "b"]}),
]


def made() -> dict[str, Any]:
    """Give the document as it is served."""
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(document(ROUTES, WebSettings())))
    return found


def refs(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        yield from (found for name, found in value.items() if name == "$ref")
        yield from (found for part in value.values() for found in refs(part))
    elif isinstance(value, list):
        yield from (found for part in value for found in refs(part))


def test_the_document_is_of_version_3_1_and_holds_every_route() -> None:
    found = made()
    assert found["openapi"] == "3.1.0"
    assert [server["url"] for server in found["servers"]] == ["/v1", "/api/v1"]
    addresses = {(path, method) for path, methods in found["paths"].items() for method in methods}
    assert addresses == {
        ("/health", "get"),
        ("/sync/{kind}", "post"),
        ("/runs/{id}", "get"),
        ("/runs", "get"),
        ("/hook/{name}", "post"),
    }


def test_every_reference_and_variable_is_explained() -> None:
    found = made()
    schemas = found["components"]["schemas"]
    assert {"Person", "Answer", "ProblemDetails"} <= schemas.keys()
    for ref in refs(found):
        assert ref.removeprefix("#/components/schemas/") in schemas
    operations = [one for methods in found["paths"].values() for one in methods.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(set(names)) == len(names)
    for path, methods in found["paths"].items():
        for operation in methods.values():
            variables = {one["name"] for one in operation.get("parameters", ()) if one["in"] == "path"}
            assert variables == set(re.findall(r"{(\w+)}", path))
    tags = {tag["name"] for tag in found["tags"]}
    assert {tag for operation in operations for tag in operation["tags"]} == tags


def test_types_scopes_and_problems_are_told() -> None:
    paths = made()["paths"]
    sync = paths["/sync/{kind}"]["post"]
    body = sync["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"type": "array", "items": {"$ref": "#/components/schemas/Person"}}
    parameters = {one["name"]: one["schema"] for one in sync["parameters"]}
    assert parameters["kind"]["enum"] == ["people", "courses"]
    assert {"X-Tenant-ID", "Idempotency-Key"} <= parameters.keys()
    assert {"200", "400", "401", "403", "404", "409", "413", "415", "422", "429", "503"} == set(
        sync["responses"]
    )
    assert "application/problem+json" in sync["responses"]["422"]["content"]
    assert "`sync`" in sync["description"]
    run = paths["/runs/{id}"]["get"]
    assert "Told **once**." in run["description"]
    assert run["parameters"][0]["schema"]["pattern"] == "^(?:[0-9]+)$"
    assert "409" not in run["responses"]
    hook = paths["/hook/{name}"]["post"]
    assert (hook["security"], hook["parameters"][0]["schema"]["enum"]) == ([], ["a", "b"])


async def test_document_and_pages_are_served_without_a_key_and_load_only_from_here() -> None:
    async with client_of(ROUTES) as client:
        answer = await client.get("/openapi.json")
        assert (answer.status, await answer.json()) == (200, made())
        again = await client.get("/openapi.json", headers={"If-None-Match": answer.headers["ETag"]})
        assert again.status == 304
        for path in ("/docs", "/redoc"):
            answer = await client.get(path)
            page = await answer.text()
            assert (answer.status, answer.content_type) == (200, "text/html")
            policy = answer.headers["Content-Security-Policy"]
            assert "default-src 'none'; script-src 'self';" in policy
            assert not re.search(r"<script(?![^>]* src=)|https?:|\son\w+=", page)
            for asset in re.findall(r'(?:src|href)="([^"]+)"', page):
                assert asset.startswith("docs/assets/")


async def test_every_asset_of_the_pages_is_there() -> None:
    async with client_of([]) as client:
        for path in ("/docs", "/redoc"):
            page = await (await client.get(path)).text()
            for asset in re.findall(r'(?:src|href)="([^"]+)"', page):
                answer = await client.get(f"/{asset}")
                assert (answer.status, len(await answer.read()) > 100) == (200, True), asset
                assert answer.headers["X-Content-Type-Options"] == "nosniff"


async def test_nothing_else_of_the_package_is_served() -> None:
    async with client_of([]) as client:
        for name in ("..%2f..%2f__init__.py", "%2e%2e%2fapps.py", "redoc", "apps.py"):
            assert (await client.get(f"/docs/assets/{name}")).status == 404
