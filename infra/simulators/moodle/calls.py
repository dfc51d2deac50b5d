"""What was called: counters, a log of the last calls, and for how long the site was busy."""

import time
from collections import deque
from typing import Any

import msgspec

_KEPT = 10_000


class Counter(msgspec.Struct):
    """Totals of one function; `seconds` adds up the durations of its calls, also of parallel ones."""

    calls: int = 0
    entries: int = 0
    failures: int = 0
    seconds: float = 0.0


class Call(msgspec.Struct, frozen=True):
    """One call: no names, no values, only what and how much. `outcome` is `ok`, an errorcode or a fault."""

    function: str
    entries: int
    outcome: str
    at: float
    seconds: float


class Calls:
    """Counters and log; `busy_seconds` is the time in which at least one call was being served."""

    def __init__(self) -> None:
        self.in_progress = 0
        self._busy_since = 0.0
        self.reset()

    def reset(self) -> None:
        """Start counting anew."""
        self.counters: dict[str, Counter] = {}
        self.log: deque[Call] = deque(maxlen=_KEPT)
        self.busy_seconds = 0.0
        self._busy_since = time.monotonic()

    def begin(self) -> float:
        """A call starts; gives the mark to hand to `end`."""
        now = time.monotonic()
        if self.in_progress == 0:
            self._busy_since = now
        self.in_progress += 1
        return now

    def end(self, mark: float, function: str, entries: int, outcome: str) -> None:
        """The call is over."""
        now = time.monotonic()
        self.in_progress -= 1
        if self.in_progress == 0:
            self.busy_seconds += now - self._busy_since
        counter = self.counters.setdefault(function, Counter())
        counter.calls += 1
        counter.entries += entries
        counter.failures += outcome != "ok"
        counter.seconds += now - mark
        self.log.append(Call(function, entries, outcome, time.time() - (now - mark), now - mark))

    def summary(self) -> dict[str, Any]:
        """Totals as a JSON object."""
        return {
            "calls": sum(counter.calls for counter in self.counters.values()),
            "busy_seconds": self.busy_seconds,
            "functions": {name: msgspec.to_builtins(counter) for name, counter in self.counters.items()},
        }


def entries(params: object) -> int:
    """How many entries a call carries: the length of its longest list, at least 1."""
    if not isinstance(params, dict):
        return 1
    return max((len(value) for value in params.values() if isinstance(value, dict | list)), default=1) or 1
