"""Calls to Moodle and ELM: the log of all of them, one whole, and how many there were by the minute."""

from collections.abc import Sequence
from typing import Final

from producers.web.admin import resources as res
from producers.web.dashboard.lists import Cell, ListPage
from producers.web.dashboard.page import Menu, Page
from producers.web.dashboard.records_pages import whole_of

_PATH: Final = "/ui/calls"
_SYSTEMS: Final = ("MOODLE", "ELM")
CALLS: Final = ListPage(
    _PATH,
    "Calls",
    res.CALLS,
    (
        Cell("started_at", "When", link=f"{_PATH}/{{call_id}}"),
        Cell("system"),
        Cell("target", "Site"),
        Cell("function", code=True),
        Cell("code", badge=True),
        Cell("http_status", "HTTP", code=True),
        Cell("duration_ms", "ms"),
        Cell("attempt"),
        Cell("entries"),
        Cell("request_bytes", "Bytes sent"),
        Cell("response_bytes", "Bytes got"),
    ),
    about="Every request to Moodle and to ELM, without its content. Calls for several tenants are of none.",
    choices={"system": _SYSTEMS},
    empty="No call matches.",
    menu=Menu.WATCH,
)
RATES: Final = ListPage(
    "/ui/rates",
    "Rates",
    res.RATES,
    (
        Cell("minute"),
        Cell("kind"),
        Cell("system"),
        Cell("target", "Site"),
        Cell("function", code=True),
        Cell("total"),
        Cell("failed"),
        Cell("auth_failed", "Not let in"),
    ),
    about="Calls, and results of commands and callbacks, by the minute they happened in.",
    choices={"kind": ("CALL", "RESULT"), "system": _SYSTEMS},
    empty="Nothing was counted. The role “analytics” of the hub counts calls and results.",
)
PAGES: Final[Sequence[Page]] = (
    CALLS.page,
    Page(f"{_PATH}/{{call_id}}", whole_of(res.CALLS, CALLS), "Call"),
    RATES.page,
)
