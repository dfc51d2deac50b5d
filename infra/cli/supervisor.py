"""Keeps a set of processes running: starts them, restarts what ends with backoff, stops them together.

Each child has its own process group, so that Ctrl-C reaches the supervisor alone and the stop is orderly. A
child's standard input is a pipe that ends when the supervisor dies, even by `kill -9`; `infra.cli.tethered`
then stops the child.
"""

import asyncio
import os
import random
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO

import structlog

from infra.stopping import pause

log = structlog.get_logger()

TETHERED = (sys.executable, "-m", "infra.cli.tethered")
"""How a module is run as a child that ends with its supervisor."""
STOP_SECONDS = 15.0
"""How long a child may take to stop after SIGTERM before it is killed."""
_SETTLED_SECONDS = 60.0
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 30.0


@dataclass(frozen=True, slots=True)
class Spec:
    """One process to keep running.

    Attributes:
        name: for logs, unique.
        argv: command line.
        env: environment variables on top of the supervisor's own.
        status_port: loopback port of its /livez, /readyz, /metrics and /status; none if it has none.
    """

    name: str
    argv: Sequence[str]
    env: Mapping[str, str] = field(default_factory=dict)
    status_port: int | None = None


@dataclass(slots=True)
class Child:
    """A kept process: how often it was started anew, and its pid while it runs."""

    spec: Spec
    restarts: int = 0
    pid: int | None = None


@dataclass(slots=True)
class Supervisor:
    """Runs ``specs`` until ``stop`` is set.

    Attributes:
        log_file: where the children write their logs; none: where the supervisor does.
        children: the state of each, by name.
    """

    specs: Sequence[Spec]
    stop: asyncio.Event
    log_file: IO[bytes] | None = None
    children: dict[str, Child] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Make the children's entries, so that they can be shown before the start."""
        self.children = {spec.name: Child(spec) for spec in self.specs}

    async def run(self) -> None:
        """Keep all processes running until the stop; then stop them, and return when all have ended."""
        async with asyncio.TaskGroup() as group:
            for child in self.children.values():
                group.create_task(self._keep(child))

    async def _keep(self, child: Child) -> None:
        delay = _FIRST_DELAY
        while not self.stop.is_set():
            started = time.monotonic()
            code = await self._once(child)
            if self.stop.is_set():
                return
            if time.monotonic() - started > _SETTLED_SECONDS:
                delay = _FIRST_DELAY
            child.restarts += 1
            seconds = delay * random.uniform(0.5, 1.0)  # noqa: S311 - spreads restarts, no secret
            log.error("process_ended", process=child.spec.name, code=code, restart_in=round(seconds, 2))
            await pause(self.stop, seconds)
            delay = min(delay * 2, _LONGEST_DELAY)

    async def _once(self, child: Child) -> int:
        process = await asyncio.create_subprocess_exec(
            *child.spec.argv,
            stdin=asyncio.subprocess.PIPE,
            stdout=self.log_file,
            stderr=self.log_file,
            env={**os.environ, **child.spec.env},
            start_new_session=True,
        )
        child.pid = process.pid
        ended = asyncio.create_task(process.wait())
        stopping = asyncio.create_task(self.stop.wait())
        await asyncio.wait({ended, stopping}, return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not ended.done():
            await _end(process, ended, child.spec.name)
        child.pid = None
        return await ended


async def _end(process: asyncio.subprocess.Process, ended: asyncio.Task[int], name: str) -> None:
    process.terminate()
    done, _ = await asyncio.wait({ended}, timeout=STOP_SECONDS)
    if not done:
        log.error("process_killed", process=name, after_seconds=STOP_SECONDS)
        process.send_signal(signal.SIGKILL)
        await asyncio.wait({ended})
