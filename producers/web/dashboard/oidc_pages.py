"""The way to the identity provider, and back."""

import hmac
import secrets
from collections.abc import Sequence
from http import HTTPStatus
from typing import Final
from urllib.parse import quote, unquote

import structlog
from aiohttp import web

from infra.errors import BadArgument, Unsafe
from producers.web.dashboard import cookies, users
from producers.web.dashboard.login_pages import logged_in
from producers.web.dashboard.oidc import Oidc, Refused
from producers.web.dashboard.page import HUB, Dashboard, Page, local_path, see
from producers.web.dashboard.sessions import derived
from producers.web.problems import Problem

_log = structlog.get_logger()

_SECRET_BYTES: Final = 32
_AWAY_SECONDS: Final = 900
_LOST: Final = "The way back from the identity provider does not belong to this browser. Log in again."


async def _there(request: web.Request) -> web.StreamResponse:
    """Lead to the provider; a link, not a form: the policy of our pages lets forms lead nowhere else."""
    hub, secret = request.app[HUB], secrets.token_urlsafe(_SECRET_BYTES)
    address = await _provider(hub).way_there(secret)
    wanted = local_path(request.query.get("next", ""), "/")
    response = see(request, address)
    cookies.keep(response, hub.settings, cookies.LOGIN, f"{secret}.{quote(wanted, safe='')}", _AWAY_SECONDS)
    return response


async def _back(request: web.Request) -> web.StreamResponse:
    hub = request.app[HUB]
    kept = cookies.read(request, hub.settings, cookies.LOGIN)
    secret, _, wanted = kept.partition(".")
    state = request.query.get("state", "").encode("utf-8", "surrogateescape")
    if not secret or not hmac.compare_digest(state, derived(secret, "state").encode()):
        raise Problem(HTTPStatus.FORBIDDEN, _LOST)
    try:
        identity = await _provider(hub).identity(_code(request), secret)
        user = await hub.sessions.run(
            users.vouched_for, hub.pool, identity.name, identity.subject, identity.role, identity.tenants
        )
    except (Refused, BadArgument, Unsafe) as error:
        _log.warning("login_refused", fault=type(error).__name__)
        raise Problem(HTTPStatus.FORBIDDEN, str(error)) from None
    return await logged_in(request, user, local_path(unquote(wanted), "/"))


def _code(request: web.Request) -> str:
    """Return the code that the provider has given.

    Raises:
        Refused: it has given none.
    """
    if code := request.query.get("code", ""):
        return code
    raise Refused("The identity provider has not let you in.")


def _provider(hub: Dashboard) -> Oidc:
    if hub.oidc is None:
        raise Problem(HTTPStatus.NOT_FOUND, "Here nobody logs in by an identity provider.")
    return hub.oidc


PAGES: Final[Sequence[Page]] = (
    Page("/login/oidc", _there, "Log in"),
    Page("/login/oidc/callback", _back, "Log in"),
)
