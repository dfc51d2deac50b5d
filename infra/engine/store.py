"""The tables of one worker on its disk: RocksDB, all partitions in one database.

A row's key is the partition (two bytes) and the key of the entry. The checkpoint of a partition, which is
the changelog's offset that the table stands at, is written in the same batch as the rows.
"""

import shutil
import struct
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import structlog
from rocksdict import (
    BlockBasedOptions,
    Cache,
    DBCompressionType,
    Options,
    Rdict,
    RdictIter,
    WriteBatch,
    WriteOptions,
)

from infra.errors import Stop

_PARTITION = struct.Struct(">H")
_META = b"\xff\xff"
_CHANGELOG_ID = _META + b"changelog"
_WRITE_BUFFER = 16 * 1024 * 1024
_CACHE = 32 * 1024 * 1024
_log = structlog.get_logger()


class Checkpoint(msgspec.Struct, frozen=True, array_like=True):
    """How far a table stands.

    Attributes:
        offset: the next offset of the changelog that the table does not hold.
        saved_at: Unix time at which that was so.
    """

    offset: int
    saved_at: float


def prefix_of(partition: int) -> bytes:
    """Return what the keys of the rows of ``partition`` begin with."""
    return _PARTITION.pack(partition)


class Store:
    """The database in ``folder``, opened for this process alone.

    Raises:
        Stop: another process has it open.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._db = _open(folder)
        self.get: Callable[[bytes], bytes | None] = self._db.get
        self._unlogged = WriteOptions()
        # The stubs call this property a method.
        self._unlogged.disable_wal = True  # type: ignore[method-assign, assignment]

    def write(self, rows: Mapping[int, Mapping[bytes, bytes | None]], offsets: Mapping[int, int]) -> None:
        """Write rows by partition (none deletes) and move the checkpoints to ``offsets``, all or nothing."""
        self._db.write(self._batch(rows, offsets))

    def load(self, rows: Mapping[int, Mapping[bytes, bytes | None]], offsets: Mapping[int, int]) -> None:
        """Do as `write`, but twice as fast; it may be undone by a crash until `loaded` is called."""
        self._db.write(self._batch(rows, offsets), self._unlogged)

    def loaded(self) -> None:
        """Make what was loaded last, before anything else is written: a crash must not leave a gap."""
        self._db.flush()

    def _batch(
        self, rows: Mapping[int, Mapping[bytes, bytes | None]], offsets: Mapping[int, int]
    ) -> WriteBatch:
        batch = WriteBatch(raw_mode=True)
        put, delete = batch.put, batch.delete
        for partition, changed in rows.items():
            prefix = prefix_of(partition)
            for key, value in changed.items():
                if value is None:
                    delete(prefix + key)
                else:
                    put(prefix + key, value)
        now = time.time()
        for partition, offset in offsets.items():
            put(_META + prefix_of(partition), msgspec.msgpack.encode(Checkpoint(offset, now)))
        return batch

    def checkpoint(self, partition: int) -> Checkpoint | None:
        """Return how far the table of ``partition`` stands, or none if there is no such table here."""
        value = self.get(_META + prefix_of(partition))
        return None if value is None else msgspec.msgpack.decode(value, type=Checkpoint)

    def rows(self, partition: int, prefix: bytes) -> Iterator[tuple[bytes, bytes]]:
        """Return the rows of ``partition`` whose keys begin with ``prefix``, as they are now, in order."""
        # No upper bound in the read options: RocksDB keeps a pointer to it that outlives the Python object,
        # and rows then go missing.
        start = prefix_of(partition) + prefix
        rows = self._db.iter()
        rows.seek(start)
        return _walk(rows, start)

    def wipe(self, partition: int) -> None:
        """Forget the table of ``partition`` and its checkpoint."""
        batch = WriteBatch(raw_mode=True)
        batch.delete(_META + prefix_of(partition))
        batch.delete_range(prefix_of(partition), prefix_of(partition + 1))
        self._db.write(batch)

    def belongs_to(self, changelog_id: str) -> None:
        """Forget everything that was restored from another changelog than the one with this id."""
        known = self.get(_CHANGELOG_ID)
        if known is not None and known.decode() == changelog_id:
            return
        if known is not None:
            _log.warning("state_of_another_changelog_dropped", folder=self._folder.name)
        self._db.close()
        shutil.rmtree(self._folder)
        self._db = _open(self._folder)
        self.get = self._db.get
        self._db.put(_CHANGELOG_ID, changelog_id.encode())

    def close(self) -> None:
        """Close the database; its lock is given back."""
        self._db.close()


def _walk(rows: RdictIter, start: bytes) -> Iterator[tuple[bytes, bytes]]:
    while rows.valid() and (key := rows.key()).startswith(start):
        yield key[_PARTITION.size :], rows.value()
        rows.next()


def _options() -> Options:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    options.set_write_buffer_size(_WRITE_BUFFER)
    options.set_max_write_buffer_number(3)
    options.set_compression_type(DBCompressionType.lz4())
    options.set_max_background_jobs(2)
    options.set_keep_log_file_num(2)
    table = BlockBasedOptions()
    table.set_block_cache(Cache(_CACHE))
    table.set_bloom_filter(10, False)
    options.set_block_based_table_factory(table)
    options.set_memtable_prefix_bloom_ratio(0.05)
    options.set_memtable_whole_key_filtering(True)  # most keys of new entries are nowhere
    return options


def _open(folder: Path) -> Rdict:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        return Rdict(str(folder), _options())
    except Exception as error:  # rocksdict raises nothing narrower
        text = str(error)
        if "lock" in text.lower():
            msg = f"the state folder {folder} is in use by another process of this slot"
            raise Stop(msg) from None
        if not text.startswith("Corruption"):
            raise
    _log.warning("corrupt_state_dropped", folder=folder.name)
    shutil.rmtree(folder)
    return Rdict(str(folder), _options())
