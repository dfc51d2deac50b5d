"""The flow of records through this hub's parts, for the dashboard."""

from collections.abc import Callable, Sequence
from typing import Final

from infra.cli.stages import flows_of
from infra.scan import Onlooker
from infra.settings import Settings
from producers.web.admin.flow import Part, Sighting

_ABOUT: Final = {
    "relay": "What intake took in and people decided",
    "clock": "The time, so that what waits for a moment goes on",
    "moodle-source": "What Moodle shows of itself",
    "people": "Who a person is, what account they need, and which enrolments may go on",
    "references": "Terms and programs that courses refer to",
    "courses": "Courses, their sections, and the enrolments in them",
    "completions": "Completions seen in Moodle that ELM is to be told",
    "moodle-sink": "Commands, applied to Moodle in bulk",
    "elm-sink": "Completions, told to ELM",
}
"""By role, which has no site behind a dot."""


def flow_parts(settings: Settings) -> list[Part]:
    """Return the parts of the hub, with topics and groups as in the cluster."""
    return [
        Part(
            name,
            _ABOUT[name.partition(".")[0]],
            tuple(topic.name for topic in flow.reads),
            tuple(topic.name for topic in flow.writes),
            settings.topic_prefix + name if flow.reads else "",
        )
        for name, flow in flows_of(settings).items()
    ]


def looking(parts: Sequence[Part], onlooker: Onlooker) -> Callable[[], Sighting]:
    """Return what asks the brokers how the topics and groups of ``parts`` stand.

    It raises `RetryLater` if they are away.
    """
    groups = {part.group: part.reads for part in parts if part.group}
    topics = sorted({topic for part in parts for topic in (*part.reads, *part.writes)})

    def look() -> Sighting:
        ends: dict[str, int] = {}
        for (topic, _), end in onlooker.ends(topics).items():
            ends[topic] = ends.get(topic, 0) + end
        return Sighting(ends, onlooker.lags_by_topic(groups))

    return look
