"""Figures are read when they are asked for, not more often than they may, and each part by itself."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from infra.errors import RetryLater
from infra.figures import Figure, Figures, Part
from infra.metrics import OUTBOX, PARKED


class Counting:
    """A part that counts how often it was read."""

    def __init__(self) -> None:
        self.reads = 0

    def read(self) -> Sequence[Figure]:
        self.reads += 1
        return [Figure(PARKED, ("course", "term"), 2), Figure(PARKED, ("course", "program"), self.reads)]


def away() -> Sequence[Figure]:
    raise RetryLater("the database is away")


def test_a_part_that_cannot_be_read_is_told_and_leaves_the_others() -> None:
    registry, counting = CollectorRegistry(), Counting()
    registry.register(Figures([Part("database", away), Part("read_model", counting.read)]))
    assert counting.reads == 0, "to be registered is no reason to ask"
    assert registry.get_sample_value("hub_parked", {"kind": "course", "waits_for": "term"}) == 2
    assert registry.get_sample_value("hub_figures_up", {"part": "database"}) == 0
    assert registry.get_sample_value("hub_figures_up", {"part": "read_model"}) == 1
    assert registry.get_sample_value(OUTBOX.name) is None


def test_what_was_read_is_shown_again_for_a_while() -> None:
    counting = Counting()
    kept, fresh = CollectorRegistry(), CollectorRegistry()
    kept.register(Figures([Part("read_model", counting.read)], seconds=3600))
    labels = {"kind": "course", "waits_for": "program"}
    assert [kept.get_sample_value("hub_parked", labels) for _ in range(3)] == [1, 1, 1]
    fresh.register(Figures([Part("read_model", counting.read)], seconds=0))
    assert [fresh.get_sample_value("hub_parked", labels) for _ in range(2)] == [2, 3]
