"""The whole hub on a big feed: how fast it comes through, and that a repeat of the feed costs Moodle nothing.

Run by itself: `python -m tests.bench.whole`. BENCH_FEED sets the number of feed records (100,000).
"""

import asyncio
import json
import os
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psycopg

from infra.embedded import services
from infra.simulators.elm import ElmState
from infra.simulators.elm import serve as serve_elm
from infra.simulators.moodle import MoodleState, Seed, SeedCourse, seed
from infra.simulators.moodle import Settings as MoodleSettings
from infra.simulators.moodle import serve as serve_moodle
from infra.simulators.seed import SeedPlan, courses, records
from infra.simulators.seed_oracle import expected
from tests.bench.rows import Row
from tests.services import guarded, temporary_folder

OBSERVING = {
    "core_course_get_courses",
    "core_reportbuilder_list_reports",
    "core_reportbuilder_retrieve_report",
}
"""What the Moodle source reads at its intervals, whether anything changed or not."""


def main() -> list[Row]:
    """Measure and return the figures."""
    count = int(os.environ.get("BENCH_FEED", "100000"))
    with temporary_folder() as data, guarded(data, services.down):
        return asyncio.run(_measure(data, count))


async def _measure(data: Path, count: int) -> list[Row]:
    running = await asyncio.to_thread(services.up, data, deadline_seconds=120)
    plan = SeedPlan(records=count, courses=max(20, count // 500))
    moodle = MoodleState(MoodleSettings(max_input_vars=5000))
    seed(moodle, Seed(courses=[_course(course) for course in courses(plan.seed, plan.courses)]))
    async with serve_moodle(moodle, 0) as moodle_url, serve_elm(ElmState("t", seed=records(plan)), 0) as elm:
        env = {
            "DATA_DIR": str(data),
            "MOODLE_URL": moodle_url,
            "MOODLE_API_TOKEN": moodle.settings.token,
            "MOODLE_MAX_INPUT_VARS": "5000",
            "ELM_API_URL": elm.feed_url,
            "ELM_API_TOKEN": "t",
            "ELM_COMPLETION_API_URL": elm.completion_url,
        }
        first, seconds = await _run(env)
        wanted = expected(records(plan))
        active = sum(row.status == 0 for row in moodle.enrolments)
        assert active == len(wanted.active), (active, len(wanted.active))
        with psycopg.connect(running.database_url) as connection:
            connection.execute("DELETE FROM source_cursors")
        moodle.calls.reset()
        second, again = await _run(env)
    calls = Counter({name: counter.calls for name, counter in moodle.calls.counters.items()})
    assert second["records_seen"] >= count
    written = sum(number for name, number in calls.items() if name not in OBSERVING)
    return [
        Row("whole way: new feed, from start to idle", first["records_seen"] / seconds, "records/s"),
        Row("whole way: enrolments active at the end", active, "enrolments"),
        Row("whole way: repeat of the feed, from start to idle", second["records_seen"] / again, "records/s"),
        Row("whole way: Moodle calls that the repeat caused", written, "calls", "<= 0"),
    ]


async def _run(env: dict[str, str]) -> tuple[dict[str, Any], float]:
    started = time.monotonic()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "infra.cli.main", "run", "--until-idle", "--json", "--timeout", "1800"),
        env={**os.environ, **env, "LOG_LEVEL": "WARNING"},
        stdout=asyncio.subprocess.PIPE,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0
    return json.loads(output), time.monotonic() - started


def _course(course: Any) -> SeedCourse:
    return SeedCourse(shortname=course.shortname, fullname=course.long_name, idnumber=str(course.identifier))


if __name__ == "__main__":
    for row in main():
        print(f"{row.name:55} {row.value:12,.2f} {row.unit} {row.target}")
