"""`hub run` and `hub demo`."""

import asyncio
import json
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from infra import logs
from infra.cli import demo as demonstration
from infra.cli.claims import roles_claimed
from infra.cli.dashboard import public_url
from infra.cli.demo import Counts
from infra.cli.endpoints import Demo, Endpoints
from infra.cli.hub import Hub, Plan, prepare, running
from infra.cli.idle import Look
from infra.cli.roles import ROLES, role_names
from infra.cli.summary import show
from infra.settings import Settings

DONE, UNREACHED, INTERRUPTED = 0, 4, 130
_STOPPED = "Stopped before all was done; nothing is lost, the next start goes on from here."


def run(
    roles: Annotated[
        list[str] | None, typer.Argument(help=f"Some of: {', '.join(ROLES)}. Without any: all.")
    ] = None,
    slot: Annotated[
        str, typer.Option(help="Name of these processes; each process of a role has its own.")
    ] = "0",
    until_idle: Annotated[
        bool, typer.Option("--until-idle", help="End when everything is drained and polls bring nothing.")
    ] = False,
    timeout: Annotated[
        float | None, typer.Option(help="With --until-idle: give up after so many seconds (exit status 4).")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run the hub, or some of its roles, under one supervisor until Ctrl-C."""
    settings = Settings()
    names = role_names(settings)
    if unknown := sorted(set(roles or []) - set(names)):
        problem = f"no such role: {', '.join(unknown)}; there are {', '.join(names)}"
        raise typer.BadParameter(problem)
    logs.configure(settings.log_level, settings.log_format, role="supervisor", slot=slot)
    console = Console(stderr=True)
    plan = Plan(tuple(dict.fromkeys(roles or names)), slot, quick=until_idle)
    with roles_claimed(settings.data_dir, plan.roles, slot):
        endpoints = prepare(settings, Demo())
        show_endpoints(endpoints, console)
        raise typer.Exit(asyncio.run(_run(endpoints, plan, console, until_idle, timeout, as_json)))


async def _run(
    endpoints: Endpoints, plan: Plan, console: Console, until_idle: bool, timeout: float | None, as_json: bool
) -> int:
    """Return the exit status."""
    async with running(endpoints, plan) as hub:
        if not until_idle:
            await hub.stop.wait()
            return DONE
        try:
            async with asyncio.timeout(timeout):
                idle = await hub.until_idle(lambda _: None)
            status = DONE if idle else INTERRUPTED
        except TimeoutError:
            console.print(
                f"Not idle within {timeout:.0f} s; nothing is lost, the next start goes on from here."
            )
            status = UNREACHED
        if status == INTERRUPTED:
            console.print(_STOPPED)
        else:
            await _tell(hub, console, as_json)
        return status


def demo(
    once: Annotated[bool, typer.Option("--once", help="End after the summary.")] = False,
    records: Annotated[
        int, typer.Option(min=1, help="Generated feed records, when the data folder is new.")
    ] = 2000,
    courses: Annotated[int, typer.Option(min=1, help="Generated courses, when the data folder is new.")] = 20,
    students: Annotated[
        int, typer.Option(min=1, help="Students of the SIS and of Zoho, when the data folder is new.")
    ] = 200,
    as_json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Run the whole hub on embedded services with generated data, and show what happens."""
    settings = Settings()
    if settings.moodle_url or settings.elm_api_url:
        raise typer.BadParameter("the demo makes up data: unset MOODLE_URL and ELM_API_URL, or use `hub run`")
    # What goes well is shown on the screen, which lines of the pulls would tear apart.
    logs.configure("WARNING", settings.log_format, role="supervisor", slot="0")
    console = Console(stderr=as_json)
    log_path = settings.data_dir / "logs" / "hub.log"
    plan = Plan(role_names(settings), quick=True, log_path=log_path)
    with roles_claimed(settings.data_dir, plan.roles, plan.slot):
        with console.status("Starting Kafka, schema registry and PostgreSQL"):
            endpoints = prepare(settings, Demo(records, courses, students))
        show_endpoints(endpoints, console)
        console.print(f"Logs of all processes: {log_path}")
        if not asyncio.run(_demo(endpoints, plan, console, once, as_json)):
            console.print(_STOPPED)
            raise typer.Exit(INTERRUPTED)


async def _demo(endpoints: Endpoints, plan: Plan, console: Console, once: bool, as_json: bool) -> bool:
    """Return false if it was stopped before the summary."""
    async with running(endpoints, plan) as hub:
        site = demonstration.Site(endpoints)
        await site.open_courses(hub.stop)
        for name, counts in (await site.pull(hub.stop)).items():
            console.print(
                f"{name}: {counts.seen:,} records read, {counts.new:,} new, {counts.skipped:,} wait"
            )
        with _progress(console) as progress:
            bar = progress.add_task("to Moodle", total=site.records, counters="")
            if not await hub.until_idle(lambda look: _show_feed(progress, bar, look, site.counts())):
                return False
            made, before = await site.finish_courses(), site.counts().completions
            bar = progress.add_task("Moodle to ELM", total=made, counters="")
            if not await hub.until_idle(
                lambda look: _show_completions(progress, bar, look, site.counts(), before)
            ):
                return False
        await _tell(hub, console, as_json)
        if not once:
            console.print("Watching the feed. Ctrl-C ends.")
            await hub.stop.wait()
    return True


async def _tell(hub: Hub, console: Console, as_json: bool) -> None:
    summary, stands = await hub.summary()
    show(summary, stands, console)
    if as_json:
        typer.echo(json.dumps(summary.as_dict()))


def show_endpoints(endpoints: Endpoints, console: Console) -> None:
    """Print where every service is and why."""
    table = Table(show_header=False, box=None)
    for endpoint in endpoints.table:
        table.add_row(endpoint.name, endpoint.address, f"({endpoint.origin})")
    settings = endpoints.settings
    if settings.dashboard:
        table.add_row("Dashboard", public_url(settings), "(`hub users create NAME --role admin` lets you in)")
    console.print(table)


def _show_feed(progress: Progress, bar: TaskID, look: Look, counts: Counts) -> None:
    done = progress.tasks[bar].total or 0
    read = sum(look.seen.values())
    progress.update(
        bar,
        completed=min(read, done),
        counters=f"{counts.users:,} users, {counts.enrolments:,} enrolments in Moodle; {_flight(look)}",
    )


def _show_completions(progress: Progress, bar: TaskID, look: Look, counts: Counts, before: int) -> None:
    told = counts.completions - before
    progress.update(
        bar, completed=told, counters=f"{counts.completions:,} completions in ELM; {_flight(look)}"
    )


def _flight(look: Look) -> str:
    return f"{look.unpublished + sum(look.backlog.values()):,} in flight"


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description:20}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, TextColumn("{task.fields[counters]}"), console=console)
