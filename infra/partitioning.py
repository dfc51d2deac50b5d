"""Which partition a record goes to, computed as Kafka's own clients do it.

Keys are partitioned by librdkafka (`partitioner=murmur2_random`). Where a record has a ``route`` the
partition is that of the route instead, and has to be named by us.
"""

from functools import lru_cache

_MASK = 0xFFFFFFFF
_SEED = 0x9747B28C
_FACTOR = 0x5BD1E995
_ROTATION = 24


def murmur2(data: bytes) -> int:
    """Return the 32-bit MurmurHash2 of ``data`` with Kafka's seed, unsigned.

    Source: ``org.apache.kafka.common.utils.Utils.murmur2``.
    """
    value = _SEED ^ len(data)
    whole = len(data) & ~3
    for start in range(0, whole, 4):
        part = int.from_bytes(data[start : start + 4], "little") * _FACTOR & _MASK
        part = (part ^ part >> _ROTATION) * _FACTOR & _MASK
        value = value * _FACTOR & _MASK ^ part
    if whole < len(data):
        value = (value ^ int.from_bytes(data[whole:], "little")) * _FACTOR & _MASK
    value = (value ^ value >> 13) * _FACTOR & _MASK
    return value ^ value >> 15


@lru_cache(maxsize=65_536)
def partition_of(route: str, partitions: int) -> int:
    """Return the partition, from 0, of ``route`` in a topic of ``partitions`` partitions."""
    return (murmur2(route.encode()) & 0x7FFFFFFF) % partitions
