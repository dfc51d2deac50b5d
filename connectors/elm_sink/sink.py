"""The sink: callbacks in, completions in ELM, results out.

ELM has no idempotency key, so before every POST the completions of the learners concerned are read back, many
learners in one request. That one rule covers a lost answer, a batch repeated after a crash or a rebalance, an
operator's repeat, and completions that another program delivered earlier.
"""

import asyncio
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final

import structlog

from connectors.elm_sink.body import Delivery, body, delivery
from connectors.elm_sink.client import ElmClient
from connectors.elm_sink.faults import Answer, Verdict
from connectors.elm_sink.settings import ElmSinkSettings
from connectors.elm_sink.suspects import Suspects, may_be_its_fault
from infra.calls import OnCall, about, nobody
from infra.engine.sink import Written
from infra.errors import Rejected, RetryLater, Stop
from infra.http_client import backoff
from infra.stage import Output
from schemas.elm import CallbackOutcome, CallbackResult, CompletionCallback
from schemas.ids import CallbackId, key
from schemas.reasons import Reason
from schemas.topics import CALLBACK_RESULTS, CALLBACKS, ELM_DEAD_LETTERS, Topic

_LOG = structlog.get_logger()

# ELM says by these that a value is at fault; by any other that it does not want the record.
_INVALID: Final = frozenset({400, 422})


class ElmSink:
    """Sink of the connector runtime over ``elm.callbacks``.

    Args:
        settings: see `ElmSinkSettings`.
        prefix: put before the names of its topics.
        on_call: told of every request to ELM when it has ended.
    """

    name = "elm-sink"

    def __init__(self, settings: ElmSinkSettings, *, prefix: str = "", on_call: OnCall = nobody) -> None:
        self.input: Topic = CALLBACKS.prefixed(prefix)
        self.outputs: tuple[Topic, ...] = (CALLBACK_RESULTS.prefixed(prefix),)
        self.dead_letters: Topic = ELM_DEAD_LETTERS.prefixed(prefix)
        self._settings = settings
        self._on_call = on_call
        self._client: ElmClient | None = None
        self._ended: dict[CallbackId, CallbackResult] = {}
        self._refused: dict[CallbackId, Rejected] = {}
        self._suspects = Suspects(settings.suspect_tries, settings.suspect_patience)

    async def open(self) -> None:
        """Open the connections; nothing is sent yet."""
        if self._client is None:
            self._client = ElmClient(self._settings, self._on_call)

    async def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            await self._client.close()
            self._client = None

    async def write(self, records: Sequence[CompletionCallback]) -> Written:
        """Deliver the callbacks ``records``; give one result for each, in their order, and those refused.

        Raises:
            RetryLater: ELM is busy or away. What was delivered is remembered for the repeat of the batch.
            Stop: ELM refuses the credentials or the address; likewise.
        """
        attempt = 0
        self._suspects.next_batch(self._waiting(records).keys())
        while waiting := self._waiting(records):
            try:
                with about(map(_reference, waiting.values()), attempt + 1):
                    await self._round(waiting, attempt)
            except RetryLater as trouble:
                await self._pause(attempt, trouble)
                attempt += 1
        results = [self._ended[callback.callback_id] for callback in records]
        refused = {
            index: error
            for index, callback in enumerate(records)
            if (error := self._refused.pop(callback.callback_id, None)) is not None
        }
        self._ended.clear()
        self._refused.clear()
        outputs = [Output(self.outputs[0], result) for result in results]
        return Written(outputs, refused, range(len(records)))

    def _waiting(self, callbacks: Sequence[CompletionCallback]) -> dict[Delivery, CompletionCallback]:
        """Return what is still to be delivered, one callback for each completion; reject the impossible."""
        waiting: dict[Delivery, CompletionCallback] = {}
        there = {delivery(result) for result in self._ended.values() if _is_in_elm(result)}
        for callback in callbacks:
            if callback.callback_id in self._ended:
                continue
            try:
                body(callback, self._settings.user_effective_date)
                if delivery(callback) in there:
                    self._end(callback, CallbackOutcome.ALREADY_THERE)
                else:
                    waiting.setdefault(delivery(callback), callback)
            except Rejected as error:
                self._reject(callback, str(error), error.reason)
        return waiting

    async def _round(self, waiting: dict[Delivery, CompletionCallback], repeats: int) -> None:
        client = self._client
        if client is None:
            raise RuntimeError("write before open")
        there = await client.completed({place: callback.person_id for place, callback in waiting.items()})
        for place in there:
            self._end(waiting.pop(place), CallbackOutcome.ALREADY_THERE)
        for place, status in self._suspects.hopeless(waiting).items():
            self._reject(waiting.pop(place), "ELM fails at this record alone", Reason.REFUSED, status)
        # Suspects last, so that they keep nobody waiting.
        left = sorted(waiting.items(), key=lambda one: self._suspects.tries(one[0]))
        _raise_first(await self._post_all(client, left, repeats), self._settings.settle)

    async def _post_all(
        self, client: ElmClient, callbacks: Iterable[tuple[Delivery, CompletionCallback]], repeats: int
    ) -> list[Answer]:
        """Post in parallel, until ELM itself seems to be in trouble. Returns the troubles."""
        troubles: list[Answer] = []
        in_a_row, halted = 0, False
        queue = iter(callbacks)

        async def work() -> None:
            nonlocal in_a_row, halted
            for place, callback in queue:
                began = time.monotonic()
                with about([_reference(callback)], repeats + 1):
                    outcome = await client.post(body(callback, self._settings.user_effective_date))
                if self._settled(place, callback, outcome, began):
                    in_a_row = 0
                else:
                    troubles.append(outcome)
                    in_a_row += 1
                    halted |= not may_be_its_fault(outcome) or outcome.retry_after is not None
                if halted or in_a_row >= self._settings.parallel:
                    return

        await asyncio.gather(*(work() for _ in range(self._settings.parallel)))
        return troubles

    def _settled(self, place: Delivery, callback: CompletionCallback, outcome: Answer, began: float) -> bool:
        if outcome.verdict is Verdict.DONE:
            self._suspects.taken(place, began)
            self._end(callback, CallbackOutcome.DELIVERED, status=outcome.status)
        elif outcome.verdict is Verdict.REJECTED:
            reason = Reason.INVALID_FIELD if outcome.status in _INVALID else Reason.REFUSED
            self._reject(callback, outcome.about, reason, outcome.status)
        else:
            if may_be_its_fault(outcome):
                self._suspects.failed(place, outcome, began)
            return False
        return True

    def _reject(
        self, callback: CompletionCallback, error: str, reason: Reason, status: int | None = None
    ) -> None:
        _LOG.warning("completion_rejected", callback_id=callback.callback_id, error=error)
        self._refused[callback.callback_id] = Rejected(reason, error)
        self._end(callback, CallbackOutcome.REJECTED, reason, status)

    def _end(
        self,
        callback: CompletionCallback,
        outcome: CallbackOutcome,
        reason: Reason | None = None,
        status: int | None = None,
    ) -> None:
        self._ended[callback.callback_id] = CallbackResult(
            callback_id=callback.callback_id,
            tenant=callback.tenant,
            enrolment_id=callback.enrolment_id,
            person_id=callback.person_id,
            course_id=callback.course_id,
            outcome=outcome,
            completed_at=datetime.now(UTC),
            reason=reason,
            http_status=status,
        )

    async def _pause(self, attempt: int, trouble: RetryLater) -> None:
        """Wait before a quick repeat, or hand a long wait to the runtime, which goes on polling meanwhile."""
        asked = trouble.retry_after or 0.0
        if attempt >= self._settings.retries or asked > self._settings.max_delay:
            raise trouble
        jitter = backoff(attempt, self._settings.base_delay, self._settings.max_delay)
        await asyncio.sleep(max(asked, jitter))


def _reference(callback: CompletionCallback) -> str:
    return key("enrolment", callback.tenant, callback.course_id, callback.person_id)


def _is_in_elm(result: CallbackResult) -> bool:
    return result.outcome is not CallbackOutcome.REJECTED


def _raise_first(troubles: Sequence[Answer], settle: float) -> None:
    """Raise what the troubles of one round amount to: the gravest counts."""
    for trouble in troubles:
        if trouble.verdict is Verdict.STOP:
            raise Stop(trouble.about)
    if not troubles:
        return
    asked = [trouble.retry_after or 0.0 for trouble in troubles]
    if any(trouble.verdict is Verdict.UNKNOWN for trouble in troubles):
        asked.append(settle)
    raise RetryLater(troubles[0].about, max(asked) or None)
