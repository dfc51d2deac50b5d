"""What the rules look at: figures of one moment, without personal data. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum

from producers.overdue import AlarmAges
from producers.timing import Timing
from schemas.ids import TenantId


class Source(StrEnum):
    """Where facts come from; one may be away while the others are read."""

    RATES = "rates"
    PARKED = "parked"
    CONFLICTS = "conflicts"
    OUTBOX = "outbox"
    FEEDS = "feeds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Traffic:
    """How calls, or results, went within the window.

    Attributes:
        tenant: whose.
        kind: ``CALL`` or ``RESULT``.
        system: ``MOODLE`` or ``ELM``.
        target: the Moodle site, or ``elm``.
        function: the web service function, or the kind of the command.
        total: how many.
        failed: how many of them failed.
        auth_failed: how many of these failed because the hub was not let in.
        buckets: calls by duration, as in `schemas.rates`.
    """

    tenant: TenantId
    kind: str
    system: str
    target: str
    function: str
    total: int
    failed: int
    auth_failed: int = 0
    buckets: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """What has not gone on by itself for longer than it should.

    Attributes:
        tenant: whose.
        what: its kind, such as ``enrolment``.
        oldest: since when the one that has waited longest.
        counts: how many, by what they wait for or why.
    """

    tenant: TenantId
    what: str
    oldest: datetime
    counts: Mapping[str, int]

    @property
    def count(self) -> int:
        """How many."""
        return sum(self.counts.values())


@dataclass(frozen=True, slots=True)
class Backlog:
    """What lies in the outbox.

    Attributes:
        waiting: events that wait for the relay.
        oldest: since when the first of them.
        set_aside: events that can never be published as they are.
        set_aside_since: since when the first of them.
    """

    waiting: int = 0
    oldest: datetime | None = None
    set_aside: int = 0
    set_aside_since: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """How the scheduled pulls of one source went.

    Attributes:
        tenant: whose.
        target: of the schedule, such as ``ELM``.
        timing: of the schedule.
        since: of the last success; without one, of the beginning of the schedule.
        failures: runs that failed since then.
        failing_since: start of the first of them.
        reason: of the last of them: a short code, or an error of the hub's own words.
    """

    tenant: TenantId
    target: str
    timing: Timing
    since: datetime
    failures: int = 0
    failing_since: datetime | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """All that is looked at.

    Attributes:
        now: when it was so, by the database's clock.
        watched_since: when this process began to look.
        tenant: the hub's own, for what is of none.
        traffic: within the window.
        parked: longer than its age.
        conflicts: longer than their age.
        outbox: what lies there.
        feeds: of the schedules that are enabled.
        blind: why the facts of a source could not be read.
    """

    now: datetime
    watched_since: datetime
    tenant: TenantId
    traffic: Sequence[Traffic] = ()
    parked: Sequence[Held] = ()
    conflicts: Sequence[Held] = ()
    outbox: Backlog = Backlog()
    feeds: Sequence[Feed] = ()
    blind: Mapping[Source, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """When something is an alert.

    Attributes:
        window: over which rates are counted.
        least_traffic: with fewer calls or results in the window rates mean nothing.
        failed_share: of calls or results that fail, from 0 to 1; more is an alert.
        call_ms: milliseconds of a call to Moodle, 95th percentile; more is an alert.
        feed_runs: so many intervals without a successful pull, or failures in a row.
        parked: ages of what is parked.
        conflict: age of a conflict.
        outbox: age of an event in the outbox.
    """

    window: timedelta = timedelta(minutes=15)
    least_traffic: int = 20
    failed_share: float = 0.05
    call_ms: int = 5_000
    feed_runs: int = 3
    parked: AlarmAges = field(default_factory=AlarmAges)
    conflict: timedelta = timedelta(hours=24)
    outbox: timedelta = timedelta(minutes=5)
