-- Statements of postgres_reports.py and postgres_requests.py; all only read.

-- name: balance
SELECT a.id::text AS account_id, l.credits - l.debits AS posted_nanos, a.overdraft_nanos,
    (SELECT coalesce(sum(r.held_nanos), 0) FROM reservations AS r
     WHERE r.account_id = a.id AND r.state = 'pending') AS held_nanos
FROM accounts AS a JOIN ledger_accounts AS l ON l.account_id = a.id AND l.code = 'credits'
WHERE a.id = $1

-- Ids are ordered by time, so a range of them ($5 to $6, wider than the span) spares reading the rest.
-- name: usage
SELECT * FROM (
    SELECT
        CASE WHEN 'day' = ANY ($4) THEN to_char(to_timestamp(admitted_us / 1000000), 'YYYY-MM-DD')
             ELSE '' END AS day,
        CASE WHEN 'profile' = ANY ($4) THEN profile ELSE '' END AS profile,
        CASE WHEN 'route' = ANY ($4) THEN route ELSE '' END AS route,
        CASE WHEN 'model' = ANY ($4) THEN model ELSE '' END AS model,
        CASE WHEN 'key' = ANY ($4) THEN key_id::text ELSE '' END AS key_id,
        count(*) AS requests, sum(units) AS units, sum(price_nanos) AS price_nanos,
        coalesce(sum(provider_cost_nanos), 0) AS provider_cost_nanos,
        count(*) FILTER (WHERE status = 'needs_review' OR review <> '') AS needs_review
    FROM usage_events
    WHERE account_id = $1 AND admitted_us >= $2 AND admitted_us < $3
      AND reservation_id >= $5 AND reservation_id < $6
    GROUP BY 1, 2, 3, 4, 5
) AS sums
WHERE $7::text[] IS NULL
   OR (day, profile, route, model, key_id) > ($7[1], $7[2], $7[3], $7[4], $7[5])
ORDER BY day, profile, route, model, key_id LIMIT $8

-- name: balance_before
SELECT coalesce(sum(CASE credit_code WHEN 'credits' THEN amount ELSE -amount END), 0)
FROM transfers
WHERE account_id = $1 AND 'credits' IN (debit_code, credit_code) AND created_us < $2

-- name: statement_detail
WITH lines AS (
    SELECT t.created_us AS at_us, t.source_id::text AS id, t.kind,
        coalesce(o.reference, concat_ws(' ', r.route, nullif(e.model, ''))) AS text,
        CASE WHEN o.reference IS NULL THEN 1 ELSE 0 END AS requests,
        CASE t.kind WHEN 'charge' THEN coalesce(e.units, 0) ELSE 0 END AS units,
        CASE t.credit_code WHEN 'credits' THEN t.amount ELSE -t.amount END AS amount
    FROM transfers AS t
    LEFT JOIN ledger_orders AS o ON o.account_id = t.account_id AND o.source_id = t.source_id
    LEFT JOIN reservations AS r ON r.account_id = t.account_id AND r.id = t.source_id
    LEFT JOIN usage_events AS e ON e.account_id = t.account_id AND e.reservation_id = t.source_id
    WHERE t.account_id = $1 AND 'credits' IN (t.debit_code, t.credit_code)
      AND t.created_us >= $2 AND t.created_us < $3
)
SELECT * FROM (
    SELECT *, $4::numeric + sum(amount) OVER (ORDER BY at_us, id, kind) AS balance FROM lines
) AS running
WHERE $5::bigint IS NULL OR (at_us, id, kind) > ($5, $6, $7)
ORDER BY at_us, id, kind LIMIT $8

-- name: statement_daily
WITH moved AS (
    SELECT t.created_us, t.source_id::text AS id, t.kind, o.reference, r.route,
        CASE t.kind WHEN 'charge' THEN coalesce(e.units, 0) ELSE 0 END AS units,
        CASE t.credit_code WHEN 'credits' THEN t.amount ELSE -t.amount END AS amount
    FROM transfers AS t
    LEFT JOIN ledger_orders AS o ON o.account_id = t.account_id AND o.source_id = t.source_id
    LEFT JOIN reservations AS r ON r.account_id = t.account_id AND r.id = t.source_id
    LEFT JOIN usage_events AS e ON e.account_id = t.account_id AND e.reservation_id = t.source_id
    WHERE t.account_id = $1 AND 'credits' IN (t.debit_code, t.credit_code)
      AND t.created_us >= $2 AND t.created_us < $3
), lines AS (
    SELECT created_us AS at_us, id, kind, reference AS text, 0 AS requests, 0::numeric AS units,
        amount::numeric AS amount
    FROM moved WHERE reference IS NOT NULL
    UNION ALL
    SELECT max(created_us), max(id), kind, coalesce(route, ''), count(*), sum(units), sum(amount)
    FROM moved WHERE reference IS NULL
    GROUP BY created_us / 86400000000, kind, coalesce(route, '')
)
SELECT * FROM (
    SELECT *, $4::numeric + sum(amount) OVER (ORDER BY at_us, id, kind) AS balance FROM lines
) AS running
WHERE $5::bigint IS NULL OR (at_us, id, kind) > ($5, $6, $7)
ORDER BY at_us, id, kind LIMIT $8

-- name: reservation
SELECT id::text, account_id::text, key_id::text, profile, route, price_version, state, held_nanos,
    quoted_nanos, admitted_us, expires_at, ended_us
FROM reservations WHERE id = $1 AND ($2::uuid IS NULL OR account_id = $2) LIMIT 1

-- name: reservations_of_state
SELECT id::text, account_id::text, key_id::text, profile, route, price_version, state, held_nanos,
    quoted_nanos, admitted_us, expires_at, ended_us
FROM reservations WHERE state = $1 AND ($2::uuid IS NULL OR id > $2) ORDER BY id LIMIT $3

-- name: reservations_of_account
SELECT id::text, account_id::text, key_id::text, profile, route, price_version, state, held_nanos,
    quoted_nanos, admitted_us, expires_at, ended_us
FROM reservations
WHERE account_id = $1 AND ($2::text IS NULL OR state = $2) AND ($3::uuid IS NULL OR id > $3)
ORDER BY id LIMIT $4

-- name: usage_event
SELECT reservation_id::text AS id, account_id::text, key_id::text, profile, route, meter, model,
    price_version, outcome, status, units, price_nanos, provider_cost_nanos, review, formula, facts,
    admitted_us, completed_us, settled_us
FROM usage_events WHERE account_id = $1 AND reservation_id = $2

-- name: recent_events
SELECT reservation_id::text AS id, account_id::text, key_id::text, profile, route, meter, model,
    price_version, outcome, status, units, price_nanos, provider_cost_nanos, review, formula, facts,
    admitted_us, completed_us, settled_us
FROM usage_events WHERE account_id = $1 AND ($2::uuid IS NULL OR reservation_id < $2)
ORDER BY reservation_id DESC LIMIT $3

-- name: entries_of_source
SELECT t.account_id::text, t.source_id::text, t.kind, t.debit_code, t.credit_code,
    t.amount AS amount_nanos, t.batch_id, t.created_us, NULL::text AS reference
FROM transfers AS t WHERE t.account_id = $1 AND t.source_id = $2 ORDER BY t.created_us, t.kind

-- name: entries_of_account
SELECT t.account_id::text, t.source_id::text, t.kind, t.debit_code, t.credit_code,
    t.amount AS amount_nanos, t.batch_id, t.created_us, o.reference
FROM transfers AS t
LEFT JOIN ledger_orders AS o ON o.account_id = t.account_id AND o.source_id = t.source_id
WHERE t.account_id = $1 AND ($2::uuid IS NULL OR (t.source_id, t.kind) > ($2, $3::text))
ORDER BY t.source_id, t.kind LIMIT $4

-- name: quarantine_of_reservation
SELECT id, account_id::text, reservation_id::text, reason, entry, seen, created_at
FROM quarantine WHERE reservation_id = $1 ORDER BY id

-- name: quarantine_items
SELECT id, account_id::text, reservation_id::text, reason, entry, seen, created_at
FROM quarantine
WHERE ($1::uuid IS NULL OR account_id = $1) AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3

-- name: price_of_version
SELECT effective_from, definition::text FROM price_versions WHERE version = $1
