"""Detached processes that are found again by a pid file.

A pid alone does not name a process: after its end the number goes to another one. So the file keeps the
start time too, and a process with another start time is never waited for or signalled.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

import psutil
import structlog

from infra.embedded.errors import EmbeddedError

# The start time is derived from the boot time, which moves a little when the clock is set.
_START_TIME_TOLERANCE_SECONDS = 2.0
_POLL_SECONDS = 0.05
_LOG_LIMIT_BYTES = 10_000_000
_log = structlog.get_logger()


class State(StrEnum):
    """What the pid file says about a process: STALE is one that is gone but left its file."""

    RUNNING = "running"
    STOPPED = "stopped"
    STALE = "stale"


@dataclass(frozen=True)
class Place:
    """Where one service keeps its things.

    Args:
        name: What it is called in messages and file names.
        data: The data folder that all services share.
    """

    name: str
    data: Path

    @property
    def folder(self) -> Path:
        """The service's own data."""
        return self.data / self.name

    @property
    def log(self) -> Path:
        """What the service prints."""
        return self.data / "logs" / f"{self.name}.log"

    @property
    def pid_file(self) -> Path:
        """Pid and start time of the service's process."""
        return self.data / "run" / f"{self.name}.pid"

    def prepare(self) -> None:
        """Make the folders, drop a stale pid file, and set a log aside that has grown large."""
        for folder in (self.folder, self.log.parent, self.pid_file.parent):
            folder.mkdir(parents=True, exist_ok=True)
        if state(self) is State.STALE:
            self.pid_file.unlink()
            _log.info("stale_pid_file_removed", service=self.name)
        if self.log.exists() and self.log.stat().st_size > _LOG_LIMIT_BYTES:
            self.log.replace(self.log.with_suffix(".log.1"))


def spawn(place: Place, command: Sequence[str], environ: Mapping[str, str]) -> None:
    """Start a program in a session of its own, its output appended to the log, and write the pid file.

    A bare spawn instead of a `Popen`: the process is meant to outlive this one; only the pid file owns it.
    """
    append = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    files = [
        (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
        (os.POSIX_SPAWN_OPEN, 1, str(place.log), append, 0o644),
        (os.POSIX_SPAWN_DUP2, 1, 2),
    ]
    pid = os.posix_spawn(command[0], list(command), dict(environ), file_actions=files, setsid=True)
    record(place, pid)


def run_logged(
    command: Sequence[str],
    log: Path,
    *,
    seconds: float | None = None,
    folder: Path | None = None,
    account: tuple[int, int] | None = None,
) -> bool:
    """Run a program to its end, its output appended to the log.

    Args:
        command: The program and its arguments.
        log: Where its output goes.
        seconds: Time for it; no limit when None.
        folder: Its working folder.
        account: User and group id to run it as, when that is not our own.

    Returns:
        Whether it ended well and in time.
    """
    user, group = account or (None, None)
    with log.open("ab") as output:
        try:
            subprocess.run(  # noqa: S603 - commands are put together here, never from outside input
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd=folder,
                env={**os.environ, "LC_ALL": "C"},
                user=user,
                group=group,
                extra_groups=[] if account else None,
                check=True,
                timeout=seconds,
                start_new_session=True,  # an interrupt is for us, who then clean up
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired):
            return False
    return True


def record(place: Place, pid: int) -> None:
    """Write the pid file of a process that has just been started."""
    started = psutil.Process(pid).create_time()
    place.pid_file.write_text(json.dumps({"pid": pid, "started": started}))


def find(place: Place) -> psutil.Process | None:
    """Give the recorded process if it still lives and is the same one, else None."""
    with suppress(FileNotFoundError, ValueError, KeyError, TypeError, psutil.NoSuchProcess):
        noted = json.loads(place.pid_file.read_text())
        process = psutil.Process(int(noted["pid"]))
        if abs(process.create_time() - float(noted["started"])) <= _START_TIME_TOLERANCE_SECONDS:
            # Of a killed JVM the first thread may be gone while others still hold its files and ports.
            if process.status() != psutil.STATUS_ZOMBIE or process.num_threads() > 1:
                return process
            with suppress(ChildProcessError):
                os.waitpid(process.pid, os.WNOHANG)
    return None


def state(place: Place) -> State:
    """Tell whether the recorded process runs."""
    if find(place):
        return State.RUNNING
    return State.STALE if place.pid_file.exists() else State.STOPPED


def wait_until(place: Place, ready: Callable[[], bool], deadline: float) -> None:
    """Ask until the service is ready.

    Args:
        place: The service.
        ready: A quick question to the service.
        deadline: The last moment, by `time.monotonic()`.

    Raises:
        EmbeddedError: It ended, or was not ready in time; the message names the log.
    """
    while not ready():
        if find(place) is None:
            raise failure(place, "ended while it was starting")
        if time.monotonic() > deadline:
            raise failure(place, "was not ready in time")
        time.sleep(_POLL_SECONDS)


def failure(place: Place, what: str) -> EmbeddedError:
    """Make the error that names the service, its log and the log's last lines."""
    return EmbeddedError(f"{place.name} {what}; read {place.log}, which ends: {_tail(place.log)}")


def _tail(log: Path, lines: int = 3, width: int = 300) -> str:
    if not log.exists():
        return "(empty)"
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 8192))
        text = file.read().decode(errors="replace")
    stripped = (line.strip() for line in text.splitlines())
    # The frames of a Java stack trace push the reason out of sight.
    telling = [line[:width] for line in stripped if line and not line.startswith("at ")]
    return " | ".join(telling[-lines:]) or "(empty)"


def stop(place: Place, signal_number: signal.Signals, seconds: float) -> None:
    """Ask the process to end and wait for it; kill it only when it does not end in time."""
    process = find(place)
    if process:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal_number)
        if not _gone(place, seconds):
            _log.warning("service_killed", service=place.name, pid=process.pid, waited_seconds=seconds)
            kill(place)
    place.pid_file.unlink(missing_ok=True)


def kill(place: Place) -> None:
    """End the process at once, as a crash would, and wait until it is gone. The pid file stays."""
    process = find(place)
    if process:
        with suppress(psutil.NoSuchProcess):
            process.kill()
        if not _gone(place, 10.0):
            message = f"{place.name} (pid {process.pid}) does not end even when killed"
            raise EmbeddedError(message)


def _gone(place: Place, seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while find(place):
        if time.monotonic() > deadline:
            return False
        time.sleep(_POLL_SECONDS)
    return True
