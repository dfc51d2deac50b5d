"""What a worker tells of its batches and its progress."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Message

from infra.engine.group import Group
from infra.engine.transactions import Transactions
from infra.telemetry import COMMIT_SECONDS, DEAD_LETTERS, PAUSED, RECORDS_READ, RECORDS_WRITTEN, Status
from schemas.reasons import Reason


def count_batch(
    role: str,
    read: Iterable[Message],
    dead: Mapping[Reason, int],
    transactions: Transactions,
    started: float,
) -> None:
    """Add one committed batch to the metrics; ``started`` is by `time.monotonic`."""
    for topic, count in Counter(message.topic() for message in read).items():
        RECORDS_READ.labels(role, topic).inc(count)
    for topic, count in transactions.produced.items():
        RECORDS_WRITTEN.labels(role, topic).inc(count)
    for reason, count in dead.items():
        DEAD_LETTERS.labels(role, reason).inc(count)
    COMMIT_SECONDS.labels(role).observe(time.monotonic() - started)


def obey(status: Status, group: Group) -> None:
    """Hold the worker while an operator wishes so."""
    is_paused = status.paused.is_set()
    PAUSED.labels(status.role).set(is_paused)
    if is_paused:
        group.hold()
    else:
        group.go_on()


def show_progress(status: Status, group: Group) -> None:
    """Let ``status`` show the partitions, positions and ends of ``group``."""

    def partitions() -> list[dict[str, Any]]:
        committed, ends = dict(group.committed), set(group.at_end)
        return [
            {
                "topic": topic,
                "partition": number,
                "position": position,
                "committed": committed.get((topic, number)),
                "at_end": (topic, number) in ends,
            }
            for (topic, number), position in sorted(group.positions.copy().items())
        ]

    status.source("partitions", partitions)
