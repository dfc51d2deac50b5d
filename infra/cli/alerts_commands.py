"""`hub alerts`: incidents of the hub itself, who takes them on, what is silenced, whether channels work."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from infra import logs
from infra.cli.alerting import channels_of, frame_of
from infra.cli.asking import Tenant, Why, age_of, before
from infra.cli.operating import operating
from infra.cli.parts import tenant_of
from infra.cli.printing import print_json, print_table
from infra.errors import BadArgument
from infra.settings import Settings
from producers.alerts import deeds
from producers.alerts.channels import Channel, DeliveryError
from producers.alerts.model import Alert, Incident, Severity, Silence
from producers.alerts.notices import Frame, Notice, Occasion
from producers.decisions import command_line_user

Number = Annotated[int, typer.Argument(help="As `hub alerts list` shows it.")]
Json = Annotated[bool, typer.Option("--json", help="As JSON lines.")]

alerts = typer.Typer(help="Incidents of the hub itself, and who is told.", no_args_is_help=True)


@alerts.command("list")
def list_(
    tenant: Tenant = None,
    resolved: Annotated[bool, typer.Option("--resolved", help="Also those that are over.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 100,
    as_json: Json = False,
) -> None:
    """List incidents, the newest first."""
    with operating("alerts") as (settings, pool):
        found = deeds.incidents(pool, tenant_of(settings, tenant), resolved=resolved, limit=limit)
    if as_json:
        print_json(map(as_row, found))
        return
    columns = ("incident", "alert", "subject", "severity", "state", "for", "silenced until", "message")
    table = Table(*columns, box=None, pad_edge=False)
    for one in found:
        table.add_row(
            str(one.incident_id),
            one.name.alert,
            one.name.subject,
            one.severity,
            one.state,
            age_of(one.opened_at),
            _shown(one.silenced_until),
            one.message,
        )
    print_table(table)


@alerts.command()
def show(incident: Number, tenant: Tenant = None, as_json: Json = False) -> None:
    """Show all about one incident, and whether people could be told."""
    with operating("alerts") as (settings, pool):
        row = as_row(deeds.incident(pool, tenant_of(settings, tenant), incident))
        told = deeds.deliveries(pool, incident)
    if as_json:
        print_json([{**row, "deliveries": told}])
        return
    details = row.pop("details")
    for name, value in {**row, **details}.items():
        if value not in (None, ""):
            typer.echo(f"{name.replace('_', ' ')}: {_shown(value)}")
    for one in told:
        typer.echo(f"{one.channel}, {one.news}: {one.outcome}")


@alerts.command()
def ack(incident: Number, tenant: Tenant = None, why: Why = "") -> None:
    """Take an incident on: nothing more is told of it but its end, and if it becomes graver."""
    with operating("alerts") as (settings, pool):
        named = tenant_of(settings, tenant)
        found = deeds.acknowledge(pool, named, incident, by=command_line_user(), why=why)
    typer.echo(f"incident {incident} is {found.state.lower()} by {found.acknowledged_by}")


@alerts.command()
def silence(
    length: Annotated[str, typer.Option("--for", help="How long: 30m, 24h, 7d.")],
    incident: Annotated[int | None, typer.Argument(help="This one, and later ones of its subject.")] = None,
    alert: Annotated[Alert | None, typer.Option(help="Incidents of this alert.")] = None,
    subject: Annotated[str | None, typer.Option(help="Incidents about this, such as ELM.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="All incidents of the tenant.")] = False,
    tenant: Tenant = None,
    why: Why = "",
) -> None:
    """Have nothing new told for a while, such as during maintenance; what stands then is told then."""
    until = _until(length)
    if incident is None and not (alert or subject or everything):
        raise BadArgument("incident: name one, or give --alert, --subject or --all")
    with operating("alerts") as (settings, pool):
        named, by = tenant_of(settings, tenant), command_line_user()
        if incident is not None:
            made = deeds.silence_incident(pool, named, incident, until, by=by, why=why)
        else:
            made = deeds.silence(pool, named, until, alert=alert, subject=subject, by=by, why=why)
    typer.echo(f"silence {made.silence_id}: {_covered(made)}, until {_shown(made.until)}")


@alerts.command()
def silences(tenant: Tenant = None, as_json: Json = False) -> None:
    """List the silences that hold."""
    with operating("alerts") as (settings, pool):
        found = deeds.silences(pool, tenant_of(settings, tenant))
    if as_json:
        print_json(found)
        return
    table = Table("silence", "of", "until", "by", "why", box=None, pad_edge=False)
    for one in found:
        table.add_row(str(one.silence_id), _covered(one), _shown(one.until), one.made_by, one.why)
    print_table(table)


@alerts.command()
def unsilence(
    silence_id: Annotated[int, typer.Argument(metavar="SILENCE", help="As `hub alerts silences` shows it.")],
    tenant: Tenant = None,
    why: Why = "",
) -> None:
    """End a silence before its time; what still stands is told within a minute."""
    with operating("alerts") as (settings, pool):
        deeds.end_silence(pool, tenant_of(settings, tenant), silence_id, by=command_line_user(), why=why)
    typer.echo(f"silence {silence_id} has ended")


@alerts.command("test")
def test_() -> None:
    """Send a test message to every channel, and tell what came of it."""
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format, role="alerts", slot="0")
    channels = list(channels_of(settings))
    if not channels:
        raise BadArgument("channels: set ALERT_EMAIL_TO, ALERT_WEBHOOK_URL or ALERT_SLACK_URL")
    failures = asyncio.run(_tried(channels, frame_of(settings)))
    for channel, failure in zip(channels, failures, strict=True):
        typer.echo(f"{channel.name}: " + ("has taken it" if failure is None else f"FAILS: {failure}"))
    if any(failures):
        raise typer.Exit(1)


def as_row(incident: Incident) -> dict[str, Any]:
    """Return an incident as plain values for JSON."""
    same = ("message", "details", "opened_at", "seen_at", "resolved_at", "acknowledged_at", "acknowledged_by")
    return {
        "incident": incident.incident_id,
        **incident.name._asdict(),
        "severity": incident.severity,
        "state": incident.state,
        **{name: getattr(incident, name) for name in same},
        "silenced_until": incident.silenced_until,
    }


async def _tried(channels: Sequence[Channel], frame: Frame) -> list[str | None]:
    notice = Notice(
        news=Occasion.TEST,
        at=datetime.now(UTC),
        severity=Severity.INFO,
        message="This is a test message of Rosterhub. Nothing has happened.",
    )

    async def tried(channel: Channel) -> str | None:
        try:
            await channel.send(notice, 0, frame)
        except DeliveryError as error:
            return error.code
        return None

    return await asyncio.gather(*map(tried, channels))


def _until(length: str) -> datetime:
    now = datetime.now(UTC)
    return now + (now - (before("for", length) or now))


def _covered(one: Silence) -> str:
    return " ".join(filter(None, (one.alert, one.subject))) or "everything"


def _shown(value: Any) -> str:
    return (
        f"{value:%Y-%m-%d %H:%M} UTC" if isinstance(value, datetime) else "" if value is None else str(value)
    )
