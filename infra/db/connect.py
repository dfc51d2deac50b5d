"""Connections to the hub's database, and what its failures mean."""

import select
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import DBAPIError, DisconnectionError

from infra.errors import RetryLater

_OPTIONS: dict[str, Any] = {"connect_timeout": 10, "application_name": "rosterhub"}
# Times in the session's zone would be a surprise; a peer that vanished gives its locks back soon.
_SESSION = "-c timezone=UTC -c tcp_keepalives_idle=10 -c tcp_keepalives_interval=5 -c tcp_keepalives_count=3"
_AWAY = (psycopg.OperationalError, psycopg.InterfaceError)


def engine(database_url: str, *, pool_size: int = 10) -> Engine:
    """Return an engine (a pool of connections) for ``postgresql://...``; it connects when first used.

    Parameters never stand in the texts of its errors: they are people's data.
    """
    made = create_engine(
        make_url(database_url).set(drivername="postgresql+psycopg"),
        pool_size=pool_size,
        max_overflow=pool_size,
        hide_parameters=True,
        connect_args={**_OPTIONS, "options": _SESSION},
    )
    event.listen(made, "checkout", _leave_out_closed)
    return made


def _leave_out_closed(connection: psycopg.Connection, _record: object, _proxy: object) -> None:
    """Let the pool connect anew where the server has closed a connection.

    It then has told so, and there is something to read on a connection on which nothing was asked. Looking
    costs no round trip, other than the pool's own ping, which would be one in ten of a small transaction.
    """
    if connection.closed or _has_input(connection.fileno()):
        raise DisconnectionError


def _has_input(descriptor: int) -> bool:
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(0))


@contextmanager
def driver_connection(database_url: str) -> Iterator[psycopg.Connection]:
    """Give one connection of the driver's own in autocommit, for what a pool is not made for.

    Raises:
        RetryLater: the database cannot be reached, or went away during the block.
    """
    url = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with (
        database_trouble(),
        psycopg.connect(url, autocommit=True, options=_SESSION, **_OPTIONS) as connection,
    ):
        yield connection


def raw(connection: Connection) -> psycopg.Connection:
    """Return the driver's connection behind ``connection``, in the same transaction (for COPY and arrays)."""
    found = connection.connection.driver_connection
    if not isinstance(found, psycopg.Connection):
        msg = f"the engine does not use psycopg but {type(found).__name__}"
        raise TypeError(msg)
    return found


@contextmanager
def reading(engine: Engine) -> Iterator[psycopg.Connection]:
    """Give a driver's connection of the pool in autocommit: a single query then costs a single round trip.

    Raises:
        RetryLater: the database is away.
    """
    with database_trouble(), engine.connect() as connection:
        yield raw(connection.execution_options(isolation_level="AUTOCOMMIT"))


@contextmanager
def database_trouble() -> Iterator[None]:
    """Turn the ways in which a database is away into `RetryLater`; other errors pass."""
    try:
        yield
    except _AWAY as error:
        raise _away(error) from None
    except DBAPIError as error:
        if isinstance(error.orig, _AWAY):
            raise _away(error.orig) from None
        raise


def _away(error: BaseException) -> RetryLater:
    code = getattr(error, "sqlstate", None) or type(error).__name__
    return RetryLater(f"the database is away or failing ({code})")
