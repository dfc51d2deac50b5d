"""Answers kept for idempotency keys, so that a request sent again is answered as the first time."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Final, NamedTuple

from aiohttp import web
from sqlalchemy import ColumnElement, Connection, Engine, func, select, text
from sqlalchemy.dialects.postgresql import insert

from infra.db.connect import database_trouble
from infra.db.locks import lock_key
from infra.db.tables import idempotency as kept
from infra.errors import HubError
from producers.web.problems import Problem
from producers.web.routes import TENANT
from schemas.ids import TenantId

HEADERS: Final = ("Idempotency-Key", "X-Idempotency-Key")
REPLAYED: Final = "Idempotency-Replayed"
_MAX_KEY: Final = 255
_REMOVED_AT_ONCE: Final = 1_000


class AnsweredError(HubError):
    """Another request with the same key was answered meanwhile; this one must not be."""


class Entry(NamedTuple):
    """What an answer is kept by, and of what body it is."""

    tenant: TenantId
    route: str
    key: str
    digest: bytes

    @property
    def name(self) -> tuple[str, str, str]:
        """The entry without the body."""
        return self.tenant, self.route, self.key


def entry_of(request: web.Request, body: bytes) -> Entry | None:
    """Return what the answer to ``request`` is kept by; none if it has no idempotency key.

    Raises:
        Problem: the key cannot be used (400).
    """
    key = next((request.headers[name].strip() for name in HEADERS if name in request.headers), None)
    if key is None:
        return None
    if not 0 < len(key) <= _MAX_KEY or not key.isascii() or not key.isprintable():
        detail = f"The idempotency key must be 1 to {_MAX_KEY} printable ASCII characters."
        raise Problem(HTTPStatus.BAD_REQUEST, detail)
    route = f"{request.method} {request.path.removeprefix('/api')}"
    return Entry(request[TENANT], route, key, hashlib.sha256(body).digest())


@dataclass(frozen=True, slots=True)
class Store:
    """The answers in PostgreSQL.

    Attributes:
        engine: of the hub's database.
        keep: so long an answer is kept.
    """

    engine: Engine
    keep: timedelta

    def find(self, entry: Entry) -> bytes | None:
        """Return the answer that is kept for ``entry``.

        Raises:
            Problem: it is of another body (409).
            RetryLater: the database is away.
        """
        row = select(kept.c.digest, kept.c.answer).where(
            _is(entry), kept.c.expires_at > func.clock_timestamp()
        )
        with database_trouble(), self.engine.connect() as connection:
            found = connection.execute(row).one_or_none()
        if found is None:
            return None
        if bytes(found.digest) != entry.digest:
            detail = "The idempotency key was used with another body."
            raise Problem(HTTPStatus.CONFLICT, detail)
        return bytes(found.answer)

    def put(self, connection: Connection, entry: Entry, answer: bytes) -> None:
        """Keep ``answer`` in the transaction of ``connection``.

        Whoever does so at the same time with the same key waits for the end of the transaction.

        Raises:
            AnsweredError: there is one already.
        """
        row = {
            "digest": entry.digest,
            "answer": answer,
            "expires_at": func.clock_timestamp() + self.keep,
        }
        key = {"tenant": entry.tenant, "route": entry.route, "key": entry.key}
        upsert = insert(kept).values(**key, **row)
        over_expired = upsert.on_conflict_do_update(
            index_elements=list(key), set_=row, where=kept.c.expires_at <= func.clock_timestamp()
        )
        if connection.execute(over_expired.returning(kept.c.key)).first() is None:
            raise AnsweredError

    @contextmanager
    def claim(self, entry: Entry) -> Iterator[None]:
        """Hold the key for a request of several transactions, in all processes; it ends with this one.

        Raises:
            Problem: another request holds it (409).
            RetryLater: the database is away.
        """
        key = {"key": lock_key("idempotency", *entry.name)}
        with database_trouble(), self.engine.connect() as connection, connection.begin():
            # Ends with the transaction, so with the connection, however the block is left.
            if not connection.execute(text("SELECT pg_try_advisory_xact_lock(:key)"), key).scalar_one():
                raise in_progress()
            yield

    def remove_expired(self) -> int:
        """Take out what is no longer replayed; return how many answers.

        Raises:
            RetryLater: the database is away.
        """
        expired = select(kept.c.tenant, kept.c.route, kept.c.key).where(
            kept.c.expires_at <= func.clock_timestamp()
        )
        some = expired.limit(_REMOVED_AT_ONCE).with_for_update(skip_locked=True).cte()
        gone = kept.delete().where(
            kept.c.tenant == some.c.tenant, kept.c.route == some.c.route, kept.c.key == some.c.key
        )
        total, removed = 0, _REMOVED_AT_ONCE
        while removed == _REMOVED_AT_ONCE:
            with database_trouble(), self.engine.begin() as connection:
                removed = connection.execute(gone).rowcount
            total += removed
        return total


def in_progress() -> Problem:
    """Return the answer to a request whose key is in use this moment."""
    detail = "A request with this idempotency key is in progress."
    return Problem(HTTPStatus.CONFLICT, detail, headers={"Retry-After": "1"})


def _is(entry: Entry) -> ColumnElement[bool]:
    return (kept.c.tenant == entry.tenant) & (kept.c.route == entry.route) & (kept.c.key == entry.key)
