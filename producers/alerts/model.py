"""The words that rules, incidents and messages share. No I/O."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, Final, NamedTuple

from schemas.ids import TenantId


class Alert(StrEnum):
    """What the hub watches; each has an entry in the runbook."""

    CALL_FAILURES = "call-failures"
    RESULT_FAILURES = "result-failures"
    SLOW_CALLS = "slow-calls"
    AUTHENTICATION = "authentication"
    FEED_AUTHENTICATION = "feed-authentication"
    FEED = "feed"
    PARKED = "parked"
    CONFLICTS = "conflicts"
    OUTBOX = "outbox"
    OUTBOX_SET_ASIDE = "outbox-set-aside"
    UNWATCHED = "unwatched"


class Severity(StrEnum):
    """How much it matters."""

    INFO = "INFO"
    WARNING = "WARNING"
    CRITICAL = "CRITICAL"

    @property
    def rank(self) -> int:
        """Greater for what matters more."""
        return _RANKS[self]


_RANKS: Final = {Severity.INFO: 0, Severity.WARNING: 1, Severity.CRITICAL: 2}


class State(StrEnum):
    """How an incident stands."""

    OPEN = "OPEN"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    RESOLVED = "RESOLVED"


class Name(NamedTuple):
    """What makes two findings the same incident.

    Attributes:
        tenant: whose; the default tenant for what is of none.
        alert: one of `Alert`, or one that another release of the hub knows.
        subject: what it is about, such as ``MOODLE/default`` or ``ELM``.
    """

    tenant: TenantId
    alert: str
    subject: str


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be just now.

    Attributes:
        name: which incident it is.
        severity: how much it matters.
        message: one sentence with figures, for people; no personal data.
        details: figures by name, JSON; no personal data.
        is_new: false for what keeps an open incident open but begins none, such as within quiet hours.
    """

    name: Name
    severity: Severity
    message: str
    details: Mapping[str, Any] = field(default_factory=dict)
    is_new: bool = True


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the rules say of one moment.

    Attributes:
        findings: all that is not as it should be.
        unseen: alerts of which nothing can be said, for their facts could not be read.
    """

    findings: Sequence[Finding]
    unseen: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True, kw_only=True)
class Incident:
    """One incident, from its first finding to its resolution.

    Attributes:
        incident_id: grows from incident to incident; 0 until it is stored.
        name: what it is about.
        severity: the highest that was found.
        state: see `State`.
        message: of the last finding.
        details: of the last finding.
        opened_at: of the first finding (UTC, by the database's clock, as all times).
        seen_at: of the last finding.
        resolved_at: when it was over.
        acknowledged_at: when somebody took it on.
        acknowledged_by: who.
        silenced_until: so long nothing new is told of it.
        told: the severity with which it was last told; none: nobody was told yet.
    """

    incident_id: int = 0
    name: Name
    severity: Severity
    state: State
    message: str
    details: Mapping[str, Any]
    opened_at: datetime
    seen_at: datetime
    resolved_at: datetime | None = None
    acknowledged_at: datetime | None = None
    acknowledged_by: str | None = None
    silenced_until: datetime | None = None
    told: Severity | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Silence:
    """Nothing new is told of incidents of this tenant, alert and subject until then.

    Attributes:
        silence_id: grows from silence to silence.
        tenant: whose incidents.
        alert: which; none: all.
        subject: about what; none: whatever.
        until: its end.
        made_at: its beginning.
        made_by: who wants it.
        why: in the person's words.
        ended_at: when somebody ended it before its time.
    """

    silence_id: int
    tenant: TenantId
    alert: str | None
    subject: str | None
    until: datetime
    made_at: datetime
    made_by: str
    why: str
    ended_at: datetime | None = None

    def covers(self, name: Name) -> bool:
        """Tell whether incidents of ``name`` are meant."""
        return (
            self.tenant == name.tenant
            and self.alert in (None, name.alert)
            and self.subject in (None, name.subject)
        )
