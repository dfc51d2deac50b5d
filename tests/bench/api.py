"""Records per second through the HTTP application, on embedded PostgreSQL with fsync on.

Real processes: one API process, then two behind one port; four clients, each a process with one connection,
that send their next request when the last is answered. Run by itself: `python -m tests.bench.api`.
BENCH_API_RECORDS sets the number of records of a measurement (12,000; five times that in requests of 100).
It ends after `MEASURED_SECONDS` in any case, for a machine may be busy with other things.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Final

import psutil
import psycopg

from infra.db.connect import engine
from infra.db.migrate import migrate
from infra.embedded.ports import free_port
from producers.web.keys import create
from producers.web.routes import Scope
from schemas.ids import TenantId
from tests.bench.api_client import CLASSES, STUDENTS, Job, Seen
from tests.bench.rows import Row
from tests.services import embedded_services

CLIENTS: Final = 4
START_SECONDS: Final = 30.0
MEASURED_SECONDS: Final = 12.0


@dataclass(frozen=True, slots=True)
class Case:
    """One measurement: what is sent, and how fast it has to go with 1 and with 100 records a request."""

    name: str
    path: str
    record: str
    targets: tuple[str, str] = ("", "")


_STUDENT = Case(
    "students",
    "/v1/sync/students",
    '{"id":"s{n}","Name":"Student {n}","Academic_Email":"s{n}@school.example","Phone_Number":"+1 555 {n}",'
    '"Status":"Active"}',
    (">= 1200", ">= 6000"),
)
_CLASS = Case(
    "classes",
    "/v1/sync/classes",
    '{"id":"c{n}","BTEC_Class_Name":"Class {n}","Short_Name":"C{n}","Class_Status":"Active",'
    '"Start_Date":"2026-01-05","End_Date":"2026-06-30"}',
)
_ENROLMENT = Case(
    "enrolments",
    "/v1/sync/enrollments",
    '{"id":"e{n}","Student":{"id":"s{s}","name":"Student {s}"},"BTEC_Class":{"id":"c{c}"},'
    '"Start_Date":"2026-01-05","Status":"Active"}',
    (">= 900", ">= 5000"),
)


def main() -> list[Row]:
    """Measure and return the figures."""
    count = int(os.environ.get("BENCH_API_RECORDS", "12000"))
    with embedded_services() as services:
        database = services.address("postgres")
        with psycopg.connect(database) as connection:
            assert connection.execute("SHOW fsync").fetchone() == ("on",)
        migrate(database)
        rows: list[Row] = []
        for processes in (1, 2):
            with _api(database, processes, _server_of(database)) as bench:
                tenant = f"bench-{processes}"
                bench.key = _key(database, TenantId(tenant))
                rows += bench.measured(_STUDENT, count)
                bench.prepare()
                rows += bench.measured(_ENROLMENT, count)
                if processes == 1:
                    rows += bench.health()
        return rows


def _key(database: str, tenant: TenantId) -> str:
    pool = engine(database, pool_size=1)
    try:
        plain, _ = create(pool, "bench", [tenant], [Scope.SYNC])
    finally:
        pool.dispose()
    return plain


@dataclass(slots=True)
class _Bench:
    """API processes behind one port, and what was sent to them."""

    port: int
    servers: Sequence[psutil.Process]
    postgres: psutil.Process
    key: str = ""
    _sent: int = 0

    def measured(self, case: Case, count: int) -> Iterator[Row]:
        """Send new records, 1 and 100 per request."""
        for size, target in zip((1, 100), case.targets, strict=True):
            total = count * (1 if size == 1 else 5)
            what = f"API: new {case.name}, {size} per request, {len(self.servers)} process(es)"
            yield Row(what, self._rate(case, what, total, size), "records/s", target)

    def prepare(self) -> None:
        """Send the students and classes that enrolments are of."""
        for case, count in ((_STUDENT, STUDENTS), (_CLASS, CLASSES)):
            _run([Job(self.port, self.key, case.path, case.record, 0, count, 500)])

    def health(self) -> Iterator[Row]:
        """Ask for liveness again and again while a batch of 10,000 students is taken in."""
        job = Job(self.port, self.key, _STUDENT.path, _STUDENT.record, 90_000_000, 10_000, 10_000)
        with ThreadPoolExecutor(1) as threads:
            batch = threads.submit(_run, [job])
            waits = []
            while not batch.done():
                begun = time.perf_counter()
                _health(self.port)
                waits.append(time.perf_counter() - begun)
                time.sleep(0.002)
            (seen,) = batch.result()
        assert seen.statuses == {"NEW": 10_000}
        tell = f"batch of 10,000 in {seen.seconds[0]:.2f} s, {len(waits)} looks at /v1/health"
        print(tell, file=sys.stderr)
        what = "API: /v1/health beside a batch of 10,000"
        yield Row(f"{what}, p95", statistics.quantiles(waits, n=20)[18] * 1000, "ms", "")
        yield Row(f"{what}, slowest", max(waits) * 1000, "ms", "<= 100")

    def _rate(self, case: Case, what: str, total: int, size: int) -> float:
        # Odd numbers of clients' records would leave some out; students of `prepare` come first.
        each, first = total // CLIENTS, STUDENTS + self._sent
        self._sent += total
        jobs = [
            Job(
                self.port,
                self.key,
                case.path,
                case.record,
                first + number * each,
                each,
                size,
                MEASURED_SECONDS,
            )
            for number in range(CLIENTS)
        ]
        before = _busy(self.servers), _busy_with_children(self.postgres)
        seen = _run(jobs)
        seconds = max(one.ended for one in seen) - min(one.started for one in seen)
        after = _busy(self.servers), _busy_with_children(self.postgres)
        api, postgres = ((late - early) / seconds for early, late in zip(before, after, strict=True))
        clients = sum(one.busy for one in seen) / seconds
        assert all(one.statuses.keys() == {"NEW"} for one in seen), [one.statuses for one in seen]
        total = sum(one.statuses["NEW"] for one in seen)
        slow = statistics.quantiles([second for one in seen for second in one.seconds], n=100)
        print(
            f"{what}: {total / seconds:,.0f}/s; a request {slow[49] * 1000:.1f} ms (median),"
            f" {slow[98] * 1000:.1f} ms (99%); processors busy, of {psutil.cpu_count()}:"
            f" API {api:.2f}, PostgreSQL {postgres:.2f}, clients {clients:.2f};"
            f" {total / seconds / api:,.0f} records per processor second of the API",
            file=sys.stderr,
        )
        return total / seconds


def _busy(processes: Iterable[psutil.Process]) -> float:
    """Return the seconds of a processor that ``processes`` have taken."""
    return float(sum(sum(process.cpu_times()[:2]) for process in processes))


def _busy_with_children(server: psutil.Process) -> float:
    """Return the same of a process and all its children, those that have ended included."""
    return _busy(server.children()) + float(sum(server.cpu_times()[:4]))


def _server_of(database: str) -> psutil.Process:
    """Return the process of PostgreSQL whose children serve the connections."""
    with psycopg.connect(database) as connection:
        return psutil.Process(psutil.Process(connection.info.backend_pid).ppid())


@contextmanager
def _api(database: str, processes: int, postgres: psutil.Process) -> Iterator[_Bench]:
    """Run so many API processes behind one port."""
    port = free_port()
    command = [sys.executable, "-m", "tests.bench.api_server", database, str(port)]
    with ExitStack() as stack:
        started = []
        for _ in range(processes):
            process = stack.enter_context(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            stack.callback(process.terminate)
            started.append(psutil.Process(process.pid))
        _until_listening(started, port)
        yield _Bench(port, started, postgres)


def _until_listening(processes: list[psutil.Process], port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    for process in processes:
        while not any(
            found.status == psutil.CONN_LISTEN and found.laddr.port == port
            for found in process.net_connections("tcp")
        ):
            assert time.monotonic() < deadline, "the API does not listen"
            time.sleep(0.05)
    _health(port)


def _health(port: int) -> None:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/v1/health", timeout=5) as answer:
        assert answer.status == 200


def _run(jobs: list[Job]) -> list[Seen]:
    """Let the clients send at the same time."""
    command = [sys.executable, "-m", "tests.bench.api_client"]
    with ExitStack() as stack:
        clients = [
            stack.enter_context(
                subprocess.Popen(
                    [*command, job.text()], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
                )
            )
            for job in jobs
        ]
        for client in clients:
            assert client.stdout is not None
            assert client.stdout.readline() == "ready\n"
        for client in clients:
            assert client.stdin is not None
            client.stdin.write("go\n")
            client.stdin.flush()
        answers = [client.communicate(timeout=300)[0] for client in clients]
    return [Seen(**json.loads(answer)) for answer in answers]


if __name__ == "__main__":
    for row in main():
        print(f"{row.name:70} {row.value:10,.0f} {row.unit} {row.target}")
