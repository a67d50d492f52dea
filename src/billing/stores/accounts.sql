-- Statements of postgres_accounts.py, postgres_keys.py, postgres_subscriptions.py, postgres_orders.py
-- and postgres_catalog.py. Times are passed in; each write runs in a transaction of its caller.

-- name: insert_account
INSERT INTO accounts (id, name, type, tier, wallet_address, overdraft_nanos, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7)
ON CONFLICT (name) DO NOTHING
RETURNING id::text, name, type, tier, status, wallet_address, overdraft_nanos, created_at

-- name: insert_credits
INSERT INTO ledger_accounts (account_id, code) VALUES ($1, 'credits')

-- name: account_by_id
SELECT id::text, name, type, tier, status, wallet_address, overdraft_nanos, created_at
FROM accounts WHERE id = $1

-- name: account_by_name
SELECT id::text, name, type, tier, status, wallet_address, overdraft_nanos, created_at
FROM accounts WHERE name = $1

-- name: list_accounts
SELECT id::text, name, type, tier, status, wallet_address, overdraft_nanos, created_at
FROM accounts
WHERE ($1::uuid IS NULL OR id > $1) AND id <> '00000000-0000-0000-0000-000000000000'
ORDER BY id LIMIT $2

-- name: set_account_status
UPDATE accounts SET status = $2 WHERE id = $1
RETURNING id::text, name, type, tier, status, wallet_address, overdraft_nanos, created_at

-- name: set_overdraft
UPDATE accounts SET overdraft_nanos = $2 WHERE id = $1
RETURNING id::text, name, type, tier, status, wallet_address, overdraft_nanos, created_at

-- name: tell_balance
WITH promise AS (
    INSERT INTO unpublished (account_ids, ended) VALUES (ARRAY[$1::uuid], '{}')
)
SELECT pg_notify('tollkeeper_changes', 'balance ' || $1::uuid::text)

-- name: insert_key
INSERT INTO api_keys (account_id, id, hash, display, name, scopes, expires_at, created_at, replaces)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
RETURNING account_id::text, id::text, name, display, status, scopes, expires_at, created_at,
    revoked_at, last_used_at, replaces::text

-- name: key_by_id
SELECT account_id::text, id::text, name, display, status, scopes, expires_at, created_at,
    revoked_at, last_used_at, replaces::text
FROM api_keys WHERE account_id = $1 AND id = $2 FOR UPDATE

-- name: account_of_key
SELECT account_id::text FROM api_keys WHERE id = $1

-- name: list_keys
SELECT account_id::text, id::text, name, display, status, scopes, expires_at, created_at,
    revoked_at, last_used_at, replaces::text
FROM api_keys
WHERE account_id = $1 AND ($2::uuid IS NULL OR id > $2)
ORDER BY id LIMIT $3

-- name: count_keys
SELECT count(*) FROM api_keys
WHERE account_id = $1 AND status = 'active' AND (expires_at IS NULL OR expires_at > $2)

-- name: live_keys
SELECT k.id::text FROM api_keys AS k
WHERE k.account_id = $1 AND k.status = 'active' AND (k.expires_at IS NULL OR k.expires_at > $2)
  AND NOT EXISTS (SELECT FROM api_keys AS n
                  WHERE n.account_id = $1 AND n.replaces = k.id AND n.status = 'active')
ORDER BY k.id LIMIT 2

-- name: end_key_at
UPDATE api_keys SET expires_at = least(expires_at, $3::timestamptz)
WHERE account_id = $1 AND id = $2
RETURNING expires_at

-- name: revoke_key
UPDATE api_keys SET status = 'revoked', revoked_at = coalesce(revoked_at, $3)
WHERE account_id = $1 AND id = $2
RETURNING account_id::text, id::text, name, display, status, scopes, expires_at, created_at,
    revoked_at, last_used_at, replaces::text

-- name: plan_period
SELECT definition->>'period' FROM plans WHERE name = $1

-- name: plan_names
SELECT name FROM plans ORDER BY name

-- name: profile_names
SELECT name FROM profiles ORDER BY name

-- name: roll_account
SELECT roll_periods(ARRAY[$1::uuid], $2)

-- name: set_subscription
INSERT INTO subscriptions AS s (account_id, profile, plan, status, period, billing_day, units_limit,
    rps_override, burst_override, period_start, period_end, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6::integer, $7, $8, $9, $10, period_after($10, $5, $6::integer), $10, $10)
ON CONFLICT (account_id, profile) DO UPDATE SET
    plan = excluded.plan, status = excluded.status, period = excluded.period,
    billing_day = excluded.billing_day, units_limit = excluded.units_limit,
    rps_override = excluded.rps_override, burst_override = excluded.burst_override,
    updated_at = excluded.updated_at
RETURNING account_id::text, profile, plan, status, period, billing_day, units_limit, units_used,
    spent_nanos, period_start, period_end, rps_override, burst_override

-- name: list_subscriptions
SELECT account_id::text, profile, plan, status, period, billing_day, units_limit,
    CASE WHEN period_end > $2 THEN units_used ELSE 0 END AS units_used,
    CASE WHEN period_end > $2 THEN spent_nanos ELSE 0 END AS spent_nanos,
    period_start, period_end, rps_override, burst_override
FROM subscriptions WHERE account_id = $1 ORDER BY profile

-- name: order_by_reference
SELECT o.source_id::text AS id, o.kind, o.amount, t.debit_code, t.credit_code
FROM ledger_orders AS o
JOIN transfers AS t ON t.account_id = o.account_id AND t.source_id = o.source_id AND t.kind = o.kind
WHERE o.account_id = $1 AND o.reference = $2

-- name: insert_order
INSERT INTO ledger_orders (account_id, reference, source_id, kind, amount, reason, created_by, created_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: credits_of
SELECT debits, credits FROM ledger_accounts WHERE account_id = $1 AND code = 'credits'

-- name: insert_profiles
INSERT INTO profiles (name, created_at) SELECT name, $2 FROM unnest($1::text[]) AS name
ON CONFLICT DO NOTHING RETURNING name

-- name: put_plan
INSERT INTO plans AS p (name, definition, digest, applied_at, applied_by)
VALUES ($1, $2::jsonb, $3, $4, $5)
ON CONFLICT (name) DO UPDATE SET
    definition = excluded.definition, digest = excluded.digest,
    applied_at = excluded.applied_at, applied_by = excluded.applied_by
WHERE p.digest <> excluded.digest
RETURNING name

-- name: put_price_version
INSERT INTO price_versions (version, effective_from, definition, digest, applied_at, applied_by)
VALUES ($1, $2, $3::jsonb, $4, $5, $6)
ON CONFLICT (version) DO NOTHING RETURNING version

-- name: price_digest
SELECT digest FROM price_versions WHERE version = $1

-- name: list_plans
SELECT name, definition::text, encode(digest, 'hex') AS digest, applied_at, applied_by
FROM plans ORDER BY name

-- name: list_price_versions
SELECT version, effective_from, definition::text, encode(digest, 'hex') AS digest, applied_at,
    applied_by, effective_from = max(effective_from) FILTER (WHERE effective_from <= $1) OVER ()
        AS in_force
FROM price_versions ORDER BY effective_from, version
