"""Runs a stage or a sink in a thread of the test."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from infra.codec import Codec
from infra.engine import EngineConfig, SinkConfig, run_sink, run_stage
from infra.registry import Registry
from infra.stage import Stage
from infra.telemetry import Status


class Running:
    """A worker in a thread.

    Attributes:
        status: what it shows of itself.
        error: what it ended with.
    """

    def __init__(self, name: str, work: Callable[[threading.Event, Status], None]) -> None:
        self.status = Status(name)
        self.error: Exception | None = None
        self._stop = threading.Event()
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._work(self._stop, self.status)
        except Exception as error:  # noqa: BLE001 - looked at by the test
            self.error = error

    def ended(self, seconds: float = 20) -> Exception | None:
        """Wait for it to end by itself and return its error."""
        self._thread.join(seconds)
        assert not self._thread.is_alive()
        error, self.error = self.error, None
        return error

    def stop(self) -> None:
        self._stop.set()
        self._thread.join(30)
        assert not self._thread.is_alive()


def engine_config(kafka: str, registry: str, prefix: str, folder: Path, **options: Any) -> EngineConfig:
    return EngineConfig(
        kafka={"bootstrap.servers": kafka},
        codec=Codec(Registry(registry)),
        state_folder=folder,
        prefix=prefix,
        **{"session_timeout_ms": 6_000, "stop_seconds": 60.0, **options},
    )


@contextmanager
def running_stage(stage: Stage, config: EngineConfig) -> Iterator[Running]:
    running = Running(stage.name, lambda stop, status: run_stage(stage, config, stop, status))
    try:
        yield running
    finally:
        running.stop()
        if running.error is not None:
            raise running.error


@contextmanager
def running_sink(sink: Any, config: EngineConfig, limits: SinkConfig) -> Iterator[Running]:
    running = Running(sink.name, lambda stop, status: run_sink(sink, config, stop, limits, status))
    try:
        yield running
    finally:
        running.stop()
        if running.error is not None:
            raise running.error
