"""A simulated Moodle that behaves as a recorded one: its answers, its errors, its silences.

Example:
    state = MoodleState()
    async with serve(state) as url:
        ...  # POST to {url}/webservice/rest/server.php
"""

from infra.simulators.moodle.app import create_app, serve
from infra.simulators.moodle.faults import Fault
from infra.simulators.moodle.seeding import (
    AutoCompletion,
    CoursePatch,
    NewCompletion,
    Seed,
    SeedCourse,
    SeedEnrolment,
    SeedUser,
    add_completions,
    auto_complete,
    patch_course,
    seed,
)
from infra.simulators.moodle.state import MoodleState, Settings

__all__ = [
    "AutoCompletion",
    "CoursePatch",
    "Fault",
    "MoodleState",
    "NewCompletion",
    "Seed",
    "SeedCourse",
    "SeedEnrolment",
    "SeedUser",
    "Settings",
    "add_completions",
    "auto_complete",
    "create_app",
    "patch_course",
    "seed",
    "serve",
]
