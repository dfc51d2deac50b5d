from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from infra.embedded import process, services
from infra.embedded.errors import EmbeddedError
from infra.embedded.process import Place, State

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
DEAF = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
    "print('deaf', flush=True); time.sleep(60)",
]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place("kafka", tmp_path)
    place.prepare()
    yield place
    process.kill(place)


@pytest.fixture
def stranger() -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(SLEEP) as running:
        yield running
        running.kill()


def recycled(place: Place, pid: int) -> None:
    started = psutil.Process(pid).create_time()
    place.pid_file.write_text(json.dumps({"pid": pid, "started": started - 3600}))


def test_a_spawned_process_is_found_and_stopped(place: Place) -> None:
    process.spawn(place, SLEEP, os.environ)
    found = process.find(place)
    assert found is not None
    assert process.state(place) is State.RUNNING
    assert os.getsid(found.pid) == found.pid, "it must not end with our terminal"
    process.stop(place, signal.SIGTERM, 10)
    assert not psutil.pid_exists(found.pid)
    assert process.state(place) is State.STOPPED


def test_output_goes_to_the_log(place: Place) -> None:
    process.spawn(place, [sys.executable, "-c", "print('a last word')"], os.environ)
    with pytest.raises(
        EmbeddedError, match=r"kafka ended while it was starting; read .*kafka\.log.*a last word"
    ):
        process.wait_until(place, lambda: False, time.monotonic() + 30)


def test_what_is_not_ready_in_time_names_its_log(place: Place) -> None:
    process.spawn(place, SLEEP, os.environ)
    with pytest.raises(EmbeddedError, match=r"kafka was not ready in time; read .*kafka\.log"):
        process.wait_until(place, lambda: False, time.monotonic())


def test_a_process_that_does_not_listen_is_killed(place: Place) -> None:
    process.spawn(place, DEAF, os.environ)
    process.wait_until(place, lambda: "deaf" in place.log.read_text(), time.monotonic() + 30)
    process.stop(place, signal.SIGTERM, 0.2)
    assert process.state(place) is State.STOPPED


def test_a_killed_process_is_stale_until_the_next_start(place: Place) -> None:
    process.spawn(place, SLEEP, os.environ)
    process.kill(place)
    assert process.state(place) is State.STALE
    place.prepare()
    assert process.state(place) is State.STOPPED


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"pid": "x", "started": 1}', '{"pid": 1}', "null"])
def test_a_broken_pid_file_is_stale(place: Place, content: str) -> None:
    place.pid_file.write_text(content)
    assert process.state(place) is State.STALE


def test_a_recycled_pid_is_stale_and_never_killed(place: Place, stranger: subprocess.Popen[bytes]) -> None:
    recycled(place, stranger.pid)
    assert process.state(place) is State.STALE
    process.kill(place)
    services.down(place.data)
    assert stranger.poll() is None
    assert process.state(place) is State.STOPPED


def test_a_large_log_is_set_aside(place: Place) -> None:
    place.log.write_bytes(b"x" * 10_000_001)
    place.prepare()
    assert not place.log.exists()
    assert place.log.with_suffix(".log.1").stat().st_size == 10_000_001
