"""Many writers at the same moment: eight connections to two processes of the role `api` behind one port."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any, Final, NamedTuple

import psutil
import psycopg
import pytest

from tests.databases import new_database
from tests.integration.intake_support import rows
from tests.integration.web_role import Served, served

pytestmark = pytest.mark.integration
WRITERS: Final = 8
ROUNDS: Final = 200
SECONDS: Final = 60
STUDENTS: Final = "/v1/sync/students"


class Told(NamedTuple):
    """An answer: status, whether it is that of an earlier request, and its body."""

    status: int
    replayed: bool
    body: bytes

    def statuses(self) -> list[str]:
        """Give the status of each record."""
        return [result["status"] for result in json.loads(self.body)["results"]]


class Writers:
    """Connections whose requests are let go at the same moment."""

    def __init__(self, api: Served) -> None:
        self._headers = {"X-API-Key": api.key, "Content-Type": "application/json"}
        self._connections: list[HTTPConnection] = []
        while len(self._connections) < WRITERS or not self._on_all(api):
            if len(self._connections) == WRITERS:
                self._connections.pop(0).close()
            self._connections.append(HTTPConnection(api.url.removeprefix("http://"), timeout=SECONDS))
            self._connections[-1].connect()
            self._send(self._connections[-1], STUDENTS, b"[]", {})
        self._gate = threading.Barrier(WRITERS)
        self._threads = ThreadPoolExecutor(WRITERS)

    def at_once(self, path: str, bodies: Sequence[Any], idempotency: str | None = None) -> list[Told]:
        """Let each writer send its own of ``bodies``, all with one idempotency key if there is one."""
        return self.each_at_once([(path, body) for body in bodies], idempotency)

    def each_at_once(self, requests: Sequence[tuple[str, Any]], idempotency: str | None = None) -> list[Told]:
        """Let each writer send its own of ``requests``: path and body."""
        headers = {} if idempotency is None else {"Idempotency-Key": idempotency}

        def send(connection: HTTPConnection, request: tuple[str, Any]) -> Told:
            path, body = request[0], json.dumps(request[1]).encode()
            self._gate.wait(SECONDS)
            return self._send(connection, path, body, headers)

        return list(self._threads.map(send, self._connections, requests))

    def close(self) -> None:
        """End threads and connections."""
        self._threads.shutdown()
        for connection in self._connections:
            connection.close()

    def _send(self, connection: HTTPConnection, path: str, body: bytes, headers: Mapping[str, str]) -> Told:
        connection.request("POST", path, body, {**self._headers, **headers})
        answer = connection.getresponse()
        return Told(answer.status, answer.headers.get("Idempotency-Replayed") == "true", answer.read())

    def _on_all(self, api: Served) -> bool:
        """Tell whether every process has some of the connections."""
        ports = {connection.sock.getsockname()[1] for connection in self._connections}
        return all(ports & _peers(process.pid) for process in api.processes)


def _peers(pid: int) -> set[int]:
    found = psutil.Process(pid).net_connections("tcp")
    return {each.raddr.port for each in found if each.raddr and each.status == psutil.CONN_ESTABLISHED}


@pytest.fixture(scope="module")
def shared(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Writers, str]]:
    folder = tmp_path_factory.mktemp("api")
    with new_database(database_url) as database:
        with served(database, folder, processes=2) as api:
            writers = Writers(api)
            yield writers, database
            writers.close()
        assert api.faults() == []


@pytest.fixture
def writers(shared: tuple[Writers, str]) -> Writers:
    return shared[0]


@pytest.fixture
def database(shared: tuple[Writers, str]) -> str:
    """Give the database of the writers, empty again."""
    with psycopg.connect(shared[1]) as connection:
        connection.execute("TRUNCATE outbox, source_records, parked_records, idempotency")
    return shared[1]


def _one(told: Sequence[Told]) -> Counter[str]:
    """Count the statuses of answers to one record each."""
    assert {each.status for each in told} == {200}
    assert all(len(each.statuses()) == 1 for each in told)
    return Counter(each.statuses()[0] for each in told)


def _events(database: str) -> dict[str, int]:
    """Count the events in the outbox by key."""
    return dict(rows(database, "SELECT key, count(*) FROM outbox GROUP BY key"))


@pytest.mark.parametrize(
    ("path", "record"),
    [
        ("/v1/sync/students", {"Name": "Ada Example", "Academic_Email": "ada@learn.example"}),
        ("/v1/events/sis/people", {"family_name": "KEO", "personal_name": "SOPHEA"}),
    ],
)
def test_of_many_first_inserts_of_one_id_one_is_new(
    writers: Writers, database: str, path: str, record: dict[str, Any]
) -> None:
    ids = [f"r{number}" for number in range(ROUNDS)]
    for each in ids:
        told = writers.at_once(path, [{"id": each, **record}] * WRITERS)
        assert _one(told) == {"NEW": 1, "UNCHANGED": WRITERS - 1}, each
    assert _events(database) == {f"default|{each}": 1 for each in ids}
    assert rows(database, "SELECT count(*) FROM source_records WHERE revision = 1") == [(ROUNDS,)]


def test_of_many_different_first_inserts_one_is_new_and_the_last_stays(
    writers: Writers, database: str
) -> None:
    when = "2026-01-01T00:00:00Z"
    ids = [f"r{number}" for number in range(40)]
    for each in ids:
        sent = [{"id": each, "Name": f"A{writer}", "Modified_Time": when} for writer in range(WRITERS)]
        assert _one(writers.at_once(STUDENTS, sent)) == {"NEW": 1, "UPDATED": WRITERS - 1}
    assert _events(database) == {f"default|{each}": WRITERS for each in ids}
    kept = "SELECT record_id, content::jsonb ->> 'display_name' FROM source_records"
    told_last = (
        "SELECT DISTINCT ON (key) split_part(key, '|', 2), record::jsonb #>> '{attributes,display_name}'"
        " FROM outbox ORDER BY key, seq DESC"
    )
    assert dict(rows(database, kept)) == dict(rows(database, told_last))


def test_a_record_and_those_that_wait_for_it_may_come_at_once(writers: Writers, database: str) -> None:
    for number in range(25):
        person = {"id": f"s{number}", "family_name": "KEO", "personal_name": "SOPHEA"}
        course = {"id": f"c{number}", "title": "Cost Accounting"}
        enrolment = {"person": f"s{number}", "course": f"c{number}", "status": "ENROLLED"}
        sent = [("people", person), ("courses", course), *[("enrolments", enrolment)] * (WRITERS - 2)]
        told = writers.each_at_once([(f"/v1/events/sis/{kind}", record) for kind, record in sent])
        statuses = [each.statuses() for each in told]
        assert statuses[:2] == [["NEW"], ["NEW"]]
        assert {status for (status,) in statuses[2:]} <= {"NEW", "UNCHANGED", "SKIPPED"}
    enrolments = "SELECT count(*), count(DISTINCT key) FROM outbox WHERE topic = 'hub.enrolments'"
    assert rows(database, enrolments) == [(25, 25)]
    assert rows(database, "SELECT count(*) FROM parked_records") == [(0,)]


def test_of_requests_with_one_idempotency_key_one_is_carried_out(writers: Writers, database: str) -> None:
    ids = [f"r{number}" for number in range(40)]
    for each in ids:
        told = writers.at_once(STUDENTS, [{"id": each, "Name": "A"}] * WRITERS, f"k-{each}")
        assert _one(told) == {"NEW": WRITERS}
        assert sorted(answer.replayed for answer in told) == [False] + [True] * (WRITERS - 1)
        assert len({answer.body for answer in told}) == 1
    assert _events(database) == {f"default|{each}": 1 for each in ids}


def test_of_large_requests_with_one_idempotency_key_one_is_carried_out(
    writers: Writers, database: str
) -> None:
    size = 2_500  # of several transactions
    for number in range(3):
        batch = [{"id": f"r{number}-{place}", "Name": "A"} for place in range(size)]
        told = writers.at_once(STUDENTS, [batch] * WRITERS, f"k{number}")
        assert {each.status for each in told} <= {200, 409}
        done = [each for each in told if each.status == 200]
        assert [each.replayed for each in done].count(False) == 1
        assert done[0].statuses() == ["NEW"] * size
        again = writers.at_once(STUDENTS, [batch] * WRITERS, f"k{number}")
        assert {each.body for each in (*done, *again)} == {done[0].body}
    assert rows(database, "SELECT count(*) FROM outbox") == [(3 * size,)]


def test_of_different_requests_with_one_idempotency_key_one_is_carried_out(
    writers: Writers, database: str
) -> None:
    for number in range(20):
        sent = [{"id": f"r{number}-{writer}", "Name": "A"} for writer in range(WRITERS)]
        told = writers.at_once(STUDENTS, sent, f"k{number}")
        assert sorted(each.status for each in told) == [200] + [409] * (WRITERS - 1)
    assert rows(database, "SELECT count(*) FROM outbox") == [(20,)]
