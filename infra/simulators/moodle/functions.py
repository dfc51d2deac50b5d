"""The web service functions by name, and how a call is checked and carried out."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from infra.simulators.moodle import (
    categories,
    completion,
    courses,
    enrolment_reads,
    enrolments,
    grades,
    groups,
    php,
    reports,
    site,
    user_params,
    users,
)
from infra.simulators.moodle.errors import (
    MoodleError,
    NotSimulatedError,
    access_denied,
    invalid_parameter,
    missing_record,
)
from infra.simulators.moodle.params import Scalar, Struct, many, optional, validate
from infra.simulators.moodle.state import MoodleState

MULTIPLEX = "tool_mobile_call_external_functions"


@dataclass(frozen=True)
class Function:
    """What a function expects, what it does, and whether it changes the site."""

    spec: Struct
    run: Callable[[MoodleState, dict[str, Any]], Any]
    writes: bool = False


_REQUESTS = Struct(
    {
        "requests": many(
            {
                "function": Scalar("alphanumext"),
                "arguments": Scalar("raw", "{}"),
                "settingraw": optional("bool"),
                "settingfileurl": optional("bool"),
                "settingfilter": optional("bool"),
                "settinglang": optional("safedir"),
            }
        )
    }
)


def call_external_functions(state: MoodleState, params: dict[str, Any]) -> dict[str, Any]:
    """`tool_mobile_call_external_functions`: several calls, each on its own, up to the first failure."""
    responses: list[dict[str, Any]] = []
    for request in params["requests"]:
        response = _one_of_many(state, request)
        responses.append(response)
        if response["error"]:
            break
    return {"responses": responses}


def _one_of_many(state: MoodleState, request: dict[str, Any]) -> dict[str, Any]:
    name = request["function"]
    if name not in site.service(state):
        refused = {"errorcode": "accessexception", "module": "webservice"}
        return {"error": True, "exception": php.to_json(refused)}
    try:
        with state.transaction():
            data = call(state, name, _arguments(request["arguments"]))
    except MoodleError as error:
        return {"error": True, "exception": php.to_json(_exception(state, error))}
    return {"error": False, "data": php.to_json(data)}


def _arguments(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise invalid_parameter("arguments are not JSON") from error


def _exception(state: MoodleState, error: MoodleError) -> dict[str, str | None]:
    documentation = f"https://docs.moodle.org/404/en/error/{error.module}/{error.errorcode}"
    result = {"message": error.message, "errorcode": error.errorcode, "link": f"{state.settings.url}/"}
    result["moreinfourl"] = documentation
    if state.settings.debug and error.debuginfo:
        result["debuginfo"] = error.debuginfo
    return result


FUNCTIONS: dict[str, Function] = {
    "core_webservice_get_site_info": Function(Struct({}), site.get_site_info),
    "core_user_create_users": Function(user_params.CREATE, users.create_users, writes=True),
    "core_user_update_users": Function(user_params.UPDATE, users.update_users, writes=True),
    "core_user_get_users_by_field": Function(user_params.BY_FIELD, users.get_users_by_field),
    "core_user_get_users": Function(user_params.SEARCH, users.get_users),
    "core_user_delete_users": Function(user_params.DELETE, users.delete_users, writes=True),
    "core_course_create_courses": Function(courses.CREATE, courses.create_courses, writes=True),
    "core_course_update_courses": Function(courses.UPDATE, courses.update_courses, writes=True),
    "core_course_get_courses": Function(courses.GET, courses.get_courses),
    "core_course_get_courses_by_field": Function(courses.BY_FIELD, courses.get_courses_by_field),
    "core_course_delete_courses": Function(courses.DELETE, courses.delete_courses, writes=True),
    "core_course_create_categories": Function(categories.CREATE, categories.create_categories, writes=True),
    "core_course_update_categories": Function(categories.UPDATE, categories.update_categories, writes=True),
    "core_course_get_categories": Function(categories.GET, categories.get_categories),
    "enrol_manual_enrol_users": Function(enrolments.ENROL, enrolments.enrol_users, writes=True),
    "enrol_manual_unenrol_users": Function(enrolments.UNENROL, enrolments.unenrol_users, writes=True),
    "core_enrol_get_enrolled_users": Function(enrolment_reads.ENROLLED, enrolment_reads.get_enrolled_users),
    "core_enrol_get_users_courses": Function(enrolment_reads.COURSES_OF, enrolment_reads.get_users_courses),
    "core_enrol_get_course_enrolment_methods": Function(
        enrolment_reads.METHODS, enrolment_reads.get_course_enrolment_methods
    ),
    "core_role_assign_roles": Function(enrolments.ASSIGN, enrolments.assign_roles, writes=True),
    "core_role_unassign_roles": Function(enrolments.UNASSIGN, enrolments.unassign_roles, writes=True),
    "core_completion_get_course_completion_status": Function(
        completion.STATUS, completion.get_course_completion_status
    ),
    "gradereport_overview_get_course_grades": Function(grades.OVERVIEW, grades.get_course_grades),
    "core_reportbuilder_list_reports": Function(reports.LIST, reports.list_reports),
    "core_reportbuilder_retrieve_report": Function(reports.RETRIEVE, reports.retrieve_report),
    "core_group_create_groups": Function(groups.CREATE, groups.create_groups, writes=True),
    "core_group_get_course_groups": Function(groups.OF_COURSE, groups.get_course_groups),
    "core_group_add_group_members": Function(groups.MEMBERS, groups.add_group_members, writes=True),
    "core_group_get_group_members": Function(groups.MEMBERS_OF, groups.get_group_members),
    "core_group_update_groups": Function(groups.UPDATE, groups.update_groups, writes=True),
    "core_group_delete_group_members": Function(groups.MEMBERS, groups.delete_group_members, writes=True),
    MULTIPLEX: Function(_REQUESTS, call_external_functions, writes=True),
}


def check_name(state: MoodleState, name: str | None) -> str:
    """Refuse a function that is missing, unknown, or not allowed in the service.

    Raises:
        MoodleError: as Moodle answers each of these.
        NotSimulatedError: the service has it, the simulator does not.
    """
    if not name:
        raise invalid_parameter("Missing function name")
    if name in site.ELSEWHERE:
        raise access_denied()
    if name not in site.service(state):
        raise missing_record("external_functions")
    if name not in FUNCTIONS:
        raise NotSimulatedError(name)
    return name


def call(state: MoodleState, name: str | None, arguments: Any) -> Any:
    """Carry out one function in one transaction.

    Args:
        state: the site.
        name: the web service function.
        arguments: nested parameters from a form or from JSON.

    Raises:
        MoodleError: and then nothing was changed.
    """
    function = FUNCTIONS[check_name(state, name)]
    if isinstance(arguments, dict | list):
        params = validate(function.spec, arguments)
    else:
        raise invalid_parameter("Only arrays accepted.")
    with state.transaction():
        return function.run(state, params)
