"""The supervisor with real processes: restart, orderly stop, and no children left after its death."""

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from infra.cli.supervisor import TETHERED, Spec, Supervisor

APPEND = "import sys, os, pathlib; pathlib.Path(sys.argv[1]).open('a').write(str(os.getpid()) + '\\n')"
WAIT = "; import signal; signal.pause()"


def script(path: Path, code: str) -> Spec:
    return Spec(path.stem, [sys.executable, "-c", APPEND + code, str(path)])


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


async def until(condition: object, deadline: float = 20.0) -> None:
    assert callable(condition)
    async with asyncio.timeout(deadline):
        while not condition():
            await asyncio.sleep(0.02)


async def test_a_process_that_ends_is_started_again(tmp_path: Path) -> None:
    stop, path = asyncio.Event(), tmp_path / "crashing"
    supervisor = Supervisor([script(path, "; sys.exit(1)")], stop)
    running = asyncio.create_task(supervisor.run())
    await until(lambda: len(lines(path)) >= 2)
    assert supervisor.children["crashing"].restarts >= 1
    stop.set()
    await asyncio.wait_for(running, 20)


async def test_a_killed_process_is_started_again(tmp_path: Path) -> None:
    stop, path = asyncio.Event(), tmp_path / "killed"
    running = asyncio.create_task(Supervisor([script(path, WAIT)], stop).run())
    await until(lambda: len(lines(path)) == 1)
    os.kill(int(lines(path)[0]), signal.SIGKILL)
    await until(lambda: len(lines(path)) == 2)
    stop.set()
    await asyncio.wait_for(running, 20)


async def test_the_stop_ends_all_processes_and_waits_for_them(tmp_path: Path) -> None:
    stop, paths = asyncio.Event(), [tmp_path / "one", tmp_path / "two"]
    running = asyncio.create_task(Supervisor([script(path, WAIT) for path in paths], stop).run())
    await until(lambda: all(lines(path) for path in paths))
    stop.set()
    await asyncio.wait_for(running, 20)
    assert not any(psutil.pid_exists(int(lines(path)[0])) for path in paths)


def test_children_end_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    (tmp_path / "child_module.py").write_text(
        "import signal, os, pathlib\n"
        f"pathlib.Path({str(tmp_path / 'child')!r}).write_text(str(os.getpid()))\n"
        "signal.pause()\n"
    )
    program = (
        "import asyncio\n"
        "from infra.cli.supervisor import Spec, Supervisor\n"
        f"spec = Spec('child', {[*TETHERED, 'child_module']!r}, {{'PYTHONPATH': {str(tmp_path)!r}}})\n"
        "asyncio.run(Supervisor([spec], asyncio.Event()).run())\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program])
    deadline = time.monotonic() + 20
    while not lines(tmp_path / "child"):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    child = psutil.Process(int(lines(tmp_path / "child")[0]))
    parent.kill()
    parent.wait()
    child.wait(timeout=20)
