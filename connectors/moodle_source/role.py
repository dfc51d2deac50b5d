"""The Moodle source as a role of a process: its client, its topic, its status, its end."""

import asyncio
import threading
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Final

from connectors.moodle.client import MoodleClient
from connectors.moodle.settings import MoodleSettings
from connectors.moodle_source.observed_topic import ObservedTopic
from connectors.moodle_source.settings import MoodleSourceSettings
from connectors.moodle_source.source import MoodleSource
from infra.calls import OnCall, nobody
from infra.engine.config import EngineConfig
from infra.engine.watchdog import Watchdog
from infra.metrics import ALARM
from infra.stopping import mirrored
from infra.telemetry import Status
from infra.turns import Turns
from schemas.topics import OBSERVED

_SIGN_OF_LIFE: Final = 1.0
_BY_INTERVALS: Final = nullcontext()


def run_moodle_source(
    settings: MoodleSourceSettings,
    moodle: MoodleSettings,
    config: EngineConfig,
    stop: threading.Event,
    status: Status,
    on_call: OnCall = nobody,
    turns: AbstractAsyncContextManager[Turns | None] = _BY_INTERVALS,
) -> None:
    """Observe one Moodle site until ``stop`` is set.

    Args:
        settings: of the source.
        moodle: how the site is reached.
        config: of the worker; its slot names the transactional id, its prefix is that of the topic.
        stop: set by a signal.
        status: shows the counts of `MoodleSource.status` under ``source``.
        on_call: told of every request to Moodle.
        turns: gives the turns of catalogue and completions; without any, the intervals of the settings count.

    Raises:
        WorkerFailed: another process took over, or Kafka does not let this one go on.
    """
    limit, stop_limit = config.watchdog_seconds, config.stop_seconds
    with Watchdog(stop, status, limit=limit, stop_limit=stop_limit) as watchdog:
        asyncio.run(_run(settings, moodle, config, stop, status, watchdog, on_call, turns))


async def _run(
    settings: MoodleSourceSettings,
    moodle: MoodleSettings,
    config: EngineConfig,
    stop: threading.Event,
    status: Status,
    watchdog: Watchdog,
    on_call: OnCall,
    turns: AbstractAsyncContextManager[Turns | None],
) -> None:
    stopping = mirrored(stop)
    topic = ObservedTopic(config, OBSERVED.of(settings.target).prefixed(config.prefix), stop, watchdog.beat)
    async with MoodleClient(moodle, on_call) as client, turns as planned:
        source = MoodleSource(settings, client, topic, paused=status.paused.is_set, turns=planned)
        status.source("source", lambda: dict(source.status))
        life = asyncio.create_task(_show_life(source, topic, status, watchdog))
        try:
            await source.run(stopping)
        finally:
            life.cancel()
            await topic.close()


async def _show_life(source: MoodleSource, topic: ObservedTopic, status: Status, watchdog: Watchdog) -> None:
    """Beat while the loop turns, and show what is in the way; a call of Kafka's client beats for itself."""
    while True:
        if not topic.busy:
            watchdog.beat()
        reason = source.status["stopped"] or source.status["retrying"]
        if reason:
            status.not_ready(reason)
        elif source.status["at_work"]:
            status.ready()
        ALARM.labels(status.role).set(bool(source.status["stopped"]))
        await asyncio.sleep(_SIGN_OF_LIFE)
