"""Commands to a Moodle site, and a sink on a simulated one, for the tests of the sink."""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from typing import Any

from pydantic import SecretStr

from connectors.moodle.settings import MoodleSettings
from connectors.moodle_sink.settings import SinkSettings
from connectors.moodle_sink.sink import MoodleSink
from infra.calls import Call
from infra.simulators.moodle import MoodleState, Settings, serve
from schemas.events import EnrolmentStatus, Role
from schemas.ids import CommandId, CourseId, MoodleCourseId, MoodleUserId, PersonId, Target, TenantId
from schemas.moodle import (
    CommandKind,
    CourseWish,
    EnrolmentWish,
    MoodleCommand,
    MoodleResult,
    Outcome,
    UserWish,
)
from schemas.topics import COMMANDS, MOODLE_DEAD_LETTERS, RESULTS

TARGET = Target("main")
MOMENT = datetime(2026, 11, 21, 8, 0, tzinfo=UTC)
_numbers = count(1)


def command(**body: Any) -> MoodleCommand:
    """A command with a new id around one body: ``user``, ``course`` or ``enrolment``."""
    kind = CommandKind(next(iter(body)).upper())
    return MoodleCommand(
        command_id=CommandId(f"command-{next(_numbers)}"),
        tenant=TenantId("tenant"),
        target=TARGET,
        kind=kind,
        generation=1,
        issued_at=MOMENT,
        **body,
    )


def person(number: int | str, **changes: Any) -> MoodleCommand:
    """The wish for the account of person ``GUID<number>``, created if missing."""
    wish: dict[str, Any] = {
        "person_id": PersonId(f"GUID{number}"),
        "create": True,
        "email": f"user{number}@example.test",
        "username": f"user{number}@example.test",
        "first_name": f"First{number}",
        "last_name": f"Last{number}",
        "auth": "oauth2",
    }
    return command(user=UserWish(**(wish | changes)))


def course(number: int | str, **changes: Any) -> MoodleCommand:
    """The wish to know course ``<number>``."""
    wish: dict[str, Any] = {"course_id": CourseId(str(number)), "create": False}
    return command(course=CourseWish(**(wish | changes)))


def enrolment(
    user_id: int, course_id: int, status: EnrolmentStatus = EnrolmentStatus.ACTIVE, **changes: Any
) -> MoodleCommand:
    """The wish for an enrolment by Moodle's ids, whose state in Moodle is not known."""
    wish: dict[str, Any] = {
        "person_id": PersonId(f"GUID{user_id}"),
        "course_id": CourseId(str(course_id)),
        "moodle_user_id": MoodleUserId(user_id),
        "moodle_course_id": MoodleCourseId(course_id),
        "status": status,
        "role": Role.STUDENT,
        "state_is_known": False,
    }
    return command(enrolment=EnrolmentWish(**(wish | changes)))


@dataclass
class Bench:
    """A sink on a simulated site."""

    state: MoodleState
    sink: MoodleSink
    calls: list[Call]

    async def write(self, *commands: MoodleCommand) -> list[MoodleResult]:
        """Write ``commands``; give their results, which are exactly one for each, in their order."""
        return await results_of(self.sink, commands)

    def called(self) -> list[str]:
        """The functions called so far, in the order in which they ended."""
        return [call.function for call in self.calls]


async def results_of(sink: MoodleSink, commands: Sequence[MoodleCommand]) -> list[MoodleResult]:
    """Write ``commands``; check that each has one result, and that just those rejected are refused."""
    outputs, refused, causes = await sink.write(commands)
    results = [output.record for output in outputs if isinstance(output.record, MoodleResult)]
    assert [result.command_id for result in results] == [one.command_id for one in commands]
    assert {output.topic for output in outputs} <= set(sink.outputs)
    rejected = {n: one.reason for n, one in enumerate(results) if one.outcome is Outcome.REJECTED}
    assert {n: error.reason for n, error in refused.items()} == rejected
    assert [commands[cause].command_id for cause in causes] == [one.command_id for one in results]
    return results


def moodle_settings(url: str, state: MoodleState, **changes: Any) -> MoodleSettings:
    """Settings for a simulated site, with pauses too short to be felt."""
    fields: dict[str, Any] = {
        "url": url,
        "token": SecretStr(state.settings.token),
        "base_delay_ms": 1,
        "max_delay_ms": 2000,
        "timeout": 10.0,
    }
    return MoodleSettings(**(fields | changes))


@asynccontextmanager
async def bench(
    *,
    site: Settings | None = None,
    settings: SinkSettings | None = None,
    prepare: Callable[[MoodleState], object] = lambda _: None,
    after_call: Callable[[MoodleState, Call], object] = lambda _state, _call: None,
    **moodle: Any,
) -> AsyncIterator[Bench]:
    """Serve a fresh site and open a sink on it; ``after_call`` may meddle with the site between two calls."""
    state = MoodleState(site or Settings(max_input_vars=1000))
    prepare(state)
    async with serve(state) as url:
        calls: list[Call] = []

        def note(call: Call) -> None:
            calls.append(call)
            after_call(state, call)

        sink = MoodleSink(
            settings or SinkSettings(),
            moodle_settings(url, state, **moodle),
            commands=COMMANDS.of(TARGET),
            results=RESULTS.of(TARGET),
            dead_letters=MOODLE_DEAD_LETTERS.of(TARGET),
            on_call=note,
        )
        await sink.open()
        try:
            yield Bench(state, sink, calls)
        finally:
            await sink.close()
