"""`hub replay`: what today's code and rules make of history; shown first, and applied when asked for."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from sqlalchemy import Engine

from infra import collector
from infra.cli import history, replay_report
from infra.cli.history import Request, Source
from infra.cli.moments import point_of
from infra.cli.operating import operating
from infra.cli.parts import database_of, kafka_of, mapping_of, registry_of, sites_of, tenant_of
from infra.cli.printing import print_table
from infra.cli.rehearsal import places_of, rehearse
from infra.cli.replay_report import Found
from infra.codec import Codec
from infra.errors import BadArgument, Unsafe
from infra.scratch import Scratch, scratch
from infra.settings import Settings
from processors.verdicts import Compared
from producers import replays
from producers.decisions import command_line_user
from producers.entities import Entity, entity_of
from producers.history import History
from producers.replays import Item, ReplayState
from schemas.moodle import CommandKind

_RESUME: Final = "interrupted, `hub replay resume {id}` goes on"

replay = typer.Typer(invoke_without_command=True)
_Id = Annotated[str, typer.Argument(help="As `hub replay list` shows it.")]
_Why = Annotated[str, typer.Option(help="Why, in your own words; kept in the audit.")]


class Kind(StrEnum):
    """What is compared."""

    PERSON = "person"
    COURSE = "course"
    ENROLMENT = "enrolment"


_KINDS: Final = {
    Kind.PERSON: CommandKind.USER,
    Kind.COURSE: CommandKind.COURSE,
    Kind.ENROLMENT: CommandKind.ENROLMENT,
}


@replay.callback()
def rehearsal(
    context: typer.Context,
    topic: Annotated[str, typer.Option(help="Topic whose events choose whom it is about.")] = "",
    start: Annotated[str, typer.Option("--from", help="First of these events: a time, or an offset.")] = "",
    end: Annotated[str, typer.Option("--to", help="First event after these: a time, or an offset.")] = "",
    tenant: Annotated[str | None, typer.Option(help="Whose. [default: DEFAULT_TENANT_ID]")] = None,
    kind: Annotated[list[Kind] | None, typer.Option(help="Compare these only.")] = None,
    entity: Annotated[str, typer.Option(help="Only person/ID, course/ID or enrolment/PERSON/COURSE.")] = "",
    sample: Annotated[int, typer.Option(min=0, help="How many differences are shown.")] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print counts and sample as JSON.")] = False,
    file: Annotated[Path | None, typer.Option("--csv", help="Write all differences to this file.")] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Keep counts and sample for the dashboard.")] = False,
    apply: Annotated[bool, typer.Option("--apply", help="Have the hub do what differs.")] = False,
    most: Annotated[int, typer.Option("--max-changes", min=1, help="Apply no more than so many.")] = 1_000,
    rate: Annotated[int, typer.Option(min=1, help="How many are applied in a second.")] = 50,
    why: _Why = "",
) -> None:
    """Rehearse history: what would the hub ask of Moodle otherwise, by today's code and mapping file?

    Nothing is written anywhere without --apply or --keep. Times are ISO 8601 with a zone, offsets are as
    1200 for all partitions or 0:1200,3:950. Exit status: 2 a wrong argument, 3 more than --max-changes would
    change, 4 Kafka, the registry or the database is away.
    """
    if context.invoked_subcommand is not None:
        return
    if not topic:
        raise BadArgument("topic: say which, such as --topic hub.enrolments; or list, pause, resume")
    first, after = (point_of(name, text) if text else None for name, text in (("from", start), ("to", end)))
    collector.calm()
    with operating("replay") as (settings, pool), scratch() as tables:
        source, whose = _source(settings), tenant_of(settings, tenant)
        request = Request(
            history.topic_of(source.sites, settings.topic_prefix, topic),
            whose,
            start=first,
            end=after,
            kinds=tuple(_KINDS[one] for one in kind or Kind),
            entity=entity_of(whose, entity) if entity else None,
        )
        history.check_entity(request)
        found = _rehearse(source, request, tables, file, max(sample, most if apply else 0))
        if not as_json:
            replay_report.show(found, sample)
        told = {"topic": topic, "from": start, "to": end, "entity": entity}
        asked = {name: value for name, value in told.items() if value}
        if keep:
            report = replay_report.as_object(found, sample)
            replays.keep(pool, whose, report, asked, command_line_user(), why)
        items, made = _items(found, tables, most) if apply else [], None
        if items:
            made = replays.create(pool, whose, items, asked, rate, command_line_user(), why).replay_id
        if as_json:
            typer.echo(replay_report.as_json(found, sample, made))
        if made is not None:
            _issue(settings, pool, made, quiet=as_json)


@replay.command("list")
def list_() -> None:
    """List the replays that were applied, the newest first."""
    table = Table(
        "id", "state", "done", "of", "a second", "made", "by", "chosen", "why", box=None, pad_edge=False
    )
    with operating("replay") as (_, pool):
        for one in replays.listed(pool):
            chosen = " ".join(f"{name}={value}" for name, value in one.chosen.items())
            counts = (f"{one.done:,}", f"{one.total:,}", str(one.rate))
            made = f"{one.made_at:%Y-%m-%d %H:%M}"
            table.add_row(one.replay_id, one.state.lower(), *counts, made, one.made_by, chosen, one.why)
    print_table(table)


@replay.command()
def pause(replay_id: _Id, why: _Why = "") -> None:
    """Let a replay rest after what it is just doing."""
    with operating("replay") as (_, pool):
        replays.pause(pool, replay_id, command_line_user(), why)
    typer.echo(f"paused; `hub replay resume {replay_id}` goes on")


@replay.command()
def resume(replay_id: _Id, why: _Why = "") -> None:
    """Go on with a replay that was paused or interrupted, until it is done."""
    with operating("replay") as (settings, pool):
        replays.resume(pool, replay_id, command_line_user(), why)
        _issue(settings, pool, replay_id)


def _source(settings: Settings) -> Source:
    codec = Codec(registry_of(settings))
    return Source(kafka_of(settings), codec, sites_of(settings), settings.topic_prefix, mapping_of(settings))


def _rehearse(source: Source, request: Request, tables: Scratch, file: Path | None, keep: int) -> Found:
    with replay_report.csv_file(file) as write, _telling() as tell:
        compared = rehearse(source, request, tables, datetime.now(UTC), tell)
        return replay_report.gather(compared, keep, write)


class _Counter:
    """Shows what is being done and how many messages that took."""

    def __init__(self, bar: Progress) -> None:
        self._bar = bar
        self._tasks: dict[str, TaskID] = {}

    def __call__(self, what: str, count: int) -> None:
        if what not in self._tasks:
            self._tasks[what] = self._bar.add_task(what, total=None)
        self._bar.advance(self._tasks[what], count)


@contextmanager
def _telling() -> Iterator[_Counter]:
    columns = (TextColumn("{task.description}"), TextColumn("{task.completed:,}"), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        yield _Counter(bar)


def _items(found: Found, tables: Scratch, most: int) -> list[Item]:
    """Return what is to be done.

    Raises:
        Unsafe: it is more than ``most``; nothing was done.
    """
    if found.differences > most:
        problem = f"{found.differences:,} would change, more than --max-changes {most:,}: nothing was done"
        raise Unsafe(problem)
    return [Item(_entity(one), places_of(tables, one)) for one in found.kept]


def _entity(one: Compared) -> Entity:
    return Entity(one.tenant, one.kind, one.person_id, one.course_id)


def _issue(settings: Settings, pool: Engine, replay_id: str, *, quiet: bool = False) -> None:
    where = History(kafka_of(settings), Codec(registry_of(settings)), settings.topic_prefix)
    console = Console(stderr=True)
    console.print(f"replay {replay_id}: {_RESUME.format(id=replay_id)}", highlight=False)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("applied", total=None)

        def progress(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)

        after = replays.issue(pool, replay_id, where, database_of(settings), progress, threading.Event())
    if quiet:
        return
    if after.state == ReplayState.DONE:
        typer.echo(f"applied {after.done:,} of {after.total:,}; `hub trace` tells what comes of each")
    else:
        typer.echo(f"paused after {after.done:,} of {after.total:,}; `hub replay resume {replay_id}` goes on")
