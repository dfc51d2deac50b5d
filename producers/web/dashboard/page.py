"""What a page is, and how it is answered."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property
from http import HTTPStatus
from typing import Any, Final

import aiohttp_jinja2
from aiohttp import web
from sqlalchemy import Engine

from producers.web.admin.routes import Admin
from producers.web.admin.threads import Threads
from producers.web.dashboard import cookies
from producers.web.dashboard.oidc import Oidc
from producers.web.dashboard.passwords import Passwords
from producers.web.dashboard.sessions import Session
from producers.web.dashboard.settings import DashboardSettings
from producers.web.problems import Problem
from producers.web.routes import Handler, Scope, permits

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    # With "no-referrer" browsers would not tell the origin of a form either.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
"""Of every page."""
_LOGINS_AT_ONCE: Final = 2
_SESSIONS_AT_ONCE: Final = 4


class Menu(StrEnum):
    """The parts of the menu, in their order."""

    WATCH = "Watch"
    RECORDS = "Records"
    DECIDE = "Decide"
    OPERATE = "Operate"
    MANAGE = "Manage"


@dataclass(frozen=True, slots=True)
class Page:
    """One page, or the address that one of its forms is sent to.

    Attributes:
        path: in aiohttp's notation, such as ``/ui/people/{person_id}``.
        handler: answers the request; see `producers.web.dashboard`.
        title: of the page, and its name in the menu.
        scope: that its reader needs.
        method: of the request.
        menu: part of the menu it stands in; none: it is not in the menu.
    """

    path: str
    handler: Handler
    title: str = ""
    scope: Scope = Scope.READ
    method: str = "GET"
    menu: Menu | None = None


@dataclass(frozen=True)
class Dashboard:
    """What the pages work with: ``request.app[HUB]``.

    Attributes:
        settings: of the dashboard.
        admin: what reads, and what does.
        pool: of the hub's database.
        sessions: threads in which sessions, users and keys are read and changed.
        logins: threads in which passwords are checked, which takes much memory each.
        passwords: makes and compares hashes.
    """

    settings: DashboardSettings
    admin: Admin
    pool: Engine
    sessions: Threads = field(default_factory=lambda: Threads("sessions", _SESSIONS_AT_ONCE))
    logins: Threads = field(default_factory=lambda: Threads("logins", _LOGINS_AT_ONCE))
    passwords: Passwords = field(default_factory=Passwords)

    @cached_property
    def oidc(self) -> Oidc | None:
        """The identity provider; none: nobody logs in by one."""
        settings = self.settings
        if settings.oidc is None:
            return None
        return Oidc(settings.oidc, settings.origin, settings.default_tenant)


HUB: Final = web.AppKey("dashboard", Dashboard)
MENU: Final = web.AppKey("menu", Sequence[Page])
"""The pages of the menu."""
SESSION: Final = web.RequestKey("session", Session)
PAGE: Final = web.RequestKey("page", Page)
THEMES: Final = ("auto", "light", "dark")


def render(
    request: web.Request,
    template: str,
    status: int = HTTPStatus.OK,
    *,
    title: str | None = None,
    **context: Any,
) -> web.Response:
    """Return a page.

    Args:
        request: it answers.
        template: its name in ``templates``.
        status: HTTP status.
        title: of the page; that of the table of pages if none is given.
        **context: what the template shows.
    """
    settings = request.app[HUB].settings
    session, page = request.get(SESSION), request.get(PAGE)
    message = cookies.told(request, settings)
    theme = cookies.read(request, settings, cookies.THEME)
    shared = {
        "title": title if title is not None else page.title if page else "",
        "path": request.path,
        "here": request.path_qs,
        "session": session,
        "menu": _menu(request, session),
        "message": message,
        "theme": theme if theme in THEMES else THEMES[0],
        "themes": THEMES,
    }
    response = aiohttp_jinja2.render_template(template, request, shared | context, status=status)
    response.headers.update(HEADERS)
    if message is not None:
        cookies.drop(response, settings, cookies.MESSAGE)
    return response


def _menu(request: web.Request, session: Session | None) -> list[tuple[Menu, list[Page]]]:
    """Return the menu of who asks, by its parts."""
    if session is None:
        return []
    mine = [page for page in request.app[MENU] if may(session, page.scope)]
    parts = [(part, [page for page in mine if page.menu is part]) for part in Menu]
    return [(part, pages) for part, pages in parts if pages]


def may(session: Session, scope: Scope) -> bool:
    """Tell whether the session's user may do what needs ``scope``."""
    return permits({session.user.role.scope}, scope)


def see(request: web.Request, path: str, told: str = "", tone: str = "good") -> web.Response:
    """Return the answer that leads to the page ``path``, where ``told`` is told if it is given.

    Args:
        request: it answers; one of htmx is told in htmx's way.
        path: of this site.
        told: in words; no personal data.
        tone: ``good``, ``warn`` or ``bad``.
    """
    if "HX-Request" in request.headers:
        response = web.Response(headers={"HX-Redirect": path, "Cache-Control": "no-store"})
    else:
        response = web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": path, **HEADERS})
    if told:
        cookies.tell(response, request.app[HUB].settings, told, tone)
    return response


def problem_page(request: web.Request, problem: Problem) -> web.Response:
    """Return ``problem`` as a page."""
    response = render(
        request,
        "problem.html",
        problem.status,
        title=problem.title,
        detail=problem.detail,
        errors=problem.errors,
    )
    response.headers.update(problem.headers)
    return response


def local_path(text: str, otherwise: str) -> str:
    r"""Return ``text`` if it is an address of this site, without host, else ``otherwise``.

    Browsers take ``//host``, ``/\host`` and addresses with control signs for those of other hosts.
    """
    is_local = text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if is_local and text.isprintable() and "\\" not in text else otherwise
