"""What counts the calls of a role to a system and keeps them in the log of calls."""

from collections.abc import Iterator
from contextlib import contextmanager

from infra import tracing
from infra.call_counts import count
from infra.call_log import Caller, call_log
from infra.calls import Call, OnCall
from infra.cli.parts import kafka_of, registry_of, tenant_at_site, topics_of
from infra.cli.roles.context import Context
from infra.codec import Codec
from schemas.calls import System
from schemas.ids import Target


@contextmanager
def noting(context: Context, system: System, target: Target) -> Iterator[OnCall]:
    """Give what counts the calls to a system and keeps them in the log of calls."""
    settings, role = context.settings, context.status.role
    codec, topic = Codec(registry_of(settings)), topics_of(settings).calls
    caller, facts = Caller(system, target, role, tenant_at_site(settings)), context.status.facts
    with call_log(kafka_of(settings), codec, topic, caller) as log:

        def note(call: Call) -> None:
            count(role, system, call)
            tracing.called(f"{system} {call.function}", call.seconds, "" if call.code == "ok" else call.code)
            if system is System.MOODLE:
                facts["moodle_calls"] = facts.get("moodle_calls", 0) + 1
            log.note(call)

        yield note
