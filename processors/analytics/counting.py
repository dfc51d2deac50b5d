"""What is counted, and how: events become counts of minutes. Pure.

An event counts in the minute in which it happened, whenever it is read, and once, however often it is read.
So the counts depend on which events were read and on nothing else: not on their order, nor on repetitions.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Final, NamedTuple

from schemas.calls import CREDENTIALS_REFUSED, ApiCall, System
from schemas.elm import CallbackOutcome, CallbackResult
from schemas.ids import Target, TenantId
from schemas.moodle import MoodleResult, Outcome
from schemas.rates import BOUNDS_MS, Rate, RateKind, bucket_of

WINDOW: Final = timedelta(hours=2)
"""So long a minute stays open: events that are told later are not counted any more."""
_NOBODY: Final = TenantId("")


class Group(NamedTuple):
    """What is counted together: the key of a `Rate`."""

    kind: RateKind
    tenant: TenantId
    system: System
    target: Target
    function: str
    minute: datetime


class Event(NamedTuple):
    """One thing that is counted.

    Attributes:
        event_id: unique within its group, and the same whenever the same thing is told again.
        group: what it is counted with.
        failed: whether it failed.
        auth_failed: whether credentials were refused.
        duration_ms: of a call; of others none.
    """

    event_id: str
    group: Group
    failed: bool
    auth_failed: bool = False
    duration_ms: int | None = None


def event_of(record: ApiCall | MoodleResult | CallbackResult) -> Event:
    """Return what counts of ``record``."""
    return _EVENTS[type(record)](record)


def minute_of(moment: datetime) -> datetime:
    """Return the beginning of the minute (UTC) of ``moment``."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def _call(call: ApiCall) -> Event:
    minute = minute_of(call.started_at)
    group = Group(RateKind.CALL, call.tenant or _NOBODY, call.system, call.target, call.function, minute)
    refused = call.code in CREDENTIALS_REFUSED
    return Event(call.call_id, group, call.code != "ok", refused, call.duration_ms)


def _result(result: MoodleResult) -> Event:
    minute = minute_of(result.completed_at)
    group = Group(RateKind.RESULT, result.tenant, System.MOODLE, result.target, result.kind, minute)
    # The outcome too: a command that is given again may come out otherwise.
    event_id = f"{result.command_id}|{result.outcome}"
    return Event(event_id, group, result.outcome in (Outcome.REJECTED, Outcome.CONFLICT))


def _callback(result: CallbackResult) -> Event:
    minute = minute_of(result.completed_at)
    group = Group(RateKind.RESULT, result.tenant, System.ELM, Target("elm"), "COMPLETION", minute)
    event_id = f"{result.callback_id}|{result.outcome}"
    return Event(event_id, group, result.outcome is CallbackOutcome.REJECTED)


_EVENTS: Final[Mapping[type, Callable[[Any], Event]]] = {
    ApiCall: _call,
    MoodleResult: _result,
    CallbackResult: _callback,
}


@dataclass(slots=True)
class _Tally:
    """The counts of one group, and what was counted in them."""

    ids: set[str] = field(default_factory=set)
    failed: int = 0
    auth_failed: int = 0
    buckets: list[int] = field(default_factory=list)

    def add(self, event: Event) -> bool:
        """Count ``event``; false if it has been counted before."""
        if event.event_id in self.ids:
            return False
        self.ids.add(event.event_id)
        self.failed += event.failed
        self.auth_failed += event.auth_failed
        if event.duration_ms is not None:
            self.buckets = self.buckets or [0] * len(BOUNDS_MS)
            if (place := bucket_of(event.duration_ms)) is not None:
                self.buckets[place] += 1
        return True


class Minutes:
    """The counts of all open minutes.

    Args:
        window: how long a minute stays open.
    """

    def __init__(self, window: timedelta = WINDOW) -> None:
        self._window = window
        self._tallies: dict[Group, _Tally] = {}
        self._changed: set[Group] = set()

    def __len__(self) -> int:
        return len(self._tallies)

    def oldest(self, now: datetime) -> datetime:
        """Return the oldest minute that is open at ``now``."""
        return minute_of(now - self._window) + timedelta(minutes=1)

    def add(self, event: Event, now: datetime) -> None:
        """Count ``event``, unless it was counted before or its minute is not open any more."""
        if event.group.minute < self.oldest(now):
            return
        if self._tallies.setdefault(event.group, _Tally()).add(event):
            self._changed.add(event.group)

    def close(self, now: datetime) -> None:
        """Forget the minutes that are not open any more."""
        oldest = self.oldest(now)
        for group in [group for group in self._tallies if group.minute < oldest]:
            del self._tallies[group]
            self._changed.discard(group)

    def take_changed(self) -> list[Rate]:
        """Return the counts that have changed since the last call."""
        changed, self._changed = self._changed, set()
        return [_rate(group, self._tallies[group]) for group in sorted(changed)]

    def put_back(self, rates: Iterable[Rate]) -> None:
        """Let ``rates``, which could not be handed on, count as changed again."""
        groups = (
            Group(one.kind, one.tenant, one.system, one.target, one.function, one.minute) for one in rates
        )
        self._changed.update(group for group in groups if group in self._tallies)


def _rate(group: Group, tally: _Tally) -> Rate:
    return Rate(
        **group._asdict(),
        total=len(tally.ids),
        failed=tally.failed,
        auth_failed=tally.auth_failed,
        buckets=tuple(tally.buckets),
    )
