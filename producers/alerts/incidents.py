"""The life of incidents, step by step. Pure.

An incident is told once when it is found, once more if it becomes graver, and once when it is over. It is
over when it has not been found for a while, so that what comes and goes makes one incident and not many.
While it is silenced nothing new is told; what still stands when the silence ends is told then. The end of
what was told is told in any case.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import NamedTuple

from producers.alerts.model import Finding, Incident, Judgement, Name, Silence, State


class News(StrEnum):
    """What is told of an incident."""

    OPENED = "OPENED"
    ESCALATED = "ESCALATED"
    RESOLVED = "RESOLVED"


class Move(NamedTuple):
    """An incident as it is now, and what is told of it."""

    incident: Incident
    tell: News | None


def moves(
    standing: Iterable[Incident],
    judgement: Judgement,
    silences: Sequence[Silence],
    now: datetime,
    calm: timedelta,
) -> Iterator[Move]:
    """Yield what becomes of the incidents, in the order of the findings, then those that are over.

    Args:
        standing: those that are not resolved, at most one of each name.
        judgement: what the rules say now.
        silences: those that hold now.
        now: present time.
        calm: so long an incident must not have been found before it is over.
    """
    known = {one.name: one for one in standing}
    found = _gravest(judgement.findings)
    for name, finding in found.items():
        if name in known or finding.is_new:
            yield _found(known.get(name), finding, silenced_until(silences, name), now)
    for name, incident in known.items():
        if name in found or name.alert in judgement.unseen or now - incident.seen_at < calm:
            continue
        over = replace(incident, state=State.RESOLVED, resolved_at=now)
        yield Move(over, None if incident.told is None else News.RESOLVED)


def silenced_until(silences: Iterable[Silence], name: Name) -> datetime | None:
    """Return until when nothing is told of ``name``; none if it is told."""
    return max((one.until for one in silences if one.covers(name)), default=None)


def _gravest(findings: Iterable[Finding]) -> dict[Name, Finding]:
    found: dict[Name, Finding] = {}
    for one in findings:
        if one.name not in found or one.severity.rank > found[one.name].severity.rank:
            found[one.name] = one
    return found


def _found(known: Incident | None, finding: Finding, silenced: datetime | None, now: datetime) -> Move:
    incident = _opened(finding, now) if known is None else _seen(known, finding, now)
    incident = replace(incident, silenced_until=silenced)
    if silenced is not None or not finding.is_new:
        return Move(incident, None)
    told = incident.told
    if told is None:
        return Move(replace(incident, told=incident.severity), News.OPENED)
    if incident.severity.rank > told.rank:
        return Move(replace(incident, told=incident.severity), News.ESCALATED)
    return Move(incident, None)


def _opened(finding: Finding, now: datetime) -> Incident:
    return Incident(
        name=finding.name,
        severity=finding.severity,
        state=State.OPEN,
        message=finding.message,
        details=finding.details,
        opened_at=now,
        seen_at=now,
    )


def _seen(incident: Incident, finding: Finding, now: datetime) -> Incident:
    """Return the incident as it is found again; graver than somebody took it on, it is open once more."""
    seen = replace(incident, seen_at=now, message=finding.message, details=finding.details)
    if finding.severity.rank <= incident.severity.rank:
        return seen
    return replace(seen, severity=finding.severity, state=State.OPEN)
