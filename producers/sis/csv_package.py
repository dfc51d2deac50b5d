"""CSV files on disk: single files, folders and zip archives, read row by row with the number of each line."""

import codecs
import csv
import io
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Final, NamedTuple

from infra.errors import HubError
from producers.sis.csv_rows import FILES, ROLES

BULK: Final = "bulk"
DELTA: Final = "delta"
ABSENT: Final = "absent"
_MODES: Final = frozenset({BULK, DELTA, ABSENT})
_MANIFEST: Final = "manifest.csv"
_SUFFIX: Final = ".csv"
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_LONGEST_CELL: Final = 1_000_000


class PackageError(HubError):
    """The files cannot be read as a whole."""


@dataclass(frozen=True, slots=True)
class CsvFile:
    """One file that can be read.

    Attributes:
        name: as it is shown, such as ``users.csv``.
        size: in bytes, uncompressed.
        open: opens it for reading bytes.
        collection: of OneRoster, such as ``users``; empty for a plain file.
        mode: ``bulk`` or ``delta``.
    """

    name: str
    size: int
    open: Callable[[], IO[bytes]]
    collection: str = ""
    mode: str = BULK


class Row(NamedTuple):
    """One row: the line it begins in, its cells, and why it cannot be read, if so."""

    line: int
    cells: list[str]
    fault: str | None = None


@contextmanager
def package(path: Path) -> Iterator[list[CsvFile]]:
    """Give the OneRoster files of a folder, an archive or a single file, in the order they are to be taken.

    Raises:
        PackageError: there is no such file, it is damaged, or it does not hold what its manifest promises.
    """
    if path.is_dir():
        yield _chosen(
            path.name, [_on_disk(each) for each in sorted(path.iterdir()) if each.suffix == _SUFFIX]
        )
    elif zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                yield _chosen(path.name, list(_zipped(archive)))
        except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError, EOFError) as error:
            msg = f"{path.name} is a damaged or protected archive ({type(error).__name__})"
            raise PackageError(msg) from None
    elif path.is_file():
        yield _chosen(path.name, [_on_disk(path)])
    else:
        msg = f"{path.name} is neither a file nor a folder"
        raise PackageError(msg)


def plain_file(path: Path) -> CsvFile:
    """Return a file whose columns a mapping tells.

    Raises:
        PackageError: there is no such file.
    """
    if not path.is_file():
        msg = f"{path.name} is not a file"
        raise PackageError(msg)
    return _on_disk(path)


class Rows:
    """The rows of an open file."""

    def __init__(self, raw: IO[bytes], text: io.TextIOWrapper, delimiter: str) -> None:
        self._raw = raw
        self._rows = _read(text, delimiter)

    def __iter__(self) -> Iterator[Row]:
        return self._rows

    @property
    def position(self) -> int:
        """Bytes read so far."""
        return self._raw.tell()


@contextmanager
def rows(file: CsvFile, encoding: str | None = None, delimiter: str = ",") -> Iterator[Rows]:
    """Give the rows of ``file``, the header first; a byte order mark tells the encoding, else ``encoding``.

    Bytes that are no text in it become signs that no text may hold, so that only their row is refused.
    """
    with file.open() as raw:
        head = raw.read(4)
    chosen = next((name for mark, name in _MARKS if head.startswith(mark)), encoding or "utf-8")
    with file.open() as raw, io.TextIOWrapper(raw, chosen, errors="surrogateescape", newline="") as text:
        yield Rows(raw, text, delimiter)


def _read(text: io.TextIOWrapper, delimiter: str) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST_CELL)
    reader = csv.reader(text, delimiter=delimiter)
    line = 1
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except (csv.Error, UnicodeError) as error:
            yield Row(
                line, [], "is no CSV" if isinstance(error, csv.Error) else "is no text in this encoding"
            )
            if isinstance(error, UnicodeError):
                return
        else:
            if cells:
                yield Row(line, cells)
        line = reader.line_num + 1


def _on_disk(path: Path) -> CsvFile:
    return CsvFile(path.name, path.stat().st_size, lambda: path.open("rb"))


def _zipped(archive: zipfile.ZipFile) -> Iterator[CsvFile]:
    for info in archive.infolist():
        name = PurePosixPath(info.filename).name
        if name.endswith(_SUFFIX) and not name.startswith("."):
            yield CsvFile(name, info.file_size, lambda info=info: archive.open(info))  # type: ignore[misc]  # mypy cannot infer a lambda with a default


def _chosen(whole: str, files: list[CsvFile]) -> list[CsvFile]:
    """Return the OneRoster files among ``files``, with the modes that the manifest tells."""
    by_name = {file.name: file for file in files}
    modes = _manifest(by_name[_MANIFEST]) if _MANIFEST in by_name else {}
    found = []
    for collection in (*FILES[:4], ROLES, *FILES[4:]):
        file, mode = by_name.get(collection + _SUFFIX), modes.get(collection, BULK if not modes else ABSENT)
        if mode != ABSENT and file is None and modes:
            msg = f"{whole}: {collection}.csv is missing, although the manifest says it is there"
            raise PackageError(msg)
        if mode != ABSENT and file is not None:
            found.append(CsvFile(file.name, file.size, file.open, collection, mode))
    if not found:
        msg = f"{whole} holds no OneRoster file; for other CSV files give --mapping"
        raise PackageError(msg)
    return found


def _manifest(file: CsvFile) -> dict[str, str]:
    """Return the mode of each file that the manifest names."""
    found = {}
    with rows(file) as lines:
        for row in lines:
            name, value = (cell.strip() for cell in [*row.cells, "", ""][:2])
            if not name.startswith("file."):
                continue
            if value.lower() not in _MODES:
                msg = f"{file.name} line {row.line}: the mode must be bulk, delta or absent"
                raise PackageError(msg)
            found[name.removeprefix("file.")] = value.lower()
    return found
