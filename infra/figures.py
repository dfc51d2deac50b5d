"""Metrics that are not counted but read, from the database and from Kafka, when Prometheus asks for them.

Each part is one small question. It is asked at most every `SECONDS`, in the thread of the status server, so
nobody's work waits for it; a part that cannot be read is left out and told as ``hub_figures_up`` 0.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import structlog
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from infra.errors import HubError
from infra.metrics import FIGURES_UP, Metric

SECONDS: Final = 10.0
"""So long what was read is shown again."""
_log = structlog.get_logger()


class Figure(NamedTuple):
    """One value of a metric."""

    metric: Metric
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True, slots=True)
class Part:
    """What is read together.

    Attributes:
        name: value of the label ``part``.
        read: reads it, within some seconds; may raise `HubError`.
    """

    name: str
    read: Callable[[], Sequence[Figure]]


@dataclass(slots=True)
class _Kept:
    until: float = 0.0
    figures: Sequence[Figure] = field(default_factory=tuple)


class Figures(Collector):
    """Gives the figures of ``parts`` to a registry of the Prometheus client."""

    def __init__(self, parts: Sequence[Part], seconds: float = SECONDS) -> None:
        """Nothing is read yet; what is read is kept for ``seconds``."""
        self._parts = {part: _Kept() for part in parts}
        self._seconds = seconds
        self._lock = threading.Lock()

    def describe(self) -> Iterable[GaugeMetricFamily]:
        """Tell nothing: to be registered is no reason to ask the database."""
        return ()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield the metrics; who asks at the same time as another waits for that one's answer."""
        with self._lock:
            found = [figure for part, kept in self._parts.items() for figure in self._look(part, kept)]
        families: dict[str, GaugeMetricFamily] = {}
        for metric, labels, value in found:
            family = families.setdefault(
                metric.name, GaugeMetricFamily(metric.name, metric.about, labels=metric.labels)
            )
            family.add_metric(labels, value)
        yield from families.values()

    def _look(self, part: Part, kept: _Kept) -> Sequence[Figure]:
        if time.monotonic() < kept.until:
            return kept.figures
        try:
            kept.figures = (*part.read(), Figure(FIGURES_UP, (part.name,), 1))
        except HubError as error:
            _log.warning("figures_missing", part=part.name, reason=str(error))
            kept.figures = (Figure(FIGURES_UP, (part.name,), 0),)
        kept.until = time.monotonic() + self._seconds
        return kept.figures
