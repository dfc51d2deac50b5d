"""Settings of the client of one Moodle site."""

from dataclasses import dataclass

from pydantic import SecretStr


@dataclass(frozen=True, slots=True, kw_only=True)
class MoodleSettings:
    """How one Moodle site is reached and how hard it may be worked.

    Attributes:
        url: root of the site, such as ``https://moodle.example.org``.
        token: of the web service user; it is sent in the body only and never shown.
        timeout: seconds for one request, from connecting to the last byte of the answer.
        batch_size: most entries in one request.
        max_input_vars: the PHP setting of that name at the site: form variables beyond it are cut silently.
        parallel: most requests under way at once.
        rate_limit: most requests in a minute; 0 for no limit.
        max_retries: quick repeats of one request; after those the caller has to back off.
        base_delay_ms: upper bound of the pause before the first quick repeat.
        max_delay_ms: upper bound of each pause; a longer Retry-After is left to the caller.
        tls_minimum: lowest TLS version, ``1.2`` or ``1.3``.
    """

    url: str
    token: SecretStr
    timeout: float = 30.0
    batch_size: int = 500
    max_input_vars: int = 1000
    parallel: int = 4
    rate_limit: int = 0
    max_retries: int = 3
    base_delay_ms: int = 1000
    max_delay_ms: int = 30_000
    tls_minimum: str = "1.2"
