"""What people set for themselves: tenant, theme, password; and logging out."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Final

from aiohttp import web

from infra.errors import BadArgument
from producers.web.dashboard import cookies, sessions, users
from producers.web.dashboard.login_pages import chosen, logged_in
from producers.web.dashboard.page import HUB, SESSION, THEMES, Page, local_path, render, see
from producers.web.dashboard.user import By
from producers.web.problems import Problem
from schemas.ids import TenantId

_PATH: Final = "/ui/account"


async def _show(request: web.Request) -> web.StreamResponse:
    return _shown(request)


def _shown(request: web.Request, problem: str = "") -> web.Response:
    status = HTTPStatus.UNPROCESSABLE_ENTITY if problem else HTTPStatus.OK
    return render(request, "account.html", status, title="Your account", problem=problem)


async def _change_password(request: web.Request) -> web.StreamResponse:
    hub, user, form = request.app[HUB], request[SESSION].user, await request.post()
    kept = await hub.sessions.run(users.password_hash_of, hub.pool, user.name)
    if not await hub.logins.run(hub.passwords.matches, str(form.get("old", "")), kept):
        return _shown(request, "The password of now is not right.")
    try:
        password = chosen(str(form.get("password", "")), str(form.get("again", "")), user.name)
    except BadArgument as error:
        return _shown(request, str(error))
    new = await hub.logins.run(hub.passwords.hashed, password)
    await hub.sessions.run(users.change_password, hub.pool, user.name, new, By(user.actor))
    response = await logged_in(request, user, _PATH)
    cookies.tell(response, hub.settings, "Your password is changed, and all other sessions have ended.")
    return response


async def _choose_tenant(request: web.Request) -> web.StreamResponse:
    hub, session = request.app[HUB], request[SESSION]
    tenant = TenantId(str((await request.post()).get("tenant", "")))
    if tenant not in session.user.tenants:
        raise Problem(HTTPStatus.FORBIDDEN, "You do not speak for this tenant.")
    await hub.sessions.run(sessions.look_at, hub.pool, session, tenant)
    return see(request, "/", f"These are the records of {tenant} now.")


async def _choose_theme(request: web.Request) -> web.StreamResponse:
    theme = str((await request.post()).get("theme", ""))
    if theme not in THEMES:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, "There is no such theme.")
    response = see(request, back_of(request))
    cookies.keep_theme(response, request.app[HUB].settings, theme)
    return response


async def _log_out(request: web.Request) -> web.StreamResponse:
    hub, session = request.app[HUB], request[SESSION]
    await hub.sessions.run(sessions.end, hub.pool, session.secret)
    response = see(request, "/login" if session.user.is_local else "/login?left=")
    for cookie in (cookies.SESSION, cookies.MESSAGE):
        cookies.drop(response, hub.settings, cookie)
    return response


def back_of(request: web.Request) -> str:
    """Return the page from which a form was sent, if the browser says so."""
    origin, referrer = request.app[HUB].settings.origin, request.headers.get("Referer", "")
    for start in (origin, f"http://{request.host}"):
        if referrer.startswith(f"{start}/"):
            return local_path(referrer.removeprefix(start), "/")
    return "/"


PAGES: Final[Sequence[Page]] = (
    Page(_PATH, _show, "Your account"),
    Page(f"{_PATH}/password", _change_password, "Your account", method="POST"),
    Page("/ui/tenant", _choose_tenant, method="POST"),
    Page("/ui/theme", _choose_theme, method="POST"),
    Page("/logout", _log_out, method="POST"),
)
