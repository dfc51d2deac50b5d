"""The sink: takes a batch of commands to one Moodle site and gives one result for each."""

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime

import structlog

from connectors.moodle.client import MoodleClient
from connectors.moodle.faults import FormCut
from connectors.moodle.settings import MoodleSettings
from connectors.moodle_sink.batches import together
from connectors.moodle_sink.courses import CourseWriter
from connectors.moodle_sink.enrolments import EnrolmentWriter
from connectors.moodle_sink.memberships import MembershipWriter
from connectors.moodle_sink.settings import SinkSettings
from connectors.moodle_sink.users import UserWriter
from connectors.moodle_sink.verdicts import SUPERSEDED, Ledger, made_for, rejected, result, winners
from infra.calls import OnCall, nobody
from infra.engine.sink import Written
from infra.errors import Rejected
from infra.stage import Output
from schemas.moodle import CommandKind, MoodleCommand, MoodleResult, Outcome
from schemas.reasons import EXPLANATIONS, Reason
from schemas.topics import Topic

log = structlog.get_logger()


class MoodleSink:
    """Applies the commands of one topic to one Moodle site.

    Attributes:
        name: also the name of its consumer group.
        input: the topic of commands, as it is called in the cluster.
        outputs: the topic of results, as it is called in the cluster.
        dead_letters: the topic of commands that Moodle does not take, as it is called in the cluster.
    """

    def __init__(
        self,
        settings: SinkSettings,
        moodle: MoodleSettings,
        *,
        commands: Topic,
        results: Topic,
        dead_letters: Topic,
        name: str = "moodle-sink",
        on_call: OnCall = nobody,
    ) -> None:
        """Prepare; nothing is connected before `open`.

        Args:
            settings: of the sink.
            moodle: of the site.
            commands: the input topic, prefixed and of the target.
            results: the output topic, prefixed and of the target.
            dead_letters: the topic of dead letters, prefixed and of the target.
            name: of its consumer group; each site has one of its own.
            on_call: told of every request to Moodle when it has ended.
        """
        self.name = name
        self.input = commands
        self.outputs = (results,)
        self.dead_letters = dead_letters
        self._settings = settings
        self._moodle = MoodleClient(moodle, on_call)
        self._ledger = Ledger()

    async def open(self) -> None:
        """Open the pool of connections."""
        await self._moodle.__aenter__()

    async def close(self) -> None:
        """Close the pool of connections."""
        await self._moodle.__aexit__(None, None, None)

    async def write(self, records: Sequence[MoodleCommand]) -> Written:
        """Apply a batch.

        Of several commands for one entity only the last is applied. When this raises, the same batch has to
        be given again; what was done by then is not done twice.

        Args:
            records: commands, those of one entity in the order in which they were issued.

        Returns:
            One `MoodleResult` for each command, and why those that end REJECTED do.

        Raises:
            RetryLater: Moodle cannot answer now, or nobody knows what it did.
            Stop: token, rights or address are wrong.
        """
        sound = [command for command in records if _is_sound(command)]
        chosen = winners(sound)
        await self._apply(chosen)
        by_id = dict.fromkeys((command.command_id for command in sound), SUPERSEDED)
        by_id |= {command.command_id: self._ledger.verdict(command) for command in chosen}
        unique = {command.command_id: command for command in records}
        now = datetime.now(UTC)
        unsound = rejected(Reason.INVALID_FIELD)
        results = [result(one, by_id.get(one.command_id, unsound), now) for one in unique.values()]
        self._ledger.clear()
        log.info("moodle_batch_done", **Counter(one.outcome.value.lower() for one in results))
        places = {command.command_id: index for index, command in enumerate(records)}
        outputs = [Output(self.outputs[0], record) for record in results]
        causes = [places[one.command_id] for one in results]
        return Written(outputs, _refused(causes, results), causes)

    async def _apply(self, commands: Sequence[MoodleCommand]) -> None:
        """Apply ``commands``; begin again with smaller requests if the site turns out to take only those."""
        while todo := self._ledger.open(commands):
            believed = self._moodle.max_input_vars
            try:
                await self._apply_once(todo)
            except FormCut:
                if self._moodle.max_input_vars >= believed:
                    raise
            else:
                return

    async def _apply_once(self, commands: Sequence[MoodleCommand]) -> None:
        kinds: dict[CommandKind, list[MoodleCommand]] = {kind: [] for kind in CommandKind}
        for command in commands:
            kinds[command.kind].append(command)
        wanted = self._settings
        users = UserWriter(self._moodle, self._ledger)
        courses = CourseWriter(self._moodle, self._ledger, wanted.default_category_id)
        enrolments = EnrolmentWriter(self._moodle, self._ledger, wanted.roles, wanted.groups)
        await together(
            [
                _written(users.write, kinds[CommandKind.USER]),
                _written(courses.write, kinds[CommandKind.COURSE]),
                _written(enrolments.write, kinds[CommandKind.ENROLMENT]),
            ]
        )
        # Only now: the groups may be among those that a course of this batch was given.
        if held := self._ledger.held(kinds[CommandKind.ENROLMENT]):
            memberships = MembershipWriter(self._moodle, self._ledger)
            await _written(memberships.write, [command for command, _ in held])


async def _written(
    write: Callable[[Sequence[MoodleCommand]], Awaitable[None]], commands: Sequence[MoodleCommand]
) -> None:
    """Write ``commands``; calls that are not about some of them alone are logged as about them all."""
    with made_for(commands):
        await write(commands)


def _refused(places: Sequence[int], results: Sequence[MoodleResult]) -> Mapping[int, Rejected]:
    """Return why commands ended REJECTED, by their index in the batch; ``places`` has that of each result."""
    return {
        place: Rejected(reason, EXPLANATIONS[reason])
        for place, one in zip(places, results, strict=True)
        if one.outcome is Outcome.REJECTED and (reason := one.reason or Reason.REFUSED)
    }


def _is_sound(command: MoodleCommand) -> bool:
    """Whether a command has the one body that belongs to its kind."""
    bodies = {
        CommandKind.USER: command.user,
        CommandKind.COURSE: command.course,
        CommandKind.ENROLMENT: command.enrolment,
    }
    return [kind for kind, body in bodies.items() if body is not None] == [command.kind]
