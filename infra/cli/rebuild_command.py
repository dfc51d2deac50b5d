"""`hub rebuild`: the read model anew from the topics."""

from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from connectors.read_model.project import rebuild as rebuild_read_model
from infra import collector
from infra.cli.operating import operating
from infra.cli.parts import tenant_of
from infra.cli.roles.projector import projector_of
from infra.settings import Settings
from producers.decisions import Act, command_line_user, decide


def rebuild(why: Annotated[str, typer.Option(help="Why, for the audit.")] = "") -> None:
    """Build the read model anew from the topics, beside the one in use, and take its place when it is whole.

    Interrupted, it leaves the one in use as it is; the next call begins anew. Exit status: 0 done, 1 another
    rebuild is running, 4 Kafka or the database is away.
    """
    collector.calm()
    with operating("rebuild") as (settings, pool):
        count = _build(settings)
        act = Act(
            by=command_line_user(),
            action="rebuild",
            subject="read_model",
            tenant=tenant_of(settings),
            why=why,
            details={"offsets": str(count)},
        )
        decide(pool, [act])
    typer.echo(f"read model built anew from {count:,} offsets")


def _build(settings: Settings) -> int:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task("read model", total=None)
        return rebuild_read_model(
            projector_of(settings), lambda done, total: bar.update(task, completed=done, total=total)
        )
