"""Run the SIS stand-in as a process: ``python -m infra.simulators.sis --port N``."""

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence
from pathlib import Path

from infra.simulators.sis.app import serve
from infra.simulators.sis.csv_export import write_csv
from infra.simulators.sis.seeding import SisPlan, seeded
from infra.simulators.sis.state import SisState


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C (first line: addresses as JSON), or write CSV files and end."""
    options = _parser().parse_args(arguments)
    plan = SisPlan(
        seed=options.seed,
        students=options.students,
        teachers=options.teachers,
        terms=options.terms,
        classes=options.classes,
    )
    state = seeded(plan)
    if options.write_csv:
        write_csv(state, options.write_csv)
    else:
        asyncio.run(_run(state, options.host, options.port))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.simulators.sis", description="A stand-in for a SIS."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    parser.add_argument("--port", type=int, default=0, help="port, 0 for a free one")
    parser.add_argument(
        "--write-csv", type=Path, metavar="FOLDER", help="write OneRoster CSV files, do not serve"
    )
    for name in ("seed", "students", "teachers", "terms", "classes"):
        parser.add_argument(f"--{name}", type=int, default=getattr(SisPlan(), name))
    return parser


async def _run(state: SisState, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(state, port, host) as server:
        urls = {"root": server.root("1.2"), "token": server.token_url, "root_1_1": server.root("1.1")}
        print(json.dumps(urls | {"people": len(state.people)}), flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
