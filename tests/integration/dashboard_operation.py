"""Records for the pages of calls, completions, runs, schedules and alerts."""

from __future__ import annotations

from typing import Final

OPERATION: Final = """
    INSERT INTO {model}.calls (call_id, tenant, system, target, role, function, started_at, duration_ms, code,
        http_status, attempt, entries, request_bytes, response_bytes, references_, place)
    SELECT 'c' || n, 'house', 'MOODLE', 'default', 'moodle-sink', 'core_user_create_users',
        '2026-11-02'::timestamptz + n * interval '1 min', 120, CASE n WHEN 3 THEN 'http_503' ELSE 'ok' END,
        CASE n WHEN 3 THEN 503 ELSE 200 END, 1, 50, 9000, 400, ARRAY['user|house|ann'], 'hub.calls/0/' || n
    FROM generate_series(1, 60) AS n;
    INSERT INTO {model}.rates (kind, tenant, system, target, function, minute, total, failed,
        auth_failed, buckets, place)
    VALUES ('CALL', 'house', 'MOODLE', 'default', 'core_user_create_users', '2026-11-02 08:00', 60, 1, 0,
        '{0,60}', 'x');
    INSERT INTO {model}.completions (tenant, person_id, course_id, target, completed_on, completed_at,
        observed_at, place)
    VALUES ('house', 'ann', 'MA-101', 'default', '2026-11-01', '2026-11-01 10:00', '2026-11-01 10:05', 'x');
    INSERT INTO {model}.reports (tenant, person_id, course_id, callback_id, outcome, refused, waits, since,
        place)
    VALUES ('house', 'ann', 'MA-101', 'cb1', 'REJECTED', 'ELM_REFUSED', false, '2026-11-01', 'x');
    INSERT INTO {model}.callbacks (callback_id, tenant, enrolment_id, person_id, course_id, completed_on,
        issued_at, place)
    VALUES ('cb1', 'house', '9', 'ann', 'MA-101', '2026-11-01', '2026-11-01 10:06', 'x');
    INSERT INTO {model}.callback_results (callback_id, tenant, enrolment_id, person_id, course_id, outcome,
        reason, http_status, completed_at, place)
    VALUES ('cb1', 'house', '9', 'ann', 'MA-101', 'REJECTED', 'ELM_REFUSED', 400, '2026-11-01 10:07', 'x');
    INSERT INTO public.source_runs (tenant, source, state, started_at, finished_at, seen, new)
    VALUES ('house', 'elm', 'SUCCESS', '2026-11-02 08:00', '2026-11-02 08:01', 2000, 12),
        ('other', 'zoho', 'SUCCESS', '2026-11-02 08:00', '2026-11-02 08:01', 1, 1);
    INSERT INTO public.schedule_runs (tenant, target, site, state, trigger, actor, started_at, finished_at,
        counts, error, lock_key)
    SELECT 'house', 'RECONCILE', 'default', CASE n WHEN 2 THEN 'FAILED' ELSE 'SUCCESS' END, 'SCHEDULE', NULL,
        '2026-11-02'::timestamptz + n * interval '1 h', '2026-11-02'::timestamptz + n * interval '1 h 3 s',
        '{"compared": 100, "drift_user_missing": 3, "drift_enrolment_suspended_elsewhere": 1}',
        CASE n WHEN 2 THEN 'Moodle is away' END, 1
    FROM generate_series(1, 5) AS n;
    INSERT INTO public.replays (replay_id, tenant, state, made_by, why, chosen, rate, total, done, made_at,
        updated_at)
    VALUES ('r1', 'house', 'OPEN', 'cli:ann', 'new rules', '{"topic": "people"}', 100, 5000, 1200,
            '2026-11-02 08:00', '2026-11-02 08:01'),
        ('r2', 'other', 'OPEN', 'cli:zed', 'secret', '{}', 100, 5, 1, '2026-11-02', '2026-11-02');
    INSERT INTO public.rehearsals (tenant, made_by, why, made_at, differences, chosen, report)
    VALUES ('house', 'cli:ann', 'new names', '2026-11-02', 1, '{"topic": "hub.people"}',
        '{"counts": {"person": {"same": 9, "changed": 1}}, "differences": 1, "sample": [{"kind": "person",
        "tenant": "house", "person_id": "ann", "course_id": null, "verdict": "changed", "fields": "username",
        "apply_by": "reassert"}]}');
    INSERT INTO public.incidents (tenant, alert, subject, severity, state, message, details, opened_at,
        seen_at, resolved_at)
    VALUES ('house', 'feed', 'ELM', 'WARNING', 'RESOLVED', 'ELM was not read for an hour', '{}',
            '2026-11-01 08:00', '2026-11-01 09:00', '2026-11-01 09:00'),
        ('house', 'feed', 'ELM', 'CRITICAL', 'OPEN', 'ELM is not read', '{"minutes": 90}',
            '2026-11-02 08:00', '2026-11-02 09:00', NULL),
        ('other', 'feed', 'ZOHO', 'CRITICAL', 'OPEN', 'a secret', '{}', '2026-11-02', '2026-11-02', NULL);
"""
"""Statements for `fill_read_model`."""
