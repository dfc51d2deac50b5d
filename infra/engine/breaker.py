"""When a system in trouble is tried again: backoff with full jitter, shown to operators as a breaker."""

import random
from collections.abc import Callable
from enum import StrEnum
from typing import Any

import structlog

from infra.engine.config import SinkConfig
from infra.errors import HubError, RetryLater
from infra.metrics import ALARM, BREAKER
from infra.telemetry import Status

_log = structlog.get_logger()


class State(StrEnum):
    """Closed: all is well. Open: nothing is tried for some time. Half-open: one try is under way."""

    CLOSED = "closed"
    HALF_OPEN = "half-open"
    OPEN = "open"


class Breaker:
    """Counts failures in a row and gives the wait after each.

    Args:
        role: name of the sink.
        config: bounds of the waits.
        status: shows state and reason.
        jitter: gives a number between two bounds.
    """

    def __init__(
        self,
        role: str,
        config: SinkConfig,
        status: Status,
        jitter: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._role = role
        self._config = config
        self._status = status
        self._jitter = jitter
        self._failures = 0
        self._show(State.CLOSED)

    def opened(self, error: RetryLater) -> float:
        """Note a failure of the other system; return the seconds to wait before the next try."""
        self._failures += 1
        bound = min(self._config.max_delay, self._config.base_delay * 2 ** min(self._failures - 1, 30))
        seconds = max(error.retry_after or 0.0, self._jitter(0.0, bound))
        _log.warning(
            "breaker_open",
            role=self._role,
            failures=self._failures,
            seconds=round(seconds, 2),
            reason=str(error),
        )
        self._show(State.OPEN, str(error), seconds)
        return seconds

    def alarm(self, error: HubError) -> float:
        """Note that a person has to mend something; return the seconds to wait before the next try."""
        self._failures += 1
        seconds = self._config.stop_retry_seconds
        _log.error("sink_stopped", role=self._role, seconds=seconds, reason=str(error))
        ALARM.labels(self._role).set(1)
        self._status.not_ready(str(error))
        self._show(State.OPEN, str(error), seconds)
        return seconds

    def trying(self) -> None:
        """Note that the wait is over."""
        self._show(State.HALF_OPEN if self._failures else State.CLOSED)

    def closed(self) -> None:
        """Note a success."""
        if self._failures:
            _log.info("breaker_closed", role=self._role, failures=self._failures)
            self._failures = 0
            self._status.ready()
        ALARM.labels(self._role).set(0)
        self._show(State.CLOSED)

    def _show(self, state: State, reason: str = "", seconds: float = 0.0) -> None:
        BREAKER.labels(self._role).set(list(State).index(state))
        shown: dict[str, Any] = {"state": state.value, "failures": self._failures}
        if state is State.OPEN:
            shown |= {"reason": reason, "seconds": round(seconds, 2)}
        self._status.facts["breaker"] = shown
