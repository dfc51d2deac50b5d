"""`hub test-connection`, and the names that the commands for Moodle had before the hub."""

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final

import typer
from sqlalchemy import Engine

from infra.cli.config_commands import check_services
from infra.cli.operating import operating
from infra.cli.parts import check_sites, tenant_of
from infra.cli.reconcile_command import sync_courses, sync_users
from infra.settings import Settings
from producers.held import read_model
from schemas.ids import TenantId

_STANDING: Final = """
    SELECT kind, outcome, count(*) FROM read_model.standing
    WHERE tenant = %s GROUP BY kind, outcome ORDER BY 1, 2
"""
_FAILED_CALLS: Final = """
    SELECT system, code, count(*) FROM read_model.calls
    WHERE started_at >= %s AND code <> 'ok' GROUP BY system, code ORDER BY 1, 2
"""

moodle_sync = typer.Typer(help="The older names of commands for Moodle.", no_args_is_help=True)


def check_connections() -> None:
    """Reach every system that is set: Kafka, registry, database, Moodle with its functions, ELM, Zoho, SIS.

    Exit status: 0 all answer, 4 one does not.
    """
    settings = Settings()
    check_sites(settings)
    check_services(settings)


def health_check(
    tenant: Annotated[str | None, typer.Option(help="Whose. Default: DEFAULT_TENANT_ID.")] = None,
) -> None:
    """Show how accounts, courses and enrolments stand in Moodle, and the calls that failed in 24 hours."""
    with operating("health-check") as (settings, pool):
        lines = health(pool, tenant_of(settings, tenant), datetime.now(UTC))
    typer.echo("\n".join(lines))


def health(pool: Engine, tenant: TenantId, now: datetime) -> list[str]:
    """Return the lines of `health_check`.

    Raises:
        RetryLater: the database is away, or there is no read model yet.
    """
    with read_model(pool) as connection:
        standing = connection.execute(_STANDING, (tenant,)).fetchall()
        failed = connection.execute(_FAILED_CALLS, (now - timedelta(days=1),)).fetchall()
    lines = [f"{kind.lower():10} {outcome.lower():12} {count:,}" for kind, outcome, count in standing]
    lines += [f"failed calls to {system}: {code} {count:,}" for system, code, count in failed]
    return lines or ["nothing has gone to Moodle yet"]


moodle_sync.command("test")(check_connections)
moodle_sync.command("sync-users")(sync_users)
moodle_sync.command("sync-courses")(sync_courses)
moodle_sync.command("health-check")(health_check)
