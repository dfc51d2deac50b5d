"""Settings of the HTTP application."""

from dataclasses import dataclass
from typing import Final

from schemas.ids import TenantId

MEGABYTE: Final = 1024 * 1024
_DEFAULT: Final = TenantId("default")


@dataclass(frozen=True, slots=True)
class WebSettings:
    """What the application needs to know.

    Attributes:
        host: address to listen on.
        port: port to listen on; several processes may share it.
        max_body_mb: a larger body is refused with 413, in megabytes.
        rate_limit: requests per minute and key that one process lets through; 0: any number.
        idempotency_hours: so long the answer to an ``Idempotency-Key`` is kept and replayed.
        key_cache_seconds: so long a key is believed before the database is asked again; a revocation takes
            effect within it.
        chunk_size: records of one transaction; a larger batch becomes several.
        threads: transactions at the same time in one process.
        queue_limit: records that may wait in one process; beyond it requests are answered 503.
        default_tenant: of requests that name none, where the key allows it.
        service: name that ``/health`` gives.
        version: of the hub, for ``/health`` and the documentation.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    max_body_mb: float = 64.0
    rate_limit: int = 0
    idempotency_hours: float = 1.0
    key_cache_seconds: float = 5.0
    chunk_size: int = 1_000
    threads: int = 4
    queue_limit: int = 50_000
    default_tenant: TenantId = _DEFAULT
    service: str = "rosterhub"
    version: str = "0.1.0"

    @property
    def max_body_bytes(self) -> int:
        """The largest body in bytes."""
        return int(self.max_body_mb * MEGABYTE)
