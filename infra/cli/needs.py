"""What has to be set for a process that is started alone, with nothing embedded and nothing simulated."""

from collections.abc import Mapping
from typing import Final

from infra.settings import Settings

_USUALLY: Final = ("kafka_bootstrap_servers", "schema_registry_url", "database_url")
_OF_ROLE: Final[Mapping[str, tuple[str, ...]]] = {
    # It takes records in without the others; /healthz says that they are missing.
    "api": ("database_url",),
    "alerts": ("database_url",),
    "elm-poll": (*_USUALLY, "elm_api_url"),
    "moodle-sink": (*_USUALLY, "moodle_url"),
    "moodle-source": (*_USUALLY, "moodle_url"),
}


def lacking(settings: Settings, role: str) -> list[str]:
    """Return the environment variables that ``role`` needs and that are not set."""
    names = _OF_ROLE.get(role, _USUALLY)
    return [name.upper() for name in names if getattr(settings, name) is None]
