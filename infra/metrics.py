"""Every metric of the hub, in one list; ``docs/reference/metrics.md`` is made from it.

Labels have few values: names of roles, topics, functions and codes of ours, and what administrators name
(tenants, sites). What people are called, and ids of single records, are never among them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from prometheus_client import Counter, Gauge, Histogram


class Kind(StrEnum):
    """Types of Prometheus."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric, as it is shown and documented.

    Attributes:
        name: as Prometheus knows it; of a histogram without ``_bucket``, ``_sum`` and ``_count``.
        kind: its type.
        about: what it tells, in one sentence.
        labels: names of its labels.
        unit: of its values.
        shown_by: the roles whose ``/metrics`` has it.
    """

    name: str
    kind: Kind
    about: str
    labels: tuple[str, ...]
    unit: str
    shown_by: str


METRICS: Final[list[Metric]] = []
"""All metrics, in the order of the documentation."""


def _counter(name: str, about: str, labels: Sequence[str], shown_by: str, unit: str) -> Counter:
    METRICS.append(Metric(name, Kind.COUNTER, about, tuple(labels), unit, shown_by))
    return Counter(name.removesuffix("_total"), about, labels)


def _gauge(name: str, about: str, labels: Sequence[str], shown_by: str, unit: str) -> Gauge:
    METRICS.append(Metric(name, Kind.GAUGE, about, tuple(labels), unit, shown_by))
    return Gauge(name, about, labels)


def _histogram(
    name: str, about: str, labels: Sequence[str], shown_by: str, buckets: Sequence[float]
) -> Histogram:
    METRICS.append(Metric(name, Kind.HISTOGRAM, about, tuple(labels), "seconds", shown_by))
    return Histogram(name, about, labels, buckets=buckets)


def _figure(name: str, about: str, labels: Sequence[str], unit: str) -> Metric:
    """Declare what `infra.figures` reads from the database or from Kafka when it is asked for."""
    metric = Metric(name, Kind.GAUGE, about, tuple(labels), unit, _COLLECTED)
    METRICS.append(metric)
    return metric


_STAGES, _SINKS, _WORKERS = "stages", "sinks", "stages and sinks"
_COLLECTED = "scheduler"

# Records on their way

RECORDS_READ = _counter(
    "hub_records_read_total",
    "Records taken from an input; the relay's is the outbox",
    ["role", "topic"],
    "stages, sinks, relay, projector",
    "records",
)
RECORDS_WRITTEN = _counter(
    "hub_records_written_total", "Records committed to a topic", ["role", "topic"], _WORKERS, "records"
)
INTAKE = _counter(
    "hub_intake_records_total",
    "Records that came in, by how they were answered: NEW, UPDATED, UNCHANGED, SKIPPED, INVALID, ERROR. Jobs "
    "that pull Zoho and the SIS are processes that end; their figures are in `hub runs list`",
    ["source", "kind", "status"],
    "api, elm-poll",
    "records",
)
RESULTS = _counter(
    "hub_results_total",
    "Commands to Moodle and callbacks to ELM that have ended, by outcome",
    ["role", "kind", "outcome"],
    _SINKS,
    "commands",
)
CHANGE_SECONDS = _histogram(
    "hub_change_seconds",
    "Time from the taking in of a source's change until the other system was as wished and that was "
    "committed; without what was redriven or replayed",
    ["role", "kind"],
    _SINKS,
    (0.5, 1, 2, 5, 10, 30, 60, 120, 300, 900, 3600, 14400, 86400),
)
DEAD_LETTERS = _counter(
    "hub_dead_letters_total", "Messages that became dead letters", ["role", "reason"], _WORKERS, "messages"
)
LAG = _figure(
    "hub_consumer_lag",
    "Offsets of a topic that a role still has before it, those of transaction marks included",
    ["role", "topic"],
    "offsets",
)

# The work of a process

TRANSACTIONS = _counter(
    "hub_transactions_total",
    "Kafka transactions, committed or aborted",
    ["role", "outcome"],
    _WORKERS,
    "transactions",
)
COMMIT_SECONDS = _histogram(
    "hub_commit_seconds",
    "Time to handle a batch that was read and to commit its transaction",
    ["role"],
    _WORKERS,
    (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
WRITE_SECONDS = _histogram(
    "hub_sink_write_seconds",
    "Time of one attempt of a sink to write a batch",
    ["role"],
    _SINKS,
    (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120),
)
RESTORED = _counter(
    "hub_restored_records_total",
    "Records read from a changelog to restore a table",
    ["role"],
    _STAGES,
    "records",
)
REBALANCES = _counter(
    "hub_rebalances_total",
    "Changes of the partitions of a worker: assigned, revoked, lost",
    ["role", "kind"],
    _WORKERS,
    "changes",
)
PARTITIONS = _gauge(
    "hub_assigned_partitions", "Partitions that this worker owns", ["role"], _WORKERS, "partitions"
)
PAUSED = _gauge("hub_paused", "1 while an operator holds this worker", ["role"], _WORKERS, "0 or 1")
BREAKER = _gauge(
    "hub_breaker_state",
    "Breaker before the other system: 0 closed, 1 half-open, 2 open",
    ["role"],
    _SINKS,
    "0, 1, 2",
)
ALARM = _gauge(
    "hub_alarm",
    "1 while something needs a person: configuration or credentials",
    ["role"],
    "sinks, moodle-source",
    "0 or 1",
)

# Other systems

CALLS = _counter(
    "hub_calls_total",
    "Requests to Moodle or ELM, by how they ended: ok or the code of the failure",
    ["role", "system", "function", "code"],
    "sinks, moodle-source",
    "requests",
)
CALL_SECONDS = _histogram(
    "hub_call_seconds",
    "Time of one request to Moodle or ELM",
    ["role", "system", "function"],
    "sinks, moodle-source",
    (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60),
)
CALLS_DROPPED = _counter(
    "hub_calls_dropped_total",
    "Calls that the log of calls lacks, for Kafka was away too long",
    ["role"],
    "sinks, moodle-source",
    "requests",
)
AUTH_FAILURES = _counter(
    "hub_auth_failures_total",
    "Credentials that were refused: the hub's by MOODLE or ELM, those of a caller by the hub's own API",
    ["system"],
    "api, elm-poll, sinks, moodle-source",
    "requests",
)
API_REQUESTS = _counter(
    "hub_api_requests_total",
    "Requests to the HTTP application",
    ["method", "route", "status"],
    "api",
    "requests",
)
API_SECONDS = _histogram(
    "hub_api_request_seconds",
    "Time to answer a request to the HTTP application",
    ["method", "route"],
    "api",
    (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30),
)

# How things stand

PARKED = _figure("hub_parked", "What waits for something that is missing", ["kind", "waits_for"], "entities")
PARKED_OVERDUE = _gauge(
    "hub_parked_overdue",
    "What is parked for longer than its alarm age",
    ["kind"],
    "scheduler (the active one)",
    "entities",
)
CONFLICTS = _figure("hub_conflicts", "Open conflicts, which need a person", ["kind", "reason"], "entities")
REFUSED = _figure("hub_refused", "What Moodle or ELM does not take", ["kind", "reason"], "entities")
LETTERS_OPEN = _figure(
    "hub_dead_letters_open", "Dead letters nobody has decided on", ["role", "reason"], "messages"
)
WAITING = _figure(
    "hub_waiting_records",
    "Records of a source that wait for another record of it to come in",
    ["source", "kind"],
    "records",
)
INVALID = _figure(
    "hub_invalid_records",
    "Records that could not be used and of which no usable one came since",
    ["source", "kind"],
    "records",
)
OUTBOX = _figure("hub_outbox_events", "Events that wait for the relay", [], "events")
OUTBOX_AGE = _figure("hub_outbox_oldest_seconds", "Age of the oldest of them; 0 without any", [], "seconds")
OUTBOX_ASIDE = _figure("hub_outbox_set_aside", "Events that can never be published as they are", [], "events")
SOURCE_SUCCESS = _figure(
    "hub_source_last_success_timestamp_seconds",
    "When a source was last read to its end",
    ["tenant", "source"],
    "Unix time",
)
SOURCE_FAILING = _figure(
    "hub_source_failing", "1 if the newest ended run of a source has failed", ["tenant", "source"], "0 or 1"
)
SCHEDULE_SUCCESS = _figure(
    "hub_schedule_last_success_timestamp_seconds",
    "When a scheduled job last succeeded",
    ["tenant", "target", "site"],
    "Unix time",
)
SCHEDULE_FAILING = _figure(
    "hub_schedule_failing",
    "1 if the newest ended run of a scheduled job has failed",
    ["tenant", "target", "site"],
    "0 or 1",
)
DRIFT = _figure(
    "hub_drift",
    "Differences that the last scheduled reconciliation found: MISSING, DIFFERS, SUSPENDED_ELSEWHERE, "
    "DUPLICATE, EXTRA (orphans: Moodle has them and nobody wants them), ORPHANED (the account or course that "
    "the hub knows is gone)",
    ["tenant", "site", "subject", "kind"],
    "entities",
)
COMPARED = _figure(
    "hub_reconciled", "What the last scheduled reconciliation compared", ["tenant", "site"], "entities"
)
FIGURES_UP = _figure(
    "hub_figures_up",
    "1 if the figures of this part could be read just now: database, read_model, kafka",
    ["part"],
    "0 or 1",
)
