"""`hub users`: who may log in to the dashboard by a password, or has come by the identity provider."""

import sys
from datetime import datetime
from typing import Annotated

import typer
from rich.table import Table
from sqlalchemy import Engine

from infra.cli.asking import Why
from infra.cli.dashboard import public_url
from infra.cli.hub_database import hub_database
from infra.cli.printing import print_table
from infra.errors import BadArgument
from infra.settings import Settings
from producers.decisions import command_line_user
from producers.web.dashboard import lockout, passwords
from producers.web.dashboard import users as store
from producers.web.dashboard.passwords import Passwords
from producers.web.dashboard.roles import Role
from producers.web.dashboard.user import By, name_of
from schemas.ids import TenantId

users = typer.Typer(help="Users of the dashboard.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="By which they log in, and the audit names them.")]
Tenants = Annotated[
    list[str] | None,
    typer.Option(
        "--tenant", help="Whose records they see; several times for several. [default: DEFAULT_TENANT_ID]"
    ),
]
Invite = Annotated[bool, typer.Option("--invite", help="Ask for no password, print a link to choose one.")]
Stdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]


@users.command()
def create(
    name: Name,
    role: Annotated[Role, typer.Option(help="What they may do.")],
    tenant: Tenants = None,
    invite: Invite = False,
    password_stdin: Stdin = False,
    why: Why = "",
) -> None:
    """Make a user: asks for the password, or prints a link by which they choose it themselves."""
    by, named = By(command_line_user(), why), name_of(name)
    kept = None if invite else Passwords().hashed(_password(named, from_stdin=password_stdin))
    with hub_database() as (settings, pool):
        store.create(pool, named, role, _tenants(settings, tenant), by, kept)
        typer.echo(f"made {named}, {role}", err=True)
        if invite:
            _invite(settings, pool, named, by)


@users.command("list")
def list_() -> None:
    """List all users."""
    table = Table("name", "role", "tenants", "state", "logs in by", "last log-in", box=None, pad_edge=False)
    with hub_database() as (_, pool):
        for user in store.listed(pool):
            means = "password" if user.is_local else "identity provider"
            last = _time(user.last_login_at)
            table.add_row(user.name, user.role, " ".join(user.tenants), user.state, means, last)
    print_table(table)


@users.command()
def disable(name: Name, why: Why = "") -> None:
    """Let a user in no longer; their sessions end at once. Taken back by `hub users enable`."""
    with hub_database() as (_, pool):
        store.disable(pool, name, By(command_line_user(), why))
    typer.echo(f"disabled {name}")


@users.command()
def enable(name: Name, why: Why = "") -> None:
    """Let a user in again, at once, even if they had to wait after tries that failed."""
    with hub_database() as (_, pool):
        store.enable(pool, name, By(command_line_user(), why))
        lockout.forgive(pool, name)
    typer.echo(f"enabled {name}")


@users.command()
def passwd(name: Name, invite: Invite = False, password_stdin: Stdin = False, why: Why = "") -> None:
    """Give a user another password, or a link to choose one; with a password all their sessions end."""
    by = By(command_line_user(), why)
    kept = None if invite else Passwords().hashed(_password(name, from_stdin=password_stdin))
    with hub_database() as (settings, pool):
        if kept is None:
            _invite(settings, pool, name, by)
        else:
            store.change_password(pool, name, kept, by)
            lockout.forgive(pool, name)
            typer.echo(f"changed the password of {name}")


@users.command("role")
def role_(
    name: Name,
    role: Annotated[Role, typer.Argument(help="What they may do from now on.")],
    tenant: Tenants = None,
    why: Why = "",
) -> None:
    """Change what a user may do, and for which tenants (those they have, if none is named)."""
    with hub_database() as (_, pool):
        tenants = [TenantId(one) for one in tenant] if tenant else store.get(pool, name).tenants
        store.change_role(pool, name, role, tenants, By(command_line_user(), why))
    typer.echo(f"{name} is {role} for {' '.join(tenants)}")


def _tenants(settings: Settings, named: list[str] | None) -> list[TenantId]:
    return [TenantId(one) for one in named or [settings.default_tenant_id]]


def _invite(settings: Settings, pool: Engine, name: str, by: By) -> None:
    link = f"{public_url(settings)}/invitation/{store.invite(pool, name, by)}"
    hours = int(store.INVITATION.total_seconds() // 3600)
    typer.echo(f"by this link {name} chooses a password, once, within {hours} hours:", err=True)
    typer.echo(link)


def _password(name: str, *, from_stdin: bool) -> str:
    """Return the password that is typed twice at the terminal, or comes as the first line of the input.

    Raises:
        BadArgument: there is nobody to ask, or it cannot be used.
    """
    if from_stdin:
        text = sys.stdin.readline().rstrip("\n")
    elif sys.stdin.isatty():
        text = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
    else:
        raise BadArgument("there is no terminal to ask at: say --invite or --password-stdin")
    passwords.check(text, name)
    return text


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "never"
