"""Settings of a worker, and what follows from them for the Kafka clients."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import structlog
from confluent_kafka import KafkaError

from infra.codec import Codec
from infra.producing import SAFE
from infra.settings import GroupProtocol, KafkaConfig
from schemas.topics import DEAD_LETTERS, Topic, changelog

_SAME_ERROR_SECONDS = 30.0
_log = structlog.get_logger()


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """How a worker runs.

    Attributes:
        kafka: settings by which librdkafka reaches the brokers.
        codec: encodes and decodes the values.
        state_folder: where the tables are kept; each stage and slot makes a folder of its own in it.
        prefix: put before the names of groups and transactional ids (topics of a stage have it already).
        slot: which of the workers of its role this one is. A slot has one live process; its next process
            takes over from a dead one at once.
        protocol: protocol of the consumer groups.
        batch_size: records of one transaction, at most.
        linger_seconds: how long a batch that is not full is waited for.
        idle_seconds: how long one wait for a first record is.
        session_timeout_ms: after this time a dead worker's partitions go to others.
        transaction_timeout_ms: longer than a restart of a broker takes; see ``docs/engine.md``.
        max_poll_interval_ms: longer than a restore plus the transaction time-out.
        watchdog_seconds: a worker that hangs for this long ends its process.
        stop_seconds: how long an orderly stop may take before the process is ended.
        stale_state_seconds: local tables older than this are restored from the start, because the broker
            may have forgotten tombstones; less than the changelog's ``delete.retention.ms``.
        recommit_seconds: committed offsets are written again at this interval, so that they do not expire.
    """

    kafka: KafkaConfig
    codec: Codec
    state_folder: Path
    prefix: str = ""
    slot: str = "0"
    protocol: GroupProtocol = GroupProtocol.CLASSIC
    batch_size: int = 2_000
    linger_seconds: float = 0.02
    idle_seconds: float = 0.25
    session_timeout_ms: int = 10_000
    transaction_timeout_ms: int = 60_000
    max_poll_interval_ms: int = 300_000
    watchdog_seconds: float = 40.0
    stop_seconds: float = 10.0
    stale_state_seconds: float = 12 * 3600.0
    recommit_seconds: float = 3600.0

    @property
    def dead_letters(self) -> Topic:
        """The topic of the dead letters of all stages; a sink has its own."""
        return DEAD_LETTERS.prefixed(self.prefix)

    def changelog(self, role: str) -> Topic:
        """Return the changelog of the stage ``role``."""
        return changelog(role).prefixed(self.prefix)

    def group(self, role: str) -> str:
        """Return the name of the consumer group of ``role``."""
        return self.prefix + role

    def member(self, role: str) -> str:
        """Return the name of this worker: its transactional id, and its static id in the group."""
        return f"{self.prefix}{role}.{self.slot}"


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkConfig:
    """How the connector runtime treats the other system.

    Attributes:
        batch_size: records handed to one ``write``, at most.
        linger_seconds: how long a batch that is not full is waited for.
        base_delay: seconds; upper bound of the first wait after `RetryLater`, doubled with each further one.
        max_delay: seconds; upper bound of all waits, unless the other side asks for more.
        stop_retry_seconds: how often it is tried again after `Stop`, so that a mended token is noticed.
        revoke_seconds: how long a rebalance waits for the write under way before it is given up.
    """

    batch_size: int = 2_000
    linger_seconds: float = 0.2
    base_delay: float = 1.0
    max_delay: float = 60.0
    stop_retry_seconds: float = 60.0
    revoke_seconds: float = 30.0


def consumer_settings(config: EngineConfig, role: str) -> dict[str, Any]:
    """Return the settings of the consumer that is a member of the group of ``role``."""
    settings: dict[str, Any] = {
        **reader_settings(config),
        "group.id": config.group(role),
        "max.poll.interval.ms": config.max_poll_interval_ms,
    }
    if config.protocol is GroupProtocol.CLASSIC:
        settings |= {
            "partition.assignment.strategy": "cooperative-sticky",
            "group.instance.id": config.member(role),
            "session.timeout.ms": config.session_timeout_ms,
            "heartbeat.interval.ms": max(500, config.session_timeout_ms // 5),
        }
    else:  # static ids are fatal there, and the broker decides the rest
        settings["group.protocol"] = "consumer"
    return settings


def reader_settings(config: EngineConfig) -> dict[str, Any]:
    """Return what all consumers have in common."""
    return {
        **config.kafka,
        "isolation.level": "read_committed",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "enable.partition.eof": True,
        "auto.offset.reset": "error",
        "fetch.error.backoff.ms": 100,
        "fetch.wait.max.ms": 200,  # the end of a partition is told after an empty fetch
        "queued.min.messages": 20_000,
        "queued.max.messages.kbytes": 32_768,
        "error_cb": _report("consumer"),
    }


def producer_settings(config: EngineConfig, role: str) -> dict[str, Any]:
    """Return the settings of the transactional producer of ``role``."""
    return {
        **config.kafka,
        **SAFE,
        "transactional.id": config.member(role),
        "transaction.timeout.ms": config.transaction_timeout_ms,
        "compression.type": "lz4",
        "linger.ms": 50,  # a commit does not wait for it
        "retry.backoff.ms": 10,
        "queue.buffering.max.kbytes": 131_072,
        "error_cb": _report("producer"),
    }


def _report(client: str) -> Callable[[KafkaError], None]:
    """Return what notes a client's errors, each code once in a while: an outage repeats them endlessly."""
    noted: dict[str, float] = {}

    def report(error: KafkaError) -> None:
        now = time.monotonic()
        if now - noted.get(error.name(), -_SAME_ERROR_SECONDS) >= _SAME_ERROR_SECONDS:
            noted[error.name()] = now
            _log.warning("kafka_client_error", client=client, code=error.name(), fatal=error.fatal())

    return report
