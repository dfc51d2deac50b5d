"""Records of a SIS on their way into the intake, whatever way they came."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import datetime

from sqlalchemy import Connection

from infra.db.connect import driver_connection
from infra.db.locks import try_lock, unlock
from infra.errors import RetryLater
from producers.candidates import Answer, Origin
from producers.intake import Also, Intake, nothing
from producers.linked import Item, take_items, wake_all
from producers.sis import teaching
from producers.sis.records import SECTION, SOURCE, Record, Refused
from producers.sis.rules import Rules
from producers.sis.to_events import kinds


class BusyError(RetryLater):
    """Another process reads this SIS; this one must wait."""


@contextmanager
def exclusive(database_url: str, origin: Origin) -> Iterator[None]:
    """Be the only pull or import of a SIS while the block runs: its run records need that.

    Raises:
        BusyError: another process is it.
        RetryLater: the database is away.
    """
    names = ("sis-pull", origin.tenant, origin.source)
    with driver_connection(database_url) as connection:
        if not try_lock(connection, *names):
            raise BusyError("another process reads this SIS")
        try:
            yield
        finally:
            unlock(connection, *names)


class SisIntake:
    """Takes records of one tenant's SIS.

    Attributes:
        origin: the tenant and source.
        engine: of the intake.
        rules: how records are read.
    """

    def __init__(self, intake: Intake, rules: Rules) -> None:
        self.origin = Origin(rules.tenant, SOURCE)
        self.rules = rules
        self.engine = intake.engine
        self._intake = intake
        self._kinds = kinds(rules)

    def take(
        self, records: Sequence[Record | Refused], received_at: datetime, also: Also = nothing
    ) -> list[Answer]:
        """Take ``records`` in one transaction, and answer each, in order.

        Args:
            records: of any kinds.
            received_at: UTC time of their receipt.
            also: see `producers.intake.Intake.take`.

        Raises:
            RetryLater: the database is away; nothing was stored.
        """
        has_sections = any(record.kind == SECTION for record in records)
        count = len(records)
        with teaching.one_at_a_time(self.engine, self.origin) if has_sections else nullcontext():
            extra = teaching.following(self.engine, self.origin, records, received_at) if has_sections else []

            def with_own(connection: Connection, answers: Sequence[Answer]) -> None:
                also(connection, answers[:count])

            items = self._items([*records, *extra], received_at)
            return take_items(self._intake, self.origin, items, self._kinds, with_own)[:count]

    def wake_all(self) -> int:
        """Take every parked record whose missing one is there; return how many were tried.

        Raises:
            RetryLater: the database is away.
        """
        return wake_all(self._intake, self.origin, self._kinds)

    def _items(self, records: Iterable[Record | Refused], received_at: datetime) -> list[Item]:
        return [Item(self._kinds[record.kind], record, received_at) for record in records]
