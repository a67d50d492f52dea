-- Statements of postgres_ledger.py. All writes of a batch run in one transaction that holds the end of
-- the chain, so that the ledger has one writer at a time.

-- What follows the lock looks rows up by their keys, thousands at a time. The planner would rather read
-- whole tables for that while they are small, and a session keeps its plans while they grow; so it is
-- told not to, until the transaction ends.
-- name: lock_chain
SELECT batch_id, hash, set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
    set_config('enable_mergejoin', 'off', true), set_config('jit', 'off', true)
FROM ledger_chain WHERE id = 1 FOR UPDATE

-- name: append_batch
WITH appended AS (
    INSERT INTO batches (id, kind, transfers, usage_events, previous_hash, hash)
    VALUES ($1, $2, $3, $4, $5, $6)
)
UPDATE ledger_chain SET batch_id = $1, hash = $6 WHERE id = 1

-- name: end_journaled
UPDATE reservations AS r SET -- nearly all are journaled by now; n is the place in the arrays
    state = CASE WHEN r.state = 'expired' THEN 'late' WHEN i.billed THEN 'settled' ELSE 'released' END,
    content_hash = i.content_hash,
    ended_us = $5
FROM unnest($1::uuid[], $2::uuid[], $3::boolean[], $4::bytea[]) WITH ORDINALITY
  AS i (account_id, id, billed, content_hash, n)
WHERE r.account_id = i.account_id AND r.id = i.id AND r.state IN ('pending', 'expired')
RETURNING i.n, r.state

-- name: end_reservations
INSERT INTO reservations AS r (account_id, id, key_id, profile, route, price_version, held_nanos,
    quoted_nanos, record, basis, state, content_hash, admitted_us, expires_at, ended_us)
SELECT i.account_id, i.id, i.key_id, i.profile, i.route, i.price_version, i.held_nanos,
    i.quoted_nanos, i.record, '', i.state, i.content_hash, i.admitted_us,
    to_timestamp(i.expires_s), $14::bigint
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bigint[],
    $8::bigint[], $9::text[], $10::text[], $11::bytea[], $12::bigint[], $13::bigint[])
  AS i (account_id, id, key_id, profile, route, price_version, held_nanos, quoted_nanos, record,
        state, content_hash, admitted_us, expires_s)
ORDER BY i.id -- as the journal does, so that neither waits for the other's rows in a circle
ON CONFLICT (account_id, id) DO UPDATE SET
    state = CASE r.state WHEN 'pending' THEN excluded.state ELSE 'late' END,
    content_hash = excluded.content_hash,
    ended_us = excluded.ended_us
WHERE r.state IN ('pending', 'expired')
RETURNING id::text, state

-- name: ended_hashes
SELECT id::text, content_hash FROM reservations
WHERE (account_id, id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))
  AND state NOT IN ('pending', 'expired')

-- name: expiry_charges
SELECT account_id::text, source_id::text, amount FROM transfers
WHERE kind = 'expiry' AND (account_id, source_id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[]))

-- name: add_daily
INSERT INTO daily_usage AS d (account_id, day, profile, requests, units, price_nanos, provider_cost_nanos)
SELECT * FROM unnest($1::uuid[], $2::date[], $3::text[], $4::bigint[], $5::bigint[], $6::bigint[],
                     $7::bigint[])
ON CONFLICT (account_id, day, profile) DO UPDATE SET
    requests = d.requests + excluded.requests,
    units = d.units + excluded.units,
    price_nanos = d.price_nanos + excluded.price_nanos,
    provider_cost_nanos = d.provider_cost_nanos + excluded.provider_cost_nanos
RETURNING account_id::text, profile, extract(epoch FROM day)::bigint AS day_s, price_nanos

-- name: periods
SELECT account_id::text, profile, (extract(epoch FROM period_start) * 1000000)::bigint AS start_us,
    (extract(epoch FROM period_end) * 1000000)::bigint AS end_us
FROM subscriptions WHERE account_id = ANY ($1::uuid[])

-- name: roll_periods
SELECT roll_periods($1::uuid[], to_timestamp($2::bigint))

-- name: add_period
UPDATE subscriptions AS s SET units_used = s.units_used + i.units, spent_nanos = s.spent_nanos + i.price
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[])
  AS i (account_id, profile, start_us, end_us, units, price)
WHERE s.account_id = i.account_id AND s.profile = i.profile
  AND extract(epoch FROM s.period_start) * 1000000 = i.start_us
  AND extract(epoch FROM s.period_end) * 1000000 = i.end_us
RETURNING s.account_id::text, s.profile, extract(epoch FROM s.period_start)::bigint AS start_s,
    s.units_used, s.spent_nanos

-- name: post_balances
UPDATE ledger_accounts AS l SET
    debits = l.debits + d.debits, credits = l.credits + d.credits, version = l.version + 1
FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
  AS d (account_id, code, debits, credits, n)
JOIN accounts AS a ON a.id = d.account_id
WHERE l.account_id = d.account_id AND l.code = d.code
RETURNING d.n, l.credits - l.debits AS posted, a.overdraft_nanos, l.version

-- name: promise_publication
INSERT INTO unpublished (batch_id, account_ids, ended) VALUES ($1, $2::uuid[], $3::uuid[])

-- name: keep_promise
DELETE FROM unpublished WHERE batch_id = ANY ($1::bigint[])

-- name: open_promises
SELECT batch_id, account_ids::text[], ended::text[] FROM unpublished
WHERE created_at < now() - $1::interval ORDER BY batch_id LIMIT $2

-- name: overdue
SELECT account_id::text, id::text, route, quoted_nanos FROM reservations
WHERE ended_us IS NULL AND expires_at <= to_timestamp($1::double precision)
ORDER BY expires_at LIMIT $2 FOR UPDATE

-- name: mark_expired
UPDATE reservations SET state = 'expired', ended_us = $3
WHERE (account_id, id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[])) AND state = 'pending'

-- name: extend
UPDATE reservations AS r SET expires_at = to_timestamp(i.expires_s)
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS i (account_id, id, expires_s)
WHERE r.account_id = i.account_id AND r.id = i.id AND r.state = 'pending'
  AND r.expires_at < to_timestamp(i.expires_s)

-- name: truth
SELECT a.id::text AS account_id, a.overdraft_nanos, l.credits - l.debits AS posted, l.version,
    (SELECT json_agg(json_build_array(s.profile, extract(epoch FROM s.period_start)::bigint,
                                      s.units_used, s.spent_nanos))
     FROM subscriptions AS s
     WHERE s.account_id = a.id AND s.period_end > to_timestamp($2::double precision))::text AS periods,
    (SELECT json_agg(json_build_array(d.profile, extract(epoch FROM d.day)::bigint, d.price_nanos))
     FROM daily_usage AS d
     WHERE d.account_id = a.id
       AND d.day = (to_timestamp($2::double precision) AT TIME ZONE 'UTC')::date)::text AS days,
    (SELECT json_agg(json_build_array(r.id, r.record))
     FROM reservations AS r WHERE r.account_id = a.id AND r.state = 'pending')::text AS pending
FROM accounts AS a
JOIN ledger_accounts AS l ON l.account_id = a.id AND l.code = 'credits'
WHERE a.id = ANY ($1::uuid[])

-- name: publish_accounts
SELECT a.id::text AS account_id, a.overdraft_nanos, l.credits - l.debits AS posted, l.version
FROM accounts AS a
JOIN ledger_accounts AS l ON l.account_id = a.id AND l.code = 'credits'
WHERE a.id = ANY ($1::uuid[])

-- name: ended_accounts
SELECT account_id::text, id::text FROM reservations WHERE account_id = ANY ($1::uuid[])
  AND id = ANY ($2::uuid[])

-- name: quarantine
INSERT INTO quarantine AS q (account_id, reservation_id, reason, entry, digest)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bytea[])
ON CONFLICT (reason, digest) DO UPDATE SET seen = q.seen + 1

-- name: touch_keys
UPDATE api_keys AS k SET last_used_at = to_timestamp(u.used_us / 1000000.0)
FROM unnest($1::uuid[], $2::uuid[], $3::bigint[]) AS u (account_id, id, used_us)
WHERE k.account_id = u.account_id AND k.id = u.id
  AND (k.last_used_at IS NULL OR k.last_used_at < to_timestamp(u.used_us / 1000000.0) - interval '1 minute')
