"""What a process tells of itself: its status, and the server that shows it beside the metrics.

``/livez`` is 503 when the process hangs, ``/readyz`` when it cannot do its work just now (with the reason),
``/metrics`` is Prometheus text, ``/status`` one JSON object. ``POST /pause`` and ``POST /resume`` hold the
work of the process and let it go on.
"""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from typing import Any

from prometheus_client import generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST


class Status:
    """What one role of this process is doing; written by its worker, read by the status server.

    Attributes:
        role: name of the role, such as that of a stage.
        facts: what ``/status`` shows beside the rest; values are JSON.
        paused: set while an operator holds the work.
    """

    def __init__(self, role: str, live_seconds: float = 60.0) -> None:
        self.role = role
        self.facts: dict[str, Any] = {}
        self.paused = threading.Event()
        self._live_seconds = live_seconds
        self._beat = time.monotonic()
        self._waiting = "starting"
        self._sources: dict[str, Callable[[], Any]] = {}

    def beat(self) -> None:
        """Note that the work goes on."""
        self._beat = time.monotonic()

    def ready(self) -> None:
        """Note that the role does its work."""
        self._waiting = ""

    def not_ready(self, reason: str) -> None:
        """Note why the role cannot do its work just now; no personal data."""
        self._waiting = reason

    def source(self, name: str, read: Callable[[], Any]) -> None:
        """Show what ``read()`` returns (JSON, called by the server's thread) as ``name`` in ``/status``."""
        self._sources[name] = read

    @property
    def is_live(self) -> bool:
        """Whether there was a beat lately."""
        return time.monotonic() - self._beat < self._live_seconds

    @property
    def reason(self) -> str:
        """Why the role is not ready; empty if it is."""
        return self._waiting

    def payload(self) -> dict[str, Any]:
        """Return the whole status as one JSON object."""
        return {
            "role": self.role,
            "live": self.is_live,
            "ready": not self._waiting,
            "reason": self._waiting,
            "paused": self.paused.is_set(),
            **self.facts,
            **{name: read() for name, read in self._sources.items()},
        }


class _Handler(BaseHTTPRequestHandler):
    server: "_Server"

    def do_GET(self) -> None:
        status = self.server.status
        if self.path == "/livez":
            self._text(status.is_live, "the worker hangs")
        elif self.path == "/readyz":
            self._text(not status.reason, status.reason)
        elif self.path == "/metrics":
            self._answer(HTTPStatus.OK, CONTENT_TYPE_LATEST, generate_latest())
        elif self.path == "/status":
            self._answer(HTTPStatus.OK, "application/json", json.dumps(status.payload()).encode())
        else:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")

    def do_POST(self) -> None:
        paused = self.server.status.paused
        actions = {"/pause": paused.set, "/resume": paused.clear}
        if not ip_address(self.client_address[0]).is_loopback:
            self._answer(HTTPStatus.FORBIDDEN, "text/plain", b"only from the machine itself\n")
            return
        if self.path not in actions:
            self._answer(HTTPStatus.NOT_FOUND, "text/plain", b"not found\n")
            return
        actions[self.path]()
        self._answer(HTTPStatus.OK, "text/plain", b"ok\n")

    def _text(self, good: bool, reason: str) -> None:
        code = HTTPStatus.OK if good else HTTPStatus.SERVICE_UNAVAILABLE
        self._answer(code, "text/plain; charset=utf-8", f"{'ok' if good else reason}\n".encode())

    def _answer(self, code: HTTPStatus, kind: str, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_args: object) -> None:
        """Say nothing: a probe every few seconds is no news."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, status: Status, host: str, port: int) -> None:
        super().__init__((host, port), _Handler)
        self.status = status


@contextmanager
def serve_status(status: Status, port: int = 0, host: str = "127.0.0.1") -> Iterator[int]:
    """Serve ``status`` while the block runs, and give the port (a free one for 0).

    Raises:
        OSError: the port is taken, or the address is not one of this machine.
    """
    with _Server(status, host, port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.1,), name="status", daemon=True)
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()
