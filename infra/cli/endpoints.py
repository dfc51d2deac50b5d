"""Decides where every service is: what is set, else the embedded service, else the simulator."""

import json
import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from urllib.parse import urlsplit

from infra.cli.claims import own_services, stop_services
from infra.cli.supervisor import TETHERED, Spec
from infra.embedded import services
from infra.embedded.ports import free_port, is_free
from infra.errors import HubError
from infra.settings import Settings

_PORT_SECONDS = 15.0
_EMBEDDED = {
    "kafka_bootstrap_servers": services.KAFKA,
    "schema_registry_url": services.REGISTRY,
    "database_url": services.POSTGRES,
}


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where one service is.

    Attributes:
        name: such as "Kafka".
        address: without credentials.
        origin: "set", "embedded" or "simulator".
    """

    name: str
    address: str
    origin: str


@dataclass(frozen=True, slots=True)
class Endpoints:
    """All services of a hub.

    Attributes:
        table: for people to read.
        env: the environment variables that lead every process of the hub there.
        settings: the settings with all that put in.
        simulators: the processes to run for what has no real system.
        started: embedded services were started for this; who started them stops them.
    """

    table: tuple[Endpoint, ...]
    env: Mapping[str, str]
    settings: Settings
    simulators: tuple[Spec, ...]
    started: bool


@dataclass(frozen=True, slots=True)
class Demo:
    """What the simulators hold when they are new; afterwards they keep what they hold.

    Attributes:
        records: number of generated records in ELM's feed.
        courses: number of courses in the feed and in Moodle.
        students: number of students in the SIS and in Zoho; without any these two are not simulated.
    """

    records: int = 0
    courses: int = 20
    students: int = 0


def resolve(settings: Settings, demo: Demo) -> Endpoints:
    """Start the embedded services that are needed and say where everything is.

    Raises:
        EmbeddedError: an embedded service could not be started.
    """
    given = {name: _plain(getattr(settings, name)) for name in _EMBEDDED}
    needed = frozenset(service for name, service in _EMBEDDED.items() if not given[name])
    env: dict[str, str] = {}
    started = bool(needed) and own_services(settings.data_dir)
    if needed:
        running = services.up(settings.data_dir, only=needed)
        env = {name.upper(): getattr(running, name) for name in _EMBEDDED if not given[name]}
    table = [
        Endpoint(
            title, _public(env.get(name.upper()) or given[name]), "embedded" if not given[name] else "set"
        )
        for title, name in zip(("Kafka", "Schema registry", "PostgreSQL"), _EMBEDDED, strict=True)
    ]
    simulators = []
    notes = notes_of(settings.data_dir, demo)
    if settings.moodle_url is None:
        simulators.append(_moodle(settings, notes))
        env |= {"MOODLE_URL": _local(notes["moodle_port"]), "MOODLE_API_TOKEN": str(notes["token"])}
    if settings.elm_api_url is None:
        simulators.append(_elm(settings, notes))
        base = _local(notes["elm_port"]) + "/apiserver/api.rsc/"
        env |= {
            "ELM_API_URL": base + "Datamart_ELM_Course_Enrollment_info",
            "ELM_API_TOKEN": str(notes["token"]),
            "ELM_COMPLETION_API_URL": base + "Datamart_ELM_Course_Completion",
            "ELM_COMPLETION_API_TOKEN": str(notes["token"]),
        }
    if demo.students:
        simulators += [_sis(notes), _zoho(notes)]
        env |= _of_sis(notes) | _of_zoho(notes)
    for title, name in (
        ("Moodle", "moodle_url"),
        ("ELM feed", "elm_api_url"),
        ("ELM completions", "elm_completion_api_url"),
        *((("SIS", "sis_url"), ("Zoho", "zoho_api_url")) if demo.students else ()),
    ):
        set_to = _plain(getattr(settings, name))
        address = env.get(name.upper()) or set_to
        table.append(Endpoint(title, _public(address), "set" if name.upper() not in env else "simulator"))
    found = Settings(**settings.model_dump() | {name.lower(): value for name, value in env.items()})
    return Endpoints(tuple(table), env, found, tuple(simulators), started)


def release(endpoints: Endpoints) -> None:
    """Stop the embedded services, if they were started for these endpoints."""
    if endpoints.started:
        stop_services(endpoints.settings.data_dir)


def await_simulator_ports(data: Path) -> None:
    """Return when nobody listens on the simulators' ports, such as those of a hub that was just killed.

    Raises:
        HubError: another program keeps one.
    """
    notes, deadline = notes_of(data), time.monotonic() + _PORT_SECONDS
    for name in (name for name in notes if name.endswith("_port")):
        while not is_free(int(notes[name])):
            if time.monotonic() > deadline:
                text = (
                    f"port {notes[name]} of a simulator is in use by another program: "
                    f"free it, or set another {name} in {data / 'simulators.json'}"
                )
                raise HubError(text)
            time.sleep(0.1)


def notes_of(data: Path, demo: Demo | None = None) -> dict[str, str | int]:
    """Return the simulators' ports, token and size; made once and kept, so that a restart finds the same.

    Their size is that of the first ``demo`` they run for: a command that only looks fixes none.
    """
    path = data / "simulators.json"
    notes: dict[str, str | int] = json.loads(path.read_text("utf-8")) if path.exists() else _new_notes()
    have_run = any(data.glob("*-simulator.jsonl"))
    wanted = notes if demo is None or have_run else notes | asdict(demo)
    if wanted != notes or not path.exists():
        data.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        path.write_text(json.dumps(wanted), "utf-8")
    return wanted


def _new_notes() -> dict[str, str | int]:
    ports: dict[str, int] = {}
    for name in ("moodle_port", "elm_port", "sis_port", "zoho_port"):
        ports[name] = free_port(ports.values())
    return {**ports, "token": secrets.token_hex(16), "records": 0, "courses": 0, "students": 0}


def _moodle(settings: Settings, notes: Mapping[str, str | int]) -> Spec:
    argv = [*TETHERED, "infra.simulators.moodle", "--port", str(notes["moodle_port"])]
    argv += ["--token", str(notes["token"]), "--data-file", str(settings.data_dir / "moodle-simulator.jsonl")]
    return Spec("moodle-simulator", argv)


def _elm(settings: Settings, notes: Mapping[str, str | int]) -> Spec:
    argv = [*TETHERED, "infra.simulators.elm", "--port", str(notes["elm_port"])]
    argv += ["--token", str(notes["token"]), "--feed", settings.elm_feed, "--zone", settings.elm_timezone]
    argv += ["--records", str(notes["records"]), "--courses", str(notes["courses"])]
    argv += ["--data-file", str(settings.data_dir / "elm-simulator.jsonl")]
    return Spec("elm-simulator", argv)


def _sis(notes: Mapping[str, str | int]) -> Spec:
    argv = [*TETHERED, "infra.simulators.sis", "--port", str(notes["sis_port"])]
    return Spec("sis-simulator", [*argv, "--students", str(notes["students"])])


def _of_sis(notes: Mapping[str, str | int]) -> dict[str, str]:
    # Loaded where it is simulated only: it brings the web framework along.
    from infra.simulators.sis.app import TOKEN_PATH
    from infra.simulators.sis.state import Credentials

    base, known = _local(notes["sis_port"]), Credentials()
    return {
        "SIS_URL": base,
        "SIS_TOKEN_URL": base + TOKEN_PATH,
        "SIS_CLIENT_ID": known.client_id,
        "SIS_CLIENT_SECRET": known.client_secret,
    }


def _zoho(notes: Mapping[str, str | int]) -> Spec:
    argv = [*TETHERED, "infra.simulators.zoho", "--port", str(notes["zoho_port"])]
    argv += ["--client-secret", str(notes["token"]), "--refresh-token", str(notes["token"])]
    return Spec("zoho-simulator", [*argv, "--students", str(notes["students"])])


def _of_zoho(notes: Mapping[str, str | int]) -> dict[str, str]:
    base = _local(notes["zoho_port"])
    return {
        "ZOHO_ACCOUNTS_URL": base,
        "ZOHO_API_URL": base,
        "ZOHO_CLIENT_ID": "simulated-client",
        "ZOHO_CLIENT_SECRET": str(notes["token"]),
        "ZOHO_REFRESH_TOKEN": str(notes["token"]),
    }


def _local(port: str | int) -> str:
    return f"http://127.0.0.1:{port}"


def _plain(value: object) -> str:
    get = getattr(value, "get_secret_value", None)
    return str(get() if get else value or "")


def _public(address: str) -> str:
    """Return ``address`` without user, password and query."""
    parts = urlsplit(address)
    if not parts.scheme or "@" not in parts.netloc:
        return address.split("?")[0]
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
