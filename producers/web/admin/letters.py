"""The route that tells what a dead letter holds: key, headers and value, readable where they can be read."""

from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple, cast

import msgspec
from aiohttp import web

from infra.codec import UnreadableError
from infra.dead_letters import show
from infra.errors import BadArgument
from infra.fetch import Spot, fetch
from producers.remedies import Means
from producers.web.admin import resources as res
from producers.web.admin.listing import BY_TENANT
from producers.web.admin.lists import TAG, Desk, answered, single, unknown
from producers.web.admin.threads import Threads
from producers.web.routes import Route, Scope
from schemas.deadletters import DeadLetter, Header, without_ours

_MOST_SHOWN: Final = 100_000
"""Bytes of a value that is told; a longer one is cut."""
_HEX_SHOWN: Final = 256
_READS_AT_ONCE: Final = 2
_ABOUT: Final = """Read from Kafka where it lies. `reads_as` is `avro` (a record of its topic), `json`,
`text`, `binary` (the first bytes, as hexadecimal digits), `nothing` (no value) or `gone` (kept no more)."""


class HeaderAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """A header of the message."""

    name: str
    value: str


class MessageAnswer(msgspec.Struct, frozen=True, kw_only=True):
    """The message of a dead letter."""

    place: str
    topic: str
    partition: int
    offset: int
    key: str
    headers: list[HeaderAnswer]
    size: int
    """Bytes of the value."""
    reads_as: str
    value: Any
    fault: str
    """Why it is no record of its topic; empty: it is one."""


class Reading(NamedTuple):
    """A value as it can be read: how, what, and why not as a record of its topic."""

    reads_as: str
    value: Any
    fault: str = ""


@dataclass(frozen=True, slots=True)
class Letters:
    """Dead letters as people look into them.

    Attributes:
        desk: reads the read model.
        means: Kafka, and what reads messages.
        threads: in which they are read; of its own, as Kafka may keep one waiting.
    """

    desk: Desk
    means: Means
    threads: Threads = field(default_factory=lambda: Threads("admin-letters", _READS_AT_ONCE))

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(
                "GET",
                "/admin/dead-letters/{place}/message",
                self._show,
                Scope.READ,
                "What a dead letter holds",
                TAG,
                answer=MessageAnswer,
                description=_ABOUT,
                query=(BY_TENANT,),
            )
        ]

    async def _show(self, request: web.Request) -> web.StreamResponse:
        return answered(await self.message(request))

    async def message(self, request: web.Request) -> MessageAnswer:
        """Return the message of the dead letter that the address names.

        Raises:
            Problem: the hub knows none of that name, or it is another tenant's (404).
            RetryLater: Kafka or the registry is away.
        """
        row = await single(self.desk, res.DEAD_LETTERS, request)
        return await self.threads.run(self._read, row["place"])

    def _read(self, place: str) -> MessageAnswer:
        try:
            letter = show(self.means.kafka, place)
        except BadArgument:
            raise unknown() from None
        value, headers = letter.message_value, letter.message_headers
        gone = False
        if letter.left_out is not None:
            spot = Spot(letter.topic, letter.partition, letter.offset)
            message = fetch(self.means.kafka, [spot]).get(spot)
            gone = message is None
            if message is not None:
                value = message.value()
                headers = without_ours(cast(list[Header], message.headers() or []))
        reading = Reading("gone", None) if gone else self._reading(letter, value)
        return MessageAnswer(
            place=place,
            topic=letter.topic,
            partition=letter.partition,
            offset=letter.offset,
            key=letter.key,
            headers=[HeaderAnswer(name=name, value=_text(content)) for name, content in headers],
            size=letter.left_out if letter.left_out is not None else len(value or b""),
            **reading._asdict(),
        )

    def _reading(self, letter: DeadLetter, value: bytes | None) -> Reading:
        topic = next((one for one in self.means.sites.all() if one.name == letter.topic), None)
        if topic is None:
            return _foreign(value, "its topic is none of this hub's")
        try:
            record = self.means.codec.decode(topic, value)
        except UnreadableError as error:
            return _foreign(value, str(error))
        return Reading("avro", msgspec.to_builtins(record))


def _foreign(value: bytes | None, fault: str) -> Reading:
    """Return how ``value`` reads that is no record of its topic."""
    if not value:
        return Reading("nothing", None, fault)
    try:
        text = value[:_MOST_SHOWN].decode()
    except UnicodeDecodeError:
        return _binary(value, fault)
    if len(value) <= _MOST_SHOWN:
        try:
            return Reading("json", msgspec.json.decode(value), fault)
        except msgspec.MsgspecError:
            pass
    is_text = all(one.isprintable() or one.isspace() for one in text)
    return Reading("text", text, fault) if is_text else _binary(value, fault)


def _binary(value: bytes, fault: str) -> Reading:
    return Reading("binary", value[:_HEX_SHOWN].hex(" ", 4), fault)


def _text(content: bytes | None) -> str:
    return (content or b"").decode("utf-8", "replace")
