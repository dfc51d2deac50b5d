"""Stands before every page: who asks, may they, and does a form come from a page of ours."""

import hmac
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, urlsplit

from aiohttp import hdrs, web

from producers.web.dashboard import cookies, sessions
from producers.web.dashboard.page import HUB, PAGE, SESSION, Page, may, problem_page, see
from producers.web.dashboard.sessions import Session
from producers.web.dashboard.settings import DashboardSettings
from producers.web.problems import Problem, problem_of
from producers.web.routes import KEY, TENANT, Handler

Form = Mapping[str, str]
FIELD: Final = "form_token"
TENANT_FIELD: Final = "form_tenant"
HEADER: Final = "X-CSRF-Token"
LIVE_HEADER: Final = "X-Hub-Live"
"""Of requests by which a page that is open brings itself up to date: nobody has done anything."""
_MAX_FORM: Final = 1024 * 1024
_READING: Final = frozenset({hdrs.METH_GET, hdrs.METH_HEAD})
_FOREIGN: Final = (
    "The form did not come from an open page of this dashboard. Open it again, and send it there."
)
_SWITCHED: Final = """The page was about another tenant than the one that is chosen now. Nothing was
done; open the page again."""


def before(page: Page) -> Handler:
    """Return the handler of ``page`` with the guard before it."""

    async def guarded(request: web.Request) -> web.StreamResponse:
        session = await _session(request)
        if session is None:
            return _to_login(request)
        user = session.user
        request[SESSION], request[TENANT], request[KEY] = session, session.tenant, user.actor
        if request.method not in _READING:
            await _see_form(request, session)
        if not may(session, page.scope):
            raise Problem(HTTPStatus.FORBIDDEN, f"Your role, {user.role.value}, may not do this.")
        return await page.handler(request)

    return telling(page, guarded)


def telling(page: Page, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]) -> Handler:
    """Return ``handler`` with every error told as a page."""

    async def handle(request: web.Request) -> web.StreamResponse:
        request[PAGE] = page
        try:
            return await handler(request)
        except web.HTTPException as error:
            if error.status < HTTPStatus.BAD_REQUEST:
                raise
            return problem_page(request, problem_of(request, error))
        except Exception as error:  # noqa: BLE001 - the outermost boundary: people get a page, the log the place
            return problem_page(request, problem_of(request, error))

    return handle


async def _session(request: web.Request) -> Session | None:
    hub = request.app[HUB]
    secret = cookies.read(request, hub.settings, cookies.SESSION)
    if not secret:
        return None
    counts = LIVE_HEADER not in request.headers
    return await hub.sessions.run(lambda: sessions.find(hub.pool, hub.settings, secret, counts=counts))


def _to_login(request: web.Request) -> web.Response:
    """Return the way to the log-in, and from there to the page that was asked for."""
    wanted = request.path_qs if request.method in _READING and "HX-Request" not in request.headers else "/"
    return see(request, f"/login?next={quote(wanted, safe='')}" if wanted != "/" else "/login")


async def _see_form(request: web.Request, session: Session) -> None:
    """See that a form of this session was sent from a page of ours, about the tenant that is chosen.

    Raises:
        Problem: it was not (403, 409).
    """
    form = await form_of(request)
    given = request.headers.get(HEADER) or form.get(FIELD, "")
    if not hmac.compare_digest(given.encode("utf-8", "surrogateescape"), session.form_token.encode()):
        raise Problem(HTTPStatus.FORBIDDEN, _FOREIGN)
    if form.get(TENANT_FIELD, session.tenant) != session.tenant:
        raise Problem(HTTPStatus.CONFLICT, _SWITCHED)


async def form_of(request: web.Request) -> Form:
    """Return the fields of the form that ``request`` brings, of several of a name the first.

    Raises:
        Problem: it was sent from another site (403), or is too long (413).
    """
    if not is_from_here(request, request.app[HUB].settings):
        raise Problem(HTTPStatus.FORBIDDEN, _FOREIGN)
    if request.content_length is None or request.content_length > _MAX_FORM:
        raise Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "The form is too long.")
    if request.content_type != "application/x-www-form-urlencoded":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "This is no form of the dashboard.")
    sent = await request.post()
    return {name: value for name in sent if isinstance(value := sent[name], str)}


def is_from_here(request: web.Request, settings: DashboardSettings) -> bool:
    """Tell whether the request came from a page of ours; every browser says where a form comes from."""
    origin = request.headers.get(hdrs.ORIGIN, "")
    if origin == settings.origin:
        return True
    # Without TLS, on this machine alone, one name for it is as good as another.
    return not settings.is_secure and urlsplit(origin).netloc == request.host and origin.startswith("http://")
