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
        WHERE state = 'pending' AND expires_at < now() - interval '60 seconds' LIMIT 10000) AS old)
        AS overdue_reservations,
    (SELECT count(*) FROM (SELECT FROM quarantine LIMIT 10000) AS few) AS quarantined,
    (SELECT max(checked_at) FROM ledger_checks) AS checked_at,
    (SELECT epoch FROM hot_epoch WHERE id = 1) AS epoch,
    (SELECT identity FROM hot_epoch WHERE id = 1) AS hot_identity
