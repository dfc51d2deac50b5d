"""Settings of the Moodle sink, and the web service functions that it calls."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

from schemas.events import Role

FUNCTIONS: Final = (
    "core_course_create_courses",
    "core_course_get_courses",
    "core_course_get_courses_by_field",
    "core_enrol_get_enrolled_users",
    "core_role_unassign_roles",
    "core_user_create_users",
    "core_user_get_users",
    "core_user_get_users_by_field",
    "core_user_update_users",
    "enrol_manual_enrol_users",
    "tool_mobile_call_external_functions",
)
"""Web service functions that the service user must be allowed to call in any case."""


class Feature(StrEnum):
    """What commands may wish for beyond accounts, courses and enrolments."""

    CATEGORIES = "categories"
    """Courses with a path of categories."""
    COURSE_UPDATES = "course_updates"
    """Existing courses that are changed, or are given their id number."""
    GROUPS = "groups"
    """Courses with groups, and enrolments with sections."""
    UNENROLMENT = "unenrolment"
    """Enrolments that are removed."""


FUNCTIONS_OF: Final[Mapping[Feature, tuple[str, ...]]] = {
    Feature.CATEGORIES: (
        "core_course_create_categories",
        "core_course_get_categories",
        "core_course_update_categories",
    ),
    Feature.COURSE_UPDATES: ("core_course_update_courses",),
    Feature.GROUPS: (
        "core_group_add_group_members",
        "core_group_create_groups",
        "core_group_delete_group_members",
        "core_group_get_course_groups",
        "core_group_get_group_members",
        "core_group_update_groups",
    ),
    Feature.UNENROLMENT: ("enrol_manual_unenrol_users",),
}
"""Functions that are needed only by a site on which that feature is used."""


def functions(features: Iterable[Feature]) -> tuple[str, ...]:
    """Return the functions that the service user must be allowed to call where ``features`` are used."""
    return (*FUNCTIONS, *(name for feature in features for name in FUNCTIONS_OF[feature]))


def _stock_roles() -> dict[Role, int]:
    return {Role.STUDENT: 5, Role.TEACHER: 3, Role.NON_EDITING_TEACHER: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class SinkSettings:
    """What the sink has to know of its site beside how to reach it.

    Attributes:
        roles: Moodle's role id of each role; the defaults are those of a stock Moodle. These roles are the
            hub's: whoever has one in a course beside the wished one loses it. No other role is touched.
        default_category_id: category of courses that are created without naming one.
        groups: whether somebody enrolled without a section is taken out of the groups of sections. It costs
            two look-ups a batch, so it is for sites on which sections are made groups.
    """

    roles: Mapping[Role, int] = field(default_factory=_stock_roles)
    default_category_id: int = 1
    groups: bool = False
