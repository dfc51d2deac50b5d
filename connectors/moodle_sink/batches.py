"""How a batch of commands is cut into requests, and how a culprit is found in a refused one."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Iterable, Sequence
from typing import Any, TypeVar

from connectors.moodle.faults import FormCut, Refused
from infra.errors import RetryLater, Stop

T = TypeVar("T")


def rival_free(items: Iterable[T], keys: Callable[[T], Iterable[Hashable]]) -> list[list[T]]:
    """Split ``items`` into lists that are to be sent one after the other.

    Moodle checks the uniqueness of some values without a lock; so two items that share a key never come into
    the same list, and the earlier item comes into the earlier list.
    """
    lists: list[list[T]] = []
    seen: list[set[Hashable]] = []
    for item in items:
        own = set(keys(item))
        place = 1 + max((at for at, taken in enumerate(seen) if own & taken), default=-1)
        if place == len(lists):
            lists.append([])
            seen.append(set())
        lists[place].append(item)
        seen[place] |= own
    return lists


def lanes(items: Iterable[T], course: Callable[[T], Hashable], room: int) -> list[list[list[T]]]:
    """Pack ``items`` into requests of at most ``room``, such that no course is in two parallel ones.

    Overlapping batches deadlock in Moodle; batches of different courses run in parallel well.

    Returns:
        Lanes, which may run in parallel; a lane is a list of requests to be sent one after the other.
    """
    courses: dict[Hashable, list[T]] = {}
    for item in items:
        courses.setdefault(course(item), []).append(item)
    packed: list[list[list[T]]] = []
    for members in sorted(courses.values(), key=len, reverse=True):
        lane = next((lane for lane in packed if len(lane[-1]) + len(members) <= room), None)
        if lane is None:
            packed.append([members[at : at + room] for at in range(0, len(members), room)])
        else:
            lane[-1].extend(members)
    return packed


def halves(items: Sequence[T], _: Refused) -> list[Sequence[T]]:
    """Split ``items`` in two; a single one cannot be split."""
    middle = len(items) // 2
    return [items[:middle], items[middle:]] if middle else [items]


async def isolate(
    items: Sequence[T],
    send: Callable[[Sequence[T]], Awaitable[None]],
    alone: Callable[[T, Refused], None],
    split: Callable[[Sequence[T], Refused], Sequence[Sequence[T]]] = halves,
) -> None:
    """Send ``items``; where all are refused for the sake of one, find that one by splitting.

    Args:
        items: the entries of one all-or-nothing call.
        send: sends some of them, and notes their success.
        alone: notes an entry that is to blame, and how it was refused.
        split: cuts refused entries into smaller lists, or gives them in one list if all are to blame.
    """
    if not items:
        return
    try:
        await send(items)
    except Refused as refusal:
        parts = split(items, refusal)
        if len(parts) == 1:
            for item in items:
                alone(item, refusal)
            return
        for part in parts:
            await isolate(part, send, alone, split)


async def together(tasks: Iterable[Coroutine[Any, Any, None]]) -> None:
    """Run ``tasks`` in parallel and wait for all, also when one fails: no request goes on unwatched.

    Raises:
        Exception: the gravest of what the tasks raised.
    """
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    errors = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if errors:
        raise max(errors, key=_gravity)


def _gravity(error: BaseException) -> tuple[int, float]:
    if not isinstance(error, RetryLater):
        return (2 if isinstance(error, Stop) else 3), 0.0
    return (0 if isinstance(error, FormCut) else 1), error.retry_after or 0.0
