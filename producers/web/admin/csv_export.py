"""Lists as CSV: page after page, so that neither this process nor the database holds a long list at once.

Each page is a transaction of its own. A slow reader so holds no connection and no lock, which would keep a
rebuilt read model from taking its place.
"""

import asyncio
import csv
import io
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any, Final

import msgspec
import structlog
from aiohttp import web

from infra.errors import RetryLater
from producers.web.admin.listing import Listing
from producers.web.admin.reads import Page, Row
from producers.web.admin.resource import TENANT, Resource

CONTENT_TYPE: Final = "text/csv"
_CHUNK: Final = 5_000
_STALLED_SECONDS: Final = 60.0
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""What spreadsheets take for the beginning of a formula (OWASP, "CSV Injection")."""
_log = structlog.get_logger()

Fetch = Callable[[Listing, int], Awaitable[Page]]
"""Returns a page of at most so many rows."""


async def export(
    request: web.Request, resource: Resource, listing: Listing, fetch: Fetch
) -> web.StreamResponse:
    """Answer with all rows of ``listing``, or the first ones up to its limit.

    Raises:
        RetryLater: nothing could be read. Later on, the connection breaks off, so that nobody takes what came
            for the whole.
    """
    chunks = _chunks(resource, listing, fetch)
    first = await anext(chunks)
    response = web.StreamResponse()
    response.content_type, response.charset = CONTENT_TYPE, "utf-8"
    response.headers["Content-Disposition"] = f'attachment; filename="{resource.name}.csv"'
    await response.prepare(request)
    try:
        await response.write(first)
        async for chunk in chunks:
            async with asyncio.timeout(_STALLED_SECONDS):
                await response.write(chunk)
    except (RetryLater, TimeoutError) as trouble:
        _log.warning("export_broken_off", resource=resource.name, fault=type(trouble).__name__)
        if request.transport is not None:
            request.transport.abort()
    return response


async def _chunks(resource: Resource, listing: Listing, fetch: Fetch) -> AsyncIterator[bytes]:
    names = (TENANT, *(column.name for column in resource.columns))
    left, head = listing.limit, [names]
    while left is None or left > 0:
        page = await fetch(listing, _CHUNK if left is None else min(left, _CHUNK))
        yield await asyncio.to_thread(lines, names, page.rows, head)
        if page.last is None:
            return
        listing, head = listing.behind(page.last), []
        left = None if left is None else left - len(page.rows)


def lines(names: Sequence[str], rows: Sequence[Row], head: Sequence[Sequence[str]] = ()) -> bytes:
    """Return ``head`` and ``rows`` as lines of CSV (RFC 4180) in UTF-8."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerows(head)
    writer.writerows([cell(row[name]) for name in names] for row in rows)
    return text.getvalue().encode()


def cell(value: Any) -> str:
    """Return ``value`` as the text of a cell; quoted if a spreadsheet would compute it."""
    if isinstance(value, str):
        return f"'{value}" if value.startswith(_FORMULA) else value
    if value is None:
        return ""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    return msgspec.json.encode(value).decode() if isinstance(value, list | dict) else str(value)
