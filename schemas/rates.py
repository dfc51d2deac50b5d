"""How much happened in each minute: calls to other systems, and results of commands and callbacks."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Final

from schemas.calls import System
from schemas.ids import Target, TenantId, key

BOUNDS_MS: Final = (10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000)
"""Upper bounds of the buckets of durations, in milliseconds; a bound belongs to its bucket."""


class RateKind(StrEnum):
    """What was counted."""

    CALL = "CALL"
    """Requests to Moodle and ELM, by the minute in which they began."""
    RESULT = "RESULT"
    """Outcomes of commands and callbacks, by the minute in which they were there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """What was counted in one minute. Topic ``hub.rates``; it replaces the record before it of its key."""

    TYPE: ClassVar[str] = "rosterhub.rate"

    kind: RateKind
    tenant: TenantId
    """Empty for calls that are about no tenant, or about several."""
    system: System
    target: Target
    """The Moodle site, or ``elm``."""
    function: str
    """Of a CALL the web service function; of a RESULT the kind of the command, or ``COMPLETION``."""
    minute: datetime
    """Its beginning."""
    total: int
    failed: int
    """Of the total: calls with another code than ``ok``; results that are REJECTED or CONFLICT."""
    auth_failed: int = 0
    """Of the failed calls: those with credentials that were refused."""
    buckets: tuple[int, ...] = ()
    """Of a CALL: how many took so long, for each of `BOUNDS_MS`; the rest of the total took longer."""

    @property
    def key(self) -> str:
        """The message key."""
        minute = self.minute.strftime("%Y-%m-%dT%H:%MZ")
        return key(self.kind, self.tenant, self.system, self.target, self.function, minute)


def bucket_of(duration_ms: int) -> int | None:
    """Return the place in `BOUNDS_MS` of the bucket of a duration; none if it is longer than all of them."""
    place = bisect_left(BOUNDS_MS, duration_ms)
    return place if place < len(BOUNDS_MS) else None


def quantile_ms(buckets: Sequence[int], total: int, share: float) -> int | None:
    """Return a duration that ``share`` of the calls did not exceed: the bound of the bucket it falls in.

    Args:
        buckets: of one `Rate`, or the sums of several.
        total: of the same.
        share: between 0 and 1, such as 0.95.

    Returns:
        Milliseconds, never too few; none if that call took longer than the last bound, or there were none.
    """
    seen = 0
    for bound, count in zip(BOUNDS_MS, buckets, strict=True) if total else ():
        seen += count
        if seen >= share * total:
            return bound
    return None
