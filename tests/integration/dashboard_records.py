"""Records for the pages of people, courses, enrolments, and of what does not go on by itself."""

from __future__ import annotations

from typing import Final

ANN, BEN, MATHS = "0f8b7a52-1111-4000-8000-000000000001", "0f8b7a52-1111-4000-8000-000000000002", "MA-101"
PEOPLE: Final = 300
HOSTILE: Final = "<script>alert(2)</script>"
RECORDS: Final = f"""
    INSERT INTO {{model}}.people
        (tenant, person_id, source, deleted, source_record_id, source_status, username,
        email, first_name, last_name, version_time, recorded_at, place)
    SELECT 'house', 'P' || lpad(n::text, 6, '0'), 'sis', n % 10 = 0, 'r' || n, 'active', 'u' || n,
        'p' || n || '@school.test', 'First' || n, 'Last' || n % 50, '2026-11-01',
        '2026-11-02'::timestamptz + n * interval '1 min', 'hub.people/0/' || n
    FROM generate_series(1, {PEOPLE}) AS n;
    INSERT INTO {{model}}.people
        (tenant, person_id, source, deleted, source_record_id, source_status, username,
        email, first_name, last_name, version_time, recorded_at, place)
    VALUES
        ('house', '{ANN}', 'sis', false, 's-1', 'active', 'ann', 'ann@school.test', 'Ann', '{HOSTILE}',
            '2026-11-01', '2026-11-02 08:00', 'hub.people/0/1001'),
        ('house', '{ANN}', 'elm', false, 'e-1', 'ACTIVE', NULL, 'ann@home.test', 'Anne', 'Miller',
            '2026-11-01', '2026-11-02 08:01', 'hub.people/0/1002'),
        ('house', '{BEN}', 'sis', false, 's-2', 'active', 'ben', 'ben@school.test', 'Ben', 'Baker',
            '2026-11-01', '2026-11-02 08:00', 'hub.people/0/1003'),
        ('other', 'theirs', 'sis', false, 's-9', 'active', 'x', 'secret@other.test', 'Their', 'Secret',
            '2026-11-01', '2026-11-02 08:00', 'hub.people/0/1004');
    INSERT INTO {{model}}.courses
        (tenant, course_id, source, source_record_id, deleted, source_status, short_name,
        full_name, term_id, moodle_course_id, version_time, recorded_at, place)
    VALUES ('house', '{MATHS}', 'sis', 'c-1', false, 'active', 'M101', 'Mathematics for beginners',
        '2026-1', 7,
        '2026-11-01', '2026-11-02 08:00', 'hub.courses/0/1');
    INSERT INTO {{model}}.enrolments
        (tenant, person_id, course_id, deleted, enrolment_id, source, source_record_id,
        status, source_status, role, version_time, recorded_at, place)
    VALUES ('house', '{ANN}', '{MATHS}', false, '9', 'elm', 'n-1', 'ACTIVE', 'Enrolled', 'STUDENT',
        '2026-11-01',
        '2026-11-02 08:02', 'hub.enrolments/0/1');
    INSERT INTO {{model}}.accounts (tenant, person_id, moodle_user_id, missing, blocked, other_moodle_user_id,
        since, place)
    VALUES ('house', '{ANN}', NULL, false, 'EMAIL_TAKEN', 77, '2026-11-02 09:00', 'x'),
        ('house', '{BEN}', 8, false, NULL, NULL, '2026-11-02', 'x'),
        ('house', 'P000003', 9, false, 'USER_PROTECTED', NULL, '2026-11-02', 'x');
    INSERT INTO {{model}}.observed_users (tenant, person_id, target, moodle_user_id, suspended, last_access,
        observed_at, place)
    VALUES ('house', '{BEN}', 'default', 77, false, '2026-11-01', '2026-11-02', 'x');
    INSERT INTO {{model}}.wishes (tenant, person_id, course_id, wanted, role, source, enrolment_id, waits,
        waits_if_missing, since, place)
    VALUES ('house', '{ANN}', '{MATHS}', 'ACTIVE', 'STUDENT', 'elm', '9', true, true, '2026-11-02 09:00',
        'x'),
        ('house', '{BEN}', '{MATHS}', 'ACTIVE', 'STUDENT', 'sis', NULL, false, false, '2026-11-02', 'x');
    INSERT INTO {{model}}.placements
        (tenant, person_id, course_id, generation, moodle_user_id, moodle_course_id,
        wanted, actual, waits, waits_if_out, since, place)
    VALUES ('house', '{BEN}', '{MATHS}', 2, 8, 7, 'ACTIVE', 'ACTIVE', false, false, '2026-11-02', 'x');
    INSERT INTO {{model}}.course_needs (tenant, course_id, waits_for, since, place)
    VALUES ('house', 'C9', 'term', '2026-11-01', 'x');
    INSERT INTO {{model}}.moodle_courses (tenant, course_id, moodle_course_id, blocked, is_out, since, place)
    VALUES ('house', '{MATHS}', 7, 'SHORTNAME_TAKEN', false, '2026-11-02', 'x');
    INSERT INTO {{model}}.commands
        (command_id, tenant, target, kind, person_id, course_id, generation, issued_at,
        wish, place)
    VALUES ('c1', 'house', 'default', 'USER', '{ANN}', NULL, 1, '2026-11-02 08:05', '{{"create": true}}',
        'moodle.default.commands/0/5');
    INSERT INTO {{model}}.results
        (command_id, tenant, target, kind, person_id, course_id, generation, outcome,
        reason, other_moodle_user_id, completed_at, place)
    VALUES ('c1', 'house', 'default', 'USER', '{ANN}', NULL, 1, 'CONFLICT', 'EMAIL_TAKEN', 77,
        '2026-11-02 08:06',
        'moodle.default.results/0/5');
    INSERT INTO {{model}}.calls
        (call_id, tenant, system, target, role, function, started_at, duration_ms, code,
        http_status, attempt, entries, references_, place)
    VALUES ('k1', 'house', 'MOODLE', 'default', 'moodle-sink', 'core_user_get_users_by_field',
        '2026-11-02 08:05:30', 1234, 'ok', 200, 1, 1, ARRAY['user|house|{ANN}'], 'hub.calls/0/7');
    INSERT INTO {{model}}.directives
        (directive_id, tenant, kind, subject, person_id, issued_at, actor, why, place)
    VALUES ('d1', 'house', 'REASSERT', 'USER', '{ANN}', '2026-11-02 10:00', 'user:operator', 'they asked',
        'hub.directives/0/3');
    INSERT INTO {{model}}.audit (audit_id, tenant, at, actor, action, subject, why, details, place)
    VALUES ('a1', 'house', '2026-11-02 10:00', 'user:operator', 'sync.person', 'person/{ANN}',
        'they asked', '{{}}',
        'hub.audit/0/3');
    INSERT INTO {{model}}.letters
        (place, role, topic, partition, message_offset, message_key, tenant, kind, entity,
        step, reason, error_class, error, attempt, failed_at)
    SELECT 'hub.dlq/0/' || n, 'people', 'hub.people', 0, n, 'house|x', 'house', 'person',
        CASE n WHEN 1 THEN 'person/{ANN}' ELSE 'person/P' || n END, 'VALUE_CONVERTER',
        CASE WHEN n % 2 = 0 THEN 'UNREADABLE' ELSE 'INVALID_FIELD' END, 'UnreadableError',
        'the value does not follow schema 7', 1, '2026-11-02 08:30'::timestamptz + n * interval '1 s'
    FROM generate_series(1, 60) AS n;
    INSERT INTO {{model}}.letters
        (place, role, topic, partition, message_offset, message_key, tenant, kind, entity,
        step, reason, error_class, error, attempt, failed_at)
    VALUES ('hub.dlq/0/900', 'people', 'hub.people', 0, 900, 'x', '', '', 'x', 'VALUE_CONVERTER',
        'UNREADABLE', 'E',
        'the value is not Avro in the Confluent wire format', 1, '2026-11-02');
    INSERT INTO {{model}}.completions
        (tenant, person_id, course_id, target, completed_on, completed_at, observed_at,
        place)
    VALUES ('house', '{BEN}', '{MATHS}', 'default', '2026-11-01', '2026-11-01 12:00', '2026-11-02',
        'moodle.observed/0/4');
    INSERT INTO {{model}}.topics (name) VALUES ('hub.people'), ('moodle.default.commands');
    INSERT INTO {{model}}.messages (tenant, person_id, course_id, topic, partition, message_offset, at)
    SELECT 'house', '{ANN}', NULL, t.id, 0, m.number, '2026-11-01'::timestamptz + m.number * interval '1 s'
    FROM {{model}}.topics t JOIN (VALUES ('hub.people', 990), ('hub.people', 1001),
        ('moodle.default.commands', 5))
        AS m (name, number) ON m.name = t.name;
    INSERT INTO {{model}}.rates
        (kind, tenant, system, target, function, minute, total, failed, auth_failed, buckets,
        place)
    SELECT kind, 'house', 'MOODLE', 'default', 'f', date_trunc('minute', now()) - n * interval '1 min',
        40 + 30 * sin(n / 9.0)::numeric::int + n % 7, n % 5, 0,
        CASE kind WHEN 'CALL' THEN ARRAY[0, 0, 0, 20, 10, 5 + n % 7, 3, 0, 0, 0, 0, 0] END, 'x'
    FROM generate_series(1, 300) AS n CROSS JOIN (VALUES ('CALL'), ('RESULT')) AS k (kind);
    INSERT INTO incidents (tenant, alert, subject, severity, state, message, details, opened_at, seen_at)
    VALUES ('house', 'feed-blocked', 'ELM', 'WARNING', 'OPEN', 'The feed of ELM has failed for 40 minutes',
        '{{}}',
        now(), now());
    INSERT INTO source_runs (tenant, source, state, started_at, finished_at)
    SELECT 'house', source, state, '2026-11-02'::timestamptz + n * interval '1 h',
        '2026-11-02'::timestamptz + n * interval '1 h 1 min'
    FROM (VALUES (1, 'sis', 'FINISHED'), (2, 'elm', 'FAILED'), (3, 'sis', 'FINISHED')) AS r (n, source,
        state);
    INSERT INTO schedules (tenant, target, site, enabled, every_seconds, zone)
    VALUES ('house', 'COURSE_CATALOG', 'default', true, 300, 'UTC');
    INSERT INTO invalid_records (tenant, source, kind, record_id, digest, content, field, reason, first_seen,
        last_seen, times_seen)
    VALUES ('house', 'sis', 'user', 'r9', '', '{{}}', 'email', 'is no address', now(), now(), 3);
"""
"""Statements for `fill_read_model`: Ann is in conflict and her enrolment waits, Ben is well."""
