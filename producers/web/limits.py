"""Rate limits: one bucket of tokens for each key. Pure, but for the memory of the buckets."""

from collections import OrderedDict
from dataclasses import dataclass, field
from typing import Final

_KEPT: Final = 10_000
"""Buckets that are remembered; the one unused longest goes first."""
_BURST_SECONDS: Final = 6.0
"""A key that was silent may send at once what it may send in so many seconds."""


@dataclass(slots=True)
class RateLimits:
    """At most ``per_minute`` requests of a key in a minute, in this process; 0 allows any number."""

    per_minute: int
    _buckets: OrderedDict[str, tuple[float, float]] = field(default_factory=OrderedDict)
    """Tokens, and when they were counted, by key."""

    def wait(self, key: str, now: float) -> float:
        """Return 0 and take a token, or return the seconds until there is one.

        Args:
            key: who asks.
            now: seconds of a clock that never goes back.
        """
        if self.per_minute <= 0:
            return 0.0
        rate = self.per_minute / 60.0
        size = max(1.0, rate * _BURST_SECONDS)
        tokens, counted = self._buckets.pop(key, (size, now))
        tokens = min(size, tokens + (now - counted) * rate)
        missing = max(0.0, 1.0 - tokens)
        self._buckets[key] = (tokens if missing else tokens - 1.0, now)
        if len(self._buckets) > _KEPT:
            self._buckets.popitem(last=False)
        return missing / rate
