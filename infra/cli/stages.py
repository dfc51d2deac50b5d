"""The parts of the hub through which records flow, put together from resolved settings, and their topics."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from infra.cli.parts import mapping_of, sites_of
from infra.settings import Settings
from infra.stage import Stage
from processors.topology import topology
from schemas.topics import Sites, Topic, changelog


class Flow(NamedTuple):
    """What one part reads and writes."""

    reads: tuple[Topic, ...]
    writes: tuple[Topic, ...]


def stages_of(settings: Settings) -> tuple[Stage, ...]:
    """Return the stages of the hub."""
    return topology(mapping_of(settings), sites_of(settings))


def flows(stages: Sequence[Stage], where: Sites) -> dict[str, Flow]:
    """Return what every part reads and writes, by name, in the order in which records pass them.

    Args:
        stages: the processing stages.
        where: the topics; what is of a Moodle site has its name behind a dot.
    """
    shared, sites = where.shared, where.by_target.items()
    sourced = (
        shared.people,
        shared.courses,
        shared.enrolments,
        shared.programs,
        shared.terms,
        shared.sections,
        shared.registrations,
        shared.payments,
        shared.units,
        shared.grades,
        shared.directives,
        shared.audit,
    )
    return {
        "relay": Flow((), sourced),
        "clock": Flow((), (shared.ticks,)),
        **{f"moodle-source.{site}": Flow((), (topics.observed,)) for site, topics in sites},
        **{stage.name: Flow(tuple(stage.handlers), tuple(stage.outputs)) for stage in stages},
        **{f"moodle-sink.{site}": Flow((topics.commands,), (topics.results,)) for site, topics in sites},
        "elm-sink": Flow((shared.callbacks,), (shared.callback_results,)),
    }


def flows_of(settings: Settings) -> Mapping[str, Flow]:
    """Return the same of this hub, with topics as in the cluster."""
    return flows(stages_of(settings), sites_of(settings))


def groups_of(settings: Settings) -> dict[str, list[str]]:
    """Return the consumer groups of stages and sinks, each with the topics it reads, as in the cluster."""
    found = flows_of(settings).items()
    return {
        settings.topic_prefix + name: [topic.name for topic in flow.reads]
        for name, flow in found
        if flow.reads
    }


def changelog_of(settings: Settings, stage: Stage) -> Topic:
    """Return the changelog of ``stage`` under its name in the cluster."""
    return changelog(stage.name).prefixed(settings.topic_prefix)


def all_topics(settings: Settings) -> tuple[Topic, ...]:
    """Return every topic of the hub under its name in the cluster, changelogs included."""
    return sites_of(settings).all() + tuple(changelog_of(settings, stage) for stage in stages_of(settings))
