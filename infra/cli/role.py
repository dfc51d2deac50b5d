"""One process of one role: ``python -m infra.cli.role ROLE``; `hub run` starts these and keeps them running.

With another supervisor it is started alone: then all that it needs has to be set, and its status port
is STATUS_PORT. Exit status: 0 after an orderly stop, 1 when a new process has to take over, 2 bad arguments
or settings, 3 when a person has to mend something, 70 when it hung and ended itself.
"""

import argparse
import os
import signal
import sys
import threading
from contextlib import ExitStack

import structlog
from pydantic import ValidationError

from infra import collector, logs
from infra.cli.needs import lacking
from infra.cli.roles import Context, role_names, run_role
from infra.errors import HubError, Stop
from infra.settings import Settings, problems
from infra.telemetry import Status, serve_status
from infra.tracing import tracing

log = structlog.get_logger()


def main() -> None:
    """Run the role named on the command line until SIGTERM or SIGINT."""
    settings = _settings()
    parser = argparse.ArgumentParser(prog="python -m infra.cli.role", description=__doc__)
    parser.add_argument("role", choices=role_names(settings))
    parser.add_argument("--slot", default="0", help="name of this process among those of its role")
    parser.add_argument("--status-port", type=int, default=settings.status_port, help="0 for a free one")
    options = parser.parse_args()
    if names := lacking(settings, options.role):
        parser.error(f"not set: {', '.join(names)}")
    logs.configure(settings.log_level, settings.log_format, role=options.role, slot=options.slot)
    collector.calm()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    status = Status(options.role)
    with ExitStack() as stack:
        try:
            port = stack.enter_context(serve_status(status, options.status_port, settings.status_host))
        except OSError as error:
            where = f"{settings.status_host}:{options.status_port}"
            reason = f"cannot listen on {where}: {error.strerror}; see STATUS_HOST, STATUS_PORT"
            log.error("role_failed", reason=reason)
            sys.exit(1)
        log.info("role_started", status_port=port)
        code = _run(Context(settings, options.slot, stop, status))
    if code:
        # A client of Kafka that has failed may not let the interpreter end in its own way.
        sys.stderr.flush()
        os._exit(code)


def _settings() -> Settings:
    try:
        return Settings()
    except ValidationError as error:
        print(*problems(error), sep="\n", file=sys.stderr)
        sys.exit(2)


def _run(context: Context) -> int:
    endpoint, role = context.settings.otel_exporter_otlp_endpoint, context.status.role
    try:
        with tracing(endpoint, role):
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
