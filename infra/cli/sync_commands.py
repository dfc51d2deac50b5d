"""`hub sync`: what is wished of an account, a course or an enrolment is issued to Moodle once more."""

from collections.abc import Callable
from typing import Annotated

import typer

from infra.cli.asking import DryRun, Tenant, Why
from infra.cli.operating import operating
from infra.cli.parts import tenant_of
from infra.cli.reconcile_command import sync_courses, sync_users
from infra.errors import BadArgument
from producers import entities
from producers.decisions import command_line_user
from producers.entities import Entity
from producers.operations import check_known
from producers.operations import sync as issue_again
from schemas.ids import TenantId

sync = typer.Typer(
    help="Issue to Moodle once more what is wished now, whatever was applied.", no_args_is_help=True
)


@sync.command()
def person(
    person_id: Annotated[list[str], typer.Argument(help="Ids of people, as in the hub.")],
    tenant: Tenant = None,
    why: Why = "",
    dry_run: DryRun = False,
) -> None:
    """Sync the accounts of people; one that is gone is looked for, and made where the rules say so."""
    _sync(lambda whose: [entities.person(whose, one) for one in person_id], tenant, why, dry_run)


@sync.command()
def course(
    course_id: Annotated[list[str], typer.Argument(help="Ids of courses, as in the hub.")],
    tenant: Tenant = None,
    why: Why = "",
    dry_run: DryRun = False,
) -> None:
    """Sync courses; one that is gone is looked for, and made where the rules say so."""
    _sync(lambda whose: [entities.course(whose, one) for one in course_id], tenant, why, dry_run)


@sync.command()
def enrolment(
    pair: Annotated[list[str], typer.Argument(help="The ids of person and course, as PERSON/COURSE.")],
    tenant: Tenant = None,
    why: Why = "",
    dry_run: DryRun = False,
) -> None:
    """Sync enrolments, and the accounts of their people."""
    pairs = [_pair(one) for one in pair]
    _sync(lambda whose: [entities.enrolment(whose, *one) for one in pairs], tenant, why, dry_run)


def _sync(chosen: Callable[[TenantId], list[Entity]], tenant: str | None, why: str, dry_run: bool) -> None:
    with operating("sync") as (settings, pool):
        wanted = list(dict.fromkeys(chosen(tenant_of(settings, tenant))))
        if dry_run:
            check_known(pool, wanted)
            typer.echo(f"{len(wanted)} would be issued again")
        else:
            count = issue_again(pool, wanted, by=command_line_user(), why=why)
            typer.echo(f"{count} will be issued again; `hub trace` tells what comes of it")


def _pair(text: str) -> tuple[str, str]:
    person_id, _, course_id = text.partition("/")
    if not person_id or not course_id:
        msg = f"pair: {text!r} is not PERSON/COURSE"
        raise BadArgument(msg)
    return person_id, course_id


sync.command("users")(sync_users)
sync.command("courses")(sync_courses)
