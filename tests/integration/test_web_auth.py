"""API keys: made, listed and revoked by the command, and what requests with them may do."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from sqlalchemy import Engine
from typer.testing import CliRunner

from infra.cli.keys_commands import keys as command
from infra.db.connect import engine
from producers.web import keys
from producers.web.routes import KEY, TENANT, Route, Scope
from producers.web.settings import WebSettings
from schemas.ids import TenantId
from tests.integration.intake_support import rows
from tests.unit.web_support import Client, client_of, open_route

pytestmark = pytest.mark.integration
A, B, C = TenantId("a"), TenantId("b"), TenantId("c")


async def who(request: web.Request) -> web.Response:
    return web.json_response({"tenant": request[TENANT], "key": request.get(KEY)})


ROUTES = [Route("GET", "/who", who, Scope.READ, "Who asks", "test"), open_route("/open", who, "GET")]


@pytest.fixture
def database(fresh_database: str) -> str:
    return fresh_database


@pytest.fixture
def pool(database: str) -> Iterator[Engine]:
    made = engine(database, pool_size=1)
    yield made
    made.dispose()


async def get(client: Client, path: str = "/v1/who", **headers: str) -> tuple[int, object]:
    answer = await client.get(path, headers={name.replace("_", "-"): text for name, text in headers.items()})
    return answer.status, await answer.json()


async def test_a_key_opens_what_its_scopes_say(database: str, pool: Engine) -> None:
    reader, made = keys.create(pool, "reader", [A], [Scope.READ])
    writer, _ = keys.create(pool, "writer", [A], [Scope.SYNC, Scope.EVENTS])
    async with client_of(ROUTES, database=database) as client:
        welcome = (200, {"tenant": "a", "key": made.key_id})
        assert await get(client, Authorization=f"Bearer {reader}") == welcome
        assert await get(client, Authorization=f"bearer  {reader}") == welcome
        assert await get(client, X_API_Key=reader) == welcome
        assert (await get(client, X_API_Key=writer))[0] == 403
        for wrong in (reader[:-1], reader + "x", made.key_id, "x" * 5_000, "\N{SNOWMAN}"):
            answer = await client.get("/v1/who", headers={"X-API-Key": wrong})
            assert (answer.status, "invalid_token" in answer.headers["WWW-Authenticate"]) == (401, True)
        assert (await get(client, Authorization=f"Basic {reader}"))[0] == 401


async def test_a_key_speaks_for_its_tenants_only(database: str, pool: Engine) -> None:
    one, _ = keys.create(pool, "one", [A], [Scope.READ])
    two, _ = keys.create(pool, "two", [A, B], [Scope.READ])
    async with client_of(ROUTES, WebSettings(default_tenant=B), database) as client:
        tenants = {
            (one, ""): "a",
            (one, "a"): "a",
            (two, "a"): "a",
            (two, "b"): "b",
            (two, ""): "b",
        }
        for (key, tenant), expected in tenants.items():
            status, body = await get(client, X_API_Key=key, X_Tenant_ID=tenant)
            assert (status, body) == (200, {"tenant": expected, "key": key[:14]})
        for key, tenant in [(one, "b"), (two, "c"), (two, "A")]:
            assert (await get(client, X_API_Key=key, X_Tenant_ID=tenant))[0] == 403
        assert await get(client, "/v1/open") == (200, {"tenant": "b", "key": None})
    async with client_of(ROUTES, WebSettings(default_tenant=C), database) as client:
        assert (await get(client, X_API_Key=two))[0] == 400


async def test_expired_and_revoked_keys_are_refused(database: str, pool: Engine) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    expired, _ = keys.create(pool, "expired", [A], [Scope.READ], past)
    good, made = keys.create(pool, "good", [A], [Scope.READ], past + timedelta(days=1))
    async with client_of(ROUTES, WebSettings(key_cache_seconds=0.0), database) as client:
        assert (await get(client, X_API_Key=expired))[0] == 401
        assert (await get(client, X_API_Key=good))[0] == 200
        assert keys.revoke(pool, made.key_id)
        assert (await get(client, X_API_Key=good))[0] == 401
    assert keys.revoke(pool, made.key_id)
    assert not keys.revoke(pool, "rhk_none")


async def test_a_key_is_believed_for_some_seconds_and_no_longer(database: str, pool: Engine) -> None:
    plain, made = keys.create(pool, "good", [A], [Scope.READ])
    async with client_of(ROUTES, WebSettings(key_cache_seconds=600.0), database) as client:
        assert (await get(client, X_API_Key=plain))[0] == 200
        keys.revoke(pool, made.key_id)
        assert (await get(client, X_API_Key=plain))[0] == 200


async def test_the_key_itself_is_nowhere_in_the_database(database: str, pool: Engine) -> None:
    plain, made = keys.create(pool, "good", [A], [Scope.READ])
    (row,) = rows(database, "SELECT api_keys::text FROM api_keys")
    assert plain not in row[0]
    assert plain.removeprefix(f"{made.key_id}_") not in row[0]
    assert len(plain.removeprefix(f"{made.key_id}_")) == 43


async def test_the_last_use_is_noted_but_not_with_every_request(database: str, pool: Engine) -> None:
    plain, _ = keys.create(pool, "good", [A], [Scope.READ])
    used = "SELECT last_used_at FROM api_keys"
    assert rows(database, used) == [(None,)]
    async with client_of(ROUTES, WebSettings(key_cache_seconds=0.0), database) as client:
        await get(client, X_API_Key=plain)
        first = rows(database, used)
        await get(client, X_API_Key=plain)
    assert first[0][0] is not None
    assert rows(database, used) == first


async def test_a_key_that_asks_too_often_is_told_when_to_come_again(database: str, pool: Engine) -> None:
    busy, _ = keys.create(pool, "busy", [A], [Scope.READ])
    calm, _ = keys.create(pool, "calm", [A], [Scope.READ])
    async with client_of(ROUTES, WebSettings(rate_limit=20), database) as client:
        statuses = [(await get(client, X_API_Key=busy))[0] for _ in range(6)]
        assert statuses == [200, 200, 429, 429, 429, 429]
        answer = await client.get("/v1/who", headers={"X-API-Key": busy})
        assert 1 <= int(answer.headers["Retry-After"]) <= 3
        assert (await get(client, X_API_Key=calm))[0] == 200
        assert (await get(client, "/v1/health"))[0] == 200


def test_the_command_makes_lists_and_revokes(database: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", database)
    run = CliRunner().invoke
    scopes = ["--scope", "sync", "--scope", "events"]
    made = run(command, ["create", "CRM of the school", *scopes, "--days", "9"])
    assert (made.exit_code, made.stdout.count("\n")) == (0, 1)
    plain = made.stdout.strip()
    other = run(command, ["create", "other", "--scope", "read", "--tenant", "a", "--tenant", "b"])
    listed = run(command, ["list"]).stdout
    assert "CRM of the school" in listed
    assert "events sync" in listed
    assert "a b" in listed
    assert plain not in listed
    assert run(command, ["revoke", plain[:14]]).exit_code == 0
    assert "revoked" in run(command, ["list"]).stdout
    unknown = run(command, ["revoke", "rhk_none"])
    assert unknown.exit_code == 1
    assert run(command, ["create", "x", "--scope", "everything"]).exit_code == 2
    pool = engine(database, pool_size=1)
    try:
        found = keys.find(pool, keys.digest_of(other.stdout.strip()))
        gone = keys.find(pool, keys.digest_of(plain))
    finally:
        pool.dispose()
    assert found is not None
    assert (found.tenants, found.scopes) == ((A, B), frozenset({Scope.READ}))
    assert gone is not None
    assert not gone.is_usable(datetime.now(UTC))
