"""Logging in by name and password, choosing a password when invited, and logging out."""

import hmac
import math
import secrets
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import web

from infra.errors import BadArgument
from producers.web.dashboard import cookies, lockout, passwords, sessions, users
from producers.web.dashboard.guard import FIELD, form_of
from producers.web.dashboard.lockout import Try
from producers.web.dashboard.page import HUB, Dashboard, Page, local_path, render, see
from producers.web.dashboard.sessions import derived
from producers.web.dashboard.settings import DashboardSettings, is_safe_url
from producers.web.dashboard.user import User
from producers.web.problems import Problem

_log = structlog.get_logger()

_WRONG: Final = "Name or password is wrong."
_STALE: Final = "The page was open for too long. Try again."
_NO_LINK: Final = "This invitation is unknown, used or too old. Ask for another one."
_UNSAFE: Final = "This page is not protected by TLS: what you type can be read on its way."
_SECRET_BYTES: Final = 32
_OPEN_SECONDS: Final = 3600


async def _ask(request: web.Request) -> web.StreamResponse:
    hub = request.app[HUB]
    wanted = local_path(request.query.get("next", ""), "/")
    secret = cookies.read(request, hub.settings, cookies.SESSION)
    find = partial(sessions.find, hub.pool, hub.settings, secret)
    if secret and await hub.sessions.run(find) is not None:
        return see(request, wanted)
    way_out = await hub.oidc.way_out() if hub.oidc and "left" in request.query else None
    return _asking(request, wanted, way_out=way_out)


def _asking(
    request: web.Request,
    wanted: str,
    name: str = "",
    problem: str = "",
    status: int = HTTPStatus.OK,
    way_out: str | None = None,
) -> web.Response:
    settings = request.app[HUB].settings
    # The page may be open twice: the older one stays good.
    known, _, _ = cookies.read(request, settings, cookies.LOGIN).partition(".")
    secret = known or secrets.token_urlsafe(_SECRET_BYTES)
    response = render(
        request,
        "login.html",
        status,
        title="Log in",
        next=wanted,
        name=name,
        problem=problem,
        token=derived(secret, "login"),
        local=settings.local,
        oidc=settings.oidc,
        way_out=way_out,
        warning=_warning(request, settings),
    )
    cookies.keep(response, settings, cookies.LOGIN, secret, _OPEN_SECONDS)
    return response


def _warning(request: web.Request, settings: DashboardSettings) -> str:
    if not is_safe_url(settings.public_url):
        return _UNSAFE
    is_elsewhere = settings.is_secure and request.host != urlsplit(settings.origin).netloc
    return (
        f"Log in at {settings.origin}, as API_PUBLIC_URL says; here it will not work." if is_elsewhere else ""
    )


async def _log_in(request: web.Request) -> web.StreamResponse:
    hub, form = request.app[HUB], await form_of(request)
    wanted, name = local_path(form.get("next", ""), "/"), form.get("name", "").strip().lower()
    if not hub.settings.local:
        raise Problem(HTTPStatus.FORBIDDEN, "Here nobody logs in by a password.")
    if not _is_of_form(request, form.get(FIELD, "")):
        return _asking(request, wanted, name, _STALE, HTTPStatus.FORBIDDEN)
    attempt = Try(name, address_of(request, hub.settings.proxies))
    if wait := await hub.sessions.run(lockout.begin, hub.pool, attempt):
        _log.warning("login_has_to_wait", seconds=math.ceil(wait.total_seconds()))
        return _wait(request, wanted, name, wait)
    user = await hub.logins.run(_known, hub, name, form.get("password", ""))
    if user is None:
        _log.warning("login_failed")
        return _asking(request, wanted, name, _WRONG, HTTPStatus.FORBIDDEN)
    await hub.sessions.run(lockout.succeeded, hub.pool, attempt)
    return await logged_in(request, user, wanted)


def _known(hub: Dashboard, name: str, password: str) -> User | None:
    """Return the user of that name and password; takes the same time whether the name is known or not."""
    if len(password) > passwords.MAX_LENGTH or "\0" in name:
        return None
    kept = users.password_hash_of(hub.pool, name)
    if not hub.passwords.matches(password, kept) or kept is None:
        return None
    if hub.passwords.is_outdated(kept):
        users.keep_hash(hub.pool, name, kept, hub.passwords.hashed(password))
    return users.get(hub.pool, name)


async def logged_in(request: web.Request, user: User, wanted: str) -> web.Response:
    """Begin a session of ``user`` and lead to the page that is wanted; the browser's old session ends."""
    hub = request.app[HUB]
    if old := cookies.read(request, hub.settings, cookies.SESSION):
        await hub.sessions.run(sessions.end, hub.pool, old)
    session = await hub.sessions.run(sessions.begin, hub.pool, hub.settings, user)
    response = see(request, wanted)
    cookies.keep(response, hub.settings, cookies.SESSION, session.secret)
    cookies.drop(response, hub.settings, cookies.LOGIN)
    return response


def _wait(request: web.Request, wanted: str, name: str, wait: timedelta) -> web.Response:
    seconds = max(1, math.ceil(wait.total_seconds()))
    told = f"{seconds} seconds" if seconds < 100 else f"{math.ceil(seconds / 60)} minutes"
    problem = f"There were too many tries that failed. Try again in {told}."
    response = _asking(request, wanted, name, problem, HTTPStatus.TOO_MANY_REQUESTS)
    response.headers["Retry-After"] = str(seconds)
    return response


def _is_of_form(request: web.Request, token: str) -> bool:
    """Tell whether the form is one that this browser was given."""
    secret, _, _ = cookies.read(request, request.app[HUB].settings, cookies.LOGIN).partition(".")
    given = token.encode("utf-8", "surrogateescape")
    return bool(secret) and hmac.compare_digest(given, derived(secret, "login").encode())


def address_of(request: web.Request, proxies: int) -> str:
    """Return the address of the browser, as the outermost of so many proxies of ours has seen it."""
    noted = [one.strip() for one in ",".join(request.headers.getall("X-Forwarded-For", [])).split(",")]
    if proxies and len(noted) >= proxies:
        return noted[-proxies]
    return request.remote or ""


async def _invited(request: web.Request) -> web.StreamResponse:
    hub, token = request.app[HUB], request.match_info["token"]
    user = await hub.sessions.run(users.invited, hub.pool, token)
    return _choosing(request, user, token)


def _choosing(request: web.Request, user: User | None, token: str, problem: str = "") -> web.Response:
    problem = problem if user else _NO_LINK
    status = HTTPStatus.OK if user and not problem else HTTPStatus.FORBIDDEN
    name = user.name if user else ""
    form_token = derived(token, "invitation")
    title = "Choose a password"
    return render(request, "password.html", status, title=title, name=name, problem=problem, token=form_token)


async def _choose(request: web.Request) -> web.StreamResponse:
    hub, token, form = request.app[HUB], request.match_info["token"], await form_of(request)
    user = await hub.sessions.run(users.invited, hub.pool, token)
    if user is None:
        return _choosing(request, None, token)
    try:
        password = chosen(form.get("password", ""), form.get("again", ""), user.name)
    except BadArgument as error:
        return _choosing(request, user, token, str(error))
    kept = await hub.logins.run(hub.passwords.hashed, password)
    user = await hub.sessions.run(users.accept, hub.pool, token, kept)
    return await logged_in(request, user, "/") if user else _choosing(request, None, token)


def chosen(password: str, again: str, name: str) -> str:
    """Return the password that somebody has chosen.

    Raises:
        BadArgument: it cannot be used, or was not typed twice alike.
    """
    if password != again:
        raise BadArgument("password: the two are not the same")
    passwords.check(password, name)
    return password


PAGES: Final[Sequence[Page]] = (
    Page("/login", _ask, "Log in"),
    Page("/login", _log_in, "Log in", method="POST"),
    Page("/invitation/{token}", _invited, "Choose a password"),
    Page("/invitation/{token}", _choose, "Choose a password", method="POST"),
)
"""Pages that need no session; their handlers see to everything themselves."""
