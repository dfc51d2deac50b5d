"""API keys: made (and shown this once), listed, revoked, by administrators of all tenants of a key."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from aiohttp import web
from multidict import MultiMapping

from infra.errors import BadArgument
from producers.entities import NotFound
from producers.web import keys
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.page import HUB, SESSION, Menu, Page, render
from producers.web.dashboard.user import User
from producers.web.keys import ApiKey
from producers.web.routes import Scope
from schemas.ids import TenantId

_PATH: Final = "/ui/keys"
_MAX_NAME: Final = 200
_MAX_DAYS: Final = 3_650


async def _list(request: web.Request) -> web.StreamResponse:
    return await _listed(request)


async def _listed(request: web.Request, plain: str = "", problem: str = "") -> web.Response:
    hub, user = request.app[HUB], request[SESSION].user
    found = [key for key in await hub.sessions.run(keys.listed, hub.pool) if may_manage(user, key.tenants)]
    now = datetime.now(UTC)
    rows = [(key, state_of(key, now)) for key in reversed(found)]
    status = 422 if problem else 200
    return render(
        request,
        "keys.html",
        status,
        title=LIST.title,
        rows=rows,
        plain=plain,
        problem=problem,
        scopes=list(Scope),
        revoke=REVOKE,
    )


def may_manage(user: User, tenants: Sequence[TenantId]) -> bool:
    """Tell whether what is of ``tenants`` is the user's to manage: they speak for each of them."""
    return set(tenants) <= set(user.tenants)


def state_of(key: ApiKey, now: datetime) -> str:
    """Return how it is with ``key`` in a word."""
    if key.revoked_at:
        return "revoked"
    return "active" if key.is_usable(now) else "expired"


async def _create(request: web.Request) -> web.StreamResponse:
    hub, user, form = request.app[HUB], request[SESSION].user, await request.post()
    try:
        wanted = wanted_of(form, user, datetime.now(UTC))
    except BadArgument as error:
        return await _listed(request, problem=str(error))
    plain, _ = await hub.sessions.run(lambda: keys.create(hub.pool, **wanted, by=user.actor))
    return await _listed(request, plain)


def wanted_of(form: MultiMapping[Any], user: User, now: datetime) -> dict[str, Any]:
    """Return the key that a form asks for.

    Raises:
        BadArgument: it cannot be made, or is not the user's to make.
    """
    name, days = str(form.get("name", "")).strip(), str(form.get("days", ""))
    scopes = [Scope(one) for one in form.getall("scope", []) if one in frozenset(Scope)]
    tenants = [TenantId(str(one)) for one in form.getall("tenant", [])]
    if not name or len(name) > _MAX_NAME or not name.isprintable():
        raise BadArgument("name: say what the key is for")
    if not scopes:
        raise BadArgument("scope: choose at least one")
    if not tenants or not may_manage(user, tenants):
        raise BadArgument("tenant: choose at least one of yours")
    if days and not (days.isascii() and days.isdigit() and 1 <= int(days) <= _MAX_DAYS):
        msg = f"days: a whole number from 1 to {_MAX_DAYS}, or nothing"
        raise BadArgument(msg)
    expires_at = now + timedelta(days=int(days)) if days else None
    why = str(form.get("why", ""))[:1000]
    return {"name": name, "tenants": tenants, "scopes": scopes, "expires_at": expires_at, "why": why}


async def _revoke(request: web.Request, fields: Mapping[str, Any]) -> Mapping[str, Any]:
    hub, user, key_id = request.app[HUB], request[SESSION].user, request.match_info["key_id"]
    known = {key.key_id: key for key in await hub.sessions.run(keys.listed, hub.pool)}
    if key_id not in known or not may_manage(user, known[key_id].tenants):
        raise NotFound("key_id: there is no such key")
    why = fields.get("why", "")
    await hub.sessions.run(lambda: keys.revoke(hub.pool, key_id, by=user.actor, why=why))
    return {"key_id": key_id}


REVOKE: Final = Deed(
    f"{_PATH}/{{key_id}}/revoke",
    "Revoke",
    "Revoke the key",
    _PATH,
    about="The key is refused within seconds, and cannot be brought back: make a new one instead.",
    act=_revoke,
    scope=Scope.ADMIN,
    danger=True,
    told=lambda answer: f"{answer['key_id']} is revoked.",
)
LIST: Final = Page(_PATH, _list, "API keys", Scope.ADMIN, menu=Menu.MANAGE)
PAGES: Final[Sequence[Page]] = (
    LIST,
    Page(_PATH, _create, LIST.title, Scope.ADMIN, method="POST"),
    REVOKE.page,
)
