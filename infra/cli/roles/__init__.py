"""Every role that a process of the hub can have, by name, and where the function is that runs it.

A role is added in two steps: a module of this package with a function that takes a `Context` and returns when
its stop is set, and a line in `ROLES` with the place of the function. A process imports the module of its own
role alone, so a module here imports only what its role needs: a processing stage has no use for the database,
nor a sink for the web application.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from infra.cli.places import found
from infra.cli.roles.context import Context
from infra.settings import Settings

__all__ = ["OF_A_SITE", "ROLES", "Context", "Run", "loaded", "role_names", "run_role"]

Run = Callable[[Context], None]

ROLES: Final[Mapping[str, str]] = {
    "api": "infra.cli.roles.api:run",
    "elm-poll": "infra.cli.roles.elm_poll:run",
    "relay": "infra.cli.roles.relay:run",
    "clock": "infra.cli.roles.clock:run",
    "scheduler": "infra.cli.roles.scheduler:run",
    "people": "infra.cli.roles.stages:run",
    "references": "infra.cli.roles.stages:run",
    "courses": "infra.cli.roles.stages:run",
    "completions": "infra.cli.roles.stages:run",
    "moodle-sink": "infra.cli.roles.moodle_sink:run",
    "moodle-source": "infra.cli.roles.moodle_source:run",
    "elm-sink": "infra.cli.roles.elm_sink:run",
    "projector": "infra.cli.roles.projector:run",
    "alerts": "infra.cli.roles.alerts:run",
    "analytics": "infra.cli.roles.analytics:run",
}
"""What runs under each name of ``hub run ROLE``: module and function."""

OF_A_SITE: Final = ("moodle-sink", "moodle-source")
"""Roles that a further Moodle site has too, under their name, a dot and the name of the site."""


def role_names(settings: Settings) -> tuple[str, ...]:
    """Return the names of all roles, those of further Moodle sites included."""
    return (*ROLES, *(f"{role}.{site}" for site in settings.moodle_sites for role in OF_A_SITE))


def loaded(role: str) -> Run:
    """Return what runs ``role``, one of `ROLES`, with everything imported that it needs."""
    run: Run = found(ROLES[role])
    return run


def run_role(context: Context) -> None:
    """Run the role that the context's status is named after, until its stop is set."""
    role, _, site = context.status.role.partition(".")
    if site:
        context = replace(context, settings=context.settings.at_site(site))
    loaded(role)(context)
