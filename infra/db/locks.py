"""Advisory locks: one active process of a kind, others stand by. A lock ends with its connection."""

import hashlib
import threading
from collections.abc import Callable
from contextlib import suppress

import psycopg

_WAIT = "1s"


def lock_key(*names: str) -> int:
    """Return the 64-bit number that stands for ``names``."""
    digest = hashlib.blake2b("\x1f".join(names).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


def try_lock(connection: psycopg.Connection, *names: str) -> bool:
    """Take the lock for as long as ``connection`` lives, if it is free."""
    row = connection.execute("SELECT pg_try_advisory_lock(%s)", [lock_key(*names)]).fetchone()
    return bool(row and row[0])


def unlock(connection: psycopg.Connection, *names: str) -> None:
    """Give the lock back at once: after a mere close the server takes a moment to do so."""
    with suppress(psycopg.Error):  # without its connection there is no lock any more
        connection.execute("SELECT pg_advisory_unlock(%s)", [lock_key(*names)])


def wait_for_lock(
    connection: psycopg.Connection, stop: threading.Event, *names: str, waiting: Callable[[], None]
) -> bool:
    """Wait for the lock until it is ours (true) or ``stop`` is set (false, noticed within a second).

    ``waiting`` is called every second meanwhile.
    """
    connection.execute(f"SET lock_timeout = '{_WAIT}'")
    while not stop.is_set():
        try:
            connection.execute("SELECT pg_advisory_lock(%s)", [lock_key(*names)])
        except psycopg.errors.LockNotAvailable:
            waiting()
            continue
        connection.execute("RESET lock_timeout")
        return True
    return False
