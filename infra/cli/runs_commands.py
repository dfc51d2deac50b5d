"""`hub runs`: what the schedules have begun, and how it ended."""

from datetime import datetime
from typing import Annotated, Any

import typer
from rich.table import Table

from infra.cli.operating import operating
from infra.cli.printing import print_json, print_table
from infra.turns import Work
from producers import schedule_runs
from producers.schedule_runs import RunState, ScheduleRun
from schemas.ids import TenantId

runs = typer.Typer(help="Runs of the schedules.", no_args_is_help=True)


@runs.command("list")
def list_(
    target: Annotated[
        Work | None, typer.Option(help="Only of this target, such as ELM.", case_sensitive=False)
    ] = None,
    state: Annotated[
        RunState | None, typer.Option(help="Only in this state, such as FAILED.", case_sensitive=False)
    ] = None,
    site: Annotated[str | None, typer.Option(help="Only of this Moodle site.")] = None,
    tenant: Annotated[str | None, typer.Option(help="Only of this tenant.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the newest.")] = 20,
    before: Annotated[int | None, typer.Option(help="Only runs with a lower number: the next page.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON lines.")] = False,
) -> None:
    """List runs, the newest first."""
    with operating("runs") as (_, pool):
        found = schedule_runs.runs(
            pool,
            tenant=TenantId(tenant) if tenant else None,
            target=target,
            site=site,
            state=state,
            before=before,
            limit=limit,
        )
    if as_json:
        print_json(map(as_row, found))
        return
    columns = ("run", "target", "site", "state", "begun by", "started (UTC)", "seconds", "what")
    table = Table(*columns, box=None, pad_edge=False)
    for run in found:
        table.add_row(
            str(run.run_id),
            run.key.target,
            run.key.site,
            run.state,
            run.actor or run.trigger.lower(),
            f"{run.started_at:%Y-%m-%d %H:%M:%S}",
            "" if run.seconds is None else f"{run.seconds:.1f}",
            _what(run),
        )
    print_table(table)


@runs.command()
def show(
    run_id: Annotated[int, typer.Argument(help="As `hub runs list` shows it.")],
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show all about one run."""
    with operating("runs") as (_, pool):
        row = as_row(schedule_runs.get(pool, run_id))
    if as_json:
        print_json([row])
        return
    counts = row.pop("counts")
    for name, value in {**row, **counts}.items():
        if value not in (None, ""):
            shown = f"{value:%Y-%m-%d %H:%M:%S} UTC" if isinstance(value, datetime) else value
            typer.echo(f"{name.replace('_', ' ')}: {shown}")


def as_row(run: ScheduleRun) -> dict[str, Any]:
    """Return a run as plain values for JSON."""
    return {
        "run": run.run_id,
        **run.key._asdict(),
        "state": run.state,
        "trigger": run.trigger,
        "actor": run.actor,
        "started_at": run.started_at,
        "finished_at": run.finished_at,
        "seconds": run.seconds,
        "error": run.error,
        "counts": dict(run.counts),
    }


def _what(run: ScheduleRun) -> str:
    counts = ", ".join(f"{name} {value:,}" for name, value in run.counts.items() if value)
    return "; ".join(filter(None, (run.error, counts)))
