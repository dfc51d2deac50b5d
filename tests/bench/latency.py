"""From a push over HTTP to the account in Moodle, while the hub has nothing else to do.

Run by itself: `python -m tests.bench.latency`. BENCH_PUSHES sets the number of people pushed singly (100).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp

from infra.embedded import services
from infra.embedded.ports import free_port
from infra.simulators.moodle import MoodleState
from infra.simulators.moodle import Settings as MoodleSettings
from infra.simulators.moodle import serve as serve_moodle
from tests.bench.rows import Row
from tests.faults.test_two_sites import HUB, key_for
from tests.services import guarded, temporary_folder

ROLES = ("api", "relay", "clock", "people", "references", "courses", "moodle-sink")
WARM_UP = 10
PATIENCE = 60.0
PAUSES = (0.2, 0.8)
"""Seconds between the end of one push and the next, drawn at random, so that no rhythm hides a wait."""


def main() -> list[Row]:
    """Measure and return the figures."""
    pushes = int(os.environ.get("BENCH_PUSHES", "100"))
    with temporary_folder() as data, guarded(data, services.down):
        times = asyncio.run(_measure(data, pushes))
    name = "accepted over HTTP to applied in Moodle, hub idle"
    return [
        Row(f"latency: {name}, p50", times[len(times) // 2], "s"),
        Row(f"latency: {name}, p95", times[len(times) * 95 // 100], "s", "<= 1.5"),
    ]


async def _measure(data: Path, pushes: int) -> list[float]:
    """Return the seconds from answer to account, in order of length."""
    await asyncio.to_thread(services.up, data, deadline_seconds=120)
    moodle, port = MoodleState(MoodleSettings(latency_scale=1.0)), free_port()
    async with serve_moodle(moodle, 0) as url:
        env = {
            **os.environ,
            "DATA_DIR": str(data),
            "MOODLE_URL": url,
            "MOODLE_API_TOKEN": moodle.settings.token,
            "ELM_API_URL": "http://127.0.0.1:9/",
            "ELM_COMPLETION_API_URL": "http://127.0.0.1:9/",
            "API_PORT": str(port),
            "LOG_LEVEL": "WARNING",
        }
        headers = {"X-API-Key": await key_for("default", env)}
        async with _hub(env), aiohttp.ClientSession(headers=headers) as session:
            address = f"http://127.0.0.1:{port}/v1/events/sis/people"
            found = [await _push(session, address, moodle, number) for number in range(WARM_UP + pushes)]
    return sorted(found[WARM_UP:])


@asynccontextmanager
async def _hub(env: dict[str, str]) -> AsyncIterator[None]:
    process = await asyncio.create_subprocess_exec(*HUB, "run", *ROLES, env=env)
    try:
        yield
    finally:
        process.terminate()
        await process.wait()


async def _push(session: aiohttp.ClientSession, url: str, moodle: MoodleState, number: int) -> float:
    record = {
        "id": number,
        "unique_id": f"u{number}",
        "student_id": number,
        "school_email": f"s{number}@x.test",
    }
    body = [record | {"family_name": "SOK", "personal_name": "DARA"}]
    deadline = time.monotonic() + PATIENCE
    while True:
        try:
            async with session.post(url, json=body) as answer:
                assert answer.status == 200
                break
        except aiohttp.ClientConnectionError:
            assert time.monotonic() < deadline, "the hub does not listen"
            await asyncio.sleep(0.2)
    accepted = time.monotonic()
    while not any(user.idnumber == f"u{number}" for user in moodle.users):
        assert time.monotonic() < accepted + PATIENCE, "the account does not appear"
        await asyncio.sleep(0.005)
    seconds = time.monotonic() - accepted
    await asyncio.sleep(random.uniform(*PAUSES))
    return seconds


if __name__ == "__main__":
    for row in main():
        print(f"{row.name}: {row.value:.3f} {row.unit} {row.target}")
