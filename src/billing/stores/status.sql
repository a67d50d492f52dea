-- Statements of postgres_status.py.

-- name: server
SELECT current_setting('server_version_num')::integer AS version_num,
    current_setting('server_version') AS version, clock_timestamp() AS now,
    pg_is_in_recovery() AS in_recovery, current_setting('fsync') = 'on' AS fsync,
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS superuser

-- name: books
SELECT
    (SELECT count(*) FROM (SELECT FROM unpublished
        WHERE created_at < now() - interval '60 seconds' LIMIT 10000) AS old) AS untold_batches,
    (SELECT count(*) FROM (SELECT FROM reservations
        WHERE ended_us IS NULL AND expires_at < now() - interval '60 seconds' LIMIT 10000) AS old)
        AS overdue_reservations,
    (SELECT count(*) FROM (SELECT FROM quarantine LIMIT 10000) AS few) AS quarantined,
    greatest((SELECT checked_at FROM ledger_checks ORDER BY id DESC LIMIT 1),
             (SELECT checked_at FROM ledger_verdicts ORDER BY id DESC LIMIT 1)) AS checked_at,
    coalesce((SELECT verdict FROM (VALUES (true), (false)) AS kinds (kind) CROSS JOIN LATERAL (
            SELECT id, broken, broken_now, verdict FROM ledger_verdicts
            WHERE whole = kind ORDER BY id DESC LIMIT 1
        ) AS newest
        WHERE broken <> '{}' AND (NOT broken <@ broken_now OR id = (SELECT max(id) FROM ledger_verdicts))
        ORDER BY id DESC LIMIT 1), '') AS broken,
    (SELECT epoch FROM hot_epoch WHERE id = 1) AS epoch,
    (SELECT identity FROM hot_epoch WHERE id = 1) AS hot_identity

-- Up to $2 of each: what is counted is read, and a sink that was away for a day leaves millions. $1 is
-- now; a reservation may be pending for a minute past its lifetime before anybody should have ended it.
-- $3 is the first id of those that may still become late. Both read partial indexes alone.
-- name: reservations
WITH pending AS (
    SELECT held_nanos, admitted_us, expires_at FROM reservations
    WHERE ended_us IS NULL ORDER BY expires_at LIMIT $2
)
SELECT count(*) FILTER (WHERE expires_at >= $1::timestamptz - interval '60 seconds') AS pending,
    count(*) FILTER (WHERE expires_at < $1::timestamptz - interval '60 seconds') AS overdue,
    coalesce(sum(held_nanos), 0) AS held_nanos, min(admitted_us) AS oldest_us,
    (SELECT count(*) FROM (SELECT FROM reservations
        WHERE state = 'expired' AND id >= $3::uuid LIMIT $2) AS few) AS expired
FROM pending
