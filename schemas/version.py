"""The version of a source record: what "newer" means, whatever the order of arrival."""

from datetime import datetime
from typing import NamedTuple


class Version(NamedTuple):
    """An orderable version: the source's own time (UTC), then its sequence within that time."""

    time: datetime
    sequence: int
