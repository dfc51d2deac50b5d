"""Every role that a process of the hub can have, and how it is put together from the settings."""

import asyncio
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from zoneinfo import ZoneInfo

from connectors.elm_sink.settings import ElmSinkSettings
from connectors.elm_sink.sink import ElmSink
from connectors.moodle.client import Call
from connectors.moodle_sink.settings import SinkSettings
from connectors.moodle_sink.sink import MoodleSink
from connectors.moodle_source.role import run_moodle_source
from connectors.moodle_source.settings import MoodleSourceSettings
from infra.cli.parts import (
    database_of,
    feed_of,
    kafka_of,
    moodle_of,
    moodle_sink_group,
    registry_of,
    stages_of,
    topics_of,
)
from infra.codec import Codec
from infra.engine import EngineConfig, SinkConfig, run_sink, run_stage
from infra.settings import Settings
from infra.stopping import mirrored
from infra.telemetry import MOODLE_CALLS, MOODLE_SECONDS, Status
from producers.clock import run_clock
from producers.elm.poll import run_elm_poll
from producers.relay import RelaySettings, run_relay
from schemas.events import Role
from schemas.ids import Target, TenantId


@dataclass(frozen=True, slots=True)
class Context:
    """What a role gets.

    Attributes:
        settings: resolved: every address is set.
        slot: which of the processes of its role this one is.
        stop: set when the process shall end.
        status: what the process shows of itself.
    """

    settings: Settings
    slot: str
    stop: threading.Event
    status: Status

    @property
    def engine(self) -> EngineConfig:
        """The settings of the engine."""
        settings = self.settings
        return EngineConfig(
            kafka=kafka_of(settings),
            codec=Codec(registry_of(settings)),
            state_folder=settings.data_dir / "state",
            prefix=settings.topic_prefix,
            slot=self.slot,
            protocol=settings.kafka_group_protocol,
            batch_size=settings.batch_size,
            watchdog_seconds=settings.watchdog_seconds,
        )

    @property
    def sink(self) -> SinkConfig:
        """The settings of the connector runtime."""
        return SinkConfig(stop_retry_seconds=self.settings.stop_retry_interval)


Run = Callable[[Context], None]


def _stage(name: str, context: Context) -> None:
    stage = next(stage for stage in stages_of(context.settings) if stage.name == name)
    run_stage(stage, context.engine, context.stop, context.status)


def _relay(context: Context) -> None:
    settings = RelaySettings(
        database_url=database_of(context.settings),
        kafka=kafka_of(context.settings),
        registry=registry_of(context.settings),
        prefix=context.settings.topic_prefix,
    )
    run_relay(settings, context.stop, context.status)


def _elm_poll(context: Context) -> None:
    feed, database = feed_of(context.settings), database_of(context.settings)

    async def poll() -> None:
        await run_elm_poll(feed, database, mirrored(context.stop), context.status)

    asyncio.run(poll())


def _clock(context: Context) -> None:
    settings = context.settings
    codec, topic = Codec(registry_of(settings)), topics_of(settings).ticks
    run_clock(kafka_of(settings), codec, topic, settings.tick_interval, context.stop, context.status)


def _moodle_sink(context: Context) -> None:
    settings, topics = context.settings, topics_of(context.settings)
    roles = {
        Role.STUDENT: settings.moodle_student_role_id,
        Role.TEACHER: settings.moodle_teacher_role_id,
        Role.NON_EDITING_TEACHER: settings.moodle_non_editing_teacher_role_id,
    }
    sink = MoodleSink(
        SinkSettings(roles=roles),
        moodle_of(settings),
        commands=topics.commands,
        results=topics.results,
        name=moodle_sink_group(settings),
        on_call=_counting(context),
    )
    run_sink(sink, context.engine, context.stop, context.sink, context.status)


def _elm_sink(context: Context) -> None:
    settings = context.settings
    token = settings.elm_completion_api_token or settings.elm_api_token
    sink = ElmSink(
        ElmSinkSettings(
            url=settings.elm_completion_api_url or "",
            token=token.get_secret_value() if token else "",
        ),
        prefix=settings.topic_prefix,
    )
    run_sink(sink, context.engine, context.stop, context.sink, context.status)


def _moodle_source(context: Context) -> None:
    settings = context.settings
    source = MoodleSourceSettings(
        tenant=TenantId(settings.default_tenant_id),
        target=Target(settings.moodle_target),
        zone=ZoneInfo(settings.moodle_timezone),
        catalogue_interval=settings.moodle_catalogue_interval,
        completions_interval=settings.moodle_completion_interval,
        sweep_interval=settings.moodle_sweep_interval,
        recent_report_id=settings.moodle_completion_report_id,
        all_report_id=settings.moodle_participants_report_id,
        stop_retry=settings.stop_retry_interval,
    )
    run_moodle_source(
        source, moodle_of(settings), context.engine, context.stop, context.status, _counting(context)
    )


def _counting(context: Context) -> Callable[[Call], None]:
    def count(call: Call) -> None:
        MOODLE_CALLS.labels(context.status.role, call.function, call.code).inc()
        MOODLE_SECONDS.labels(context.status.role, call.function).observe(call.seconds)
        context.status.facts["moodle_calls"] = context.status.facts.get("moodle_calls", 0) + 1

    return count


ROLES: Mapping[str, Run] = {
    "elm-poll": _elm_poll,
    "relay": _relay,
    "clock": _clock,
    "people": partial(_stage, "people"),
    "references": partial(_stage, "references"),
    "courses": partial(_stage, "courses"),
    "completions": partial(_stage, "completions"),
    "moodle-sink": _moodle_sink,
    "moodle-source": _moodle_source,
    "elm-sink": _elm_sink,
}
"""What runs under each name of ``hub run ROLE``."""
