"""Who asks: the API key of a request, what it may do, and for which tenant."""

import asyncio
import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

from aiohttp import web
from sqlalchemy import Engine

from producers.web import keys
from producers.web.keys import ApiKey
from producers.web.limits import RateLimits
from producers.web.problems import Problem
from producers.web.routes import KEY, TENANT, Handler, Route, permits
from producers.web.settings import WebSettings
from schemas.ids import TenantId

TENANT_HEADER: Final = "X-Tenant-ID"
TENANT_PARAMETER: Final = "tenant"
_REMEMBERED: Final = 10_000
"""Hashes of keys (wrong ones included) that are remembered."""
_MAX_TENANT: Final = 100
_MAX_KEY: Final = 256


@dataclass(slots=True)
class KeyCache:
    """Keys as they were in the database some seconds ago, wrong ones too. For one event loop.

    Attributes:
        engine: of the hub's database.
        seconds: so long an entry is believed.
    """

    engine: Engine
    seconds: float
    _found: OrderedDict[bytes, tuple[float, ApiKey | None]] = field(default_factory=OrderedDict)
    _asked: dict[bytes, asyncio.Task[ApiKey | None]] = field(default_factory=dict)

    async def find(self, plain: str) -> ApiKey | None:
        """Return the key with the text ``plain``; it may be expired or revoked.

        Raises:
            RetryLater: the database is away.
        """
        digest = keys.digest_of(plain)
        until, key = self._found.get(digest, (0.0, None))
        if time.monotonic() < until:
            return key
        if digest not in self._asked:  # many requests may come with the same key at once
            self._asked[digest] = asyncio.create_task(self._ask(digest))
        return await asyncio.shield(self._asked[digest])

    async def _ask(self, digest: bytes) -> ApiKey | None:
        try:
            key = await asyncio.to_thread(keys.find, self.engine, digest)
        finally:
            del self._asked[digest]
        self._found.pop(digest, None)
        self._found[digest] = (time.monotonic() + self.seconds, key)
        if len(self._found) > _REMEMBERED:
            self._found.popitem(last=False)
        return key


class Guard:
    """Stands before every route: finds out who asks, and refuses who may not."""

    def __init__(self, engine: Engine, settings: WebSettings) -> None:
        """Keys are looked up by ``engine``."""
        self._keys = KeyCache(engine, settings.key_cache_seconds)
        self._limits = RateLimits(settings.rate_limit)
        self._default = settings.default_tenant

    def before(self, route: Route) -> Handler:
        """Return the handler of ``route`` with this guard before it."""

        async def guarded(request: web.Request) -> web.StreamResponse:
            if route.scope is None:
                request[TENANT] = _named_tenant(request) or self._default
                return await route.handler(request)
            key = await self._authenticated(request)
            self._within_limit(key)
            if not permits(key.scopes, route.scope):
                detail = f"This address needs a key with the scope '{route.scope}'."
                raise Problem(HTTPStatus.FORBIDDEN, detail)
            request[TENANT] = self._tenant(_named_by(request, route), key)
            request[KEY] = key.key_id
            return await route.handler(request)

        return guarded

    async def _authenticated(self, request: web.Request) -> ApiKey:
        plain = presented(request)
        if plain is None:
            raise _unauthorized("An API key is needed, as 'Authorization: Bearer' or 'X-API-Key'.")
        key = await self._keys.find(plain) if len(plain) <= _MAX_KEY else None
        if key is None or not key.is_usable(datetime.now(UTC)):
            detail = "The API key is unknown, expired or revoked."
            raise _unauthorized(detail, ', error="invalid_token"')
        return key

    def _within_limit(self, key: ApiKey) -> None:
        wait = self._limits.wait(key.key_id, time.monotonic())
        if wait > 0:
            headers = {"Retry-After": str(max(1, math.ceil(wait)))}
            detail = "This key sends more requests than it may; see Retry-After."
            raise Problem(HTTPStatus.TOO_MANY_REQUESTS, detail, headers=headers)

    def _tenant(self, named: TenantId | None, key: ApiKey) -> TenantId:
        if named is not None:
            if named not in key.tenants:
                detail = "The key does not speak for the tenant that the request names."
                raise Problem(HTTPStatus.FORBIDDEN, detail)
            return named
        if len(key.tenants) == 1:
            return key.tenants[0]
        if self._default in key.tenants:
            return self._default
        detail = f"The key speaks for several tenants; say which in {TENANT_HEADER}."
        raise Problem(HTTPStatus.BAD_REQUEST, detail)


def presented(request: web.Request) -> str | None:
    """Return the API key that ``request`` carries, or none."""
    kind, _, plain = request.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and plain.strip():
        return plain.strip()
    return request.headers.get("X-API-Key", "").strip() or None


def _named_tenant(request: web.Request) -> TenantId | None:
    return _tenant_id(request.headers.get(TENANT_HEADER, ""), TENANT_HEADER)


def _named_by(request: web.Request, route: Route) -> TenantId | None:
    """Return the tenant that header or query name, if the route takes it in the query."""
    by_header = _named_tenant(request)
    if not any(parameter.name == TENANT_PARAMETER for parameter in route.query):
        return by_header
    by_query = _tenant_id(request.query.get(TENANT_PARAMETER, ""), TENANT_PARAMETER)
    if by_header is not None and by_query not in (None, by_header):
        detail = f"{TENANT_HEADER} and {TENANT_PARAMETER} name different tenants."
        raise Problem(HTTPStatus.BAD_REQUEST, detail)
    return by_header or by_query


def _tenant_id(text: str, where: str) -> TenantId | None:
    named = text.strip()
    if not named:
        return None
    if len(named) > _MAX_TENANT or not named.isprintable():
        raise Problem(HTTPStatus.BAD_REQUEST, f"{where} is no name of a tenant.")
    return TenantId(named)


def _unauthorized(detail: str, parameters: str = "") -> Problem:
    headers = {"WWW-Authenticate": f'Bearer realm="rosterhub"{parameters}'}
    return Problem(HTTPStatus.UNAUTHORIZED, detail, headers=headers)
