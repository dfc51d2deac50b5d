"""The client of Moodle's web services (REST, form-encoded).

It never raises for what a batch holds: it tells whether the call was done, was refused, may have been done,
or cannot be done now (`connectors.moodle.faults`). Quick repeats are made only where they do no harm.
"""

import asyncio
import itertools
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import urlencode

import aiohttp
import msgspec
import structlog

from connectors.moodle.faults import Failure, Kind, Refused, error_of, of_error, read_answer
from connectors.moodle.form import FRAME, Params, Value, entries, flatten
from connectors.moodle.settings import MoodleSettings
from infra.calls import OnCall, called, nobody
from infra.http_client import RateLimit, backoff, retry_after, tls_context

PATH: Final = "/webservice/rest/server.php"
MULTIPLEX: Final = "tool_mobile_call_external_functions"
CONNECT_SECONDS: Final = 10.0
KEEPALIVE_SECONDS: Final = 15.0  # shorter than a web server's, so that we hang up first
SMALLEST_FORM: Final = 20
_READS: Final = re.compile(r"_get_|_(retrieve|list)_reports?$")

log = structlog.get_logger()


class MoodleClient:
    """Calls of one Moodle site, within its limits. An asynchronous context manager.

    Attributes:
        max_input_vars: the number of form variables that the site is believed to take; it falls when the site
            shows that it takes fewer.
    """

    def __init__(self, settings: MoodleSettings, on_call: OnCall = nobody) -> None:
        """Prepare; nothing is connected yet.

        Args:
            settings: of the site.
            on_call: told of every request when it has ended.
        """
        self.settings = settings
        self.max_input_vars = settings.max_input_vars
        self._url = settings.url.rstrip("/") + PATH
        self._on_call = on_call
        self._rate = RateLimit(settings.rate_limit)
        self._places = asyncio.Semaphore(settings.parallel)
        self._session: aiohttp.ClientSession | None = None

    async def __aenter__(self) -> Self:
        tls = tls_context(self.settings.tls_minimum) if self._url.startswith("https:") else False
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(
                limit=self.settings.parallel, keepalive_timeout=KEEPALIVE_SECONDS, ssl=tls
            ),
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def call(self, function: str, params: Params, timeout: float | None = None) -> Any:
        """Call one function.

        Args:
            function: its name.
            params: its parameters, nested; what is to be left out is not in it.
            timeout: seconds for each request, where its answer is large; at least those of the settings.

        Returns:
            The decoded answer.

        Raises:
            RetryLater: Moodle cannot answer now; nothing was done.
            UnknownOutcome: it may have been done (`FormCut`: a part of it).
            Refused: Moodle refused the call as a whole.
            Stop: token, rights or address are wrong.
        """
        repeatable = _READS.search(function) is not None
        return await self._request(function, params, entries(params), repeatable, timeout)

    async def multiplex(
        self, calls: Sequence[tuple[str, Params]], timeout: float | None = None
    ) -> list[Any | Refused]:
        """Call several reading functions in few requests.

        A refused one ends its request at Moodle; the ones after it are sent again without it.

        Args:
            calls: function and parameters of each.
            timeout: as for `call`.

        Returns:
            For each call, in their order, its decoded answer or how it was refused.

        Raises:
            RetryLater, UnknownOutcome, Stop: as for `call`.
        """
        answers: list[Any | Refused] = []
        most = (self.max_input_vars - FRAME) // 2
        while len(answers) < len(calls):
            part = calls[len(answers) : len(answers) + most]
            answers += await self._multiplexed(part, timeout)
        return answers

    async def _multiplexed(
        self, calls: Sequence[tuple[str, Params]], timeout: float | None
    ) -> list[Any | Refused]:
        requests: list[Value] = [
            {"function": function, "arguments": msgspec.json.encode(params).decode()}
            for function, params in calls
        ]
        repeatable = all(_READS.search(function) for function, _ in calls)
        answer = await self._request(MULTIPLEX, {"requests": requests}, len(calls), repeatable, timeout)
        responses = answer.get("responses") if isinstance(answer, dict) else None
        if not responses:
            raise error_of(Failure(Kind.UNKNOWN, "no_responses"), MULTIPLEX)
        return [_part(function, response) for (function, _), response in zip(calls, responses, strict=False)]

    async def _request(
        self, function: str, params: Params, count: int, repeatable: bool, timeout: float | None
    ) -> Any:
        """Send until there is an answer that a repeat would not better."""
        # The format comes last: if the form is cut, it is missing and the answer is XML.
        form = [
            ("wstoken", self.settings.token.get_secret_value()),
            ("wsfunction", function),
            *flatten(params),
            ("moodlewsrestformat", "json"),
        ]
        for attempt in itertools.count():
            value, failure, asked = await self._once(function, form, count, timeout, attempt)
            if failure is None:
                return value
            pause = self._pause(failure, attempt, repeatable, asked)
            if pause is None:
                raise error_of(failure, function, asked)
            await asyncio.sleep(pause)
        raise AssertionError

    def _pause(self, failure: Failure, attempt: int, repeatable: bool, asked: float | None) -> float | None:
        """Return the seconds until a quick repeat, or none if there must be no repeat."""
        harmless = failure.kind is Kind.RETRY or (failure.kind is Kind.UNKNOWN and repeatable)
        longest = self.settings.max_delay_ms / 1000
        if not harmless or attempt >= self.settings.max_retries or (asked or 0.0) > longest:
            return None
        return max(asked or 0.0, backoff(attempt, self.settings.base_delay_ms / 1000, longest))

    async def _once(
        self, function: str, form: list[tuple[str, str]], count: int, timeout: float | None, repeats: int
    ) -> tuple[Any, Failure | None, float | None]:
        """Send one request; give its value or failure, and the seconds that Moodle asks to wait."""
        body = urlencode(form).encode()
        async with self._places:
            clock = asyncio.get_running_loop().time
            await asyncio.sleep(self._rate.reserve(clock()))
            started = clock()
            answer, failure, asked = await self._post(body, timeout)
            value = None
            if failure is None:
                value, failure = read_answer(*answer)
            self._on_call(
                called(
                    function,
                    count,
                    sent=len(body),
                    received=len(answer[1]),
                    started=started,
                    ended=clock(),
                    code=failure.code if failure else "ok",
                    http_status=answer[0] or None,
                    repeats=repeats,
                )
            )
        if failure is not None and failure.kind is Kind.CUT:
            self._learn(len(form))
        return value, failure, asked

    async def _post(
        self, body: bytes, timeout: float | None
    ) -> tuple[tuple[int, bytes], Failure | None, float | None]:
        if self._session is None:
            msg = "the client is used outside its context"
            raise RuntimeError(msg)
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        try:
            async with self._session.post(
                self._url, data=body, headers=headers, allow_redirects=False, timeout=self._timeout(timeout)
            ) as response:
                asked = retry_after(response.headers.get("Retry-After"), datetime.now(UTC))
                return (response.status, await response.read()), None, asked
        except (aiohttp.ClientError, TimeoutError) as error:
            return (0, b""), _of_exception(error), None

    def _timeout(self, seconds: float | None) -> aiohttp.ClientTimeout:
        usual = self.settings.timeout
        return aiohttp.ClientTimeout(
            total=max(usual, seconds or 0.0), sock_connect=min(usual, CONNECT_SECONDS)
        )

    def _learn(self, sent: int) -> None:
        """Believe in fewer variables, after a form of ``sent`` variables was cut."""
        if sent <= self.max_input_vars:
            self.max_input_vars = max(SMALLEST_FORM, sent // 2)
        log.warning("moodle_form_cut", sent=sent, now_at_most=self.max_input_vars)


def _of_exception(error: Exception) -> Failure:
    """Class a failure of the connection: before the request was sent, or after."""
    if isinstance(error, aiohttp.ClientSSLError | aiohttp.InvalidURL):
        return Failure(Kind.STOP, "tls" if isinstance(error, aiohttp.ClientSSLError) else "url")
    if isinstance(error, aiohttp.ClientConnectorError | aiohttp.ConnectionTimeoutError):
        return Failure(Kind.RETRY, "no_connection")
    if isinstance(error, TimeoutError):
        return Failure(Kind.UNKNOWN, "timeout")
    return Failure(Kind.UNKNOWN, "connection_lost")


def _part(function: str, response: dict[str, Any]) -> Any | Refused:
    """Read one answer of a multiplexed request; value and error are JSON text of their own."""
    if not response.get("error"):
        return msgspec.json.decode(response.get("data") or "null")
    failure = of_error({"exception": "", **msgspec.json.decode(response.get("exception") or "{}")})
    error = error_of(failure or Failure(Kind.REFUSED, "other"), function)
    if isinstance(error, Refused):
        return error
    raise error
