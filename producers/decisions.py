"""Decisions of people: what is done about entities, and the note of who did it and why, all or nothing."""

import getpass
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from sqlalchemy import Connection, Engine

from infra.db.connect import database_trouble, raw
from infra.stage import Output
from producers import outbox
from producers.outbox import Event
from schemas.audit import AuditEntry
from schemas.directives import Directive
from schemas.ids import TenantId
from schemas.topics import AUDIT, DIRECTIVES

SOURCE: Final = "operator"
"""``ce_source`` of decisions."""


@dataclass(frozen=True, slots=True)
class Act:
    """What somebody does.

    Attributes:
        by: the name of a user, the id of an API key, or what `command_line_user` returns.
        action: such as ``dlq.discard``.
        subject: what it is done to, such as ``person/P1`` or the name of a schedule.
        tenant: whose.
        why: in the person's words; may be empty.
        details: what else is to be known; no personal data, no secrets.
    """

    by: str
    action: str
    subject: str
    tenant: TenantId
    why: str = ""
    details: Mapping[str, str] = field(default_factory=dict)


def command_line_user() -> str:
    """Return how somebody at the command line is named in the audit: ``cli:`` and the user of the system."""
    return f"cli:{getpass.getuser()}"


def new_id() -> str:
    """Return an id for a directive."""
    return uuid.uuid4().hex


def decide(pool: Engine, acts: Sequence[Act], directives: Sequence[Directive] = ()) -> None:
    """Note ``acts`` in the audit and issue ``directives``: both or none.

    Raises:
        RetryLater: the database is away; nothing was done.
    """
    with database_trouble(), pool.begin() as connection:
        note(connection, acts, directives)


def note(connection: Connection, acts: Sequence[Act], directives: Sequence[Directive] = ()) -> None:
    """Do as `decide`, in the transaction of ``connection``, together with what else it changes."""
    now, driver = datetime.now(UTC), raw(connection)
    events = [Event(Output(DIRECTIVES, one), one.directive_id, SOURCE) for one in directives]
    events += [
        Event(Output(AUDIT, entry), entry.audit_id, SOURCE) for entry in (_entry(act, now) for act in acts)
    ]
    outbox.write(driver, events)
    outbox.notify(driver)


def _entry(act: Act, now: datetime) -> AuditEntry:
    return AuditEntry(
        audit_id=new_id(),
        tenant=act.tenant,
        at=now,
        by=act.by,
        action=act.action,
        subject=act.subject,
        why=act.why,
        details=act.details,
    )
