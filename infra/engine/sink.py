"""What a sink is to the connector runtime, and one attempt to write a batch."""

import asyncio
import threading
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, NamedTuple, Protocol, TypeVar

from infra.errors import Rejected
from infra.stage import Output
from schemas.topics import Topic

R_contra = TypeVar("R_contra", contravariant=True)


class Written(NamedTuple):
    """What came of a batch.

    Attributes:
        outputs: what is to be produced.
        refused: why the other system does not take a record, by its index in the batch; each becomes a dead
            letter beside the outputs.
        causes: of each output, the index of the record that it tells of.
    """

    outputs: Sequence[Output]
    refused: Mapping[int, Rejected]
    causes: Sequence[int]


class Sink(Protocol[R_contra]):
    """Applies the records of one topic to another system and says what came of each.

    A batch may come again, wholly or in part, after a crash or a rebalance, so writing has to be idempotent.
    """

    @property
    def name(self) -> str:
        """Name of the role: also of its consumer group."""

    @property
    def input(self) -> Topic:
        """The topic that it reads, named as in the cluster."""

    @property
    def outputs(self) -> tuple[Topic, ...]:
        """The topics that it may produce to, named as in the cluster."""

    @property
    def dead_letters(self) -> Topic:
        """The topic of messages that it cannot read or that are refused, named as in the cluster."""

    async def open(self) -> None:
        """Make ready; called once, and again after `RetryLater` or `Stop`."""

    async def write(self, records: Sequence[R_contra]) -> Written:
        """Write a batch and return what came of it, which becomes one transaction with the offsets.

        Raises:
            RetryLater: the other system is in trouble; the same batch comes again later.
            Stop: a person has to mend configuration or credentials; the same batch comes again afterwards.
        """

    async def close(self) -> None:
        """Give everything back."""


class Attempt:
    """A coroutine running in another thread's event loop.

    Attributes:
        finished: set when it has ended, by itself or cancelled.
        value: what it returned.
        error: what it raised.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any]) -> None:
        self.finished = threading.Event()
        self.value: Any = None
        self.error: BaseException | None = None
        self._loop = loop
        self._task: asyncio.Task[None] | None = None
        self._handle: Future[None] = asyncio.run_coroutine_threadsafe(self._run(work), loop)

    async def _run(self, work: Coroutine[Any, Any, Any]) -> None:
        self._task = asyncio.current_task()
        try:
            self.value = await work
        except BaseException as error:  # noqa: BLE001 - raised again in the worker's thread by result()
            self.error = error
        finally:
            self.finished.set()

    def cancel(self) -> None:
        """Ask it to end; `finished` tells when it has."""
        self._loop.call_soon_threadsafe(lambda: self._task and self._task.cancel())

    def result(self) -> Any:
        """Return its value, or raise its error, once it is finished."""
        if self.error is not None:
            raise self.error
        return self.value


class Background:
    """An event loop in a thread of its own, while its block runs."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="sink", daemon=True)

    def start(self, work: Coroutine[Any, Any, Any]) -> Attempt:
        """Begin ``work`` and return at once."""
        return Attempt(self._loop, work)

    def __enter__(self) -> "Background":
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        for task in asyncio.all_tasks(self._loop):
            task.cancel()
            self._loop.run_until_complete(asyncio.gather(task, return_exceptions=True))
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.run_until_complete(self._loop.shutdown_default_executor())
        self._loop.close()
