"""The wiring of all stages on one page."""

from infra.stage import Stage
from processors.completions import CompletionsStage
from processors.courses import CourseStage
from processors.people import PeopleStage
from schemas.ids import Target
from schemas.topics import TopicSet


def topology(target: Target, topics: TopicSet) -> tuple[Stage, ...]:
    """Return the stages for the Moodle site ``target``, wired to ``topics``."""
    people, courses = PeopleStage(target, topics), CourseStage(target, topics)
    completions = CompletionsStage(topics)
    return (
        Stage(
            name="people",
            handlers={
                topics.people: people.on_person,
                topics.enrolments: people.on_enrolment,
                topics.results: people.on_result,
            },
            outputs=(topics.enrolments_by_course, topics.commands),
        ),
        Stage(
            name="courses",
            handlers={
                topics.courses: courses.on_course,
                topics.enrolments_by_course: courses.on_enrolment,
                topics.results: courses.on_result,
                topics.observed: courses.on_observed,
            },
            outputs=(topics.commands,),
        ),
        Stage(
            name="completions",
            handlers={
                topics.people: completions.on_person,
                topics.enrolments: completions.on_enrolment,
                topics.callback_results: completions.on_result,
                topics.observed: completions.on_observed,
            },
            outputs=(topics.callbacks,),
        ),
    )
