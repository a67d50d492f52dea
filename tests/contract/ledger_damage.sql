-- Each statement breaks one invariant of the ledger. Above it: the invariant's number, a word of the
-- row that the check should name, and a word of its reason.

-- 1: charge: from cash
UPDATE transfers SET debit_code = 'cash' WHERE kind = 'charge';

-- 1: correc: moves
UPDATE transfers SET credit_code = 'payable' WHERE kind = 'correction';

-- 2: credits: has
UPDATE ledger_accounts SET credits = credits + 1 WHERE code = 'credits';

-- 2: cost of 0000: has
UPDATE ledger_accounts SET debits = debits + 1 WHERE code = 'cost';

-- 2: revenue of 0000: sum to
DELETE FROM ledger_accounts WHERE code = 'revenue';

-- 2: daily usage: units
UPDATE daily_usage SET units = units + 1;

-- 2: daily usage: requests
DELETE FROM daily_usage;

-- 2: daily usage: requests
INSERT INTO daily_usage SELECT account_id, day + 1, profile, 1, 1, 1, 1 FROM daily_usage;

-- 2: subscription: used
UPDATE subscriptions SET units_used = units_used + 1;

-- 2: subscription: spent
UPDATE subscriptions SET spent_nanos = spent_nanos + 1;

-- 3: usage_events: unique
ALTER TABLE usage_events DROP CONSTRAINT usage_events_pkey;

-- 3: reservation: settled 2 times
INSERT INTO usage_events SELECT (e).* FROM (SELECT jsonb_populate_record(e,
    jsonb_build_object('account_id', gen_random_uuid())) AS e FROM usage_events AS e) AS c;

-- 3: usage event: has price
UPDATE usage_events SET price_nanos = price_nanos + 1;

-- 3: usage event: has price
DELETE FROM transfers WHERE kind = 'charge';

-- 3: correction: no order
UPDATE ledger_orders SET amount = amount + 1 WHERE kind = 'correction';

-- 3: transfer: no order
DELETE FROM ledger_orders;

-- 3: refund: gives back
UPDATE transfers SET amount = 1 WHERE kind = 'refund';

-- 3: order lost: no transfer
INSERT INTO ledger_orders SELECT account_id, 'lost', gen_random_uuid(), kind, amount, '', 'x'
    FROM ledger_orders WHERE kind = 'topup';

-- 4: transfers: append_only
ALTER TABLE transfers DISABLE TRIGGER transfers_append_only;

-- 4: batches: no_truncate
DROP TRIGGER batches_no_truncate ON batches;

-- 4: transfers: changed
CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN
    NEW; END';

-- 4: usage_events: PUBLIC may delete
GRANT DELETE ON usage_events TO PUBLIC;

-- 5: usage event: released
UPDATE reservations SET state = 'released' WHERE state = 'settled';

-- 5: usage event: missing
DELETE FROM reservations WHERE state = 'late';

-- 5: reservation: without a usage event
UPDATE reservations SET state = 'settled' WHERE state = 'released';

-- 5: reservation: is pending
UPDATE reservations SET expires_at = '2020-01-01' WHERE state = 'pending';

-- 6: account: holds
UPDATE reservations SET held_nanos = 100000 WHERE state = 'pending';

-- 8: batch 1: changed
UPDATE transfers SET amount = amount + 1 WHERE kind = 'topup';

-- 8: batch: changed
UPDATE transfers SET created_us = created_us + 1 WHERE kind = 'cost';

-- 8: batch: changed
UPDATE usage_events SET facts = '{}';

-- 8: batch 2: changed
UPDATE batches SET hash = sha256('x') WHERE id = 2;

-- 8: batch 2: follow
UPDATE batches SET previous_hash = sha256('x') WHERE id = 2;

-- 8: batch 2: 9 transfers
UPDATE batches SET transfers = 9 WHERE id = 2;

-- 8: batch 2: missing
DELETE FROM batches WHERE id = 2;

-- 8: ledger_chain: ends
DELETE FROM batches WHERE id = (SELECT max(id) FROM batches);

-- 8: batch: transfers, has
DELETE FROM transfers WHERE kind = 'refund';

-- 8: batch: usage events, has
DELETE FROM usage_events WHERE status = 'late';

-- 8: transfer: batch 999
INSERT INTO transfers SELECT account_id, gen_random_uuid(), kind, debit_code, credit_code,
    amount, 999, created_us FROM transfers WHERE kind = 'topup';
