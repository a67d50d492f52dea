-- Statements of postgres_workers.py and postgres_principals.py.

-- name: journal
INSERT INTO reservations (id, account_id, key_id, profile, route, price_version, held_nanos,
    quoted_nanos, record, basis, state, admitted_us, expires_at)
SELECT i.id, i.account_id, i.key_id, i.profile, i.route, i.price_version, i.held_nanos,
    i.quoted_nanos, i.record, i.basis, 'pending', i.admitted_us, to_timestamp(i.expires_s)
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::text[], $5::text[], $6::text[], $7::bigint[],
    $8::bigint[], $9::text[], $10::text[], $11::bigint[], $12::bigint[])
  AS i (id, account_id, key_id, profile, route, price_version, held_nanos, quoted_nanos, record,
        basis, admitted_us, expires_s)
ORDER BY i.id -- as settlement does, so that neither waits for the other's rows in a circle
ON CONFLICT (account_id, id) DO NOTHING

-- name: abandon
UPDATE reservations SET expires_at = clock_timestamp(), quoted_nanos = 0
WHERE (account_id, id) IN (SELECT * FROM unnest($1::uuid[], $2::uuid[])) AND state = 'pending'

-- name: register
INSERT INTO workers (id, role) VALUES ($1, $2)
ON CONFLICT (id) DO UPDATE SET heartbeat_at = now()

-- name: heartbeat
UPDATE workers SET heartbeat_at = clock_timestamp() WHERE id = $1

-- name: leave
DELETE FROM workers WHERE id = $1

-- name: forget_dead
DELETE FROM workers WHERE heartbeat_at < now() - interval '1 hour'

-- name: flushed
UPDATE workers SET flushed_at = $2, heartbeat_at = clock_timestamp() WHERE id = $1 AND flushed_at < $2

-- name: ask_for_flush
SELECT pg_notify('tollkeeper_changes', 'barrier ' || $1::timestamptz)

-- name: begin_barrier
WITH now AS MATERIALIZED (SELECT clock_timestamp() AS since)
SELECT since, (
    SELECT count(*) FROM workers AS w
    WHERE w.id <> $1 AND w.role = 'authz' AND w.flushed_at < since
      AND (w.heartbeat_at > since - $2::interval
           OR (w.heartbeat_at > since - $3::interval
               AND EXISTS (SELECT FROM pg_stat_activity AS s WHERE s.application_name = 'tollkeeper ' || w.id)))
) AS unflushed FROM now

-- name: unflushed
SELECT count(*) FROM workers AS w
WHERE w.id <> $1 AND w.role = 'authz' AND w.flushed_at < $2
  AND (w.heartbeat_at > clock_timestamp() - $3::interval
       OR (w.heartbeat_at > clock_timestamp() - $4::interval
           AND EXISTS (SELECT FROM pg_stat_activity AS s WHERE s.application_name = 'tollkeeper ' || w.id)))

-- name: epoch
SELECT epoch, identity FROM hot_epoch WHERE id = 1

-- name: raise_epoch
WITH raised AS (
    UPDATE hot_epoch SET epoch = epoch + 1, identity = $3, reason = $4, raised_at = now()
    WHERE id = 1 AND epoch = $1 AND identity = $2
    RETURNING epoch, identity
)
SELECT epoch, identity, pg_notify('tollkeeper_changes', 'epoch') FROM raised

-- name: chain_end
SELECT batch_id FROM ledger_chain WHERE id = 1

-- name: principals
SELECT k.hash, k.id::text AS key_id, k.status AS key_status, k.scopes,
    floor(extract(epoch FROM k.expires_at))::bigint AS expires_s,
    a.id::text AS account_id, a.status AS account_status, a.tier,
    (SELECT json_agg(json_build_array(
        s.profile, s.plan, s.status, s.units_limit, s.rps_override, s.burst_override,
        extract(epoch FROM p.period_start)::bigint, extract(epoch FROM p.period_end)::bigint))
     FROM subscriptions AS s,
          LATERAL current_period(s.period_start, s.period_end, s.period, s.billing_day,
                                 clock_timestamp()) AS p (period_start, period_end)
     WHERE s.account_id = a.id)::text AS subscriptions
FROM api_keys AS k JOIN accounts AS a ON a.id = k.account_id
WHERE k.hash = ANY ($1::bytea[])

-- name: adopt
WITH stray AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::text[]) AS s (account_id, id, held, record)
), known AS (
    SELECT r.account_id, r.id, r.state FROM reservations AS r JOIN stray USING (account_id, id)
), adopted AS (
    INSERT INTO reservations (account_id, id, key_id, profile, route, price_version, held_nanos,
        quoted_nanos, record, basis, state, admitted_us, expires_at)
    SELECT s.account_id, s.id, '00000000-0000-0000-0000-000000000000', 'unknown', 'unknown', 'unknown',
        s.held, s.held, s.record, '', 'pending', (extract(epoch FROM now()) * 1000000)::bigint, now()
    FROM stray AS s JOIN accounts AS a ON a.id = s.account_id
    WHERE NOT EXISTS (SELECT FROM known AS k WHERE k.account_id = s.account_id AND k.id = s.id)
    ON CONFLICT (account_id, id) DO NOTHING
)
SELECT account_id::text, id::text FROM known WHERE state <> 'pending'
