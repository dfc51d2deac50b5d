"""One process of one role: ``python -m infra.cli.role ROLE``; `hub run` starts these and keeps them running.

Exit status: 0 after an orderly stop, 1 when a new process has to take over, 3 when a person has to mend
something.
"""

import argparse
import os
import signal
import sys
import threading
from contextlib import ExitStack

import structlog

from infra import collector, logs
from infra.cli.roles import Context, role_names, run_role
from infra.errors import HubError, Stop
from infra.settings import Settings
from infra.telemetry import Status, serve_status

log = structlog.get_logger()


def main() -> None:
    """Run the role named on the command line until SIGTERM or SIGINT."""
    settings = Settings()
    parser = argparse.ArgumentParser(prog="python -m infra.cli.role", description=__doc__)
    parser.add_argument("role", choices=role_names(settings))
    parser.add_argument("--slot", default="0", help="name of this process among those of its role")
    parser.add_argument("--status-port", type=int, default=0, help="loopback port, 0 for a free one")
    options = parser.parse_args()
    logs.configure(settings.log_level, settings.log_format, role=options.role, slot=options.slot)
    collector.calm()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    status = Status(options.role)
    with ExitStack() as stack:
        try:
            port = stack.enter_context(serve_status(status, options.status_port))
        except OSError as error:
            reason = f"cannot listen on port {options.status_port}: {error.strerror}; see STATUS_PORT"
            log.error("role_failed", reason=reason)
            sys.exit(1)
        log.info("role_started", status_port=port)
        code = _run(Context(settings, options.slot, stop, status))
    if code:
        # A client of Kafka that has failed may not let the interpreter end in its own way.
        sys.stderr.flush()
        os._exit(code)


def _run(context: Context) -> int:
    try:
        run_role(context)
    except Stop as error:
        log.error("role_needs_a_person", reason=str(error))
        return 3
    except HubError as error:
        log.error("role_failed", reason=str(error))
        return 1
    log.info("role_stopped")
    return 0


if __name__ == "__main__":
    main()
