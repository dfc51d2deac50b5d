"""Run the simulated Moodle as a process: `python -m infra.simulators.moodle --port 8900`."""

import argparse
import asyncio
import signal
from pathlib import Path

import structlog

from infra.simulators.moodle.app import serve
from infra.simulators.moodle.journal import Journal
from infra.simulators.moodle.state import MoodleState, Settings

log = structlog.get_logger()


def _arguments() -> argparse.Namespace:
    defaults = Settings()
    parser = argparse.ArgumentParser(prog="python -m infra.simulators.moodle", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    parser.add_argument("--port", type=int, default=8900, help="0 for a free port")
    parser.add_argument(
        "--data-file", type=Path, help="keep the site in this file; without it, in memory only"
    )
    parser.add_argument("--token", default=defaults.token, help="the web service token that is accepted")
    parser.add_argument("--timezone", default=defaults.timezone, help="zone of the dates in reports")
    parser.add_argument("--max-input-vars", type=int, default=defaults.max_input_vars)
    parser.add_argument(
        "--profile-fields", nargs="*", default=[], help="short names of custom profile fields"
    )
    parser.add_argument(
        "--further-auth", nargs="*", default=[], help="authentication plugins beside stock ones"
    )
    parser.add_argument("--latency", choices=("none", "recorded"), default="none")
    return parser.parse_args()


async def _run(arguments: argparse.Namespace) -> None:
    state = MoodleState(
        Settings(
            token=arguments.token,
            timezone=arguments.timezone,
            max_input_vars=arguments.max_input_vars,
            latency=arguments.latency,
            further_auth=tuple(arguments.further_auth),
            profile_fields=tuple(arguments.profile_fields),
        )
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    journal = Journal(arguments.data_file, state) if arguments.data_file else None
    try:
        async with serve(state, arguments.port, arguments.host) as url:
            log.info("moodle_simulator_ready", url=url, users=len(state.users), courses=len(state.courses))
            await stop.wait()
    finally:
        if journal is not None:
            journal.close()
    log.info("moodle_simulator_stopped", users=len(state.users), enrolments=len(state.enrolments))


if __name__ == "__main__":
    asyncio.run(_run(_arguments()))
