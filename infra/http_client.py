"""Parts that every client of a foreign HTTP service needs: pauses, Retry-After, rate limit, TLS."""

import random
import ssl
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Final

MINUTE: Final = 60.0
TLS_VERSIONS: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def retry_after(header: str | None, now: datetime) -> float | None:
    """Return the seconds that a ``Retry-After`` header asks to wait.

    Args:
        header: the header's value: whole seconds or an HTTP date (RFC 9110, 10.2.3); none if absent.
        now: the present time with zone, for the date form.

    Returns:
        Seconds from now, not negative; none if the header is absent or unreadable.
    """
    text = (header or "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(0.0, (moment - now).total_seconds())


def backoff(
    attempt: int, base: float, longest: float, uniform: Callable[[float, float], float] = random.uniform
) -> float:
    """Return the seconds to wait before a repeat: exponential with full jitter.

    Args:
        attempt: how many repeats there were before this one, from 0.
        base: upper bound of the first pause, in seconds.
        longest: upper bound of every pause, in seconds.
        uniform: draws a number between its two arguments.
    """
    return uniform(0.0, min(longest, base * 2.0 ** min(attempt, 60)))


class RateLimit:
    """At most so many requests in any minute; it tells how long to wait and keeps no clock itself."""

    def __init__(self, per_minute: int) -> None:
        """Allow ``per_minute`` requests in 60 seconds; 0 allows any number."""
        self._per_minute = per_minute
        self._starts: deque[float] = deque()

    def reserve(self, now: float) -> float:
        """Take the next free place and return the seconds until it comes (0: now).

        Args:
            now: seconds of a clock that never goes back.
        """
        if self._per_minute <= 0:
            return 0.0
        start = now
        if len(self._starts) == self._per_minute:
            start = max(now, self._starts.popleft() + MINUTE)
        self._starts.append(start)
        return start - now


def tls_context(minimum: str) -> ssl.SSLContext:
    """Return a context that verifies certificates and names, from TLS version ``minimum`` (1.2 or 1.3) on.

    Raises:
        ValueError: ``minimum`` is no version that may be asked for.
    """
    if minimum not in TLS_VERSIONS:
        msg = f"the TLS minimum version must be one of {', '.join(TLS_VERSIONS)}"
        raise ValueError(msg)
    context = ssl.create_default_context()
    context.minimum_version = TLS_VERSIONS[minimum]
    return context
