"""How faust reads our topics: all partitions by one worker, from a while ago, and only what was committed.

Faust's own ways are others, and each would make the counts wrong: it shares the partitions out among its
workers, though what belongs to one minute comes by several of them; it goes on where it was, though the
counts are gone with the process; and it reads what was aborted too, unless it writes in transactions itself.
"""

import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from datetime import timedelta
from pathlib import Path
from time import time
from typing import Any, ClassVar, Final, cast

import aiokafka
import faust
from aiokafka.cluster import ClusterMetadata
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.protocol import ConsumerProtocolMemberAssignment, ConsumerProtocolMemberMetadata
from faust.transport.drivers import aiokafka as driver
from faust.types import TP, Message
from mode import CrashingSupervisor
from yarl import URL

from infra.settings import KafkaConfig

_SESSION_SECONDS: Final = 10.0


class SoleAssignor(RoundRobinPartitionAssignor):  # type: ignore[misc]  # aiokafka has no types
    """Gives one worker all partitions; the others stand by."""

    name = "sole"

    @classmethod
    def assign(
        cls, cluster: ClusterMetadata, members: Mapping[str, ConsumerProtocolMemberMetadata]
    ) -> dict[str, ConsumerProtocolMemberAssignment]:
        """Return what each of ``members`` reads."""
        sole = min(members)
        nothing = ConsumerProtocolMemberAssignment(cls.version, [], b"")
        return {**dict.fromkeys(members, nothing), **super().assign(cluster, {sole: members[sole]})}


class _Thread(driver.AIOKafkaConsumerThread):
    def _create_worker_consumer(self, transport: driver.Transport) -> aiokafka.AIOKafkaConsumer:
        consumer = super()._create_worker_consumer(transport)
        # Faust has no settings for these two; they are read when the consumer starts.
        consumer._isolation_level = "read_committed"
        consumer._partition_assignment_strategy = [SoleAssignor]
        return consumer

    async def begin(self, partitions: frozenset[TP], moment: float) -> dict[TP, int]:
        return cast("dict[TP, int]", await self.call_thread(self._begin, partitions, moment))

    async def _begin(self, partitions: frozenset[TP], moment: float) -> dict[TP, int]:
        consumer = self._ensure_consumer()
        found = await consumer.offsets_for_times(dict.fromkeys(partitions, int(moment * 1000)))
        ends = await consumer.end_offsets(partitions)
        return {tp: at.offset if (at := found[tp]) else ends[tp] for tp in partitions}


class Consumer(driver.Consumer):
    """Reads what is younger than its transport says, whenever partitions are assigned."""

    _thread: _Thread

    def __init__(self, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._ends: dict[TP, int] = {}
        self._waiting = Counter[int | None]()
        # Generations: an assignment has one.
        self._begun = self._caught_up = 0

    def _new_consumer_thread(self) -> _Thread:
        return _Thread(self, loop=self.loop, beacon=self.beacon)

    async def perform_seek(self) -> None:
        """Go to where reading begins; faust calls it when partitions were assigned."""
        partitions, past = frozenset(self.assignment()), cast("Transport", self.transport).past
        generation, ends = self.app.consumer_generation_id, await self.highwaters(*partitions)
        await self.seek_wait(await self._thread.begin(partitions, time() - past.total_seconds()))
        self._ends, self._begun = dict(ends), generation

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, Message]]:
        """Yield what was fetched; faust asks for more when it has put all of it into the queues of agents."""
        async for tp, message in super().getmany(timeout):
            self._waiting[message.generation_id] += 1
            yield tp, message
        for tp in self._ends.keys() & self.assignment():
            if (await self.position(tp) or 0) >= self._ends[tp]:
                del self._ends[tp]

    def handled(self, message: Message) -> None:
        """Note that ``message`` needs no more work; to be called for every one of them."""
        self._waiting[message.generation_id] -= 1

    @property
    def has_caught_up(self) -> bool:
        """Whether all that was there when the partitions were assigned has been handled, or none were."""
        generation = self.app.consumer_generation_id
        if not self.assignment():
            return generation > 0
        if self._begun == generation and not self._ends and not self._waiting[generation]:
            self._caught_up = generation
        return self._caught_up == generation


class Transport(driver.Transport):
    """Reads by `Consumer`.

    Attributes:
        past: how old the oldest records are that are read.
    """

    Consumer: ClassVar[type[Consumer]] = Consumer
    past: timedelta


def app_of(group: str, member: str, kafka: KafkaConfig, past: timedelta, folder: Path) -> faust.App:
    """Return an application that reads in this way; see `Consumer`.

    Args:
        group: name of the application and its consumer group.
        member: static id of this worker in the group.
        kafka: how librdkafka reaches the brokers.
        past: how old the oldest records are that are read.
        folder: for faust's own data.
    """
    folder.mkdir(parents=True, exist_ok=True)
    servers = str(kafka["bootstrap.servers"]).split(",")
    app = faust.App(
        group,
        broker=[URL(f"kafka://{server}") for server in servers],
        broker_credentials=credentials(kafka),
        broker_session_timeout=_SESSION_SECONDS,
        broker_heartbeat_interval=_SESSION_SECONDS / 4,
        consumer_group_instance_id=member,
        topic_allow_declare=False,  # `hub topics apply` makes them
        topic_disable_leader=True,
        stream_wait_empty=False,  # what is under way when it stops will be read again
        agent_supervisor=CrashingSupervisor,  # others leave out the event that failed, and go on
        web_enabled=False,
        autodiscover=False,
        datadir=folder,
    )
    transport = Transport(app.conf.broker_consumer, app)
    transport.past = past
    app.transport = transport
    return app


def credentials(kafka: KafkaConfig) -> faust.SASLCredentials | faust.SSLCredentials | None:
    """Return in faust's words how librdkafka would make itself known to the brokers."""
    protocol = kafka.get("security.protocol", "PLAINTEXT")
    authorities = cast("str | None", kafka.get("ssl.ca.location"))
    context = ssl.create_default_context(cafile=authorities) if "SSL" in str(protocol).split("_") else None
    if "sasl.mechanism" not in kafka:
        return faust.SSLCredentials(context) if context else None
    return faust.SASLCredentials(
        mechanism=str(kafka["sasl.mechanism"]),
        username=str(kafka["sasl.username"]),
        password=str(kafka["sasl.password"]),
        ssl_context=context,
    )
