"""Asks Zoho's CRM (API version 2): pages of records, single ones, and what was deleted.

The access token is made from the refresh token once and used by all requests of the client; of many that are
told at once that it has expired, one makes the new one. It is kept in memory only.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any, Final, Self
from urllib.parse import quote

import aiohttp
import msgspec
import structlog

from infra.errors import HubError, RetryLater, Stop
from infra.http_client import backoff, retry_after
from producers.zoho.settings import ZohoSettings

_log = structlog.get_logger()

_MODIFIED_SINCE: Final = "If-Modified-Since"
_ABSENT: Final = (HTTPStatus.NO_CONTENT, HTTPStatus.NOT_MODIFIED)
_WRONG_CREDENTIALS: Final = frozenset(
    {"invalid_client", "invalid_code", "invalid_client_secret", "access_denied", "unauthorized_client"}
)
_LONGEST_BACKOFF: Final = 30.0


class ZohoError(HubError):
    """The CRM refuses a request for good; others may succeed.

    Attributes:
        code: short, for run records, such as ``http_400`` or ``INVALID_MODULE``.
    """

    def __init__(self, code: str) -> None:
        super().__init__(f"Zoho's CRM refused a request ({code})")
        self.code = code


class ZohoTrouble(RetryLater):
    """The CRM is away or asks to wait; the request was tried several times.

    Attributes:
        code: short, for run records, such as ``http_503``, ``timeout`` or ``rate_limit``.
    """

    def __init__(self, code: str, seconds: float | None = None) -> None:
        super().__init__(f"Zoho's CRM gives no answer ({code})", seconds)
        self.code = code


@dataclass(frozen=True, slots=True)
class Page:
    """One page of records.

    Attributes:
        records: as they came.
        is_last: whether no more follow.
        time: the server's clock, UTC, if it was told.
    """

    records: list[Any]
    is_last: bool
    time: datetime | None


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    content: Any
    time: datetime | None


class ZohoClient:
    """A session with one CRM; an async context manager."""

    def __init__(self, settings: ZohoSettings) -> None:
        self._settings = settings
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=settings.timeout))
        self._access: str | None = None
        self._refreshing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def pages(self, module: str, since: datetime | None = None) -> AsyncIterator[Page]:
        """Yield all records of a module, or those changed since; by id, which no change moves.

        Raises:
            ZohoError: refused for good.
            RetryLater: away, or asks to wait for long.
            Stop: the credentials are wrong.
        """
        async for page in self._paged(f"{quote(module)}", {"sort_by": "id", "sort_order": "asc"}, since):
            yield page

    async def deleted(self, module: str, since: datetime | None = None) -> AsyncIterator[Page]:
        """Yield what was deleted from a module: records with ``id`` and ``deleted_time``.

        Raises: as `pages`.
        """
        async for page in self._paged(f"{quote(module)}/deleted", {"type": "all"}, since):
            yield page

    async def record(self, module: str, record_id: str) -> dict[str, Any] | None:
        """Return one whole record, subforms included, or none where there is no such record.

        Raises: as `pages`.
        """
        path = f"{quote(module)}/{quote(record_id, safe='')}"
        answer = await self._get(path, {}, {}, absent=(HTTPStatus.NOT_FOUND, HTTPStatus.BAD_REQUEST))
        found = _records(answer) if answer.status == HTTPStatus.OK else []
        return found[0] if found and isinstance(found[0], dict) else None

    async def _paged(
        self, path: str, parameters: Mapping[str, str], since: datetime | None
    ) -> AsyncIterator[Page]:
        headers = {_MODIFIED_SINCE: since.astimezone(UTC).isoformat(timespec="seconds")} if since else {}
        number, more = 1, True
        while more:
            paging = {"page": str(number), "per_page": str(self._settings.page_size)}
            answer = await self._get(path, {**parameters, **paging}, headers)
            records = _records(answer)
            info = answer.content.get("info") if isinstance(answer.content, dict) else None
            more = bool(records) and isinstance(info, dict) and info.get("more_records") is True
            yield Page(records, not more, answer.time)
            number += 1

    async def _get(
        self,
        path: str,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        absent: tuple[HTTPStatus, ...] = (),
    ) -> _Answer:
        url = f"{self._settings.api_url.rstrip('/')}/crm/v2/{path}"
        failures, refused = 0, False
        while True:
            access = await self._token()
            try:
                answer = await self._once(url, parameters, {**headers, **_authorization(access)}, absent)
            except ZohoTrouble as trouble:
                await self._wait(trouble, failures)
                failures += 1
                continue
            if answer.status != HTTPStatus.UNAUTHORIZED:
                return answer
            if refused:
                raise Stop("Zoho's CRM refuses the access token that was just made")
            refused = True
            await self._renew(access)

    async def _wait(self, trouble: ZohoTrouble, failures: int) -> None:
        """Wait before the next attempt; after the last, or for a long time, it is the caller's trouble.

        Args:
            trouble: what just happened.
            failures: how many there were before it.
        """
        asked = trouble.retry_after or 0.0
        if failures + 1 >= self._settings.attempts or asked > self._settings.longest_wait:
            raise trouble
        seconds = max(asked, backoff(failures, self._settings.backoff_seconds, _LONGEST_BACKOFF))
        _log.info("zoho_waits", reason=trouble.code, seconds=round(seconds, 1))
        await asyncio.sleep(seconds)

    async def _once(
        self,
        url: str,
        parameters: Mapping[str, str],
        headers: Mapping[str, str],
        absent: tuple[HTTPStatus, ...],
    ) -> _Answer:
        try:
            async with self._session.get(
                url, params=parameters, headers=headers, allow_redirects=False
            ) as response:
                body = await response.read()
                return _checked(response.status, response.headers, body, absent)
        except TimeoutError:
            raise ZohoTrouble("timeout") from None
        except (aiohttp.ClientError, OSError):
            raise ZohoTrouble("unreachable") from None

    async def _token(self) -> str:
        return self._access or await self._renew(None)

    async def _renew(self, refused: str | None) -> str:
        """Return a new access token in place of ``refused``; whoever comes later finds the new one."""
        async with self._refreshing:
            if self._access is None or self._access == refused:
                self._access = None
                self._access = await self._refresh()
            return self._access

    async def _refresh(self) -> str:
        failures = 0
        while True:
            try:
                return await self._ask_for_token()
            except ZohoTrouble as trouble:
                await self._wait(trouble, failures)
                failures += 1

    async def _ask_for_token(self) -> str:
        settings = self._settings
        form = {
            "grant_type": "refresh_token",
            "client_id": settings.client_id or "",
            "client_secret": settings.client_secret,
            "refresh_token": settings.refresh_token,
        }
        try:
            async with self._session.post(
                f"{settings.accounts_url.rstrip('/')}/oauth/v2/token", data=form, allow_redirects=False
            ) as response:
                body = await response.read()
                return _access_token(response.status, response.headers, body)
        except TimeoutError:
            raise ZohoTrouble("timeout") from None
        except (aiohttp.ClientError, OSError):
            raise ZohoTrouble("unreachable") from None


def _authorization(access: str) -> dict[str, str]:
    return {"Authorization": f"Zoho-oauthtoken {access}"}


def _access_token(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """Read the answer of the accounts server, which reports errors with status 200 too."""
    content = _json(body)
    answer = content if isinstance(content, dict) else {}
    error = str(answer.get("error", ""))
    if error in _WRONG_CREDENTIALS or status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
        raise Stop("Zoho refuses the credentials (ZOHO_CLIENT_ID, ZOHO_CLIENT_SECRET, ZOHO_REFRESH_TOKEN)")
    found = answer.get("access_token")
    if status == HTTPStatus.OK and isinstance(found, str) and found:
        return found
    # Too many refreshes are answered with 400 and "Access Denied"; a while later it works again.
    code = "no_token" if status < HTTPStatus.INTERNAL_SERVER_ERROR else f"http_{status}"
    raise ZohoTrouble(code, retry_after(headers.get("Retry-After"), datetime.now(UTC)))


def _checked(status: int, headers: Mapping[str, str], body: bytes, absent: tuple[HTTPStatus, ...]) -> _Answer:
    time = _server_time(headers.get("Date"))
    if status in _ABSENT or status in absent:
        return _Answer(status, None, time)
    if status == HTTPStatus.OK:
        content = _json(body)
        if not isinstance(content, dict):
            raise ZohoTrouble("not_json")
        return _Answer(status, content, time)
    if status == HTTPStatus.UNAUTHORIZED:
        return _Answer(status, None, time)
    wait = retry_after(headers.get("Retry-After"), datetime.now(UTC))
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        raise ZohoTrouble("rate_limit", wait)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status == HTTPStatus.REQUEST_TIMEOUT:
        code = f"http_{status}"
        raise ZohoTrouble(code, wait)
    content = _json(body)
    named = content.get("code") if isinstance(content, dict) else None
    raise ZohoError(named if isinstance(named, str) and named.isupper() else f"http_{status}")


def _records(answer: _Answer) -> list[Any]:
    found = answer.content.get("data") if isinstance(answer.content, dict) else None
    if answer.status == HTTPStatus.OK and not isinstance(found, list):
        raise ZohoTrouble("no_data")
    return found if isinstance(found, list) else []


def _server_time(text: str | None) -> datetime | None:
    try:
        return parsedate_to_datetime(text).astimezone(UTC) if text else None
    except ValueError:
        return None


def _json(body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
