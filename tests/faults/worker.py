"""A worker of the counting stage as a process of its own: `python -m tests.faults.worker JSON`.

Exit codes: 0 after SIGTERM, 3 after `WorkerFailed` (a new process may go on), 4 after `Stop`.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from infra.codec import Codec
from infra.engine import EngineConfig, WorkerFailed, run_stage
from infra.errors import Stop
from infra.registry import Registry
from infra.settings import GroupProtocol
from infra.telemetry import Status, serve_status
from tests.faults import counting
from tests.faults.world import FAILED

STOPPED = 4


def config_of(settings: dict[str, Any]) -> EngineConfig:
    return EngineConfig(
        kafka={"bootstrap.servers": settings["kafka"]},
        codec=Codec(Registry(settings["registry"])),
        state_folder=Path(settings["folder"]),
        prefix=settings.get("output_prefix", settings["prefix"]),
        slot=settings["slot"],
        protocol=GroupProtocol(settings.get("protocol", "classic")),
        batch_size=settings.get("batch_size", 200),
        linger_seconds=settings.get("linger", 0.02),
        session_timeout_ms=settings.get("session_timeout_ms", 6_000),
        watchdog_seconds=settings.get("watchdog_seconds", 40.0),
        transaction_timeout_ms=settings.get("transaction_timeout_ms", 60_000),
    )


def main() -> int:
    settings = json.loads(sys.argv[1])
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    stage = counting.stage(settings["prefix"], settings.get("output_prefix"), settings.get("drag", 0.0))
    status = Status(stage.name)
    with serve_status(status) as port:
        Path(settings["port_file"]).write_text(str(port))
        try:
            run_stage(stage, config_of(settings), stop, status)
        except WorkerFailed as error:
            print("FAILED", error, flush=True)
            return FAILED
        except Stop as error:
            print("STOPPED", error, flush=True)
            return STOPPED
    return 0


if __name__ == "__main__":
    sys.exit(main())
