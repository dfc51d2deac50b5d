"""A cluster of several Kafka nodes on this machine, for tests that kill brokers."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from infra.embedded import jars, kafka, ports, process
from infra.embedded.kafka import Node
from infra.embedded.process import Place

_STOP_SECONDS = 15.0


@dataclass(frozen=True)
class Cluster:
    """Kafka nodes by their number, from 1; each is broker and controller."""

    nodes: dict[int, Node]
    jar_folder: Path

    @property
    def bootstrap_servers(self) -> str:
        """Addresses of all brokers, killed ones included."""
        return ",".join(node.address for node in self.nodes.values())

    def kill(self, broker: int) -> None:
        """End a broker as `kill -9` does; return when it is gone."""
        process.kill(self.nodes[broker].place)

    def stop(self, broker: int) -> None:
        """Stop a broker in order, its partitions handed over; return when it is gone."""
        process.stop(self.nodes[broker].place, signal.SIGTERM, _STOP_SECONDS)

    def restart(self, broker: int, deadline_seconds: float = 60) -> None:
        """Start a broker that was killed or stopped; return when it is back in the cluster.

        Raises:
            EmbeddedError: It did not come back in time; the message names its log.
        """
        deadline = time.monotonic() + deadline_seconds
        if process.find(self.nodes[broker].place) is None:
            kafka.start(self.nodes[broker], self.jar_folder, deadline)
        self._wait(broker, frozenset({broker}), deadline)

    def start(self, deadline: float) -> None:
        """Start all nodes together and wait until each sees all the others."""
        with ThreadPoolExecutor(len(self.nodes)) as pool:
            for done in [
                pool.submit(kafka.start, node, self.jar_folder, deadline) for node in self.nodes.values()
            ]:
                done.result()
        for broker in self.nodes:
            self._wait(broker, frozenset(self.nodes), deadline)

    def _wait(self, broker: int, expected: frozenset[int], deadline: float) -> None:
        node = self.nodes[broker]
        process.wait_until(node.place, lambda: kafka.is_ready(node.address, expected), deadline)


def up(data: Path, *, size: int = 3, deadline_seconds: float = 60) -> Cluster:
    """Start a new cluster in an empty folder; end it with `down`.

    Args:
        data: A folder of its own.
        size: Number of nodes; from three on, topics have replication 3 and min.insync 2.
        deadline_seconds: Time for all of them together.

    Raises:
        EmbeddedError: A node did not start; all are stopped again.
    """
    deadline = time.monotonic() + deadline_seconds
    numbers = range(1, size + 1)
    names = [f"{kind}-{number}" for number in numbers for kind in ("broker", "controller")]
    chosen = ports.choose(names, {}, {})
    controllers = {number: chosen[f"controller-{number}"] for number in numbers}
    cluster_id = kafka.new_cluster_id()
    nodes = {
        number: Node(_place(data, number), number, chosen[f"broker-{number}"], controllers, cluster_id)
        for number in numbers
    }
    cluster = Cluster(nodes, jars.locate(data))
    try:
        cluster.start(deadline)
    except BaseException:  # an interrupt too must not leave brokers behind
        down(data)
        raise
    return cluster


def down(data: Path) -> None:
    """End all nodes of the folder's cluster at once; its data is not meant to be used again."""
    places = [_place(data, int(path.stem.rpartition("-")[2])) for path in data.glob("run/broker-*.pid")]
    with ThreadPoolExecutor(max(1, len(places))) as pool:
        list(pool.map(process.kill, places))


def _place(data: Path, number: int) -> Place:
    return Place(f"broker-{number}", data)
