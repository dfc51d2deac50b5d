"""The views that everybody reads: the tables of one generation, and what several of them tell together.

What is parked, in conflict or refused is what `processors.parking` says of the same changelogs; a test
compares both.
"""

from collections.abc import Iterator
from typing import Final

from connectors.read_model.projection import metadata
from connectors.read_model.state_tables import COURSE_NEEDS, PLACEMENTS, REPORTS, WISHES
from connectors.read_model.tables import HISTORY, LETTER_DECISIONS, LETTERS, TOPICS
from schemas.reasons import CONFLICTS, Reason

VIEWS: Final = "read_model"
REDRIVE: Final = "dlq.redrive"
DISCARD: Final = "dlq.discard"
"""Actions of the audit that are decisions about a dead letter, whose place is the subject."""
_HIDDEN: Final = {
    *(one.name for one in (WISHES, COURSE_NEEDS, PLACEMENTS, REPORTS, LETTERS, LETTER_DECISIONS, HISTORY)),
    TOPICS.name,
}
"""Tables that only views read."""

_PARKED: Final = """
    SELECT 'enrolment' AS what, e.tenant, e.person_id, e.course_id, 'account' AS waits_for,
        a.blocked AS reason,
        CASE WHEN e.waits_if_missing THEN e.since ELSE greatest(e.since, a.since) END AS since
    FROM {schema}.wishes e LEFT JOIN {schema}.accounts a USING (tenant, person_id)
    WHERE e.waits AND (e.waits_if_missing OR a.missing IS NOT TRUE)
    UNION ALL
    SELECT 'course', tenant, NULL, course_id, waits_for, NULL, since
    FROM {schema}.course_needs WHERE waits_for IS NOT NULL
    UNION ALL
    SELECT 'enrolment', e.tenant, e.person_id, e.course_id, 'course', c.blocked, e.since
    FROM {schema}.placements e LEFT JOIN {schema}.moodle_courses c USING (tenant, course_id)
    WHERE e.waits AND (e.waits_if_out OR c.is_out IS NOT TRUE)
    UNION ALL
    SELECT 'completion', tenant, person_id, course_id, 'learner or enrolment', NULL, since
    FROM {schema}.reports WHERE waits
"""
_STOPPED: Final = """
    SELECT 'account' AS what, tenant, person_id, NULL AS course_id, blocked AS reason,
        coalesce(a.moodle_user_id, (
            SELECT s.moodle_user_id FROM {schema}.standing s
            WHERE (s.tenant, s.kind, s.person_id, s.course_id) = (a.tenant, 'USER', a.person_id, '')
            ORDER BY s.generation DESC LIMIT 1
        )) AS moodle_user_id,
        NULL::int8 AS moodle_course_id, other_moodle_user_id, since
    FROM {schema}.accounts a WHERE blocked IS NOT NULL
    UNION ALL
    SELECT 'course', tenant, NULL, course_id, blocked, NULL, moodle_course_id, NULL, since
    FROM {schema}.moodle_courses WHERE blocked IS NOT NULL AND blocked <> '{not_found}'
    UNION ALL
    SELECT 'enrolment', e.tenant, e.person_id, e.course_id, e.refused, e.moodle_user_id, e.moodle_course_id,
        NULL, e.since
    FROM {schema}.placements e LEFT JOIN {schema}.moodle_courses c USING (tenant, course_id)
    WHERE e.refused IS NOT NULL AND NOT (e.waits AND (e.waits_if_out OR c.is_out IS NOT TRUE))
    UNION ALL
    SELECT 'completion', tenant, person_id, course_id, refused, NULL, NULL, NULL, since
    FROM {schema}.reports WHERE refused IS NOT NULL AND NOT waits
"""
_REFUSED: Final = """
    SELECT what, tenant, person_id, course_id, reason, since
    FROM ({stopped}) AS stopped WHERE reason NOT IN ({conflicts})
"""
# The last resolution since the conflict began counts; those before that were of another one.
_IN_CONFLICT: Final = """
    SELECT subject, tenant, person_id, course_id, reason, moodle_user_id, moodle_course_id,
        other_moodle_user_id, since,
        CASE WHEN (
            SELECT d.resolution FROM {schema}.directives d
            WHERE (d.tenant, d.subject, d.kind) = (stopped.tenant, stopped.subject, 'RESOLVE')
                AND (d.subject = 'COURSE' OR d.person_id = stopped.person_id)
                AND (d.subject = 'USER' OR d.course_id = stopped.course_id)
                AND d.issued_at >= stopped.since
            ORDER BY d.issued_at DESC LIMIT 1
        ) = 'IGNORE' THEN 'IGNORED' ELSE 'OPEN' END AS state
    FROM (
        SELECT CASE what WHEN 'account' THEN 'USER' ELSE upper(what) END AS subject, *
        FROM ({stopped}) AS every WHERE reason IN ({conflicts})
    ) AS stopped
"""
_DEAD_LETTERS: Final = """
    SELECT l.*,
        CASE d.action WHEN '{redrive}' THEN 'REDRIVEN' WHEN '{discard}' THEN 'DISCARDED' ELSE 'OPEN' END
            AS state,
        d.at AS decided_at, d.actor AS decided_by
    FROM {schema}.letters l LEFT JOIN {schema}.letter_decisions d ON d.subject = l.place
"""
_HISTORY: Final = """
    SELECT m.tenant, m.person_id, m.course_id, t.name AS topic, m.partition, m.message_offset, m.at
    FROM {schema}.messages m JOIN {schema}.topics t ON t.id = m.topic
"""
_COMPLETED: Final = """
    SELECT c.*, r.callback_id, r.refused AS reason,
        CASE WHEN r.outcome IS NOT NULL THEN r.outcome
            WHEN r.waits THEN 'WAITS' WHEN r.callback_id IS NOT NULL THEN 'ON_ITS_WAY' END AS told
    FROM {schema}.completions c LEFT JOIN {schema}.reports r USING (tenant, person_id, course_id)
"""
_JOINED: Final = {
    "completed": _COMPLETED,
    "parked": _PARKED,
    "conflicts": _IN_CONFLICT,
    "refused": _REFUSED,
    "dead_letters": _DEAD_LETTERS,
    "history": _HISTORY,
}


def views(schema: str) -> Iterator[str]:
    """Yield the statements that make all views, of the generation in ``schema``."""
    for table in metadata.sorted_tables:
        if table.name not in _HIDDEN:
            yield f"CREATE VIEW {VIEWS}.{table.name} AS SELECT * FROM {schema}.{table.name}"  # noqa: S608 - names of ours
    parts = {
        "schema": schema,
        "conflicts": ", ".join(f"'{reason}'" for reason in sorted(CONFLICTS)),
        "stopped": _STOPPED.format(schema=schema, not_found=Reason.COURSE_NOT_FOUND),
        "redrive": REDRIVE,
        "discard": DISCARD,
    }
    for name, query in _JOINED.items():
        yield f"CREATE VIEW {VIEWS}.{name} AS {query.format_map(parts)}"
