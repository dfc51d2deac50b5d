"""Whether a partition's table and the committed offsets belong together, before anything is read."""

from collections.abc import Collection

import msgspec

from infra.engine.tables import PartitionTable
from infra.errors import Stop

_KEY = "\x00inputs"
"""Handlers' keys begin with a word, so none of theirs is this."""


class Inputs(msgspec.Struct, frozen=True):
    """The engine's own entry in every table: the input topics whose offsets have been committed.

    With it a lost changelog, lost offsets and a new input topic can be told apart.
    """

    topics: frozenset[str]


def check(table: PartitionTable, inputs: Collection[str], missing: Collection[str], mend: str) -> None:
    """Refuse to start where table and offsets do not belong together.

    Args:
        table: of the partition, as it was restored.
        inputs: names of the stage's input topics.
        missing: those of them without a committed offset at the partition.
        mend: what an operator does about it.

    Raises:
        Stop: records would be handled twice, or their effects are lost.
    """
    known = table.get(_KEY, Inputs)
    if known is None and set(missing) != set(inputs):
        msg = f"offsets are committed, but the changelog is lost; {mend}"
        raise Stop(msg)
    if known is not None and (lost := set(missing) & known.topics):
        msg = f"there is a table, but no committed offset for {', '.join(sorted(lost))}; {mend}"
        raise Stop(msg)


def introduce(table: PartitionTable, inputs: Collection[str]) -> None:
    """Note in ``table`` that the offsets of ``inputs`` are committed, in the same transaction as they are."""
    known = table.get(_KEY, Inputs)
    if known is None or not known.topics.issuperset(inputs):
        table.put(_KEY, Inputs(frozenset(inputs) | (known.topics if known else frozenset())))
