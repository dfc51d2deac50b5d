"""Hands the messages of a batch to a stage's handlers, and what these return to the open transaction."""

from collections import Counter
from collections.abc import Mapping

from confluent_kafka import Message

from infra import tracing
from infra.codec import Codec, UnreadableError
from infra.engine import letters
from infra.engine.envelope import Writer, event_id, handed_on, trace_of
from infra.engine.tables import PartitionTable
from infra.errors import Rejected
from infra.stage import Handler, Output, Stage
from infra.tracing import Kind, Passage
from schemas.deadletters import DeadLetter, Step
from schemas.reasons import Reason
from schemas.topics import Record, Topic

_PORTION = 250
"""Messages decoded, then handled, then written together: small enough to stay in the processor's cache."""


class Handling:
    """The handlers of ``stage`` at work.

    Args:
        stage: with topics named as in the cluster.
        codec: decodes the values.
        writer: takes the outputs.
        dead_letters: topic of what cannot be read or was rejected.

    Attributes:
        dead: dead letters since it was cleared, by reason.
    """

    def __init__(self, stage: Stage, codec: Codec, writer: Writer, dead_letters: Topic) -> None:
        self._role = stage.name
        self._inputs: dict[str, tuple[Topic, Handler]] = {
            topic.name: (topic, handler) for topic, handler in stage.handlers.items()
        }
        self._decode, self._encode = codec.decode, codec.encode
        self._writer = writer
        self._dead_letters = dead_letters
        self.dead: Counter[Reason] = Counter()

    def handle(self, messages: list[Message], tables: Mapping[int, PartitionTable]) -> None:
        """Handle ``messages`` in their order; ``tables`` are those of their partitions.

        Raises:
            RetryLater: the registry could not be reached.
            Exception: whatever a handler raises, except `Rejected`; it is a bug.
        """
        self._writer.clock()
        with tracing.batch(self._role, Kind.CONSUMER, map(trace_of, messages)) as passage:
            for start in range(0, len(messages), _PORTION):
                portion = messages[start : start + _PORTION]
                read = [(message, self._read(message)) for message in portion]
                answers = [(message, self._apply(message, record, tables)) for message, record in read]
                for message, outputs in answers:
                    if outputs:
                        self._write(message, outputs, passage)

    def _read(self, message: Message) -> Record | UnreadableError:
        try:
            return self._decode(self._inputs[message.topic() or ""][0], message.value())
        except UnreadableError as error:
            return error

    def _apply(
        self, message: Message, record: Record | UnreadableError, tables: Mapping[int, PartitionTable]
    ) -> list[Output]:
        if isinstance(record, UnreadableError):
            return self._bury(letters.unreadable(self._role, message, record))
        table = tables[message.partition() or 0]
        table.mark()
        try:
            return list(self._inputs[message.topic() or ""][1](record, table))
        except Rejected as error:
            table.undo()
            letter = letters.refused(self._role, message, record, Step.TRANSFORMATION, error)
            return self._bury(letter)

    def _bury(self, letter: DeadLetter) -> list[Output]:
        """Write ``letter``; the message has no outputs."""
        self.dead[letter.reason] += 1
        self._writer.bury(self._dead_letters, letter)
        return []

    def _write(self, message: Message, outputs: list[Output], passage: Passage) -> None:
        headers = handed_on(message, passage)
        for index, output in enumerate(outputs):
            if output.dead is not None:
                value = self._encode(output.topic, output.record)
                self._bury(letters.held_back(self._role, message, output, output.dead, value))
                continue
            name = None if output.topic.internal else f"{event_id(message)}-{index}"
            self._writer.write(output, name, headers)
