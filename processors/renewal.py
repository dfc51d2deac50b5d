"""Notices that the rules are others than those by which a table was made. Pure; ticks give the occasion."""

import msgspec

from infra.stage import Table
from schemas.ids import key

_KEY = key("rules", "")


class RulesEntry(msgspec.Struct, frozen=True, array_like=True):
    """The rules by which the table stands."""

    digest: str


def are_new(digest: str, table: Table) -> bool:
    """Tell whether the table was made by other rules than those of ``digest``, and note these."""
    known = table.get(_KEY, RulesEntry)
    if known is not None and known.digest == digest:
        return False
    table.put(_KEY, RulesEntry(digest))
    return True
