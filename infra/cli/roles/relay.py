"""The relay from the outbox to the topics."""

from infra.cli.parts import database_of, kafka_of, registry_of
from infra.cli.roles.context import Context
from producers.relay import RelaySettings, run_relay


def run(context: Context) -> None:
    """Publish what intake has written into the outbox."""
    settings = RelaySettings(
        database_url=database_of(context.settings),
        kafka=kafka_of(context.settings),
        registry=registry_of(context.settings),
        prefix=context.settings.topic_prefix,
    )
    run_relay(settings, context.stop, context.status)
