"""`hub config`: what is set, whether it is right, and whether everything answers."""

from typing import Annotated

import typer

from infra.cli.checks import Probe, probes
from infra.cli.endpoints import Demo, Endpoints, release, resolve
from infra.cli.parts import check_sites, mapping_of
from infra.errors import HubError, Stop
from infra.settings import Settings, reference

config = typer.Typer(help="The settings, and whether everything answers.", no_args_is_help=True)

_WRONG, _AWAY = 2, 4


@config.command()
def show() -> None:
    """Print every setting as it is in force; secrets are masked."""
    values = Settings().model_dump()
    for name, _, _ in reference():
        typer.echo(f"{name}={_shown(values[name.lower()])}")


@config.command()
def check(
    offline: Annotated[
        bool, typer.Option("--offline", help="Only check the values and the mapping file; reach nothing.")
    ] = False,
) -> None:
    """Check settings and mapping file, reach every service, list functions that a Moodle does not allow.

    Exit status: 0 all is right, 2 a setting or the mapping file is wrong, 4 a service fails.
    """
    settings = Settings()
    _tell("settings", "right")
    _check_mapping(settings)
    if offline:
        return
    check_services(settings)


def check_services(settings: Settings) -> None:
    """Ask every service and tell how it went; end with status 4 if one fails."""
    endpoints = resolve(settings, Demo())
    try:
        failed = _failed(endpoints)
    finally:
        release(endpoints)
    if failed:
        raise typer.Exit(_AWAY)


def _check_mapping(settings: Settings) -> None:
    try:
        tenants = len(mapping_of(settings).tenants)
        check_sites(settings)
    except Stop as error:
        _tell("mapping file", f"WRONG: {error}", is_bad=True)
        raise typer.Exit(_WRONG) from None
    right = f"right, rules for {tenants} tenant(s)"
    _tell("mapping file", right if settings.mapping_file else "not set, the built-in rules hold")


def _failed(endpoints: Endpoints) -> list[str]:
    """Ask every service, tell how it went, and return the names of those that fail."""
    simulated = {endpoint.name for endpoint in endpoints.table if endpoint.origin == "simulator"}
    failed = []
    for name, probe in probes(endpoints.settings):
        if name in simulated:
            _tell(name, "simulator, runs with `hub run`")
        elif not _passes(name, probe):
            failed.append(name)
    return failed


def _passes(name: str, probe: Probe) -> bool:
    try:
        _tell(name, probe())
    except HubError as error:
        _tell(name, f"FAILS: {error}", is_bad=True)
        return False
    return True


def _tell(name: str, words: str, *, is_bad: bool = False) -> None:
    typer.echo(f"{name:16} {words}", err=is_bad)


def _shown(value: object) -> str:
    return "" if value is None else str(value)
