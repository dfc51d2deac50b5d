"""Who fails to log in has to wait, longer each time: of one name, known or not, and from one address.

A try counts as failed before the password is looked at, so that many at once do not slip through. Success
takes that back. Names and addresses are kept as hashes, for a day.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import Connection, Engine, func, select, update
from sqlalchemy.dialects.postgresql import insert

from infra.db.connect import database_trouble
from infra.db.tables import login_failures as table

FREE_BY_NAME: Final = 5
"""Failures of a name before it has to wait."""
FREE_BY_ADDRESS: Final = 20
"""Failures from an address, which many may share."""
FIRST: Final = timedelta(seconds=15)
LONGEST: Final = timedelta(minutes=15)
"""Nobody can keep somebody else out for longer than this at a time."""
_FORGOTTEN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Try:
    """Somebody tries to log in.

    Attributes:
        name: that they give.
        address: from where.
    """

    name: str
    address: str

    @property
    def free(self) -> Mapping[bytes, int]:
        """How many failures are free, by the hashes of name and address, in the order of locking."""
        found = {_digest("name", self.name): FREE_BY_NAME, _digest("address", self.address): FREE_BY_ADDRESS}
        return dict(sorted(found.items()))


def pause_after(failures: int, free: int) -> timedelta:
    """Return how long to wait after so many failures, of which some were free."""
    if failures < free:
        return timedelta(0)
    doubled: int = 2 ** min(failures - free, 30)
    return min(LONGEST, FIRST * doubled)


def begin(pool: Engine, attempt: Try) -> timedelta:
    """Count ``attempt`` as failed and return nothing to wait for, or return how long it has to wait.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        now = connection.execute(select(func.clock_timestamp())).scalar_one()
        left = max(_left(connection, digest, free, now) for digest, free in attempt.free.items())
        if left <= timedelta(0):
            again = update(table).where(table.c.digest.in_(attempt.free))
            connection.execute(again.values(failures=table.c.failures + 1, last_at=now))
    return max(left, timedelta(0))


def _left(connection: Connection, digest: bytes, free: int, now: datetime) -> timedelta:
    """Return how long a name or an address has still to wait; its row is locked."""
    new = insert(table).values(digest=digest, failures=0, last_at=now)
    connection.execute(new.on_conflict_do_nothing())
    row = connection.execute(select(table).where(table.c.digest == digest).with_for_update()).one()
    return row.last_at + pause_after(row.failures, free) - now if row.failures else timedelta(0)


def succeeded(pool: Engine, attempt: Try) -> None:
    """Take back that ``attempt`` counts as failed, and forget the failures of the name.

    Those of the address stay: who has a name of their own may be trying others.

    Raises:
        RetryLater: the database is away.
    """
    by_address = table.c.digest == _digest("address", attempt.address)
    with database_trouble(), pool.begin() as connection:
        connection.execute(table.delete().where(table.c.digest == _digest("name", attempt.name)))
        connection.execute(update(table).where(by_address).values(failures=table.c.failures - 1))


def forgive(pool: Engine, name: str) -> None:
    """Forget the failures of a name.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), pool.begin() as connection:
        connection.execute(table.delete().where(table.c.digest == _digest("name", name)))


def forget_old(pool: Engine) -> int:
    """Forget names and addresses that have not failed for a day; return how many.

    Raises:
        RetryLater: the database is away.
    """
    old = table.c.last_at < func.clock_timestamp() - _FORGOTTEN
    with database_trouble(), pool.begin() as connection:
        return connection.execute(table.delete().where(old)).rowcount


def _digest(kind: str, text: str) -> bytes:
    return hashlib.sha256(f"{kind}\0{text}".encode("utf-8", "surrogateescape")).digest()
