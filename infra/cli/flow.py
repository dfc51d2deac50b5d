"""The flow of records through this hub's parts, put together from resolved settings."""

from collections.abc import Callable, Iterable
from typing import Final

from infra.cli.parts import sites_of
from infra.cli.stages import groups_of, stages_of
from infra.scan import Onlooker
from infra.settings import Settings
from producers.web.admin.flow import Part, Sighting
from schemas.topics import Topic

_STAGES: Final = {
    "people": "Who a person is, what account they need, and which enrolments may go on",
    "references": "Terms and programs that courses refer to",
    "courses": "Courses, their sections, and the enrolments in them",
    "completions": "Completions seen in Moodle that ELM is to be told",
}


def flow_parts(settings: Settings) -> list[Part]:
    """Return the parts of the hub, with topics and groups as in the cluster."""
    where, prefix = sites_of(settings), settings.topic_prefix
    shared = where.shared
    sourced = (
        shared.people,
        shared.courses,
        shared.sections,
        shared.terms,
        shared.programs,
        shared.enrolments,
        shared.payments,
        shared.grades,
        shared.directives,
        shared.audit,
    )
    parts = [
        Part("relay", "What intake took in and people decided", (), _names(sourced)),
        Part("clock", "The time, so that what waits for a moment goes on", (), _names((shared.ticks,))),
    ]
    parts += [
        Part(f"moodle-source.{site}", "What Moodle shows of itself", (), _names((topics.observed,)))
        for site, topics in where.by_target.items()
    ]
    parts += [
        Part(
            stage.name,
            _STAGES[stage.name],
            _names(stage.handlers),
            _names(stage.outputs),
            prefix + stage.name,
        )
        for stage in stages_of(settings)
    ]
    parts += [
        Part(
            f"moodle-sink.{site}",
            "Commands, applied to Moodle in bulk",
            _names((topics.commands,)),
            _names((topics.results,)),
            f"{prefix}moodle-sink.{site}",
        )
        for site, topics in where.by_target.items()
    ]
    callbacks, answers = (shared.callbacks,), (shared.callback_results,)
    elm = Part(
        "elm-sink", "Completions, told to ELM", _names(callbacks), _names(answers), f"{prefix}elm-sink"
    )
    return [*parts, elm]


def _names(topics: Iterable[Topic]) -> tuple[str, ...]:
    return tuple(topic.name for topic in topics)


def looking(settings: Settings, onlooker: Onlooker) -> Callable[[], Sighting]:
    """Return what asks the brokers how topics and groups stand; raises `RetryLater` if they are away."""
    groups = groups_of(settings)
    topics = sorted({topic for part in flow_parts(settings) for topic in (*part.reads, *part.writes)})

    def look() -> Sighting:
        ends: dict[str, int] = {}
        for (topic, _), end in onlooker.ends(topics).items():
            ends[topic] = ends.get(topic, 0) + end
        return Sighting(ends, onlooker.lags_by_topic(groups))

    return look
