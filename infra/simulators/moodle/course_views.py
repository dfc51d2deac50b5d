"""How a course is shown by the functions that read it."""

from typing import Any

from infra.simulators.moodle.state import CUSTOM_FIELDS, OPT_IN, SITE_COURSE, Course, MoodleState
from infra.simulators.moodle.text import formatted


def _names(course: Course) -> dict[str, Any]:
    name = formatted(course.fullname)
    return {"fullname": name, "displayname": name, "shortname": formatted(course.shortname)}


def custom_fields(course: Course) -> list[dict[str, Any]]:
    """The course's custom fields with raw and shown value; a field without a value is given too."""
    result = []
    for shortname, (name, kind) in CUSTOM_FIELDS.items():
        raw: Any = course.customfields.get(shortname, "")
        shown: str | None = raw or None
        if kind == "checkbox":
            raw = 1 if raw == "1" else 0
            shown = "Yes" if raw else "No"
        result.append({"name": name, "shortname": shortname, "type": kind, "valueraw": raw, "value": shown})
    return result


def listed(state: MoodleState, course: Course) -> dict[str, Any]:
    """A course as `core_course_get_courses` gives it."""
    on_site = course.id == SITE_COURSE
    plain = (
        "idnumber summary summaryformat format showgrades newsitems startdate enddate numsections maxbytes "
        "showreports visible groupmode groupmodeforce defaultgroupingid timecreated timemodified "
        "enablecompletion completionnotify lang forcetheme"
    )
    options = {"numsections": course.numsections} if on_site else {"hiddensections": 1, "coursedisplay": 0}
    return {
        "id": course.id,
        "categoryid": course.category,
        "categorysortorder": state.sortorder(course),
        **_names(course),
        **{name: getattr(course, name) for name in plain.split()},
        **({} if on_site else {"hiddensections": course.hiddensections}),
        "courseformatoptions": [{"name": name, "value": value} for name, value in options.items()],
        "showactivitydates": False,
        "showcompletionconditions": None if on_site else True,
        "customfields": custom_fields(course),
    }


def image(state: MoodleState, course: Course) -> str:
    """Address of the generated picture of a course."""
    return f"{state.settings.url}/pluginfile.php/{course.id + 13}/course/generated/course.svg"


def detailed(state: MoodleState, course: Course) -> dict[str, Any]:
    """A course as `core_course_get_courses_by_field` gives it."""
    plain = (
        "summary summaryformat idnumber format showgrades newsitems startdate enddate maxbytes showreports "
        "visible groupmode groupmodeforce defaultgroupingid enablecompletion completionnotify lang "
        "timecreated timemodified"
    )
    category = state.categories.get(course.category)
    filters = ("displayh5p", "activitynames", "mathjaxloader", "emoticon", "urltolink", "mediaplugin")
    options: dict[str, Any] = {"hiddensections": 1, "coursedisplay": 0, "indentation": "1"}
    return {
        "id": course.id,
        **_names(course),
        "courseimage": image(state, course),
        "categoryid": course.category,
        "categoryname": formatted(category.name) if category else "",
        "sortorder": state.sortorder(course),
        "summaryfiles": [],
        "overviewfiles": [],
        "showactivitydates": False,
        "showcompletionconditions": True,
        "contacts": [],
        "enrollmentmethods": ["manual"],
        "customfields": custom_fields(course),
        **{name: getattr(course, name) for name in plain.split()},
        "theme": course.forcetheme,
        "marker": 0,
        "legacyfiles": 0,
        "calendartype": "",
        "requested": 0,
        "cacherev": course.timemodified,
        "filters": [{"filter": name, "localstate": 0, "inheritedstate": 1} for name in filters],
        "courseformatoptions": [{"name": name, "value": value} for name, value in options.items()],
    }


def opted_in(course: Course) -> bool:
    """Whether the course's completions are to be told (custom field `completion_opt_in`)."""
    return course.customfields.get(OPT_IN) == "1"
