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
    with World(three_brokers.bootstrap_servers, registry_url, topic_prefix, tmp_path, 3) as world:
        world.create()
        options = {"batch_size": 100, "drag": 0.0005}
        with world.supervised("0", **options), world.supervised("1", **options):
            with load_meanwhile(world, 4_000, 200, seed=1):
                wait_for(lambda: world.written() > 0, 60)
                for broker in (1, 2):
                    threading.Event().wait(1.0)
                    three_brokers.kill(broker)
                    threading.Event().wait(2.0)
                    three_brokers.restart(broker)
            world.wait_until_drained(180)
        assert world.arrived() == world.sent, "what is missing here was lost before the engine read it"
    world.assert_exact()
