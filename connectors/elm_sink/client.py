"""ELM's completion endpoint over HTTP: post one completion, read completions back."""

import asyncio
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Final

import aiohttp
import structlog
from yarl import URL

from connectors.elm_sink import readback
from connectors.elm_sink.body import Delivery
from connectors.elm_sink.faults import Answer, Verdict, answer
from connectors.elm_sink.settings import ElmSinkSettings
from infra.calls import OnCall, called, nobody
from infra.errors import HubError, RetryLater, Stop
from infra.http_client import tls_context
from schemas.ids import PersonId

_LOG = structlog.get_logger()

# Answers by which a server says that it does not take the query for several people.
_BULK_REFUSED: Final = frozenset({400, 413, 414, 431, 501})


_JSON: Final = {"Content-Type": "application/json"}
POST: Final = "POST completion"
READ_BACK: Final = "GET completions"
"""Names of the two kinds of requests in the log of calls."""


class _Refused(HubError):
    """The server does not take this form of query."""


class ElmClient:
    """Talks to the completion endpoint; made inside a running event loop and closed there."""

    def __init__(self, settings: ElmSinkSettings, on_call: OnCall = nobody) -> None:
        """Prepare; ``on_call`` is told of every request when it has ended."""
        self._settings = settings
        self._on_call = on_call
        self._bulk = settings.read_back_size > 1
        self._slots = asyncio.Semaphore(settings.parallel)
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=settings.parallel, ssl=tls_context(settings.tls_minimum)),
            timeout=aiohttp.ClientTimeout(total=settings.timeout),
            headers={"x-cdata-authtoken": settings.token},
        )

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def post(self, body: Mapping[str, Any]) -> Answer:
        """Post one completion and say how that ended; trouble is an answer, not an exception."""
        content = json.dumps(body).encode()
        async with self._slots:
            started, received = _clock(), 0
            try:
                async with self._session.post(
                    self._settings.url, data=content, headers=_JSON, allow_redirects=False
                ) as response:
                    # Success is the status alone; reading the rest only keeps the connection usable.
                    with suppress(aiohttp.ClientError, TimeoutError):
                        received = len(await response.read())
                    outcome = answer(response.status, response.headers.get("Retry-After"))
            except (aiohttp.ClientError, TimeoutError) as error:
                outcome = _network(error)
            self._note(POST, outcome, started, len(content), received)
        return outcome

    async def completed(self, wanted: Mapping[Delivery, PersonId]) -> set[Delivery]:
        """Return which of the ``wanted`` completions ELM has already.

        Raises:
            RetryLater: ELM is busy or away, or answered no list of rows.
            Stop: ELM refuses the query or the credentials.
        """
        if self._bulk:
            try:
                return await self._completed_in_bulk(wanted)
            except _Refused as refusal:
                _LOG.warning("elm_bulk_read_back_refused", reason=str(refusal))
                self._bulk = False
        return await self._completed_singly(wanted)

    async def _completed_in_bulk(self, wanted: Mapping[Delivery, PersonId]) -> set[Delivery]:
        people = list(dict.fromkeys(wanted.values()))
        chunks = _chunks(people, self._settings.read_back_size)
        conditions = [readback.of_people(chunk) for chunk in chunks]
        return (await self._read_all(conditions)) & wanted.keys()

    async def _completed_singly(self, wanted: Mapping[Delivery, PersonId]) -> set[Delivery]:
        conditions = [readback.of_one(person, course) for (_, course), person in wanted.items()]
        try:
            return (await self._read_all(conditions)) & wanted.keys()
        except _Refused as refusal:
            msg = f"ELM refuses the read-back: {refusal}"
            raise Stop(msg) from None

    async def _read_all(self, conditions: Sequence[str]) -> set[Delivery]:
        answers = await asyncio.gather(*map(self._read, conditions), return_exceptions=True)
        found: set[Delivery] = set()
        for each in answers:
            if isinstance(each, BaseException):
                raise each
            found |= each
        return found

    async def _read(self, condition: str) -> set[Delivery]:
        """Read until a page is empty: a server may cap its pages without saying so."""
        found: set[Delivery] = set()
        skip = 0
        while page := readback.rows(await self._get(readback.query(condition, skip))):
            found |= readback.completed(page)
            skip += len(page)
        return found

    async def _get(self, query: str) -> object:
        url = URL(f"{self._settings.url}?{query}", encoded=True)
        async with self._slots:
            started, text = _clock(), b""
            try:
                async with self._session.get(url, allow_redirects=False) as response:
                    outcome = answer(response.status, response.headers.get("Retry-After"))
                    text = await response.read() if outcome.verdict is Verdict.DONE else b""
            except (aiohttp.ClientError, TimeoutError) as error:
                outcome = _network(error)
            self._note(READ_BACK, outcome, started, 0, len(text))
        _raise_for(outcome)
        try:
            return json.loads(text)
        except ValueError:
            raise RetryLater("ELM's read-back is not JSON") from None

    def _note(self, function: str, outcome: Answer, started: float, sent: int, received: int) -> None:
        code = "no_answer" if outcome.status is None else f"http_{outcome.status}"
        self._on_call(
            called(
                function,
                1,
                sent=sent,
                received=received,
                started=started,
                ended=_clock(),
                code="ok" if outcome.verdict is Verdict.DONE else code,
                http_status=outcome.status,
            )
        )


def _clock() -> float:
    return asyncio.get_running_loop().time()


def _raise_for(outcome: Answer) -> None:
    if outcome.verdict is Verdict.DONE:
        return
    if outcome.status in _BULK_REFUSED or outcome.verdict is Verdict.REJECTED:
        raise _Refused(outcome.about)
    if outcome.verdict is Verdict.STOP:
        raise Stop(outcome.about)
    raise RetryLater(outcome.about, outcome.retry_after)


def _network(error: aiohttp.ClientError | TimeoutError) -> Answer:
    """Return what a failure below HTTP means, without the error's own text: that may hold the query."""
    about = f"no answer from ELM ({type(error).__name__})"
    if isinstance(error, (aiohttp.ClientSSLError, aiohttp.InvalidURL)):
        return Answer(Verdict.STOP, about)
    if isinstance(error, (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError)):
        return Answer(Verdict.RETRY, about)
    return Answer(Verdict.UNKNOWN, about)


def _chunks(items: Sequence[PersonId], size: int) -> Iterator[list[PersonId]]:
    rest = iter(items)
    while chunk := list(islice(rest, size)):
        yield chunk
