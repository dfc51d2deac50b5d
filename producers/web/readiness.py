"""Whether what the application stands on answers: asked at most once a second, within one deadline.

Taking records in needs the database alone: with Kafka or the registry away they wait in the outbox. So those
make the hub as a whole unhealthy, and the application is ready all the same.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any, Final

import msgspec
from aiohttp import web
from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST

from infra.errors import HubError
from producers.web.routes import Handler

_DEADLINE_SECONDS: Final = 1.0


@dataclass(frozen=True, slots=True)
class Probe:
    """Looks at one thing that the application, or the hub, stands on.

    Attributes:
        name: such as ``database``.
        look: blocks, and returns what is wrong, or an empty text; may raise `HubError`, whose text is not
            shown, and ends by itself within some seconds.
        needed: without it the application cannot take records.
        seconds: so long a finding holds.
    """

    name: str
    look: Callable[[], str]
    needed: bool = False
    seconds: float = 1.0


class Finding(msgspec.Struct, frozen=True):
    """What a probe found."""

    name: str
    ok: bool
    reason: str
    """What is wrong; no address, no secret: anybody may ask."""
    seconds: float
    """How long it took."""
    needed: bool


@dataclass(slots=True)
class Readiness:
    """Asks probes, each once at a time; of one event loop.

    Attributes:
        probes: in the order of the answers.
    """

    probes: Sequence[Probe]
    _asked: dict[str, asyncio.Future[Finding]] = field(default_factory=dict)
    _found: dict[str, tuple[float, Finding]] = field(default_factory=dict)
    _threads: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self._threads = ThreadPoolExecutor(max(1, len(self.probes)), thread_name_prefix="probe")

    async def findings(self) -> list[Finding]:
        """Return what all probes find; who does not answer within the deadline is not ready."""
        return list(await asyncio.gather(*map(self._finding, self.probes)))

    async def close(self) -> None:
        """End, after those probes that are being asked have answered, which takes a moment at most."""
        if self._asked:
            await asyncio.wait(self._asked.values(), timeout=2 * _DEADLINE_SECONDS)
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _finding(self, probe: Probe) -> Finding:
        until, found = self._found.get(probe.name, (0.0, None))
        if found is not None and time.monotonic() < until:
            return found
        if probe.name not in self._asked:
            loop = asyncio.get_running_loop()
            self._asked[probe.name] = loop.run_in_executor(self._threads, _looked, probe)
            self._asked[probe.name].add_done_callback(lambda done: self._keep(probe, done))
        with suppress(TimeoutError):
            return await asyncio.wait_for(asyncio.shield(self._asked[probe.name]), _DEADLINE_SECONDS)
        reason = f"no answer within {_DEADLINE_SECONDS:.0f} s"
        return Finding(probe.name, False, reason, _DEADLINE_SECONDS, probe.needed)

    def _keep(self, probe: Probe, done: asyncio.Future[Finding]) -> None:
        del self._asked[probe.name]
        if not done.cancelled() and done.exception() is None:
            self._found[probe.name] = (time.monotonic() + probe.seconds, done.result())


def _looked(probe: Probe) -> Finding:
    begun = time.perf_counter()
    try:
        reason = probe.look()
    except HubError:
        reason = "does not answer"
    seconds = round(time.perf_counter() - begun, 3)
    return Finding(probe.name, not reason, reason, seconds, probe.needed)


READINESS: Final = web.AppKey("readiness", Readiness)
"""``request.app[READINESS]``: looks at what the application stands on."""


def mount(app: web.Application, probes: Sequence[Probe]) -> None:
    """Serve ``/livez``, ``/readyz``, ``/healthz`` and ``/metrics``, which need no key."""

    async def context(_: web.Application) -> AsyncIterator[None]:
        yield
        await readiness.close()

    readiness = app[READINESS] = Readiness(probes)
    app.cleanup_ctx.append(context)
    app.router.add_get("/livez", _live)
    app.router.add_get("/readyz", _answering(all_of=False))
    app.router.add_get("/healthz", _answering(all_of=True))
    app.router.add_get("/metrics", _metrics)


def _answering(*, all_of: bool) -> Handler:
    async def answer(request: web.Request) -> web.Response:
        findings = await request.app[READINESS].findings()
        missing = [one for one in findings if not one.ok and (all_of or one.needed)]
        status = HTTPStatus.SERVICE_UNAVAILABLE if missing else HTTPStatus.OK
        return web.Response(
            status=status, body=msgspec.json.encode(report(findings)), content_type="application/json"
        )

    return answer


def report(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return what is told of ``findings``: ready, degraded (the hub, not the application), or not ready."""
    if all(one.ok for one in findings):
        status = "ready"
    else:
        status = "degraded" if all(one.ok for one in findings if one.needed) else "not ready"
    return {"status": status, "checks": findings}


async def _live(_: web.Request) -> web.Response:
    return web.Response(text="ok\n")


async def _metrics(_: web.Request) -> web.Response:
    body = await asyncio.to_thread(generate_latest)
    return web.Response(body=body, headers={"Content-Type": CONTENT_TYPE_LATEST})
