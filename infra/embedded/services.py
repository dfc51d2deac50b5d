"""Starts, finds and stops the services that the hub needs, all under one data folder.

In the data folder: `services.json` (addresses of what runs, for the other commands), `ports.json` (kept
over restarts), `run` and `logs` (pid files and logs by service), `jars`, and a folder per service.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from infra.embedded import jars, kafka, ports, postgres, process, registry
from infra.embedded.errors import EmbeddedError
from infra.embedded.process import Place, State

__all__ = ["ALL", "EmbeddedError", "ServiceStatus", "Services", "down", "load", "reset", "status", "up"]

KAFKA, REGISTRY, POSTGRES = "kafka", "registry", "postgres"
ALL = frozenset({KAFKA, REGISTRY, POSTGRES})
_CONTROLLER = "kafka-controller"
_STOP_SECONDS = 30.0


@dataclass(frozen=True)
class Services:
    """Addresses of the services; the empty string for one that was not asked for."""

    kafka_bootstrap_servers: str
    schema_registry_url: str
    database_url: str


@dataclass(frozen=True)
class ServiceStatus:
    """What is known of one service.

    Args:
        name: kafka, registry or postgres.
        state: Whether its process runs; stale means that it ended without being stopped.
        address: Where it answers, or last answered; empty when it never ran.
        pid: Its process, when it runs.
        log: The log to read.
    """

    name: str
    state: State
    address: str
    pid: int | None
    log: Path


@dataclass(frozen=True)
class _Launch:
    place: Place
    ports: Mapping[str, int]
    jars: Path
    deadline: float


@dataclass(frozen=True)
class _Kind:
    """How one service is started, asked and stopped."""

    field: str
    ports: tuple[str, ...]
    address: Callable[[int], str]
    start: Callable[[_Launch], None]
    is_ready: Callable[[int], bool]
    stop_signal: signal.Signals


def _start_kafka(launch: _Launch) -> None:
    node = kafka.single(launch.place, launch.ports[KAFKA], launch.ports[_CONTROLLER])
    kafka.start(node, launch.jars, launch.deadline)


_KINDS = {
    KAFKA: _Kind(
        field="kafka_bootstrap_servers",
        ports=(KAFKA, _CONTROLLER),
        address=lambda port: f"{ports.HOST}:{port}",
        start=_start_kafka,
        is_ready=lambda port: kafka.is_ready(f"{ports.HOST}:{port}"),
        stop_signal=signal.SIGTERM,
    ),
    REGISTRY: _Kind(
        field="schema_registry_url",
        ports=(REGISTRY,),
        address=lambda port: f"http://{ports.HOST}:{port}{registry.API}",
        start=lambda launch: registry.start(launch.place, launch.ports[REGISTRY], launch.jars),
        is_ready=registry.is_ready,
        stop_signal=signal.SIGTERM,
    ),
    POSTGRES: _Kind(
        field="database_url",
        ports=(POSTGRES,),
        address=postgres.url,
        start=lambda launch: postgres.start(launch.place, launch.ports[POSTGRES], launch.deadline),
        is_ready=postgres.is_ready,
        stop_signal=signal.SIGINT,  # the fast shutdown: open transactions are rolled back, not waited for
    ),
}


def up(
    data: Path,
    *,
    only: frozenset[str] = ALL,
    deadline_seconds: float = 60,
    wanted_ports: Mapping[str, int] | None = None,
) -> Services:
    """Start what does not run yet and return when everything answers.

    Args:
        data: The data folder; made when missing.
        only: Names of the services to start; others that run already are left running.
        deadline_seconds: Time for all of them together.
        wanted_ports: Port by service name, where a certain one is wanted.

    Returns:
        The addresses, which are also written to `services.json`.

    Raises:
        EmbeddedError: One could not be started; what this call had started is stopped again.
    """
    deadline = time.monotonic() + deadline_seconds
    if unknown := only - ALL:
        message = f"there is no service called {', '.join(sorted(unknown))}"
        raise EmbeddedError(message)
    data.mkdir(parents=True, exist_ok=True)
    with _locked(data):
        new = [name for name in sorted(only) if not process.find(Place(name, data))]
        chosen = _choose_ports(data, new, wanted_ports or {})
        try:
            _start(data, new, sorted(only), chosen, deadline)
        except BaseException:  # an interrupt too must not leave half of them behind
            _stop(data, new)
            raise
        return _write_services(data, chosen)


def _choose_ports(data: Path, new: list[str], wanted: Mapping[str, int]) -> dict[str, int]:
    path = data / "ports.json"
    remembered = ports.read(path)
    names = [port for name in new for port in _KINDS[name].ports]
    chosen = {**remembered, **ports.choose(names, remembered, wanted)}
    _write_json(path, chosen)
    return chosen


def _start(data: Path, new: list[str], asked: list[str], chosen: Mapping[str, int], deadline: float) -> None:
    jar_folder = jars.locate(data) if {KAFKA, REGISTRY} & set(new) else data

    def bring_up(name: str) -> None:
        kind, place = _KINDS[name], Place(name, data)
        if name in new:
            kind.start(_Launch(place, chosen, jar_folder, deadline))
        process.wait_until(place, lambda: kind.is_ready(chosen[name]), deadline)

    with ThreadPoolExecutor(len(ALL)) as pool:
        starting = [pool.submit(bring_up, name) for name in asked]
        try:
            for service in starting:
                service.result()
        except BaseException:
            # The other threads wait for processes that start, or are about to: their end ends the waiting.
            while wait(starting, timeout=0.2).not_done:
                _stop(data, new)
            raise


def _write_services(data: Path, chosen: Mapping[str, int]) -> Services:
    running = {name for name in ALL if process.find(Place(name, data))}
    addresses = {
        kind.field: kind.address(chosen[name]) if name in running else "" for name, kind in _KINDS.items()
    }
    path = data / "services.json"
    _write_json(path, {**_read_json(path), **addresses})
    return Services(**addresses)


def down(data: Path) -> None:
    """Stop all services in order. The hub has to be stopped before: see the runbook on a single broker."""
    if not data.is_dir():
        return
    with _locked(data):
        _stop(data, sorted(ALL))
        (data / "services.json").unlink(missing_ok=True)


def _stop(data: Path, names: list[str]) -> None:
    def stop(name: str) -> None:
        process.stop(Place(name, data), _KINDS[name].stop_signal, _STOP_SECONDS)

    with ThreadPoolExecutor(len(ALL)) as pool:
        list(pool.map(stop, names))


def status(data: Path) -> list[ServiceStatus]:
    """Tell of each service whether it runs, where, and which log to read."""
    chosen = ports.read(data / "ports.json")
    return [_status(Place(name, data), kind, chosen.get(name)) for name, kind in _KINDS.items()]


def _status(place: Place, kind: _Kind, port: int | None) -> ServiceStatus:
    found = process.find(place)
    return ServiceStatus(
        name=place.name,
        state=process.state(place),
        address=kind.address(port) if port else "",
        pid=found.pid if found else None,
        log=place.log,
    )


def load(data: Path) -> Services | None:
    """Read the addresses of the running services; None when none of them was started or one has ended."""
    noted = _read_json(data / "services.json")
    addresses = {kind.field: str(noted.get(kind.field, "")) for kind in _KINDS.values()}
    listed = [name for name, kind in _KINDS.items() if addresses[kind.field]]
    if not listed or not all(process.find(Place(name, data)) for name in listed):
        return None
    return Services(**addresses)


def reset(data: Path) -> None:
    """Stop everything and remove all data, the state of the hub's workers included; the jars stay.

    There is no way back: topics, schemas and the database are gone.

    Raises:
        EmbeddedError: The folder holds files, but was never used as a data folder.
    """
    if not _removable(data):
        return
    if not (data / "ports.json").exists():
        message = f"{data} is not a data folder of the hub: nothing was removed"
        raise EmbeddedError(message)
    down(data)
    for path in _removable(data):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink(missing_ok=True)


def _removable(data: Path) -> list[Path]:
    return [path for path in data.iterdir() if path.name != "jars"] if data.is_dir() else []


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    with (data / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _read_json(path: Path) -> dict[str, object]:
    try:
        content = json.loads(path.read_text())
    except (FileNotFoundError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def _write_json(path: Path, content: Mapping[str, object]) -> None:
    part = path.with_suffix(".part")
    part.write_text(json.dumps(content, indent=2) + "\n")
    part.replace(path)
