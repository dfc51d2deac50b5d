"""Site information: who the service user is and which functions the service allows."""

from typing import Any

from infra.simulators.moodle.state import SERVICE_USER, MoodleState

_CORE = "2024042203.03"
_PLUGIN = "2024042200"

# The functions of the recorded service in their order, with the version of the component.
SERVICE: dict[str, str] = {
    name: _PLUGIN if name.startswith(("enrol_manual", "gradereport", "tool_")) else _CORE
    for name in (
        "core_webservice_get_site_info",
        "core_user_create_users",
        "core_user_update_users",
        "core_user_get_users_by_field",
        "core_user_get_users",
        "core_user_delete_users",
        "core_course_create_courses",
        "core_course_update_courses",
        "core_course_get_courses",
        "core_course_get_courses_by_field",
        "core_course_get_categories",
        "core_course_create_categories",
        "core_course_update_categories",
        "core_course_delete_courses",
        "enrol_manual_enrol_users",
        "enrol_manual_unenrol_users",
        "core_enrol_get_enrolled_users",
        "core_enrol_get_users_courses",
        "core_enrol_get_enrolled_users_with_capability",
        "core_group_create_groups",
        "core_group_get_course_groups",
        "core_group_add_group_members",
        "core_group_delete_group_members",
        "core_cohort_create_cohorts",
        "core_cohort_add_cohort_members",
        "core_completion_get_course_completion_status",
        "core_completion_get_activities_completion_status",
        "core_completion_mark_course_self_completed",
        "core_completion_override_activity_completion_status",
        "gradereport_user_get_grade_items",
        "gradereport_overview_get_course_grades",
        "core_grades_update_grades",
        "core_grades_create_gradecategories",
        "core_calendar_create_calendar_events",
        "core_calendar_get_calendar_events",
        "core_message_send_instant_messages",
        "core_reportbuilder_retrieve_report",
        "core_reportbuilder_list_reports",
        "core_role_assign_roles",
        "core_role_unassign_roles",
        "core_course_get_contents",
        "core_enrol_get_course_enrolment_methods",
        "tool_mobile_call_external_functions",
        "core_files_upload",
    )
}

# Functions of the same version of Moodle that were not recorded; they behave as Moodle documents them.
FURTHER: dict[str, str] = dict.fromkeys(("core_group_get_group_members", "core_group_update_groups"), _CORE)

# Functions that Moodle has, but that this service does not allow.
ELSEWHERE = frozenset(
    {"core_user_view_user_profile", "core_course_delete_categories", "core_course_search_courses"}
)

_FEATURES = {
    "usecomments": 1,
    "usetags": 1,
    "enablenotes": 1,
    "messaging": 1,
    "enableblogs": 1,
    "enablecompletion": 1,
    "enablebadges": 1,
    "messagingallusers": 0,
    "enablecustomreports": 1,
    "enableglobalsearch": 0,
    "mnet_dispatcher_mode": 0,
    "enablecompetencies": 1,
}


def service(state: MoodleState) -> dict[str, str]:
    """The functions that the service user may call, with the version of the component."""
    return SERVICE if state.settings.recorded_service else SERVICE | FURTHER


def picture(state: MoodleState, size: int) -> str:
    """Address of the default profile picture; 1 is the large one."""
    return f"{state.settings.url}/theme/image.php/boost/core/1/u/f{size}"


def get_site_info(state: MoodleState, _params: dict[str, Any]) -> dict[str, Any]:
    """`core_webservice_get_site_info`."""
    user = state.users.rows[(SERVICE_USER,)]
    site = state.courses.rows[(1,)]
    return {
        "sitename": site.fullname,
        "username": user.username,
        "firstname": user.firstname,
        "lastname": user.lastname,
        "fullname": f"{user.firstname} {user.lastname}",
        "lang": "en",
        "userid": user.id,
        "siteurl": state.settings.url,
        "userpictureurl": picture(state, 1),
        "functions": [{"name": name, "version": version} for name, version in service(state).items()],
        "downloadfiles": 1,
        "uploadfiles": 1,
        "release": "4.4.3+ (Build: 20240910)",
        "version": _CORE,
        "mobilecssurl": "",
        "advancedfeatures": [{"name": name, "value": value} for name, value in _FEATURES.items()],
        "usercanmanageownfiles": True,
        "userquota": 104857600,
        "usermaxuploadfilesize": 67108864,
        "userhomepage": 1,
        "userprivateaccesskey": "0" * 32,
        "siteid": 1,
        "sitecalendartype": "gregorian",
        "usercalendartype": "gregorian",
        "userissiteadmin": False,
        "theme": "boost",
        "limitconcurrentlogins": 0,
        "policyagreed": 0,
    }
