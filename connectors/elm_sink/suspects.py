"""Which records ELM fails at, and when that is the record's fault and not ELM's.

ELM answers a record that it cannot digest as it answers any record while it is ill: with a 5xx, or not at
all. What tells the two apart is how others fare meanwhile.
"""

import math
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

import structlog

from connectors.elm_sink.body import Delivery
from connectors.elm_sink.faults import Answer, Verdict

_LOG = structlog.get_logger()


@dataclass(slots=True)
class Suspect:
    """A record whose POST failed in a way that may be its own fault.

    Attributes:
        since: when it first failed, by the clock.
        tries: batches in which it failed; quick repeats within a batch count once.
        batch: number of the last of them.
        status: HTTP status of its last failure; none if there was no answer.
    """

    since: float
    tries: int = 0
    batch: int = 0
    status: int | None = None


class Suspects:
    """The suspects of the batch under way, remembered over its repeats.

    Args:
        tries: batches in which a record must have failed before it is given up.
        patience: seconds for which it must have failed besides, for each record that waits, where ELM has
            taken no other record meanwhile.
        clock: gives seconds.
    """

    def __init__(self, tries: int, patience: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._tries = tries
        self._patience = patience
        self._clock = clock
        self._batch = 0
        self._last_taken = -math.inf
        self._found: dict[Delivery, Suspect] = {}

    def next_batch(self, records: Collection[Delivery]) -> None:
        """Begin to write a batch, perhaps one that was tried before; what is not in it is forgotten."""
        self._batch += 1
        self._found = {place: suspect for place, suspect in self._found.items() if place in records}

    def failed(self, place: Delivery, answer: Answer, began: float) -> None:
        """Note that the POST of a record, which began then, ended with ``answer``; see `may_be_its_fault`."""
        # How others fare while a record waits for an answer in vain counts too.
        since = began if answer.status is None else self._clock()
        suspect = self._found.setdefault(place, Suspect(since))
        suspect.status = answer.status
        if suspect.batch != self._batch:
            suspect.batch = self._batch
            suspect.tries += 1
            _LOG.warning(
                "completion_suspected", enrolment_id=place[0], tries=suspect.tries, error=answer.about
            )

    def taken(self, place: Delivery, began: float) -> None:
        """Note that ELM took a record whose POST began then, by the clock.

        That clears ELM of what failed before. It does not of what failed later: ELM may just have fallen ill.
        """
        self._found.pop(place, None)
        self._last_taken = max(self._last_taken, began)

    def tries(self, place: Delivery) -> int:
        """Return in how many batches a record failed."""
        suspect = self._found.get(place)
        return suspect.tries if suspect else 0

    def hopeless(self, waiting: Collection[Delivery]) -> dict[Delivery, int | None]:
        """Return the records among ``waiting`` to be given up, with the HTTP status of their last failure.

        To be asked only when ELM has just answered the read-back, and by it does not have them. Where it took
        no other record meanwhile it may be ill all the same: the longer that lasts and the fewer records
        fail, the likelier they are to blame.
        """
        longest = self._patience * len(waiting)
        return {
            place: suspect.status
            for place in waiting
            if (suspect := self._found.get(place)) and suspect.tries >= self._tries
            if suspect.since < self._last_taken or self._clock() - suspect.since >= longest
        }


def may_be_its_fault(answer: Answer) -> bool:
    """Tell whether a failed POST may be the fault of its record: ELM got it and failed, or did not answer."""
    if answer.status is None:
        return answer.verdict is Verdict.UNKNOWN
    return answer.status >= 500
