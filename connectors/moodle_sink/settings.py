"""Settings of the Moodle sink."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from schemas.events import Role

FUNCTIONS: Final = (
    "core_course_create_courses",
    "core_course_get_courses",
    "core_course_get_courses_by_field",
    "core_enrol_get_enrolled_users",
    "core_user_create_users",
    "core_user_get_users",
    "core_user_get_users_by_field",
    "core_user_update_users",
    "enrol_manual_enrol_users",
    "tool_mobile_call_external_functions",
)
"""Web service functions that the service user must be allowed to call."""


def _stock_roles() -> dict[Role, int]:
    return {Role.STUDENT: 5, Role.TEACHER: 3, Role.NON_EDITING_TEACHER: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """What the sink has to know of its site beside how to reach it.

    Attributes:
        roles: Moodle's role id of each role; the defaults are those of a stock Moodle.
        default_category_id: category of courses that are created without naming one.
    """

    roles: Mapping[Role, int] = field(default_factory=_stock_roles)
    default_category_id: int = 1
