"""Users: made and invited, given roles, disabled, by administrators of all their tenants."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from aiohttp import web

from infra.errors import BadArgument, Unsafe
from producers.entities import NotFound
from producers.web.admin.bodies import refusal
from producers.web.dashboard import lockout, users
from producers.web.dashboard.deeds import Deed
from producers.web.dashboard.keys_pages import may_manage
from producers.web.dashboard.page import HUB, SESSION, Menu, Page, render, see
from producers.web.dashboard.roles import Role
from producers.web.dashboard.user import By, User, name_of
from producers.web.problems import Problem
from producers.web.routes import Scope
from schemas.ids import TenantId

_PATH: Final = "/ui/users"
_ONE: Final = f"{_PATH}/{{name}}"
_NOT_YOURSELF: Final = "name: somebody else has to do that to your own account"


async def _list(request: web.Request) -> web.StreamResponse:
    return await _listed(request)


async def _listed(
    request: web.Request, problem: str = "", form: Mapping[str, str] | None = None
) -> web.Response:
    hub, user = request.app[HUB], request[SESSION].user
    found = [one for one in await hub.sessions.run(users.listed, hub.pool) if may_manage(user, one.tenants)]
    status = HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK
    return render(
        request,
        "users.html",
        status,
        title=LIST.title,
        rows=found,
        roles=list(Role),
        problem=problem,
        form=form or {},
        local=hub.settings.local,
    )


async def _create(request: web.Request) -> web.StreamResponse:
    hub, me, form = request.app[HUB], request[SESSION].user, await request.post()
    name, by = str(form.get("name", "")), By(me.actor, str(form.get("why", ""))[:1000])
    try:
        role, tenants = role_of(str(form.get("role", ""))), _tenants(form.getall("tenant", []), me)
        await hub.sessions.run(users.create, hub.pool, name, role, tenants, by)
        name = name_of(name)
        token = await hub.sessions.run(users.invite, hub.pool, name, by)
    except (BadArgument, Unsafe) as error:
        return await _listed(request, str(error), {"name": name})
    return await _told(request, name, token)


async def _show(request: web.Request) -> web.StreamResponse:
    return await _told(request, request.match_info["name"])


async def _told(request: web.Request, name: str, token: str = "", problem: str = "") -> web.Response:
    user = await _managed(request, name)
    return render(
        request,
        "user.html",
        HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK,
        title=user.name,
        trail=[(LIST.title, LIST.path)],
        user=user,
        roles=list(Role),
        link=f"{request.app[HUB].settings.origin}/invitation/{token}" if token else "",
        hours=int(users.INVITATION.total_seconds() // 3600),
        is_me=user.name == request[SESSION].user.name,
        problem=problem,
        deeds=DEEDS,
    )


async def _managed(request: web.Request, name: str) -> User:
    """Return the user ``name``, if they are there and who asks may manage them.

    Raises:
        Problem: there is no such user for who asks (404).
    """
    hub = request.app[HUB]
    try:
        user = await hub.sessions.run(users.get, hub.pool, name)
    except NotFound as error:
        raise refusal(error) from None
    if not may_manage(request[SESSION].user, user.tenants):
        raise Problem(HTTPStatus.NOT_FOUND, "name: there is no such user")
    return user


async def _change(request: web.Request) -> web.StreamResponse:
    hub, me, form = request.app[HUB], request[SESSION].user, await request.post()
    user = await _managed(request, request.match_info["name"])
    by = By(me.actor, str(form.get("why", ""))[:1000])
    try:
        _see_other(me, user)
        role, tenants = role_of(str(form.get("role", ""))), _tenants(form.getall("tenant", []), me)
        await hub.sessions.run(users.change_role, hub.pool, user.name, role, tenants, by)
    except (BadArgument, Unsafe) as error:
        return await _told(request, user.name, problem=str(error))
    return see(request, f"{_PATH}/{user.name}", f"{user.name} is {role.value} from now on.")


async def _invite(request: web.Request) -> web.StreamResponse:
    hub, user = request.app[HUB], await _managed(request, request.match_info["name"])
    by = By(request[SESSION].user.actor)
    try:
        token = await hub.sessions.run(users.invite, hub.pool, user.name, by)
    except Unsafe as error:
        return await _told(request, user.name, problem=str(error))
    return await _told(request, user.name, token)


def _acting(
    do: Callable[..., None],
) -> Callable[[web.Request, Mapping[str, Any]], Awaitable[Mapping[str, Any]]]:
    async def act(request: web.Request, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        hub, me = request.app[HUB], request[SESSION].user
        user = await _managed(request, request.match_info["name"])
        _see_other(me, user)
        await hub.sessions.run(do, hub.pool, user.name, By(me.actor, fields.get("why", "")))
        await hub.sessions.run(lockout.forgive, hub.pool, user.name)
        return {"name": user.name}

    return act


def role_of(text: str) -> Role:
    """Return the role of that name.

    Raises:
        BadArgument: there is none.
    """
    if text not in frozenset(Role):
        raise BadArgument("role: viewer, operator or admin")
    return Role(text)


def _tenants(chosen: Sequence[object], me: User) -> list[TenantId]:
    """Return the tenants that were chosen, all of which have to be those of who chooses.

    Raises:
        BadArgument: they are not.
    """
    found = [TenantId(str(one)) for one in chosen]
    if not found or not may_manage(me, found):
        raise BadArgument("tenant: choose at least one of yours")
    return found


def _see_other(me: User, user: User) -> None:
    if me.name == user.name:
        raise Unsafe(_NOT_YOURSELF)


DISABLE: Final = Deed(
    f"{_ONE}/disable",
    "Disable",
    "Disable the user",
    _PATH,
    about="All their sessions end at once. They can be enabled again.",
    act=_acting(users.disable),
    scope=Scope.ADMIN,
    danger=True,
    told=lambda answer: f"{answer['name']} is disabled.",
)
ENABLE: Final = Deed(
    f"{_ONE}/enable",
    "Enable",
    "Enable the user",
    _PATH,
    about="They can log in again, with the password they had.",
    act=_acting(users.enable),
    scope=Scope.ADMIN,
    told=lambda answer: f"{answer['name']} is enabled.",
)
DEEDS: Final = {"disable": DISABLE, "enable": ENABLE}
LIST: Final = Page(_PATH, _list, "Users", Scope.ADMIN, menu=Menu.MANAGE)
PAGES: Final[Sequence[Page]] = (
    LIST,
    Page(_PATH, _create, LIST.title, Scope.ADMIN, method="POST"),
    Page(_ONE, _show, "User", Scope.ADMIN),
    Page(_ONE, _change, "User", Scope.ADMIN, method="POST"),
    Page(f"{_ONE}/invite", _invite, "User", Scope.ADMIN, method="POST"),
    DISABLE.page,
    ENABLE.page,
)
