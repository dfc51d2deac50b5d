"""`hub dev`: the embedded services from the command line."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from infra.embedded import services
from infra.embedded.errors import EmbeddedError
from infra.embedded.services import KAFKA, POSTGRES, REGISTRY, ServiceStatus

dev = typer.Typer(help="Kafka, schema registry and PostgreSQL on this machine.", no_args_is_help=True)

Data = Annotated[Path, typer.Option("--data", help="The folder that holds everything.")]
Port = Annotated[int | None, typer.Option(min=1, max=65535, help="A certain port instead of a free one.")]
DEFAULT_DATA = Path(".rosterhub")


@dev.command()
def up(
    data: Data = DEFAULT_DATA,
    kafka_port: Port = None,
    registry_port: Port = None,
    postgres_port: Port = None,
    deadline: Annotated[float, typer.Option(help="Seconds for all of them to be ready.")] = 60,
) -> None:
    """Start what does not run yet and wait until all of it answers."""
    ports = {KAFKA: kafka_port, REGISTRY: registry_port, POSTGRES: postgres_port}
    wanted = {name: port for name, port in ports.items() if port is not None}
    with _one_line_on_failure():
        services.up(data, deadline_seconds=deadline, wanted_ports=wanted)
        _show(services.status(data))


@dev.command()
def down(data: Data = DEFAULT_DATA) -> None:
    """Stop the services in order; their data stays."""
    with _one_line_on_failure():
        services.down(data)


@dev.command()
def status(
    data: Data = DEFAULT_DATA,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")] = False,
) -> None:
    """Show whether each service runs, where it answers, and its log."""
    found = services.status(data)
    if as_json:
        typer.echo(json.dumps([_as_dict(entry) for entry in found], indent=2))
    else:
        _show(found)


@dev.command()
def reset(data: Data = DEFAULT_DATA) -> None:
    """Stop the services and remove all their data and the workers' state for good; only the jars stay."""
    with _one_line_on_failure():
        services.reset(data)


@contextmanager
def _one_line_on_failure() -> Iterator[None]:
    try:
        yield
    except (EmbeddedError, OSError) as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(1) from None


def _show(found: list[ServiceStatus]) -> None:
    for entry in found:
        pid = f"pid {entry.pid}" if entry.pid else ""
        typer.echo(f"{entry.name:10}{entry.state.value:9}{pid:12}{entry.address:58}{entry.log}")


def _as_dict(entry: ServiceStatus) -> dict[str, str | int | None]:
    return {
        "name": entry.name,
        "state": entry.state.value,
        "address": entry.address,
        "pid": entry.pid,
        "log": str(entry.log),
    }
