"""Requests to other systems as metrics."""

from infra.calls import Call
from infra.metrics import AUTH_FAILURES, CALL_SECONDS, CALLS
from schemas.calls import CREDENTIALS_REFUSED, System


def count(role: str, system: System, call: Call) -> None:
    """Count ``call``, which ``role`` made to ``system``."""
    CALLS.labels(role, system, call.function, call.code).inc()
    CALL_SECONDS.labels(role, system, call.function).observe(call.seconds)
    if call.code in CREDENTIALS_REFUSED:
        AUTH_FAILURES.labels(system).inc()
