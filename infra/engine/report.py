"""What a worker tells of its batches and its progress."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import Message

from infra.engine.group import Group
from infra.engine.transactions import Transactions
from infra.metrics import (
    CHANGE_SECONDS,
    COMMIT_SECONDS,
    DEAD_LETTERS,
    PAUSED,
    RECORDS_READ,
    RECORDS_WRITTEN,
    RESULTS,
)
from infra.stage import Output
from infra.telemetry import Status
from schemas.deadletters import Header
from schemas.elm import CallbackOutcome, CallbackResult
from schemas.moodle import MoodleResult, Outcome
from schemas.origin import CHANGED_AT, seconds_since
from schemas.reasons import Reason
from schemas.topics import Record

_AS_WISHED = (Outcome.APPLIED, Outcome.UNCHANGED, CallbackOutcome.DELIVERED, CallbackOutcome.ALREADY_THERE)


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


def count_results(role: str, results: Iterable[tuple[Output, Iterable[Header]]]) -> None:
    """Add committed results to the metrics.

    Args:
        role: the sink.
        results: each with the headers of what it answers.
    """
    now = time.time()
    for output, headers in results:
        ending = _ending(output.record)
        if ending is None:
            continue
        kind, outcome = ending
        RESULTS.labels(role, kind, outcome).inc()
        if outcome in _AS_WISHED and (began := dict(headers).get(CHANGED_AT)) is not None:
            CHANGE_SECONDS.labels(role, kind).observe(seconds_since(began, now))


def _ending(record: Record) -> tuple[str, Outcome | CallbackOutcome] | None:
    """Return what was asked for and how that ended; none of what is no result."""
    match record:
        case MoodleResult(kind=kind, outcome=outcome):
            return kind, outcome
        case CallbackResult(outcome=outcome):
            return "COMPLETION", outcome
    return None


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
