"""A running hub: services, topics and tables prepared, its processes kept, watched and stopped together."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from infra.cli.claims import claim
from infra.cli.endpoints import (
    Demo,
    Endpoints,
    await_simulator_ports,
    release,
    resolve,
)
from infra.cli.idle import Look, Watch, status, until_idle
from infra.cli.parts import check_sites, database_of
from infra.cli.roles import OF_A_SITE
from infra.cli.summary import Start, Summary, begin, summarise
from infra.cli.supervisor import TETHERED, Spec, Supervisor
from infra.cli.targets import announced
from infra.cli.topics_commands import apply_topics
from infra.db.migrate import migrate
from infra.embedded.ports import free_port
from infra.settings import Settings
from processors.parking import Standing

_QUICK = {"ELM_POLL_INTERVAL": "2", "MOODLE_CATALOGUE_INTERVAL": "2", "MOODLE_COMPLETION_INTERVAL": "2"}


@dataclass(frozen=True, slots=True)
class Plan:
    """What to run.

    Attributes:
        roles: names of `infra.cli.roles.ROLES`.
        slot: name of these processes among those of the same roles.
        quick: poll every two seconds where no interval is set, to see soon that nothing comes any more.
        log_path: file for the logs of the processes; none: standard error.
    """

    roles: Sequence[str]
    slot: str = "0"
    quick: bool = False
    log_path: Path | None = None


@dataclass(slots=True)
class Hub:
    """A hub whose processes run.

    Attributes:
        endpoints: where its services are.
        stop: set it to end the hub.
        ports: status port of each role.
    """

    endpoints: Endpoints
    stop: asyncio.Event
    ports: Mapping[str, int]
    supervisor: Supervisor
    start: Start
    started_at: float = field(default_factory=time.monotonic)
    _calls: dict[str, tuple[int, int]] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        """The resolved settings."""
        return self.endpoints.settings

    async def until_idle(self, show: Callable[[Look], None]) -> bool:
        """Wait until nothing moves any more; false if the hub was stopped before."""
        watch = Watch(self.settings, self.ports.get("moodle-source"))

        def look(seen: Look) -> None:
            self.moodle_calls()
            show(seen)

        try:
            return await until_idle(watch, self.stop, look)
        finally:
            watch.close()

    def moodle_calls(self) -> int:
        """Return how many requests went to Moodle since the start; survives restarts of the processes."""
        for role in (name for name in self.ports if name.partition(".")[0] in OF_A_SITE):
            now = int((status(self.ports.get(role)) or {}).get("moodle_calls", 0))
            before, total = self._calls.get(role, (0, 0))
            self._calls[role] = (now, total + (now - before if now >= before else now))
        return sum(total for _, total in self._calls.values())

    async def summary(self) -> tuple[Summary, Standing]:
        """Return what the run did so far and how things stand."""
        calls, elapsed = self.moodle_calls(), time.monotonic() - self.started_at
        return await asyncio.to_thread(summarise, self.settings, self.start, calls, elapsed)


def prepare(settings: Settings, demo: Demo) -> Endpoints:
    """Start the embedded services that are needed; bring database, topics and schemas up to date.

    Raises:
        EmbeddedError, HubError: what is missing, in one line.
    """
    check_sites(settings)
    endpoints = resolve(settings, demo)
    try:
        migrate(database_of(endpoints.settings))
        apply_topics(endpoints.settings)
    except BaseException:
        release(endpoints)
        raise
    return endpoints


@asynccontextmanager
async def running(endpoints: Endpoints, plan: Plan) -> AsyncIterator[Hub]:
    """Run the processes of ``plan`` while the block runs; Ctrl-C and SIGTERM set the hub's stop."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number is signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # started by nohup
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with ExitStack() as stack:
        stack.callback(release, endpoints)
        lock = claim(endpoints.settings.data_dir / "simulators.lock") if endpoints.simulators else None
        if lock is not None:
            stack.enter_context(lock)
            await asyncio.to_thread(await_simulator_ports, endpoints.settings.data_dir)
        specs = [*(endpoints.simulators if lock else ()), *_specs(endpoints, plan)]
        log_file = stack.enter_context(_opened(plan.log_path)) if plan.log_path else None
        supervisor = Supervisor(specs, stop, log_file)
        ports = {spec.name: spec.status_port for spec in specs if spec.status_port is not None}
        stack.enter_context(announced(endpoints.settings.data_dir, plan.slot, ports))
        start = await asyncio.to_thread(begin, endpoints.settings)
        hub = Hub(endpoints, stop, ports, supervisor, start)
        keeping = asyncio.create_task(supervisor.run())
        try:
            yield hub
        finally:
            stop.set()
            await keeping


def _opened(path: Path) -> IO[bytes]:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.open("ab")


def _specs(endpoints: Endpoints, plan: Plan) -> list[Spec]:
    settings = endpoints.settings
    env = dict(endpoints.env)
    if plan.quick:
        chosen = Settings().model_fields_set
        env |= {name: value for name, value in _QUICK.items() if name.lower() not in chosen}
    specs: list[Spec] = []
    ports: set[int] = set()
    for number, role in enumerate(plan.roles):
        port = settings.status_port + number if settings.status_port else free_port(ports)
        argv = [*TETHERED, "infra.cli.role", role, "--slot", plan.slot, "--status-port", str(port)]
        specs.append(Spec(role, argv, env, port))
        ports.add(port)
    return specs
