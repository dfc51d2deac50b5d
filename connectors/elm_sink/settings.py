"""What the ELM sink needs to know; filled from the environment by the entry point."""

from dataclasses import dataclass, field
from datetime import date


@dataclass(frozen=True, slots=True, kw_only=True)
class ElmSinkSettings:
    """Settings of the ELM sink.

    Attributes:
        url: address of the completion endpoint; completions are posted to it and read back from it.
        token: value of the header ``x-cdata-authtoken``; secret.
        timeout: seconds for one request.
        parallel: requests in flight at most.
        retries: quick repeats within one batch before the partitions wait.
        base_delay: seconds before the first quick repeat at most; doubles with each.
        max_delay: longest wait, in seconds, within a batch; a longer one is left to the partitions.
        settle: seconds left to a request whose answer was lost, before looking whether it arrived. A server
            goes on after its client has hung up, so looking at once could come too early.
        read_back_size: people whose completions are read back in one request.
        suspect_tries: a record at which ELM fails (HTTP 5xx or no answer) in so many tries of the batch is
            given up, if ELM took another one meanwhile. Between the tries lies the wait of the partitions.
        suspect_patience: where ELM took no other record, seconds besides for each record that still waits.
        user_effective_date: sent as USER_EFFECTIVE_DATE; the default is the constant that ELM is used to.
        tls_minimum: lowest TLS version, ``1.2`` or ``1.3``.
    """

    url: str
    token: str = field(repr=False)
    timeout: float = 30.0
    parallel: int = 4
    retries: int = 3
    base_delay: float = 1.0
    max_delay: float = 5.0
    settle: float = 30.0
    read_back_size: int = 25
    suspect_tries: int = 5
    suspect_patience: float = 600.0
    user_effective_date: date = date(2017, 2, 14)
    tls_minimum: str = "1.2"
