"""The clock of the stages."""

from infra.cli.parts import kafka_of, registry_of, topics_of
from infra.cli.roles.context import Context
from infra.codec import Codec
from producers.clock import run_clock


def run(context: Context) -> None:
    """Write ticks, which let the stages do what is due by time."""
    settings = context.settings
    codec, topic = Codec(registry_of(settings)), topics_of(settings).ticks
    run_clock(kafka_of(settings), codec, topic, settings.tick_interval, context.stop, context.status)
