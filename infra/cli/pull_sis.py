"""`hub pull sis`: what changed in the SIS, by OneRoster."""

import asyncio
import json
from datetime import UTC, datetime
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from infra import logs
from infra.cli.import_command import database
from infra.cli.parts import mapping_of
from infra.cli.systems import sis_of
from infra.db.migrate import migrate
from infra.mapping import Identity, RuleIdentity
from infra.settings import Settings
from producers.runs import RunState, RunSummary
from producers.sis.pull import SisPull
from producers.sis.records import SOURCE
from producers.sis.settings import OneRosterSettings

DONE, FAILED = 0, 1


def pull_sis(
    settings: OneRosterSettings,
    *,
    database_url: str,
    identity: Identity | None,
    since: datetime | None,
    full: bool,
    as_json: bool,
    console: Console,
) -> int:
    """Pull once, show what came, and return the exit status: 0, or 1 when the SIS failed.

    Args:
        settings: the SIS.
        database_url: where the intake keeps its tables; brought up to date.
        identity: makes the ids of people and courses; none: the built-in rule.
        since: read what changed after this time, wherever the cursor stands.
        full: read everything.
        as_json: print the run as JSON on standard output.
        console: for progress and the result.

    Raises:
        RetryLater: the database is away, or another process reads this SIS.
    """
    migrate(database_url)
    summary = asyncio.run(_pull(settings, database_url, identity, since, full, console))
    counts = {name: value for name, value in summary.counts._asdict().items() if value}
    if as_json:
        found = {"run": summary.run_id, "state": summary.state, "reason": summary.reason, **counts}
        typer.echo(json.dumps(found))
    told = ", ".join(f"{value:,} {name}" for name, value in counts.items()) or "nothing"
    reason = f" ({summary.reason})" if summary.reason else ""
    console.print(f"Run {summary.run_id} {summary.state}{reason}: {told}")
    return DONE if summary.state is RunState.SUCCESS else FAILED


async def _pull(
    settings: OneRosterSettings,
    database_url: str,
    identity: Identity | None,
    since: datetime | None,
    full: bool,
    console: Console,
) -> RunSummary:
    columns = (TextColumn("{task.description:18}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as bar:
        tasks: dict[str, TaskID] = {}

        def show(collection: str, read: int, total: int | None) -> None:
            task = tasks.get(collection)
            if task is None:
                task = tasks[collection] = bar.add_task(collection, total=None)
            bar.update(task, completed=read, total=total)

        async with SisPull(settings, database_url, identity) as pull:
            return await pull.pull_once(since=since, full=full, progress=show)


def sis(
    since: Annotated[
        datetime | None, typer.Option(help="Read what changed after this time (UTC), such as 2026-09-01.")
    ] = None,
    full: Annotated[
        bool, typer.Option("--full", help="Read everything, wherever the cursor stands.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the run as JSON.")] = False,
) -> None:
    """Pull people, terms, courses, classes and enrolments from the SIS by OneRoster 1.2 or 1.1.

    Exit status: 0 done, 1 the SIS failed (what came before stays), 4 the database is away or another pull
    runs. Every pull is a row in source_runs.
    """
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format, role="pull", slot="0")
    chosen = sis_of(settings)
    with database(settings) as database_url:
        status = pull_sis(
            chosen,
            database_url=database_url,
            identity=RuleIdentity(mapping_of(settings).of(chosen.tenant), SOURCE),
            since=None if since is None else since.replace(tzinfo=since.tzinfo or UTC),
            full=full,
            as_json=as_json,
            console=Console(stderr=True),
        )
    raise typer.Exit(status)
