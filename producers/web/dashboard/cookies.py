"""The cookies of the dashboard. Pure, but for what is set on a response."""

import base64
import binascii
from typing import Final

import msgspec
from aiohttp import web

from producers.web.dashboard.settings import DashboardSettings

SESSION: Final = "hub_session"
LOGIN: Final = "hub_login"
MESSAGE: Final = "hub_message"
THEME: Final = "hub_theme"
_YEAR: Final = 365 * 24 * 3600
_MAX_MESSAGE: Final = 1_000


class Message(msgspec.Struct, frozen=True):
    """What was done, told on the next page.

    Attributes:
        tone: ``good``, ``warn`` or ``bad``.
        text: in words; no personal data.
    """

    tone: str
    text: str


def name_of(settings: DashboardSettings, cookie: str) -> str:
    """Return the name of a cookie; its prefix has browsers refuse it unless it is Secure and of this host."""
    return f"__Host-{cookie}" if settings.is_secure else cookie


def read(request: web.Request, settings: DashboardSettings, cookie: str) -> str:
    """Return what the browser keeps, or an empty text."""
    return request.cookies.get(name_of(settings, cookie), "")


def keep(
    response: web.StreamResponse,
    settings: DashboardSettings,
    cookie: str,
    value: str,
    seconds: int | None = None,
) -> None:
    """Have the browser keep ``value``: until it ends, or for some seconds; scripts cannot read it."""
    response.set_cookie(
        name_of(settings, cookie),
        value,
        max_age=seconds,
        path="/",
        secure=settings.is_secure,
        httponly=True,
        samesite="Lax",
    )


def drop(response: web.StreamResponse, settings: DashboardSettings, cookie: str) -> None:
    """Have the browser forget it."""
    response.del_cookie(
        name_of(settings, cookie), path="/", secure=settings.is_secure, httponly=True, samesite="Lax"
    )


def keep_theme(response: web.StreamResponse, settings: DashboardSettings, theme: str) -> None:
    """Have the browser keep how pages look."""
    keep(response, settings, THEME, theme, _YEAR)


def tell(response: web.StreamResponse, settings: DashboardSettings, text: str, tone: str = "good") -> None:
    """Have the next page tell ``text``."""
    message = msgspec.json.encode(Message(tone, text[:_MAX_MESSAGE]))
    keep(response, settings, MESSAGE, base64.urlsafe_b64encode(message).decode(), 60)


def told(request: web.Request, settings: DashboardSettings) -> Message | None:
    """Return what is to be told on this page."""
    try:
        content = base64.b64decode(read(request, settings, MESSAGE), b"-_", validate=True)
        return msgspec.json.decode(content, type=Message) if content else None
    except (binascii.Error, ValueError, msgspec.MsgspecError):
        return None
