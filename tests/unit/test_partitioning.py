from __future__ import annotations

import pytest

from infra.partitioning import murmur2, partition_of


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        # The vectors of org.apache.kafka.common.utils.UtilsTest, as signed numbers.
        (b"21", -973932308),
        (b"foobar", -790332482),
        (b"a-little-bit-long-string", -985981536),
        (b"a-little-bit-longer-string", -1486304829),
        (b"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        (b"abc", 479470107),
    ],
)
def test_murmur2_is_that_of_kafka(data: bytes, expected: int) -> None:
    assert murmur2(data) == expected % 2**32


def test_a_route_has_one_partition_among_those_there_are() -> None:
    partitions = {partition_of(f"tenant-{number}", 6) for number in range(200)}
    assert partitions == set(range(6))
    assert partition_of("tänant", 6) == partition_of("tänant", 6)
