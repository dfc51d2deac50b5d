"""Payments of a person in the table: whether one is overdue by the rules of its source. Pure."""

from datetime import UTC, date, datetime, time, timedelta

import msgspec

from infra.mapping.model import TenantRules
from infra.stage import Table
from processors.timers import set_timer
from schemas.academics import Payment
from schemas.events import Operation
from schemas.ids import PaymentId, PersonId, TenantId, key
from schemas.version import Version


class PaymentEntry(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a payment. One that was deleted is due on no day."""

    version: Version
    source_system: str
    status: str
    due_on: date | None = None


class DebtEntry(msgspec.Struct, frozen=True, array_like=True):
    """Whether a payment of the person is overdue, the timer that looks again, and as of when that is."""

    is_overdue: bool = False
    timer: str | None = None
    judged_at: datetime | None = None


def payment_key(tenant: TenantId, person: PersonId, payment: PaymentId | str) -> str:
    """Return the state key of a payment; with payment "" the prefix of all of the person."""
    return key("payment", tenant, person, payment)


def debt_key(tenant: TenantId, person: PersonId) -> str:
    """Return the state key of a person's debt."""
    return key("debt", tenant, person)


def payment_of(event: Payment) -> PaymentEntry:
    """Return what is kept of ``event``."""
    due_on = None if event.operation is Operation.DELETE else event.due_on
    return PaymentEntry(event.version, event.source_system, event.status, due_on)


def overdue_from(payment: PaymentEntry, rules: TenantRules) -> datetime | None:
    """Return the moment from which ``payment`` is overdue; none if nothing is owed, or no rule asks."""
    rule = rules.source(payment.source_system).overdue
    if rule is None or payment.due_on is None or rule.settles(payment.status):
        return None
    return datetime.combine(payment.due_on + timedelta(days=rule.after_days + 1), time.min, UTC)


def earliest(payments: list[PaymentEntry], rules: TenantRules) -> datetime | None:
    """Return the first moment at which one of a person's ``payments`` is overdue; none if none ever is."""
    moments = [moment for one in payments if (moment := overdue_from(one, rules)) is not None]
    return min(moments, default=None)


def judge(tenant: TenantId, person: PersonId, rules: TenantRules, now: datetime, table: Table) -> bool:
    """Note whether a payment of the person is overdue ``now``; return whether that has changed.

    Time never goes back: an event that is read again does not undo what a later tick has found.
    """
    payments = [one for _, one in table.scan(payment_key(tenant, person, ""), PaymentEntry)]
    moment = earliest(payments, rules)
    known = table.get(debt_key(tenant, person), DebtEntry) or DebtEntry()
    now = max(now, known.judged_at or now)
    is_overdue = moment is not None and moment <= now
    timer = set_timer(tenant, person, known.timer, None if is_overdue else moment, table)
    if (is_overdue, timer) != (known.is_overdue, known.timer):
        table.put(debt_key(tenant, person), DebtEntry(is_overdue, timer, now))
    return is_overdue != known.is_overdue
