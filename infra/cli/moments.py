"""Points of history as people write them at the command line: a time, or offsets of a topic. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from infra.errors import BadArgument


@dataclass(frozen=True, slots=True)
class Point:
    """A point in a topic: a moment, or an offset in its partitions.

    Attributes:
        at: the moment.
        offset: in every partition that ``offsets`` does not name; none: those are out of the question.
        offsets: by partition.
    """

    at: datetime | None = None
    offset: int | None = None
    offsets: Mapping[int, int] = field(default_factory=dict)

    def is_before(self, partition: int, offset: int, at: datetime) -> bool:
        """Tell whether the point is not after the message at ``offset`` of ``partition``, stored ``at``."""
        if self.at is not None:
            return self.at <= at
        mine = self.offsets.get(partition, self.offset)
        return mine is not None and mine <= offset


def moment_of(name: str, text: str) -> datetime:
    """Return the time that ``text`` says in ISO 8601, with its zone, such as ``2026-11-21T10:00Z``.

    Raises:
        BadArgument: it says none; the text names the argument ``name``.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        problem = f"{name}: {text!r} is no time such as 2026-11-21T10:00Z"
        raise BadArgument(problem) from None
    if moment.tzinfo is None:
        problem = f"{name}: {text!r} says no zone; write for example {text}Z for UTC"
        raise BadArgument(problem)
    return moment.astimezone(UTC)


def point_of(name: str, text: str) -> Point:
    """Return the point that ``text`` says.

    Args:
        name: of the argument, for the error.
        text: a time as for `moment_of`, an offset for all partitions (``1200``), or offsets of single
            partitions (``0:1200,3:950``).

    Raises:
        BadArgument: it says none.
    """
    if text.isdecimal():
        return Point(offset=int(text))
    pairs = [part.split(":") for part in text.split(",")]
    if all(len(pair) == 2 and pair[0].isdecimal() and pair[1].isdecimal() for pair in pairs):
        return Point(offsets={int(partition): int(offset) for partition, offset in pairs})
    if text[:4].isdecimal():
        return Point(at=moment_of(name, text))
    problem = f"{name}: {text!r} is neither a time (2026-11-21T10:00Z) nor an offset (1200, or 0:1200,3:950)"
    raise BadArgument(problem)
