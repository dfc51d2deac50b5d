"""Brokers of a cluster of three die under load."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from infra.embedded.cluster import Cluster
from tests.faults.test_worker_faults import load_meanwhile
from tests.faults.world import World, wait_for

pytestmark = pytest.mark.faults


def test_a_broker_is_killed_under_load(
    three_brokers: Cluster, registry_url: str, topic_prefix: str, tmp_path: Path
) -> None:
    world = World(three_brokers.bootstrap_servers, registry_url, topic_prefix, tmp_path, 3).create()
    options = {"batch_size": 100, "drag": 0.0005}
    with world.worker("0", **options) as first, world.worker("1", **options) as second:
        wait_for(lambda: len(first.partitions()) == 3 == len(second.partitions()), 60, first.tail)
        with load_meanwhile(world, 4_000, 200, seed=1):
            for broker in (1, 2):
                threading.Event().wait(1.0)
                three_brokers.kill(broker)
                threading.Event().wait(2.0)
                three_brokers.restart(broker)
        world.wait_until_drained(120)
        assert [worker.process.poll() for worker in (first, second)] == [None, None], first.tail()
    world.assert_exact()
