"""When a change was taken in: a header that all that comes of it carries, so that its way can be timed."""

from datetime import datetime
from typing import Final

from schemas.deadletters import OURS

CHANGED_AT: Final = OURS + "changed-at"
"""Milliseconds since 1970. As all headers of this prefix it goes when a message becomes a dead letter: what
is redriven or replayed was held up by people, which says nothing of the hub's speed."""


def to_header(moment: datetime) -> bytes:
    """Return ``moment`` as the header's value."""
    return b"%d" % round(moment.timestamp() * 1000)


def seconds_since(value: bytes, now: float) -> float:
    """Return the seconds from the header's ``value`` to ``now`` (Unix time); 0 if clocks differ.

    Raises:
        ValueError: it is no time.
    """
    return max(0.0, now - int(value) / 1000)
