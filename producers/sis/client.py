"""Fetches pages of OneRoster collections, with an access token that is used until it is refused."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import blake2b
from http import HTTPStatus
from typing import Any, Self

import aiohttp
import msgspec
import structlog

from infra.errors import HubError
from infra.http_client import backoff, retry_after
from producers.sis.settings import OneRosterSettings

_log = structlog.get_logger()

_LONGEST = 60.0
_RETRIED = frozenset({408, 425, 429, 500, 502, 503, 504})


class PullError(HubError):
    """The SIS gave no usable page.

    Attributes:
        code: short reason for the run record, such as ``http_503``, ``timeout`` or ``unauthorised``.
        retry_after: seconds to wait as the server asked; none if it did not.
        passes: whether it may pass by itself.
    """

    def __init__(self, code: str, *, passes: bool = False, seconds: float | None = None) -> None:
        super().__init__(f"the SIS gave no page ({code})")
        self.code = code
        self.passes = passes
        self.retry_after = seconds


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a collection.

    Attributes:
        records: as they came.
        total: records of the whole collection (``X-Total-Count``), if told.
        digest: hash of the body.
    """

    records: list[Any]
    total: int | None
    digest: bytes


class OneRosterClient:
    """A session with the SIS; an async context manager."""

    def __init__(self, settings: OneRosterSettings) -> None:
        self._settings = settings
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=settings.timeout))
        self._token: str | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def page(self, collection: str, query: Mapping[str, str], deadline: float) -> Page:
        """Fetch a page of ``collection``; trouble that may pass is waited out until ``deadline``.

        Args:
            collection: such as ``users``.
            query: parameters of the request.
            deadline: by ``time.monotonic``.

        Raises:
            PullError: the SIS refuses, is away for too long, or answers something else than a page.
        """
        attempt = 0
        while True:
            try:
                return await self._page(collection, query)
            except PullError as error:
                seconds = max(
                    error.retry_after or 0.0, backoff(attempt, self._settings.backoff_seconds, _LONGEST)
                )
                if not error.passes or time.monotonic() + seconds > deadline:
                    raise
                _log.info(
                    "sis_pull_waits", collection=collection, reason=error.code, seconds=round(seconds, 1)
                )
            attempt += 1
            await asyncio.sleep(seconds)

    async def _page(self, collection: str, query: Mapping[str, str]) -> Page:
        """Fetch a page; when the token is refused, with a new one."""
        is_fresh = self._token is None
        try:
            return await self._fetch(collection, query, self._token or await self._new_token())
        except _RefusedError:
            if is_fresh:
                raise PullError("unauthorised") from None
        try:
            return await self._fetch(collection, query, await self._new_token())
        except _RefusedError:
            raise PullError("unauthorised") from None

    async def _fetch(self, collection: str, query: Mapping[str, str], token: str) -> Page:
        headers = {"Authorization": f"Bearer {token}", "Accept": "application/json"}
        url = f"{self._settings.root}/{collection}"
        status, answered, body = await self._send("GET", url, params=query, headers=headers)
        if status == HTTPStatus.UNAUTHORIZED:
            self._token = None
            raise _RefusedError
        _check(status, answered)
        return read_page(collection, body, answered.get("X-Total-Count"))

    async def _new_token(self) -> str:
        """Ask for an access token (RFC 6749, 4.4).

        Raises:
            PullError: the SIS refuses the credentials or gives no token.
        """
        chosen = self._settings
        form = {"grant_type": "client_credentials"}
        if chosen.asked_scope:
            form["scope"] = chosen.asked_scope
        auth = aiohttp.encode_basic_auth(chosen.client_id, chosen.client_secret)
        headers = {"Authorization": auth} if chosen.client_auth == "basic" else {}
        if chosen.client_auth == "body":
            form |= {"client_id": chosen.client_id, "client_secret": chosen.client_secret}
        status, answered, body = await self._send("POST", chosen.token_url, data=form, headers=headers)
        if status in (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED):
            raise PullError("token_refused")
        _check(status, answered)
        content = _json(body)
        issued = content.get("access_token") if isinstance(content, dict) else None
        if not isinstance(issued, str) or not issued:
            raise PullError("no_token")
        self._token = issued
        return issued

    async def _send(self, method: str, url: str, **options: Any) -> tuple[int, Mapping[str, str], bytes]:
        try:
            # A redirect would carry credentials along, and mostly leads to a page for people.
            async with self._session.request(method, url, allow_redirects=False, **options) as response:
                return response.status, response.headers, await response.read()
        except TimeoutError:
            raise PullError("timeout", passes=True) from None
        except aiohttp.InvalidURL:
            raise PullError("bad_address") from None
        except aiohttp.ClientPayloadError:
            raise PullError("cut_off", passes=True) from None
        except (aiohttp.ClientError, OSError):
            raise PullError("unreachable", passes=True) from None


class _RefusedError(Exception):
    """The access token is void."""


def read_page(collection: str, body: bytes, total: str | None) -> Page:
    """Read the body of an answer.

    Raises:
        PullError: it is not JSON, or not a page of ``collection``.
    """
    content = _json(body)
    records = content.get(collection) if isinstance(content, dict) else None
    if not isinstance(records, list):
        raise PullError("no_collection")
    count = int(total) if total and total.isascii() and total.isdigit() and len(total) < 10 else None
    return Page(records, count, blake2b(body, digest_size=16).digest())


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    try:
        # More lenient (half a surrogate pair, invalid UTF-8): one such text shall not spoil the page.
        return json.loads(body.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError):
        # Mostly an answer that was cut off on the way.
        raise PullError("not_json", passes=True) from None


def _check(status: int, headers: Mapping[str, str]) -> None:
    if status == HTTPStatus.OK:
        return
    if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise PullError("unauthorised")
    if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
        raise PullError("redirect")
    seconds = retry_after(headers.get("Retry-After"), datetime.now(UTC))
    code = f"http_{status}"
    raise PullError(code, passes=status in _RETRIED, seconds=seconds)
