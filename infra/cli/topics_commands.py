"""`hub topics`: topics and schemas of the cluster against the table of topics."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from infra import topics_admin
from infra.cli.claims import stop_services
from infra.cli.endpoints import Demo, resolve
from infra.cli.parts import kafka_of, registry_of
from infra.cli.stages import all_topics
from infra.settings import Settings
from infra.topics_admin import Difference

topics = typer.Typer(help="Topics and schemas against the table of topics.", no_args_is_help=True)


def apply_topics(settings: Settings) -> list[Difference]:
    """Make what is missing in the cluster and registry that ``settings`` (resolved) name."""
    return topics_admin.apply(
        kafka_of(settings),
        registry_of(settings),
        all_topics(settings),
        partitions=settings.topic_partitions,
        replication_factor=settings.kafka_replication_factor,
    )


@topics.command()
def apply() -> None:
    """Create missing topics, register schemas, set retention and compatibility. Deletes nothing."""
    with _resolved() as settings:
        for difference in apply_topics(settings):
            typer.echo(f"mended   {difference.subject}: {difference.what}")
    typer.echo("topics and schemas are as they shall be")


@topics.command()
def diff(
    as_exit_status: Annotated[
        bool, typer.Option("--exit-code", help="Exit status 1 if anything differs.")
    ] = False,
) -> None:
    """Show what `hub topics apply` would change, and what it could not."""
    with _resolved() as settings:
        found = topics_admin.diff(
            kafka_of(settings), registry_of(settings), all_topics(settings), settings.topic_partitions
        )
    for difference in found:
        sign = "BLOCKING" if difference.blocking else "differs "
        typer.echo(f"{sign} {difference.subject}: {difference.what}")
    if not found:
        typer.echo("topics and schemas are as they shall be")
    if found and as_exit_status:
        raise typer.Exit(1)


@contextmanager
def _resolved() -> Iterator[Settings]:
    """Give the resolved settings; embedded services that had to be started for it are stopped again."""
    endpoints = resolve(Settings(), Demo())
    try:
        yield endpoints.settings
    finally:
        if endpoints.started:
            stop_services(endpoints.settings.data_dir)
