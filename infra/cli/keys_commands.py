"""`hub keys`: the API keys of the HTTP application."""

from datetime import UTC, datetime, timedelta
from typing import Annotated

import typer
from rich.table import Table

from infra.cli.hub_database import hub_database
from infra.cli.printing import print_table
from infra.errors import HubError
from producers.decisions import command_line_user
from producers.web import keys as api_keys
from producers.web.keys import ApiKey
from producers.web.routes import Scope
from schemas.ids import TenantId

keys = typer.Typer(help="API keys of the HTTP application.", no_args_is_help=True)


@keys.command()
def create(
    name: Annotated[str, typer.Argument(help="What the key is for, such as the program that has it.")],
    scope: Annotated[list[Scope], typer.Option(help="What it may do; may be given several times.")],
    tenant: Annotated[
        list[str] | None,
        typer.Option(help="Tenant it speaks for; several times for several. [default: DEFAULT_TENANT_ID]"),
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, help="It expires after so many days.")] = None,
) -> None:
    """Make a key and print it, this once: only its hash is kept."""
    expires_at = datetime.now(UTC) + timedelta(days=days) if days else None
    with hub_database() as (settings, pool):
        tenants = [TenantId(one) for one in tenant or [settings.default_tenant_id]]
        plain, made = api_keys.create(pool, name, tenants, scope, expires_at, by=command_line_user())
    typer.echo(f"made {made.key_id}; the key is shown only now:", err=True)
    typer.echo(plain)


@keys.command("list")
def list_() -> None:
    """List all keys, without their secrets; the time of last use is right to some minutes."""
    table = Table("key", "name", "tenants", "scopes", "state", "made", "last used", box=None, pad_edge=False)
    with hub_database() as (_, pool):
        for key in api_keys.listed(pool):
            table.add_row(
                key.key_id,
                key.name,
                " ".join(key.tenants),
                " ".join(sorted(key.scopes)),
                _state(key),
                _time(key.created_at),
                _time(key.last_used_at),
            )
    print_table(table)


@keys.command()
def revoke(key_id: Annotated[str, typer.Argument(help="As `hub keys list` shows it.")]) -> None:
    """Refuse a key from now on. It cannot be taken back: make a new key instead.

    Processes that have seen the key go on believing it for some seconds.
    """
    with hub_database() as (_, pool):
        if not api_keys.revoke(pool, key_id, by=command_line_user()):
            msg = f"there is no key {key_id}: see `hub keys list`"
            raise HubError(msg)
    typer.echo(f"revoked {key_id}")


def _state(key: ApiKey) -> str:
    if key.revoked_at:
        return "revoked"
    if not key.is_usable(datetime.now(UTC)):
        return "expired"
    return f"until {key.expires_at:%Y-%m-%d}" if key.expires_at else "active"


def _time(moment: datetime | None) -> str:
    return f"{moment:%Y-%m-%d %H:%M}" if moment else "never"
