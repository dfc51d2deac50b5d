"""`hub topics`: topics and schemas of the cluster against the table of topics."""

from typing import Annotated

import typer

from infra import topics_admin
from infra.cli.endpoints import Demo, resolve
from infra.registry import Registry
from infra.settings import Settings
from infra.topics_admin import Difference
from processors.topology import topology
from schemas.ids import Target
from schemas.topics import Topic, changelog, topic_set

topics = typer.Typer(help="Topics and schemas against the table of topics.", no_args_is_help=True)


def all_topics(settings: Settings) -> tuple[Topic, ...]:
    """Return every topic of this hub under its name in the cluster, changelogs included."""
    names = topic_set(Target(settings.moodle_target), settings.topic_prefix)
    stages = topology(Target(settings.moodle_target), names)
    return names.all() + tuple(changelog(stage.name).prefixed(settings.topic_prefix) for stage in stages)


def registry_of(settings: Settings) -> Registry:
    """Return the client of the registry that ``settings`` (resolved) name."""
    info = settings.schema_registry_user_info
    return Registry(settings.schema_registry_url or "", info.get_secret_value() if info else None)


def apply_topics(settings: Settings) -> list[Difference]:
    """Make what is missing in the cluster and registry that ``settings`` (resolved) name."""
    return topics_admin.apply(
        settings.kafka(settings.kafka_bootstrap_servers or ""),
        registry_of(settings),
        all_topics(settings),
        partitions=settings.topic_partitions,
        replication_factor=settings.kafka_replication_factor,
    )


@topics.command()
def apply() -> None:
    """Create missing topics, register schemas, set retention and compatibility. Deletes nothing."""
    for difference in apply_topics(_resolved()):
        typer.echo(f"mended   {difference.subject}: {difference.what}")
    typer.echo("topics and schemas are as they shall be")


@topics.command()
def diff(
    as_exit_status: Annotated[
        bool, typer.Option("--exit-code", help="Exit status 1 if anything differs.")
    ] = False,
) -> None:
    """Show what `hub topics apply` would change, and what it could not."""
    settings = _resolved()
    found = topics_admin.diff(
        settings.kafka(settings.kafka_bootstrap_servers or ""),
        registry_of(settings),
        all_topics(settings),
        settings.topic_partitions,
    )
    for difference in found:
        sign = "BLOCKING" if difference.blocking else "differs "
        typer.echo(f"{sign} {difference.subject}: {difference.what}")
    if not found:
        typer.echo("topics and schemas are as they shall be")
    if found and as_exit_status:
        raise typer.Exit(1)


def _resolved() -> Settings:
    return resolve(Settings(), Demo()).settings
