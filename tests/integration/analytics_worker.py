"""The analytics worker as a process of its own, to be killed."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from infra.codec import Codec
from infra.registry import Registry
from infra.telemetry import Status
from processors.analytics.worker import AnalyticsSettings, run_analytics
from schemas.ids import Target
from schemas.topics import topic_set

SITE: Final = Target("default")


def settings_of(
    kafka: str, registry_url: str, prefix: str, folder: Path, slot: str = "0"
) -> AnalyticsSettings:
    """Give the settings of a worker of the hub whose topics have ``prefix``."""
    topics = topic_set(SITE, prefix)
    return AnalyticsSettings(
        kafka={"bootstrap.servers": kafka},
        codec=Codec(Registry(registry_url)),
        inputs=[topics.calls, topics.results, topics.callback_results],
        rates=topics.rates,
        group=f"{prefix}analytics",
        member=f"{prefix}analytics.{slot}",
        folder=folder / slot,
        interval=0.2,
    )


@contextmanager
def process(kafka: str, registry_url: str, prefix: str, folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Give a running worker; it is killed at the end of the block if it still runs."""
    arguments = (kafka, registry_url, prefix, str(folder))
    command = [sys.executable, "-m", "tests.integration.analytics_worker", *arguments]
    with subprocess.Popen(command) as started:
        try:
            yield started
        finally:
            started.kill()


@contextmanager
def thread(settings: AnalyticsSettings) -> Iterator[Status]:
    """Give the status of a worker that runs here, until the block ends."""
    stop, status = threading.Event(), Status("analytics")
    running = threading.Thread(target=run_analytics, args=(settings, stop, status))
    running.start()
    try:
        yield status
    finally:
        stop.set()
        running.join(30)
        assert not running.is_alive()


if __name__ == "__main__":
    kafka, registry_url, prefix, folder = sys.argv[1:]
    run_analytics(
        settings_of(kafka, registry_url, prefix, Path(folder)), threading.Event(), Status("analytics")
    )
