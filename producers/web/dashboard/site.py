"""All pages, and how they are mounted in the application."""

from collections.abc import Sequence
from functools import cache
from http import HTTPStatus
from typing import Final

import aiohttp_jinja2
import jinja2
from aiohttp import web

from producers.web.background import repeating
from producers.web.dashboard import (
    account_pages,
    audit_pages,
    calls_pages,
    completions_pages,
    conflicts_pages,
    courses_pages,
    dead_letters_pages,
    enrolments_pages,
    flow_pages,
    guard,
    history_pages,
    incidents_pages,
    keys_pages,
    lockout,
    login_pages,
    oidc_pages,
    overview_pages,
    parked_pages,
    people_pages,
    preview_pages,
    records_pages,
    runs_pages,
    sessions,
    static_files,
    users_pages,
)
from producers.web.dashboard.page import HUB, MENU, Dashboard, Page, see
from producers.web.dashboard.shown import FILTERS
from producers.web.problems import Problem

PAGES: Final[Sequence[Page]] = (
    *overview_pages.PAGES,
    *flow_pages.PAGES,
    *incidents_pages.PAGES,
    *calls_pages.PAGES,
    *people_pages.PAGES,
    *courses_pages.PAGES,
    *enrolments_pages.PAGES,
    *completions_pages.PAGES,
    *parked_pages.PAGES,
    *conflicts_pages.PAGES,
    *dead_letters_pages.PAGES,
    *records_pages.PAGES,
    *runs_pages.PAGES,
    *preview_pages.PAGES,
    *history_pages.PAGES,
    *keys_pages.PAGES,
    *users_pages.PAGES,
    *audit_pages.PAGES,
    *account_pages.PAGES,
)
"""The pages for those who have logged in; the menu has them in this order."""
HOME: Final = "/ui/overview"
_SWEEP_SECONDS: Final = 600.0


def mount(app: web.Application, hub: Dashboard) -> None:
    """Serve the pages of ``hub`` in ``app``."""
    app[HUB] = hub
    app[MENU] = [page for page in PAGES if page.menu is not None]
    app[aiohttp_jinja2.APP_KEY] = _templates()
    static_files.mount(app, static_files.assets())
    for page in (*login_pages.PAGES, *oidc_pages.PAGES):
        app.router.add_route(page.method, page.path, guard.telling(page, page.handler))
    for page in (*PAGES, Page("/", _home), Page("/ui", _home), Page("/ui/{nothing:.*}", _unknown)):
        app.router.add_route(page.method, page.path, guard.before(page))
    app.cleanup_ctx.append(repeating("sessions", _SWEEP_SECONDS, _sweep))


@cache
def _templates() -> jinja2.Environment:
    """Return the templates, each compiled once in a process."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("producers.web.dashboard"),
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters.update(FILTERS)
    made.globals["static"] = lambda name: static_files.assets()[name].address
    return made


async def _home(request: web.Request) -> web.StreamResponse:
    return see(request, HOME)


async def _unknown(_: web.Request) -> web.StreamResponse:
    raise Problem(HTTPStatus.NOT_FOUND, "There is no page at this address.")


def _sweep(app: web.Application) -> None:
    hub = app[HUB]
    sessions.remove_ended(hub.pool, hub.settings)
    lockout.forget_old(hub.pool)
