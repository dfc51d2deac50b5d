"""Rows per second and memory of `hub import`, on embedded PostgreSQL with fsync on, in a process of its own.

Run by itself: `python -m tests.bench.csv_import`. BENCH_ROWS sets the number of people (100,000); each has
two enrolments.
"""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

import psutil
import psycopg
from rich.console import Console

from infra.cli.import_command import import_files
from infra.simulators.sis import SisPlan, seeded, write_csv
from schemas.ids import TenantId
from tests.bench.rows import Row
from tests.services import embedded_services

CLASSES: Final = 500
_USERS: Final = [
    "sourcedId",
    "status",
    "dateLastModified",
    "enabledUser",
    "username",
    "givenName",
    "familyName",
    "identifier",
    "email",
]
_ROLES: Final = [
    "sourcedId",
    "status",
    "dateLastModified",
    "userSourcedId",
    "roleType",
    "role",
    "orgSourcedId",
]
_ENROLLMENTS: Final = [
    "sourcedId",
    "status",
    "dateLastModified",
    "classSourcedId",
    "schoolSourcedId",
    "userSourcedId",
    "role",
    "metadata.sourceStatus",
]


def main() -> list[Row]:
    """Measure and return the figures."""
    people = int(os.environ.get("BENCH_ROWS", "100000"))
    with embedded_services() as services, tempfile.TemporaryDirectory() as name:
        database, folder = services.address("postgres"), Path(name)
        with psycopg.connect(database) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
        export(folder, people)
        first, again = (_imported(folder, database) for _ in range(2))
    rows = int(first["rows"])
    title = f"csv import: {rows:,} rows"
    return [
        Row(f"{title}, new", rows / first["seconds"], "rows/s", ">= 15000"),
        Row(f"{title}, unchanged", rows / again["seconds"], "rows/s", ">= 15000"),
        Row(f"{title}, peak memory of all its processes", first["peak_mb"], "MB", "<= 300"),
    ]


def export(folder: Path, people: int) -> None:
    """Write the export of a SIS with so many students, each with two enrolments."""
    write_csv(seeded(SisPlan(students=1, teachers=1, classes=CLASSES, load=0)), folder)
    numbers = range(people)
    _write(folder / "users.csv", _USERS, (_user(number) for number in numbers))
    roles = ([f"r{number}", "", "", f"u{number}", "primary", "student", "org-1"] for number in numbers)
    _write(folder / "roles.csv", _ROLES, roles)
    _write(folder / "enrollments.csv", _ENROLLMENTS, _enrolments(people))


def _user(number: int) -> list[str]:
    address = f"s{number:07}@uni.example"
    return [f"u{number}", "", "", "true", address, "SOPHEA", f"KEO{number}", f"{number:07}", address]


def _enrolments(people: int) -> Iterator[list[str]]:
    for number in range(people):
        for turn in (0, 1):
            course = f"class-{(number + turn * 7) % CLASSES + 1}"
            yield [f"e{number}-{turn}", "", "", course, "org-1", f"u{number}", "student", "ENROLLED"]


def _write(path: Path, header: list[str], lines: Iterable[list[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(lines)


def _imported(folder: Path, database: str) -> dict[str, float]:
    command = [sys.executable, "-m", "tests.bench.csv_import", str(folder), database]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _worker(folder: Path, database: str) -> None:
    """Import, and print what it took."""
    files = ("orgs", "academicSessions", "courses", "classes", "users", "enrollments")
    rows = sum(sum(1 for _ in (folder / f"{name}.csv").open()) - 1 for name in files)
    stop, peak = threading.Event(), [0.0]
    sampler = threading.Thread(target=_sample, args=(stop, peak))
    sampler.start()
    started = time.perf_counter()
    status = import_files(
        [folder],
        database_url=database,
        tenant=TenantId("bench"),
        timezone="UTC",
        identity=None,
        mapping=None,
        dry_run=False,
        remove_absent=False,
        report=folder / "rejected",
        console=Console(stderr=True),
    )
    seconds = time.perf_counter() - started
    assert status == 0, (folder / "rejected").read_text()[:2_000]
    stop.set()
    sampler.join()
    print(json.dumps({"rows": rows, "seconds": seconds, "peak_mb": peak[0]}))


def _sample(stop: threading.Event, peak: list[float]) -> None:
    """Keep the most memory that this process and its children held together, in MB."""
    own = psutil.Process()
    while not stop.wait(0.2):
        total = 0
        for process in [own, *own.children()]:
            with suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        peak[0] = max(peak[0], total / 1_048_576)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        _worker(Path(sys.argv[1]), sys.argv[2])
    else:
        for row in main():
            print(f"{row.name:60} {row.value:10,.0f} {row.unit} {row.target}")
