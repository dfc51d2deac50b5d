"""`hub schedule`: when what is done again and again is done."""

from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from infra.cli.operating import operating
from infra.cli.planned import planned
from infra.cli.printing import print_json, print_table
from infra.errors import BadArgument
from infra.settings import Settings
from infra.turns import Work
from producers import schedules
from producers.decisions import command_line_user
from producers.schedules import Key, Schedule, told
from producers.timing import Timing, checked, next_run
from schemas.ids import TenantId

_TIMES: Final = 5
"""Next times that are shown of a schedule."""

Target = Annotated[Work, typer.Argument(help="As listed, such as ELM or COMPLETIONS.", case_sensitive=False)]
Tenant = Annotated[str | None, typer.Option(help="Whose. Default: DEFAULT_TENANT_ID.")]
Site = Annotated[str | None, typer.Option(help="Moodle site. Default: the only one, or the first.")]
Why = Annotated[str, typer.Option(help="Why, in your own words; kept in the audit.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON lines.")]

schedule = typer.Typer(help="When reads, pulls and cleanups are done.", no_args_is_help=True)


@schedule.command("list")
def list_(
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None, as_json: Json = False
) -> None:
    """List all schedules with their next times (UTC)."""
    with operating("schedule") as (settings, pool):
        schedules.register(pool, planned(settings), follow=False)
        found = schedules.list_(pool, TenantId(tenant) if tenant else None)
    if as_json:
        print_json(map(as_row, found))
        return
    table = Table("target", "site", "tenant", "when", "next", "asked for by", box=None, pad_edge=False)
    for one in found:
        key = one.key
        table.add_row(key.target, key.site, key.tenant, told(one), _next(one), one.requested_by or "")
    print_table(table)


@schedule.command()
def show(target: Target, site: Site = None, tenant: Tenant = None, as_json: Json = False) -> None:
    """Show one schedule, its next times, and who changed it."""
    with operating("schedule") as (settings, pool):
        found = schedules.get(pool, _registered(settings, pool, target, site, tenant))
    if as_json:
        print_json([as_row(found)])
        return
    _tell(found)


@schedule.command("set")
def set_(
    target: Target,
    every: Annotated[float | None, typer.Option(help="Minutes from the start of one to the next.")] = None,
    cron: Annotated[
        str | None, typer.Option(help="Minute, hour, day, month, day of the week: '30 6 * * mon-fri'.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Hours in which it may be done: 'mon-fri 06:00-18:00'; '': all.")
    ] = None,
    quiet: Annotated[
        str | None, typer.Option(help="Hours in which it is not done: '22:00-06:00'; '': none.")
    ] = None,
    zone: Annotated[str | None, typer.Option(help="Zone of hours and cron, such as Europe/Oslo.")] = None,
    site: Site = None,
    tenant: Tenant = None,
    why: Why = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only show what would be.")] = False,
) -> None:
    """Change when it is done; what is not given stays. Processes that run heed it at once."""
    with operating("schedule") as (settings, pool):
        key = _registered(settings, pool, target, site, tenant)
        old = schedules.get(pool, key)
        timing = _changed(old.timing, every, cron, only, quiet, zone)
        if timing == old.timing:
            raise BadArgument("every, cron, only, quiet, zone: give what shall be different")
        if dry_run:
            checked(timing)
            _tell(replace(old, timing=timing, next_run_at=next_run(timing, old.seen_at)))
            return
        _tell(schedules.change(pool, key, timing=timing, by=command_line_user(), why=why))


@schedule.command()
def enable(target: Target, site: Site = None, tenant: Tenant = None, why: Why = "") -> None:
    """Have it done by itself, at its times."""
    _switch(target, site, tenant, why, enabled=True)


@schedule.command()
def disable(target: Target, site: Site = None, tenant: Tenant = None, why: Why = "") -> None:
    """Have it no more done by itself; what runs is not stopped, and run-now goes on to work."""
    _switch(target, site, tenant, why, enabled=False)


@schedule.command()
def run_now(target: Target, site: Site = None, tenant: Tenant = None, why: Why = "") -> None:
    """Have it done now, whether enabled or not and whatever the hours, by the processes of `hub run`."""
    with operating("schedule") as (settings, pool):
        key = _registered(settings, pool, target, site, tenant)
        schedules.request_run(pool, key, by=command_line_user(), why=why)
    typer.echo(f"{_name(key)} is asked for: see `hub runs list --target {key.target}`")


def as_row(found: Schedule) -> dict[str, Any]:
    """Return a schedule as plain values for JSON."""
    timing = found.timing
    return {
        **found.key._asdict(),
        "enabled": found.enabled,
        "every_minutes": timing.every.total_seconds() / 60 if timing.every else None,
        "cron": timing.cron,
        "only": timing.only,
        "quiet": timing.quiet,
        "zone": timing.zone,
        "next_run_at": found.due_at,
        "requested_at": found.requested_at,
        "requested_by": found.requested_by,
        "updated_at": found.updated_at,
        "updated_by": found.updated_by,
    }


def key_of(settings: Settings, target: Work, site: str | None, tenant: str | None) -> Key:
    """Return the name of the schedule that arguments mean.

    Raises:
        BadArgument: there is no such schedule.
    """
    keys = [default.key for default in planned(settings) if default.key.target is target]
    fitting = [key for key in keys if site in (None, key.site) and tenant in (None, key.tenant)]
    if not fitting:
        has = ", ".join(f"{key.tenant} {key.site}".strip() for key in keys)
        msg = f"site, tenant: there is no such schedule {target}; there are those of {has}"
        raise BadArgument(msg)
    return fitting[0]


def _registered(settings: Settings, pool: Any, target: Work, site: str | None, tenant: str | None) -> Key:
    schedules.register(pool, planned(settings), follow=False)
    return key_of(settings, target, site, tenant)


def _changed(
    old: Timing,
    every: float | None,
    cron: str | None,
    only: str | None,
    quiet: str | None,
    zone: str | None,
) -> Timing:
    new = old
    if every is not None or cron is not None:
        new = replace(new, every=None if every is None else timedelta(minutes=every), cron=cron)
    return replace(
        new,
        only=new.only if only is None else only or None,
        quiet=new.quiet if quiet is None else quiet or None,
        zone=zone or new.zone,
    )


def _switch(target: Work, site: str | None, tenant: str | None, why: str, *, enabled: bool) -> None:
    with operating("schedule") as (settings, pool):
        key = _registered(settings, pool, target, site, tenant)
        found = schedules.change(pool, key, enabled=enabled, by=command_line_user(), why=why)
    _tell(found)


def _tell(found: Schedule) -> None:
    typer.echo(f"{_name(found.key)}: {told(found)}")
    due = found.due_at
    for _ in range(_TIMES):
        if due is None:
            break
        typer.echo(f"next {due:%a %Y-%m-%d %H:%M:%S} UTC")
        due = next_run(found.timing, due)
    if found.requested_at is not None:
        typer.echo(f"asked for by {found.requested_by}")
    if found.updated_at is None:
        typer.echo("as the settings have it")
    else:
        typer.echo(f"changed {found.updated_at:%Y-%m-%d %H:%M} UTC by {found.updated_by}")


def _name(key: Key) -> str:
    return f"{key.target} {key.site}".strip()


def _next(found: Schedule) -> str:
    if found.requested_at is not None:
        return "now"
    return f"{found.due_at:%Y-%m-%d %H:%M:%S}" if found.due_at else "never"
