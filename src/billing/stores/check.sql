-- Statements of postgres_check.py. Each `broken_` one returns at most the first row that breaks an
-- invariant, as `row` (which one) and `what` (how). Where a statement takes $1, it looks only at what
-- batches after $1 touched; 0 means all. Where it takes $2, only these accounts, unless it is NULL.

-- name: chain_end
SELECT batch_id, hash, (SELECT coalesce(max(id), 0) FROM batches) AS last_batch_id
FROM ledger_chain WHERE id = 1

-- name: last_check
SELECT batch_id, hash, totals::text FROM ledger_checks ORDER BY id DESC LIMIT 1

-- name: hash_of_batch
SELECT hash FROM batches WHERE id = $1

-- name: insert_check
INSERT INTO ledger_checks (batch_id, hash, totals, whole, checked_at) VALUES ($1, $2, $3::jsonb, $4, $5)

-- name: batches_after
SELECT id, transfers, usage_events, previous_hash, hash FROM batches
WHERE id > $1 ORDER BY id LIMIT $2

-- name: transfers_between
SELECT batch_id, account_id::text, source_id::text, kind, debit_code, credit_code, amount, created_us
FROM transfers WHERE batch_id BETWEEN $1 AND $2

-- name: events_between
SELECT batch_id, account_id::text, reservation_id::text, key_id::text, profile, route, meter, model,
    price_version, outcome, status, units, price_nanos, provider_cost_nanos, held_nanos, quoted_nanos,
    review, formula, facts, admitted_us, completed_us, settled_us
FROM usage_events WHERE batch_id BETWEEN $1 AND $2

-- name: broken_stray
SELECT 'transfer ' || kind || ' of ' || source_id AS row,
    'belongs to batch ' || batch_id || ', which is not in the chain' AS what
FROM transfers WHERE batch_id < 1 OR batch_id > $1
UNION ALL
SELECT 'usage event ' || reservation_id, 'belongs to batch ' || batch_id || ', which is not in the chain'
FROM usage_events WHERE batch_id < 1 OR batch_id > $1
LIMIT 1

-- name: ledger_totals
SELECT code, sum(debits) AS debits, sum(credits) AS credits, count(*) AS accounts
FROM ledger_accounts GROUP BY code

-- Accounts that batches after $1 touched, in an order that is another one for each $1, as long as their
-- usage events are together no more than $2.
-- name: replayable
WITH touched AS (
    SELECT account_id FROM transfers WHERE batch_id > $1
    UNION SELECT account_id FROM usage_events WHERE batch_id > $1
), sized AS (
    SELECT t.account_id, 1 + coalesce(sum(d.requests), 0) AS events
    FROM touched AS t LEFT JOIN daily_usage AS d USING (account_id) GROUP BY t.account_id
), summed AS (
    SELECT account_id, sum(events) OVER (ORDER BY md5(account_id || ' ' || $1), account_id) AS so_far
    FROM sized WHERE events <= $2
)
SELECT coalesce(array_agg(account_id) FILTER (WHERE so_far <= $2), '{}') AS accounts,
    (SELECT count(*) FROM touched) AS touched
FROM summed

-- name: broken_balance
WITH touched AS (
    SELECT unnest($2::uuid[]) AS account_id UNION
    SELECT account_id FROM transfers WHERE $2 IS NULL AND $1::bigint > 0 AND batch_id > $1
), moved AS (
    SELECT CASE debit_code WHEN 'credits' THEN account_id END AS owner, debit_code AS code,
        amount AS debits, 0::bigint AS credits
    FROM transfers WHERE $1 = 0 OR debit_code = 'credits' AND account_id IN (SELECT * FROM touched)
    UNION ALL
    SELECT CASE credit_code WHEN 'credits' THEN account_id END, credit_code, 0, amount
    FROM transfers WHERE $1 = 0 OR credit_code = 'credits' AND account_id IN (SELECT * FROM touched)
), replayed AS (
    SELECT coalesce(owner, '00000000-0000-0000-0000-000000000000') AS account_id, code,
        sum(debits) AS debits, sum(credits) AS credits
    FROM moved GROUP BY 1, 2
), kept AS (
    SELECT account_id, code, debits, credits FROM ledger_accounts
    WHERE $1 = 0 OR code = 'credits' AND account_id IN (SELECT * FROM touched)
)
SELECT format('ledger account %s of %s', code, account_id) AS row,
    format('has debits %s and credits %s, its transfers sum to %s and %s',
           k.debits, k.credits, coalesce(r.debits, 0), coalesce(r.credits, 0)) AS what
FROM kept AS k FULL JOIN replayed AS r USING (account_id, code)
WHERE (k.debits, k.credits) IS DISTINCT FROM (coalesce(r.debits, 0), coalesce(r.credits, 0))
ORDER BY account_id, code LIMIT 1

-- name: broken_daily
WITH touched AS (
    SELECT unnest($2::uuid[]) AS account_id UNION
    SELECT account_id FROM usage_events WHERE $2 IS NULL AND $1::bigint > 0 AND batch_id > $1
), replayed AS (
    SELECT account_id, (to_timestamp(admitted_us / 1000000) AT TIME ZONE 'UTC')::date AS day, profile,
        count(*) AS requests, sum(units) AS units, sum(price_nanos) AS price,
        coalesce(sum(provider_cost_nanos), 0) AS cost
    FROM usage_events WHERE $1 = 0 OR account_id IN (SELECT * FROM touched) GROUP BY 1, 2, 3
), kept AS (
    SELECT * FROM daily_usage WHERE $1 = 0 OR account_id IN (SELECT * FROM touched)
)
SELECT format('daily usage of %s on %s, profile %s', account_id, day, profile) AS row,
    format('has %s requests, %s units, price %s, cost %s; its events sum to %s, %s, %s, %s',
           k.requests, k.units, k.price_nanos, k.provider_cost_nanos,
           coalesce(r.requests, 0), coalesce(r.units, 0), coalesce(r.price, 0), coalesce(r.cost, 0))
        AS what
FROM kept AS k FULL JOIN replayed AS r USING (account_id, day, profile)
WHERE (k.requests, k.units, k.price_nanos, k.provider_cost_nanos)
      IS DISTINCT FROM (r.requests, r.units, r.price, r.cost)
ORDER BY account_id, day, profile LIMIT 1

-- name: broken_period
WITH touched AS (
    SELECT unnest($2::uuid[]) AS account_id UNION
    SELECT account_id FROM usage_events WHERE $2 IS NULL AND $1::bigint > 0 AND batch_id > $1
)
SELECT format('subscription of %s to %s', s.account_id, s.profile) AS row,
    format('has used %s units and spent %s since %s; its events sum to %s and %s', s.units_used,
           s.spent_nanos, s.period_start, coalesce(sum(e.units), 0), coalesce(sum(e.price_nanos), 0))
        AS what
FROM subscriptions AS s
LEFT JOIN usage_events AS e ON e.account_id = s.account_id AND e.profile = s.profile
    AND e.admitted_us >= extract(epoch FROM s.period_start) * 1000000
    AND e.admitted_us < extract(epoch FROM s.period_end) * 1000000
WHERE $1 = 0 OR s.account_id IN (SELECT * FROM touched)
GROUP BY s.account_id, s.profile
HAVING s.units_used <> coalesce(sum(e.units), 0) OR s.spent_nanos <> coalesce(sum(e.price_nanos), 0)
ORDER BY s.account_id, s.profile LIMIT 1

-- name: broken_uniqueness
SELECT format('table %s', wanted.tab) AS row,
    format('has no valid unique index over (%s)', array_to_string(wanted.cols, ', ')) AS what
FROM (VALUES ('transfers', ARRAY['account_id', 'source_id', 'kind']),
             ('usage_events', ARRAY['account_id', 'reservation_id']),
             ('reservations', ARRAY['account_id', 'id']),
             ('ledger_orders', ARRAY['account_id', 'reference']),
             ('batches', ARRAY['id'])) AS wanted (tab, cols)
WHERE NOT EXISTS (
    SELECT FROM pg_index AS i
    WHERE i.indrelid = to_regclass(wanted.tab) AND i.indisunique AND i.indisvalid
      AND i.indpred IS NULL
      AND (SELECT array_agg(a.attname::text ORDER BY k.n)
           FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, n)
           JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum) = wanted.cols)
ORDER BY wanted.tab LIMIT 1

-- name: broken_settled_twice
SELECT format('reservation %s', reservation_id) AS row,
    format('was settled %s times, for accounts %s', count(*),
           string_agg(account_id::text, ', ' ORDER BY account_id)) AS what
FROM usage_events WHERE batch_id > $1::bigint
GROUP BY reservation_id HAVING count(*) > 1 LIMIT 1

-- name: broken_event_money
SELECT format('usage event %s of %s', e.reservation_id, e.account_id) AS row,
    format('has price %s and cost %s in batch %s, its transfers say %s and %s in batch %s',
           e.price_nanos, coalesce(e.provider_cost_nanos, 0), e.batch_id,
           coalesce(p.amount, 0), coalesce(c.amount, 0), coalesce(p.batch_id, c.batch_id)) AS what
FROM usage_events AS e
LEFT JOIN transfers AS p
    ON p.account_id = e.account_id AND p.source_id = e.reservation_id AND p.kind = 'charge'
LEFT JOIN transfers AS c
    ON c.account_id = e.account_id AND c.source_id = e.reservation_id AND c.kind = 'cost'
WHERE e.batch_id > $1
  AND (e.price_nanos <> coalesce(p.amount, 0)
       OR coalesce(e.provider_cost_nanos, 0) <> coalesce(c.amount, 0)
       OR p.batch_id <> e.batch_id OR c.batch_id <> e.batch_id)
LIMIT 1

-- name: broken_cause
SELECT format('transfer %s of %s, account %s', t.kind, t.source_id, t.account_id) AS row,
    CASE t.kind WHEN 'charge' THEN 'has no usage event'
        WHEN 'cost' THEN 'has no usage event'
        WHEN 'expiry' THEN 'has no expired reservation of its amount'
        WHEN 'refund' THEN 'gives back no expiry charge of its amount'
        ELSE 'has no order of its amount' END AS what
FROM transfers AS t
LEFT JOIN usage_events AS e ON e.account_id = t.account_id AND e.reservation_id = t.source_id
LEFT JOIN reservations AS r ON r.account_id = t.account_id AND r.id = t.source_id
LEFT JOIN transfers AS x
    ON x.account_id = t.account_id AND x.source_id = t.source_id AND x.kind = 'expiry'
LEFT JOIN ledger_orders AS o ON o.account_id = t.account_id AND o.source_id = t.source_id
WHERE t.batch_id > $1
  AND NOT CASE t.kind
      WHEN 'charge' THEN e.reservation_id IS NOT NULL
      WHEN 'cost' THEN e.reservation_id IS NOT NULL
      WHEN 'expiry' THEN coalesce(r.state IN ('expired', 'late') AND t.amount = r.quoted_nanos, false)
      WHEN 'refund' THEN coalesce(r.state = 'late' AND x.amount = t.amount, false)
      ELSE coalesce(o.kind = t.kind
           AND o.amount = CASE t.credit_code WHEN 'credits' THEN t.amount ELSE -t.amount END, false)
      END
LIMIT 1

-- name: broken_order
SELECT format('order %s of %s', o.reference, o.account_id) AS row, 'has no transfer' AS what
FROM ledger_orders AS o
LEFT JOIN transfers AS t
    ON t.account_id = o.account_id AND t.source_id = o.source_id AND t.kind = o.kind
WHERE t.account_id IS NULL LIMIT 1

-- name: conflicts
SELECT count(*) FROM quarantine WHERE reason = 'conflict'

-- name: broken_trigger
SELECT format('table %s', wanted.tab) AS row,
    format('trigger %s is missing, disabled or changed', wanted.trig) AS what
FROM (SELECT t.tab, t.n, t.tab || suffix AS trig
      FROM unnest(ARRAY['transfers', 'batches', 'usage_events', 'audit_log'])
               WITH ORDINALITY AS t (tab, n),
           unnest(ARRAY['_append_only', '_no_truncate']) AS suffix) AS wanted
WHERE NOT EXISTS (
    SELECT FROM pg_trigger AS g JOIN pg_proc AS p ON p.oid = g.tgfoid
    WHERE g.tgrelid = to_regclass(wanted.tab) AND g.tgname = wanted.trig AND g.tgenabled IN ('O', 'A')
      AND p.proname = 'refuse_change' AND p.prosrc ~ '^\s*BEGIN\s+RAISE EXCEPTION ')
ORDER BY wanted.n, wanted.trig LIMIT 1

-- name: broken_privilege
SELECT format('table %s', c.relname) AS row,
    format('%s may %s it; run: REVOKE %s ON %s FROM %s',
           coalesce(r.rolname, 'PUBLIC'), lower(g.privilege_type), g.privilege_type, c.relname,
           coalesce(r.rolname, 'PUBLIC')) AS what
FROM pg_class AS c
CROSS JOIN LATERAL aclexplode(coalesce(c.relacl, acldefault('r', c.relowner))) AS g
LEFT JOIN pg_roles AS r ON r.oid = g.grantee
WHERE c.oid IN (to_regclass('transfers'), to_regclass('batches'), to_regclass('usage_events'),
                to_regclass('audit_log'))
  AND g.privilege_type IN ('UPDATE', 'DELETE', 'TRUNCATE')
ORDER BY c.relname, g.privilege_type LIMIT 1

-- name: broken_end_of_event
SELECT format('usage event %s of %s', e.reservation_id, e.account_id) AS row,
    format('its reservation is %s', coalesce(r.state, 'missing')) AS what
FROM usage_events AS e
LEFT JOIN reservations AS r ON r.account_id = e.account_id AND r.id = e.reservation_id
WHERE e.batch_id > $1 AND coalesce(r.state NOT IN ('settled', 'late'), true)
LIMIT 1

-- name: broken_end
SELECT format('reservation %s of %s', r.id, r.account_id) AS row,
    CASE WHEN r.state = 'settled' THEN 'is settled without a usage event'
         ELSE 'is late, and its expiry charge was not given back' END AS what
FROM reservations AS r
LEFT JOIN usage_events AS e ON e.account_id = r.account_id AND e.reservation_id = r.id
LEFT JOIN transfers AS x ON x.account_id = r.account_id AND x.source_id = r.id AND x.kind = 'expiry'
LEFT JOIN transfers AS b ON b.account_id = r.account_id AND b.source_id = r.id AND b.kind = 'refund'
WHERE r.state = 'settled' AND e.account_id IS NULL
   OR r.state = 'late' AND x.amount IS DISTINCT FROM b.amount
LIMIT 1

-- name: broken_overdue
SELECT format('reservation %s of %s', id, account_id) AS row,
    format('is pending though it ended at %s; is `tollkeeper serve accesslog` running?', expires_at)
        AS what
FROM reservations WHERE ended_us IS NULL AND expires_at < $1 ORDER BY expires_at LIMIT 1

-- name: states
SELECT state, count(*) AS reservations FROM reservations GROUP BY state

-- What is held beyond the balance, and how much of that came after the admissions: settlements above
-- their hold, late entries, corrections, a smaller overdraft.
-- name: uncovered
WITH holding AS (
    SELECT account_id, sum(held_nanos) AS held, min(admitted_us) - 60000000 AS since_us
    FROM reservations WHERE state = 'pending' GROUP BY account_id
), over AS (
    SELECT h.account_id, h.held, h.since_us, l.credits - l.debits AS posted, a.overdraft_nanos
    FROM holding AS h
    JOIN accounts AS a ON a.id = h.account_id
    JOIN ledger_accounts AS l ON l.account_id = h.account_id AND l.code = 'credits'
    WHERE h.held > l.credits - l.debits + a.overdraft_nanos
)
SELECT o.account_id::text, o.held, o.posted, o.overdraft_nanos,
    o.held - o.posted - o.overdraft_nanos AS excess,
    (SELECT coalesce(sum(CASE e.status WHEN 'late' THEN e.price_nanos
                              ELSE greatest(e.price_nanos - e.held_nanos, 0) END), 0)
     FROM usage_events AS e WHERE e.account_id = o.account_id AND e.settled_us >= o.since_us)
    + (SELECT coalesce(sum(t.amount), 0) FROM transfers AS t
       WHERE t.account_id = o.account_id AND t.kind IN ('correction', 'expiry')
         AND t.debit_code = 'credits' AND t.created_us >= o.since_us)
    + (SELECT coalesce(sum(greatest((d.detail->>'from_nanos')::numeric
                                 - (d.detail->>'to_nanos')::numeric, 0)), 0)
       FROM audit_log AS d WHERE d.account_id = o.account_id AND d.action = 'account.overdraft'
         AND d.at >= to_timestamp(o.since_us / 1000000)) AS explained
FROM over AS o ORDER BY excess DESC LIMIT 1000

-- name: account_ids
SELECT id::text FROM accounts
WHERE id > $1 AND id <> '00000000-0000-0000-0000-000000000000' ORDER BY id LIMIT $2
