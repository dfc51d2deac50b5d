"""What has waited too long by the mapping: it waits no more, and a dead letter tells of it. Pure.

The stages keep what was wished, marked as expired: it does not go on by itself any more. The letter holds a
directive to issue the wish again; a redrive sends it, and it takes the mark away. So does everything new that
a source says of it. All that waits is looked through once a day, with the first tick of the day.
"""

from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Final, TypeVar

import msgspec

from infra.errors import Rejected
from infra.mapping import Mapping, Waiting
from infra.stage import Output, Table
from schemas.directives import Directive, DirectiveKind
from schemas.ids import CourseId, PersonId, TenantId, deterministic_id, key, split
from schemas.moodle import CommandKind
from schemas.reasons import Reason
from schemas.topics import Topic

S = TypeVar("S", bound=msgspec.Struct)
MOST: Final = 1_000
"""Letters of one tick, for all of them are in one transaction; the next tick goes on."""
_SWEPT: Final = key("swept", "")


class SweptEntry(msgspec.Struct, frozen=True, array_like=True):
    """When all that waits was looked through last."""

    at: datetime


def late(
    what: Waiting,
    since: Callable[[str, S], datetime | None],
    kind: type[S],
    mapping: Mapping,
    now: datetime,
    table: Table,
) -> Iterator[tuple[str, S, datetime]]:
    """Yield what has waited too long: its key, the entry, and since when; at most `MOST`.

    Args:
        what: kind of what waits, which is also the word that the keys begin with.
        since: takes key and entry to when it began to wait; none: it does not.
        kind: of the entries.
        mapping: says after how long.
        now: the time.
        table: of the stage.
    """
    swept = table.get(_SWEPT, SweptEntry)
    if not mapping.expires(what) or (swept is not None and swept.at.date() >= now.date()):
        return
    found = 0
    for at, entry in table.scan(key(what, ""), kind):
        patience = mapping.of(TenantId(split(at)[1])).patience(what)
        began = None if patience is None else since(at, entry)
        if patience is None or began is None or now - began <= timedelta(days=patience):
            continue
        if found == MOST:
            return
        found += 1
        yield at, entry, began
    table.put(_SWEPT, SweptEntry(now))


def renewed(issued_at: datetime, table: Table) -> datetime:
    """Return the moment from which something waits anew that was redriven.

    The directive was made when it expired, so the time is that of the last look, which is of these days.
    """
    swept = table.get(_SWEPT, SweptEntry)
    return max(issued_at, swept.at) if swept else issued_at


def letter(
    topic: Topic,
    subject: CommandKind,
    place: tuple[TenantId, PersonId, CourseId],
    waits_for: str,
    since: datetime,
    now: datetime,
) -> Output:
    """Return the dead letter that tells that something waits no more.

    Args:
        topic: of directives.
        subject: USER of what a stage keyed by person keeps, otherwise ENROLMENT.
        place: whose enrolment or completion in what.
        waits_for: what it has waited for.
        since: when it began.
        now: the time.
    """
    tenant, person, course = place
    directive = Directive(
        directive_id=deterministic_id("expired", subject, *place, now.isoformat()),
        tenant=tenant,
        kind=DirectiveKind.REASSERT,
        subject=subject,
        issued_at=now,
        person_id=person,
        course_id=course,
        by="expiry",
        why=f"waited for its {waits_for} since {since:%Y-%m-%d}",
    )
    text = f"it has waited for its {waits_for} since {since:%Y-%m-%dT%H:%MZ}"
    return Output(topic, directive, Rejected(Reason.EXPIRED, text))
