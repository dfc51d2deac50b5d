"""Reconciliation: what Moodle shows against what it was asked for, and asking once more for what differs."""

import asyncio
import math
import time
from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Engine

from infra.calls import OnCall, nobody
from infra.cli.surveys import Counted, Where, answered_by, asked_of, command_ends, look, progress_of
from infra.errors import BadArgument, Unsafe
from processors.comparison import Comparison, Kind, compare
from processors.drift import Drift
from producers.decisions import Act, decide, new_id
from producers.entities import Entity
from producers.figures import DRIFTED
from schemas.directives import Directive, DirectiveKind
from schemas.ids import Target, TenantId

ACTION: Final = "reconcile.fix"
MOST: Final = "10%"
"""So many of what was compared may be changed, if nothing else is said."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one reconciliation found.

    Attributes:
        tenant: whose.
        target: the site.
        comparison: what was compared, and what differs.
        held: left out, because it waits, is disputed or was refused.
        calls: requests to Moodle.
        seconds: from beginning to end.
    """

    tenant: TenantId
    target: Target
    comparison: Comparison
    held: int
    calls: int
    seconds: float

    @property
    def fixable(self) -> tuple[Drift, ...]:
        """The differences that asking once more may mend."""
        return tuple(one for one in self.comparison.drifts if one.is_fixable)

    @property
    def counts(self) -> dict[str, int]:
        """What a record of the run says: how many of everything."""
        compared = sum(self.comparison.compared.values())
        drifts = self.comparison.drifts
        by_kind = Counter(f"{DRIFTED}{one.subject}_{one.kind}".lower() for one in drifts)
        left_out = {"in_flight": self.comparison.in_flight, "held": self.held}
        return {"compared": compared, "drifts": len(drifts), **left_out, "calls": self.calls, **by_kind}


def reconcile(
    place: Where,
    pool: Engine,
    kinds: Collection[Kind] = tuple(Kind),
    *,
    with_others: bool = False,
    on_call: OnCall = nobody,
) -> Report:
    """Compare what a Moodle site shows with what it was asked for; changes nothing.

    The order of the reads makes sure that no command that was on its way meanwhile looks like a difference.

    Args:
        place: tenant and site.
        pool: of the hub's database.
        kinds: what is compared.
        with_others: tell members of courses too whom the hub has not asked for.
        on_call: told of every call to Moodle.

    Raises:
        RetryLater: Kafka, the registry, the database or Moodle is away, or there is no read model yet.
        HubError: Moodle does not let the hub read, or answers in an unknown form.
    """
    started, counted = time.monotonic(), Counted(on_call)
    ends = command_ends(place)
    asked = asked_of(place)
    answered = answered_by(place, pool)
    seen = asyncio.run(look(place, asked, kinds, counted, every_course=with_others))
    progress = progress_of(place, answered, ends)
    comparison = compare(asked, seen, progress, place.roles, kinds, with_others=with_others)
    seconds = round(time.monotonic() - started, 3)
    return Report(place.tenant, place.target, comparison, asked.held, counted.calls, seconds)


def most_changes(limit: str, compared: int) -> int:
    """Return how many changes ``limit`` allows: a number, or a share of ``compared`` such as ``5%``.

    Raises:
        BadArgument: it is neither.
    """
    number = limit.removesuffix("%")
    if not number.isascii() or not number.isdecimal():
        msg = f"--max-changes: {limit!r} is neither a number nor a percentage such as 10%"
        raise BadArgument(msg)
    return math.ceil(compared * int(number) / 100) if limit.endswith("%") else int(number)


def fix(report: Report, pool: Engine, *, most: str = MOST, by: str, why: str = "") -> int:
    """Have everything that differs asked for once more, as far as that may mend it: all of it or nothing.

    Args:
        report: what `reconcile` found.
        pool: of the hub's database.
        most: most changes, as for `most_changes`.
        by: who asks; see `producers.decisions.Act`.
        why: in the person's words.

    Returns:
        The number of accounts, courses and enrolments.

    Raises:
        Unsafe: these are more than ``most``; nothing was done.
        BadArgument: ``most`` cannot be read.
        RetryLater: the database is away; nothing was done.
    """
    drifts = {one.entity: one for one in report.fixable}
    allowed = most_changes(most, sum(report.comparison.compared.values()))
    if len(drifts) > allowed:
        msg = f"{len(drifts)} changes, and --max-changes {most} allows {allowed}: nothing was changed"
        raise Unsafe(msg)
    entities = [(Entity(report.tenant, *entity), drift) for entity, drift in drifts.items()]
    if entities:
        acts = [_act(entity, drift, by, why) for entity, drift in entities]
        decide(pool, acts, [_directive(entity, by, why) for entity, _ in entities])
    return len(entities)


def _act(entity: Entity, drift: Drift, by: str, why: str) -> Act:
    details = {"drift": drift.kind.value, "fields": ",".join(drift.fields)}
    return Act(by, ACTION, str(entity), entity.tenant, why, details)


def _directive(entity: Entity, by: str, why: str) -> Directive:
    return Directive(
        directive_id=new_id(),
        tenant=entity.tenant,
        kind=DirectiveKind.REASSERT,
        subject=entity.kind,
        issued_at=datetime.now(UTC),
        person_id=entity.person_id,
        course_id=entity.course_id,
        by=by,
        why=why,
    )
