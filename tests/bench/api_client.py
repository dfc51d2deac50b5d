"""One client for the measurement: `python -m tests.bench.api_client JOB`, JOB in JSON.

It prepares all requests, says `ready`, waits for a line on its standard input, sends, and prints what it saw.
It speaks HTTP by hand: the client shall leave the processors to the server.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Final

_END: Final = b"\r\n\r\n"
STUDENTS: Final = 5_000
CLASSES: Final = 20


@dataclass(frozen=True, slots=True)
class Job:
    """What one client sends.

    Attributes:
        port: of the API on this machine.
        key: API key.
        path: such as ``/v1/sync/students``.
        record: a record with ``{n}`` in it for its number, ``{s}`` for one of `STUDENTS` numbers and ``{c}``
            for one of `CLASSES`.
        first: number of the first record.
        count: how many records.
        size: records of one request.
        seconds: after so many no further request is sent.
    """

    port: int
    key: str
    path: str
    record: str
    first: int
    count: int
    size: int
    seconds: float = 120.0

    def text(self) -> str:
        """Give the job as it is handed over."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Seen:
    """What one client saw.

    Attributes:
        started: when it began, in seconds since 1970.
        ended: when it had the last answer.
        busy: seconds of a processor that sending and receiving took.
        seconds: of each request.
        statuses: records by status.
    """

    started: float
    ended: float
    busy: float
    seconds: list[float]
    statuses: dict[str, int]


def main(text: str) -> None:
    """Send and tell."""
    job = Job(**json.loads(text))
    requests = [_request(job, first) for first in range(job.first, job.first + job.count, job.size)]
    with socket.create_connection(("127.0.0.1", job.port), timeout=60) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(asdict(_send(connection, requests, job.seconds))), flush=True)


def _send(connection: socket.socket, requests: Sequence[bytes], limit: float) -> Seen:
    seconds, answers = [], []
    started, busy = time.time(), time.process_time()
    for request in requests:
        begun = time.perf_counter()
        connection.sendall(request)
        answers.append(_answer(connection))
        seconds.append(time.perf_counter() - begun)
        if time.time() - started > limit:
            break
    ended, busy = time.time(), time.process_time() - busy
    statuses: dict[str, int] = {}
    for answer in answers:
        for result in json.loads(answer)["results"]:
            statuses[result["status"]] = statuses.get(result["status"], 0) + 1
    return Seen(started, ended, busy, seconds, statuses)


def _request(job: Job, first: int) -> bytes:
    last = min(first + job.size, job.first + job.count)
    body = f'{{"data":[{",".join(_record(job.record, number) for number in range(first, last))}]}}'.encode()
    head = (
        f"POST {job.path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {job.key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _record(text: str, number: int) -> str:
    text = text.replace("{n}", f"{number:08d}").replace("{s}", f"{number % STUDENTS:08d}")
    return text.replace("{c}", f"{number % CLASSES:08d}")


def _answer(connection: socket.socket) -> bytes:
    received = bytearray()
    while (end := received.find(_END)) < 0:
        received += _some(connection)
    head = received[:end].decode().lower()
    if not head.startswith("http/1.1 200"):
        raise SystemExit(received.decode())
    length = int(head.split("content-length: ")[1].split("\r\n")[0])
    while len(received) < end + len(_END) + length:
        received += _some(connection)
    return bytes(received[end + len(_END) :])


def _some(connection: socket.socket) -> bytes:
    chunk = connection.recv(1 << 16)
    if not chunk:
        raise SystemExit("the server closed the connection")
    return chunk


if __name__ == "__main__":
    main(sys.argv[1])
