"""The settings of the engine and of the connector runtime, for the roles that run on them."""

from infra.cli.parts import kafka_of, registry_of
from infra.cli.roles.context import Context
from infra.codec import Codec
from infra.engine import EngineConfig, SinkConfig


def engine_of(context: Context) -> EngineConfig:
    """Return the settings of the engine."""
    settings = context.settings
    return EngineConfig(
        kafka=kafka_of(settings),
        codec=Codec(registry_of(settings)),
        state_folder=settings.data_dir / "state",
        prefix=settings.topic_prefix,
        slot=context.slot,
        protocol=settings.kafka_group_protocol,
        batch_size=settings.batch_size,
        watchdog_seconds=settings.watchdog_seconds,
    )


def sink_of(context: Context) -> SinkConfig:
    """Return the settings of the connector runtime."""
    return SinkConfig(stop_retry_seconds=context.settings.stop_retry_interval)
