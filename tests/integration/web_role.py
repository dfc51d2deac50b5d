"""The role `api` as it is run in production: a process of its own, on a database of the test."""

from __future__ import annotations

import os
import select
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.embedded.ports import free_port
from producers.web import keys
from producers.web.routes import Scope
from schemas.ids import TenantId

TENANT: Final = TenantId("default")
OTHER: Final = TenantId("other")
_START_SECONDS: Final = 60.0


@dataclass(frozen=True, slots=True)
class Served:
    """Processes of the role behind one port.

    Attributes:
        url: without path.
        key: with all scopes, for `TENANT` alone.
        processes: that serve it.
        logs: what each writes.
    """

    url: str
    key: str
    processes: Sequence[subprocess.Popen[bytes]]
    logs: Sequence[Path]

    def faults(self) -> list[str]:
        """Give the lines in which a process tells of a request that it could not deal with."""
        lines = [line for log in self.logs for line in log.read_text("utf-8").splitlines()]
        return [line for line in lines if '"request_failed"' in line or "Traceback" in line]


@contextmanager
def served(
    database: str, folder: Path, processes: int = 1, env: Mapping[str, str] | None = None
) -> Iterator[Served]:
    """Run the role until the block ends; ``env`` has settings beside the database and the port."""
    key, port = _key(database), free_port()
    settings = {
        "PATH": os.environ["PATH"],
        "DATABASE_URL": database,
        "API_PORT": str(port),
        "DATA_DIR": str(folder),
        "LOG_FORMAT": "json",
        **(env or {}),
    }
    started: list[subprocess.Popen[bytes]] = []
    logs = [folder / f"api-{number}.log" for number in range(processes)]
    try:
        for number, log in enumerate(logs):
            started.append(_started(settings, str(number), log))
        yield Served(f"http://127.0.0.1:{port}", key, started, logs)
    finally:
        for process in started:
            process.kill()
            process.wait()


def _key(database: str) -> str:
    migrate(database)
    pool = engine(database, pool_size=1)
    try:
        plain, _ = keys.create(pool, "test", [TENANT], frozenset(Scope))
    finally:
        pool.dispose()
    return plain


def _started(settings: Mapping[str, str], slot: str, log: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "infra.cli.role", "api", "--slot", slot]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=dict(settings), stderr=output, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + _START_SECONDS
    while b"api_listens" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            process.wait()
            raise AssertionError(log.read_text("utf-8"))
        select.select([], [], [], 0.05)
    return process
