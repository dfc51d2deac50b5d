"""The wiring of all stages on one page."""

from infra.mapping import Mapping
from infra.stage import Stage
from processors.completions import CompletionsStage
from processors.courses import CourseStage
from processors.people import PeopleStage
from processors.references import ReferenceStage
from schemas.topics import Sites


def topology(mapping: Mapping, sites: Sites) -> tuple[Stage, ...]:
    """Return the stages under the rules of ``mapping``, wired to the topics of all ``sites``."""
    people, courses = PeopleStage(mapping, sites), CourseStage(mapping, sites)
    topics, per_site = sites.shared, tuple(sites.by_target.values())
    references, completions = ReferenceStage(topics), CompletionsStage(mapping, topics)
    commands = tuple(site.commands for site in per_site)
    return (
        Stage(
            name="people",
            handlers={
                topics.people: people.on_person,
                topics.enrolments: people.on_enrolment,
                topics.payments: people.on_payment,
                topics.directives: people.on_directive,
                topics.ticks: people.on_tick,
                **{site.results: people.on_result for site in per_site},
            },
            outputs=(topics.enrolments_by_course, *commands),
        ),
        Stage(
            name="references",
            handlers={
                topics.terms: references.on_term,
                topics.programs: references.on_program,
                topics.course_references: references.on_reference,
            },
            outputs=(topics.references_by_course,),
        ),
        Stage(
            name="courses",
            handlers={
                topics.courses: courses.on_course,
                topics.sections: courses.on_section,
                topics.references_by_course: courses.on_reference,
                topics.enrolments_by_course: courses.on_enrolment,
                topics.directives: courses.on_directive,
                topics.ticks: courses.on_tick,
                **{site.results: courses.on_result for site in per_site},
                **{site.observed: courses.on_observed for site in per_site},
            },
            outputs=(topics.course_references, *commands),
        ),
        Stage(
            name="completions",
            handlers={
                topics.people: completions.on_person,
                topics.enrolments: completions.on_enrolment,
                topics.callback_results: completions.on_result,
                topics.directives: completions.on_directive,
                topics.ticks: completions.on_tick,
                **{site.observed: completions.on_observed for site in per_site},
            },
            outputs=(topics.callbacks,),
        ),
    )
