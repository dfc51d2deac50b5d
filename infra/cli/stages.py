"""The stages of the hub, put together from resolved settings, and the topics that they add."""

from infra.cli.parts import mapping_of, sites_of
from infra.settings import Settings
from infra.stage import Stage
from processors.topology import topology
from schemas.topics import Topic, changelog


def stages_of(settings: Settings) -> tuple[Stage, ...]:
    """Return the stages of the hub."""
    return topology(mapping_of(settings), sites_of(settings))


def groups_of(settings: Settings) -> dict[str, list[str]]:
    """Return the consumer groups of stages and sinks, each with the topics it reads, as in the cluster."""
    where = sites_of(settings)
    groups = {stage.name: [topic.name for topic in stage.handlers] for stage in stages_of(settings)}
    groups |= {f"moodle-sink.{site}": [topics.commands.name] for site, topics in where.by_target.items()}
    groups["elm-sink"] = [where.shared.callbacks.name]
    return {settings.topic_prefix + name: topics for name, topics in groups.items()}


def changelog_of(settings: Settings, stage: Stage) -> Topic:
    """Return the changelog of ``stage`` under its name in the cluster."""
    return changelog(stage.name).prefixed(settings.topic_prefix)


def all_topics(settings: Settings) -> tuple[Topic, ...]:
    """Return every topic of the hub under its name in the cluster, changelogs included."""
    return sites_of(settings).all() + tuple(changelog_of(settings, stage) for stage in stages_of(settings))
