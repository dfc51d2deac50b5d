"""A partition's table against a plain dictionary, over committed rows, uncommitted writes and undone ones."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from infra.engine.store import Store
from infra.engine.tables import PartitionTable
from infra.errors import Stop

KEYS = [f"{kind}|t|{name}" for kind in ("a", "ab", "b") for name in ("", "1", "2", "é", "\U0001f600")]


class Entry(msgspec.Struct, frozen=True):
    number: int


class Wider(msgspec.Struct, frozen=True):
    number: int
    text: str = "default"


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    store = Store(tmp_path / "store")
    yield store
    store.close()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from(KEYS), st.integers(0, 9)),
        st.tuples(st.just("delete"), st.sampled_from(KEYS), st.just(0)),
        st.tuples(st.sampled_from(["mark", "undo", "commit", "forget"]), st.just(""), st.just(0)),
    ),
    max_size=40,
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=steps)
def test_a_table_is_a_sorted_dictionary(store: Store, steps: list[tuple[str, str, int]]) -> None:
    store.wipe(3)
    table = PartitionTable(store, 3)
    committed: dict[str, int] = {}
    marked: dict[str, int] = {}
    now: dict[str, int] = {}
    for step, key, number in steps:
        match step:
            case "put":
                table.put(key, Entry(number))
                now[key] = number
            case "delete":
                table.delete(key)
                now.pop(key, None)
            case "mark":
                table.mark()
                marked = dict(now)
            case "undo":
                table.undo()
                now = dict(marked)
            case "commit":
                store.write({3: table.changes()}, {3: 1})
                table.forget()
                committed, marked = dict(now), dict(now)
            case "forget":
                table.forget()
                now, marked = dict(committed), dict(committed)
        for prefix in ("", "a", "a|", "ab|t|", "b|t|1", "z"):
            expected = [(name, Entry(now[name])) for name in sorted(now) if name.startswith(prefix)]
            assert list(table.scan(prefix, Entry)) == expected
        assert [table.get(name, Entry) for name in KEYS] == [
            Entry(now[name]) if name in now else None for name in KEYS
        ]


def test_a_scan_shows_the_entries_as_they_were_at_its_start(store: Store) -> None:
    store.write({0: {b"w|1": msgspec.msgpack.encode(Entry(1)), b"w|2": msgspec.msgpack.encode(Entry(2))}}, {})
    table = PartitionTable(store, 0)
    table.put("w|3", Entry(3))
    found = []
    for key, entry in table.scan("w|", Entry):
        found.append(entry.number)
        table.delete(key)
        table.put(f"w|new{key}", Entry(0))
    assert found == [1, 2, 3]
    assert [entry.number for _, entry in table.scan("w|", Entry)] == [0, 0, 0]


def test_a_value_is_read_as_the_type_asked_for_whether_committed_or_not(store: Store) -> None:
    table = PartitionTable(store, 0)
    table.put("k", Entry(1))
    assert table.get("k", Wider) == Wider(1)
    store.write({0: table.changes()}, {0: 1})
    table.forget()
    assert table.get("k", Wider) == Wider(1)


def test_partitions_do_not_see_each_other(store: Store) -> None:
    for number in (0, 1, 255, 256):
        store.write({number: {b"k|1": msgspec.msgpack.encode(Entry(number))}}, {number: number + 1})
    tables = {number: PartitionTable(store, number) for number in (0, 1, 255, 256)}
    assert [list(table.scan("", Entry)) for table in tables.values()] == [
        [("k|1", Entry(number))] for number in tables
    ]
    store.wipe(255)
    assert list(tables[255].scan("", Entry)) == []
    assert store.checkpoint(255) is None
    assert tables[256].get("k|1", Entry) == Entry(256)
    checkpoint = store.checkpoint(256)
    assert checkpoint is not None
    assert checkpoint.offset == 257


def test_many_rows_are_all_scanned(store: Store) -> None:
    rows: dict[bytes, bytes | None] = {b"k|%05d" % n: msgspec.msgpack.encode(Entry(n)) for n in range(5_000)}
    store.write({0: rows, 1: rows}, {})
    table = PartitionTable(store, 0)
    assert [entry.number for _, entry in table.scan("k|", Entry)] == list(range(5_000))
    assert [entry.number for _, entry in table.scan("k|0001", Entry)] == list(range(10, 20))


def test_rows_and_checkpoint_are_there_after_the_store_is_opened_again(tmp_path: Path) -> None:
    before = time.time()
    store = Store(tmp_path / "store")
    store.write({2: {b"k": b"v"}}, {2: 7})
    store.close()
    again = Store(tmp_path / "store")
    try:
        checkpoint = again.checkpoint(2)
        assert checkpoint is not None
        assert checkpoint.offset == 7
        assert before <= checkpoint.saved_at <= time.time()
        assert list(again.rows(2, b"")) == [(b"k", b"v")]
    finally:
        again.close()


def test_a_store_in_use_is_refused(store: Store, tmp_path: Path) -> None:
    with pytest.raises(Stop, match="in use by another process"):
        Store(tmp_path / "store")


def test_a_store_of_another_changelog_is_dropped(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    try:
        store.belongs_to("first")
        store.write({0: {b"k": b"v"}}, {0: 1})
        store.belongs_to("first")
        assert store.get(b"\x00\x00k") == b"v"
        store.belongs_to("second")
        assert store.get(b"\x00\x00k") is None
        assert store.checkpoint(0) is None
    finally:
        store.close()
