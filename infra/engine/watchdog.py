"""Ends a process that hangs, since some calls of the Kafka client block deaf to signals and time-outs."""

import os
import threading
import time
from collections.abc import Callable
from types import TracebackType

import structlog

from infra.telemetry import Status

HUNG_EXIT_CODE = 70
_log = structlog.get_logger()


class Watchdog:
    """Watches over the worker's thread while its block runs.

    The worker calls `beat` from every loop. Without a beat for ``limit`` seconds, or when an orderly stop
    takes longer than ``stop_limit`` seconds, the process ends at once with `HUNG_EXIT_CODE`; nothing is lost
    by it, for the broker aborts the open transaction.
    """

    def __init__(
        self,
        stop: threading.Event,
        status: Status,
        *,
        limit: float,
        stop_limit: float,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._stop = stop
        self._status = status
        self._limit = limit
        self._stop_limit = stop_limit
        self._end = end
        self._last = time.monotonic()
        self._stopped_at: float | None = None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def beat(self) -> None:
        """Note that the worker goes on."""
        self._last = time.monotonic()
        self._status.beat()

    def __enter__(self) -> "Watchdog":
        self.beat()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._done.wait(0.5):
            reason = self._overdue(time.monotonic())
            if reason:
                _log.error("worker_ended_by_watchdog", role=self._status.role, reason=reason)
                self._end(HUNG_EXIT_CODE)
                return

    def _overdue(self, now: float) -> str:
        if self._stop.is_set() and self._stopped_at is None:
            self._stopped_at = now
        if self._stopped_at is not None and now - self._stopped_at > self._stop_limit:
            return f"the stop took longer than {self._stop_limit:.0f} s"
        if now - self._last > self._limit:
            return f"no sign of life for {self._limit:.0f} s"
        return ""
