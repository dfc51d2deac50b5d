"""What only one hub at a time may have of a data folder; a claim ends with its process, however that ends."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO

from infra.embedded import process, services
from infra.embedded.process import Place, State
from infra.errors import HubError


def claim(path: Path) -> IO[str] | None:
    """Return the locked file ``path``; none if another process holds it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        return None
    return lock


@contextmanager
def roles_claimed(data: Path, roles: Sequence[str], slot: str) -> Iterator[None]:
    """Keep other hubs from running ``roles`` as ``slot`` on the same tables: they would fence each other.

    Raises:
        HubError: another hub runs one of them.
    """
    with ExitStack() as stack:
        for role in roles:
            lock = claim(data / "run" / f"{role}.{slot}.lock")
            if lock is None:
                text = (
                    f"another hub runs {role} as slot {slot} in {data}: stop it first (Ctrl-C there), "
                    "or give this one another --slot or DATA_DIR"
                )
                raise HubError(text)
            stack.enter_context(lock)
        yield


def own_services(data: Path) -> bool:
    """Note that this process starts the embedded services of ``data`` and is to stop them.

    Those that run already belong to whoever started them, unless that was a hub that was killed.

    Returns:
        Whether they are this process's own.
    """
    owner = Place("owner", data)
    if services.load(data) is not None and process.state(owner) is not State.STALE:
        return False
    owner.pid_file.parent.mkdir(parents=True, exist_ok=True)
    process.record(owner, os.getpid())
    return True


def stop_services(data: Path) -> None:
    """Stop the embedded services that this process owns."""
    services.down(data)
    Place("owner", data).pid_file.unlink(missing_ok=True)
