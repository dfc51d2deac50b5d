"""Run the ELM stand-in as a process: `python -m infra.simulators.elm --token T --port N`."""

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from infra.simulators.elm.app import serve
from infra.simulators.elm.journal import Journal
from infra.simulators.elm.state import ElmState, Settings
from infra.simulators.seed import DEFAULT_START, SeedPlan, records


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; the first line on standard output gives the addresses as JSON."""
    options = _parser().parse_args(arguments)
    asyncio.run(_run(_state(options), options.host, options.port))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.simulators.elm", description="A stand-in for ELM.")
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    parser.add_argument("--port", type=int, default=0, help="port, 0 for a free one")
    parser.add_argument("--token", required=True, help="what x-cdata-authtoken must be")
    parser.add_argument("--completion-token", help="the same for completions (default: --token)")
    parser.add_argument("--feed", choices=("1.4", "1.5"), default="1.5", help="release of the feed")
    parser.add_argument("--zone", default="America/Vancouver", help="the server's time zone")
    parser.add_argument("--page-cap", type=int, help="most records of one answer")
    parser.add_argument("--next-link", action="store_true", help="tell of a cut page by @odata.nextLink")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated records")
    parser.add_argument("--records", type=int, default=0, help="number of generated records")
    parser.add_argument("--courses", type=int, default=20, help="number of courses of these records")
    parser.add_argument(
        "--start",
        type=datetime.fromisoformat,
        default=DEFAULT_START,
        help="time of the first record, with zone",
    )
    parser.add_argument("--data-file", type=Path, help="keeps added records and completions over restarts")
    return parser


def _state(options: argparse.Namespace) -> ElmState:
    plan = SeedPlan(
        seed=options.seed,
        records=options.records,
        courses=options.courses,
        start=options.start,
    )
    settings = Settings(
        feed=options.feed, zone=options.zone, page_cap=options.page_cap, next_link=options.next_link
    )
    return ElmState(
        options.token,
        completion_token=options.completion_token,
        settings=settings,
        seed=records(plan),
        journal=Journal(options.data_file) if options.data_file else None,
    )


async def _run(state: ElmState, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(state, port, host) as server:
        urls = {"feed": server.feed_url, "completion": server.completion_url, "control": server.control_url}
        print(json.dumps(urls | {"records": len(state.feed)}), flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
