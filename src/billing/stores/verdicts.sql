-- Statements of postgres_verdicts.py.

-- One key for all processes that check the ledger by themselves; it is given back with the transaction.
-- name: take_turn
SELECT pg_try_advisory_xact_lock($1)

-- name: insert_verdict
INSERT INTO ledger_verdicts
    (whole, since_batch, through_batch, broken, broken_now, skipped, verdict, checked_by, took_ms,
     checked_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)

-- name: newest_verdicts
SELECT newest.* FROM (VALUES (true), (false)) AS kinds (kind) CROSS JOIN LATERAL (
    SELECT whole, since_batch, through_batch, broken, broken_now, skipped, verdict, checked_by,
        took_ms, checked_at
    FROM ledger_verdicts WHERE whole = kind ORDER BY id DESC LIMIT 1) AS newest

-- The newest of each kind stays, however old it is.
-- name: forget_verdicts
DELETE FROM ledger_verdicts AS old WHERE checked_at < $1
    AND id < (SELECT max(id) FROM ledger_verdicts AS newer WHERE newer.whole = old.whole)

-- name: forget_checks
DELETE FROM ledger_checks WHERE checked_at < $1 AND id < (SELECT max(id) FROM ledger_checks)
