"""`hub rebuild`: the read model anew from the topics."""

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from connectors.read_model.project import rebuild as rebuild_read_model
from infra import collector, logs
from infra.cli.claims import stop_services
from infra.cli.endpoints import Demo, resolve
from infra.cli.parts import database_of, projector_of
from infra.db.migrate import migrate
from infra.settings import Settings


def rebuild() -> None:
    """Build the read model anew from the topics, beside the one in use, and take its place when it is whole.

    Interrupted, it leaves the one in use as it is; the next call begins anew. Exit status: 0 done, 1 another
    rebuild is running, 4 Kafka or the database is away.
    """
    settings = Settings()
    logs.configure(settings.log_level, settings.log_format, role="rebuild", slot="0")
    collector.calm()
    endpoints = resolve(settings, Demo())
    console = Console(stderr=True)
    try:
        migrate(database_of(endpoints.settings))
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("read model", total=None)
            count = rebuild_read_model(
                projector_of(endpoints.settings),
                lambda done, total: bar.update(task, completed=done, total=total),
            )
    finally:
        if endpoints.started:
            stop_services(endpoints.settings.data_dir)
    typer.echo(f"read model built anew from {count:,} offsets")
