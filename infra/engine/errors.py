"""How a worker ends or starts over."""

from infra.errors import HubError


class WorkerFailed(HubError):
    """The worker cannot go on, and a new process can: it was fenced, or Kafka refuses its session."""


class Aborted(HubError):
    """The transaction was aborted; what it held is to be done again from the committed offsets."""
