"""Run the CRM stand-in as a process: `python -m infra.simulators.zoho --port N`."""

import argparse
import asyncio
import json
import signal
from collections.abc import Sequence

from infra.simulators.zoho.app import serve
from infra.simulators.zoho.seed import ZohoPlan, records
from infra.simulators.zoho.state import ZohoState


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or Ctrl-C; the first line on standard output gives the address as JSON."""
    options = _parser().parse_args(arguments)
    plan = ZohoPlan(
        seed=options.seed, students=options.students, classes=options.classes, teachers=options.teachers
    )
    seed = records(plan) if options.students else ()
    state = ZohoState(seed, options.client_id, options.client_secret, options.refresh_token)
    asyncio.run(_run(state, options.host, options.port))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m infra.simulators.zoho", description="A stand-in for Zoho's CRM."
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to bind (default: loopback)")
    parser.add_argument("--port", type=int, default=0, help="port, 0 for a free one")
    parser.add_argument("--client-id", default="simulated-client", help="id of the OAuth client")
    parser.add_argument("--client-secret", required=True, help="its secret")
    parser.add_argument("--refresh-token", required=True, help="its refresh token")
    parser.add_argument("--seed", type=int, default=1, help="seed of the generated records")
    parser.add_argument("--students", type=int, default=0, help="number of generated students")
    parser.add_argument("--classes", type=int, default=6, help="number of generated classes")
    parser.add_argument("--teachers", type=int, default=3, help="number of generated teachers")
    return parser


async def _run(state: ZohoState, host: str, port: int) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with serve(state, port, host) as server:
        print(json.dumps({"url": server.base_url, "records": state.counts()}), flush=True)
        await stop.wait()


if __name__ == "__main__":
    main()
