"""What a site lets the service user do."""

from collections.abc import Iterable

from connectors.moodle.client import MoodleClient

SITE_INFO = "core_webservice_get_site_info"


async def missing_functions(moodle: MoodleClient, wanted: Iterable[str]) -> list[str]:
    """Return those of ``wanted`` web service functions that the token's service does not allow.

    Raises:
        RetryLater, Stop: Moodle did not say; see `MoodleClient.call`.
    """
    info = await moodle.call(SITE_INFO, {})
    allowed = {function["name"] for function in info["functions"]}
    return [name for name in wanted if name not in allowed]
