"""A poller or a relay as a process of its own, to be killed: `python -m tests.integration.intake_worker`."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from infra.registry import Registry
from infra.settings import ElmFeed
from producers.elm.poll import run_elm_poll
from producers.elm.settings import ElmFeedSettings
from producers.relay import RelaySettings, run_relay
from schemas.ids import TenantId


@contextmanager
def worker(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Give a running worker; it is killed at the end of the block if it still runs."""
    command = [sys.executable, "-m", "tests.integration.intake_worker", *arguments]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _relay(database: str, kafka: str, registry: str, prefix: str, batch_size: str) -> None:
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    settings = RelaySettings(
        database_url=database,
        kafka={"bootstrap.servers": kafka},
        registry=Registry(registry),
        prefix=prefix,
        batch_size=int(batch_size),
    )
    run_relay(settings, stop)


def _poll(database: str, url: str, token: str, release: str, page_size: str) -> None:
    settings = ElmFeedSettings(
        url=url,
        token=token,
        tenant=TenantId("t1"),
        release=ElmFeed(release),
        page_size=int(page_size),
        interval_seconds=0.2,
    )
    asyncio.run(_until_terminated(settings, database))


async def _until_terminated(settings: ElmFeedSettings, database: str) -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await run_elm_poll(settings, database, stop)


if __name__ == "__main__":
    {"relay": _relay, "poll": _poll}[sys.argv[1]](*sys.argv[2:])
