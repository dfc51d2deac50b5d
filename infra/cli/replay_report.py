"""What a rehearsal has found, as people and programs read it: counts and a sample, JSON, or CSV."""

import csv
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import msgspec
import typer
from rich.table import Table

from infra.cli.printing import print_table
from infra.errors import BadArgument
from processors.verdicts import Compared, Verdict
from schemas.moodle import CommandKind

COLUMNS: Final = ("kind", "tenant", "person_id", "course_id", "verdict", "fields", "apply_by")
_WORDS: Final = {CommandKind.USER: "person", CommandKind.COURSE: "course", CommandKind.ENROLMENT: "enrolment"}
"""One line for each, whatever the terminal."""


@dataclass(slots=True)
class Found:
    """What a rehearsal has found.

    Attributes:
        counts: by kind and verdict.
        kept: the first of the differences.
    """

    counts: Counter[tuple[CommandKind, Verdict]] = field(default_factory=Counter)
    kept: list[Compared] = field(default_factory=list)

    @property
    def differences(self) -> int:
        """How many accounts, courses and enrolments differ."""
        return sum(count for (_, verdict), count in self.counts.items() if verdict.is_difference)


def gather(compared: Iterable[Compared], keep: int, write: Callable[[Compared], object]) -> Found:
    """Count ``compared``; ``write`` is handed every difference, and the first ``keep`` are kept."""
    found = Found()
    for one in compared:
        found.counts[one.kind, one.verdict] += 1
        if one.verdict.is_difference:
            write(one)
            if len(found.kept) < keep:
                found.kept.append(one)
    return found


@contextmanager
def csv_file(path: Path | None) -> Iterator[Callable[[Compared], object]]:
    """Give what writes a difference into the CSV file at ``path``; without one nothing is written.

    Raises:
        BadArgument: it cannot be written.
    """
    if path is None:
        yield lambda _: None
        return
    try:
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, COLUMNS)
            writer.writeheader()
            yield lambda one: writer.writerow(_row(one))
    except OSError as error:
        problem = f"--csv: {path} cannot be written: {error.strerror}"
        raise BadArgument(problem) from None


def show(found: Found, sample: int) -> None:
    """Print the counts, and the first ``sample`` differences."""
    counts = Table("kind", *(verdict.lower() for verdict in Verdict), box=None, pad_edge=False)
    for kind in CommandKind:
        counts.add_row(_WORDS[kind], *(f"{found.counts[kind, verdict]:,}" for verdict in Verdict))
    print_table(counts)
    if not found.differences:
        typer.echo("nothing differs")
        return
    shown = found.kept[:sample]
    rows = Table(*(name.replace("_", " ") for name in COLUMNS), box=None, pad_edge=False)
    for one in shown:
        rows.add_row(*(str(value or "") for value in _row(one).values()))
    print_table(rows)
    if found.differences > len(shown):
        typer.echo(f"and {found.differences - len(shown):,} more: --csv FILE has all")


def as_object(found: Found, sample: int) -> dict[str, Any]:
    """Return the counts and the first ``sample`` differences, as JSON values."""
    counts: dict[str, dict[str, int]] = {
        _WORDS[kind]: {verdict.lower(): found.counts[kind, verdict] for verdict in Verdict}
        for kind in CommandKind
    }
    rows = [_row(one) for one in found.kept[:sample]]
    return {"counts": counts, "differences": found.differences, "sample": rows}


def as_json(found: Found, sample: int, replay_id: str | None = None) -> str:
    """Return the same as text, with the id of the replay that applies them."""
    return msgspec.json.encode({**as_object(found, sample), "replay_id": replay_id}).decode()


def _row(one: Compared) -> dict[str, Any]:
    values = (
        _WORDS[one.kind],
        one.tenant,
        one.person_id,
        one.course_id,
        one.verdict.lower(),
        ",".join(one.fields),
        "event" if one.is_told_otherwise else "reassert",
    )
    return dict(zip(COLUMNS, values, strict=True))
