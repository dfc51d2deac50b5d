"""Fetches pages of the feed."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Self

import aiohttp
import msgspec
from yarl import URL

from infra.errors import HubError
from infra.http_client import retry_after
from infra.metrics import AUTH_FAILURES
from producers.elm.query import next_query
from producers.elm.settings import ElmFeedSettings

TOKEN_HEADER = "x-cdata-authtoken"  # noqa: S105 - the name of a header


class FeedError(HubError):
    """The feed gave no usable page.

    Attributes:
        code: short reason for the run record, such as ``http_503``, ``timeout`` or ``no_value``.
        retry_after: seconds to wait as the server asked; none if it did not.
    """

    def __init__(self, code: str, retry_after: float | None = None) -> None:
        super().__init__(f"the ELM feed gave no page ({code})")
        self.code = code
        self.retry_after = retry_after


@dataclass(frozen=True, slots=True)
class Page:
    """One answer of the feed.

    Attributes:
        records: its elements as they came.
        following: query of the next page, if the server named one.
        digest: hash of the whole answer.
    """

    records: list[Any]
    following: str | None
    digest: bytes


class ElmClient:
    """A session with the feed; an async context manager."""

    def __init__(self, settings: ElmFeedSettings) -> None:
        self._url = settings.url
        self._session = aiohttp.ClientSession(
            headers={TOKEN_HEADER: settings.token},
            timeout=aiohttp.ClientTimeout(total=settings.timeout),
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def page(self, query: str) -> Page:
        """Fetch the page of ``query`` (percent-encoded).

        Raises:
            FeedError: the server is away, refuses, or answers something else than a page.
        """
        joint = "&" if "?" in self._url else "?"
        url = URL(f"{self._url}{joint}{query}", encoded=True)
        try:
            # A redirect would carry the token along, and mostly leads to a page for people.
            async with self._session.get(url, allow_redirects=False) as response:
                _check(response.status, response.headers)
                return read_page(await response.read())
        except TimeoutError:
            raise FeedError("timeout") from None
        except aiohttp.ClientPayloadError:
            raise FeedError("cut_off") from None
        except (aiohttp.ClientError, OSError):
            raise FeedError("unreachable") from None


def read_page(body: bytes) -> Page:
    """Read the body of an answer.

    Raises:
        FeedError: it is not JSON (``not_json``), or not a page (``no_value``).
    """
    content = _json(body)
    records = content.get("value") if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise FeedError("no_value")
    link = content.get("@odata.nextLink")
    return Page(records, next_query(link), blake2b(body, digest_size=16).digest())


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        pass
    try:
        # More lenient (half a surrogate pair, invalid UTF-8): one such text shall not spoil the page.
        return json.loads(body.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        raise FeedError("not_json") from None


def _check(status: int, headers: Mapping[str, str]) -> None:
    if status == HTTPStatus.OK:
        return
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        AUTH_FAILURES.labels("ELM").inc()
        raise FeedError("unauthorised")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise FeedError("redirect")
    code = f"http_{status}"
    raise FeedError(code, retry_after(headers.get("Retry-After"), datetime.now(UTC)))
