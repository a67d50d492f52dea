"""Damage that only somebody above all triggers can do, and how the check should tell of it."""

from typing import NamedTuple

from tollkeeper.ledger_report import Invariant


class Damage(NamedTuple):
    """A statement, the invariant that it breaks, and words of the row and the reason."""

    invariant: Invariant
    sql: str
    row: str
    how: str


DAMAGE = [
    Damage(
        1,
        "UPDATE transfers SET debit_code = 'cash' WHERE kind = 'charge'",
        "charge",
        "from cash",
    ),
    Damage(
        1,
        "UPDATE transfers SET credit_code = 'payable' WHERE kind = 'correction'",
        "correc",
        "moves",
    ),
    Damage(
        8,
        "UPDATE transfers SET amount = amount + 1 WHERE kind = 'topup'",
        "batch 1",
        "changed",
    ),
    Damage(
        8,
        "UPDATE transfers SET created_us = created_us + 1 WHERE kind = 'cost'",
        "batch",
        "changed",
    ),
    Damage(8, "UPDATE usage_events SET facts = '{}'", "batch", "changed"),
    Damage(8, "UPDATE batches SET hash = sha256('x') WHERE id = 2", "batch 2", "changed"),
    Damage(8, "UPDATE batches SET previous_hash = sha256('x') WHERE id = 2", "batch 2", "follow"),
    Damage(8, "UPDATE batches SET transfers = 9 WHERE id = 2", "batch 2", "9 transfers"),
    Damage(8, "DELETE FROM batches WHERE id = 2", "batch 2", "missing"),
    Damage(
        8,
        "DELETE FROM batches WHERE id = (SELECT max(id) FROM batches)",
        "ledger_chain",
        "ends",
    ),
    Damage(8, "DELETE FROM transfers WHERE kind = 'refund'", "batch", "transfers, has"),
    Damage(8, "DELETE FROM usage_events WHERE status = 'late'", "batch", "usage events, has"),
    Damage(
        8,
        (
            "INSERT INTO transfers SELECT account_id, gen_random_uuid(), kind, debit_code, "
            "credit_code, amount, 999, created_us FROM transfers WHERE kind = 'topup'"
        ),
        "transfer",
        "batch 999",
    ),
    Damage(
        2,
        "UPDATE ledger_accounts SET credits = credits + 1 WHERE code = 'credits'",
        "credits",
        "has",
    ),
    Damage(
        2,
        "UPDATE ledger_accounts SET debits = debits + 1 WHERE code = 'cost'",
        "cost of 0000",
        "has",
    ),
    Damage(2, "DELETE FROM ledger_accounts WHERE code = 'revenue'", "revenue of 0000", "sum to"),
    Damage(2, "UPDATE daily_usage SET units = units + 1", "daily usage", "units"),
    Damage(2, "DELETE FROM daily_usage", "daily usage", "requests"),
    Damage(
        2,
        "INSERT INTO daily_usage SELECT account_id, day + 1, profile, 1, 1, 1, 1 FROM daily_usage",
        "daily usage",
        "requests",
    ),
    Damage(2, "UPDATE subscriptions SET units_used = units_used + 1", "subscription", "used"),
    Damage(2, "UPDATE subscriptions SET spent_nanos = spent_nanos + 1", "subscription", "spent"),
    Damage(
        3,
        "ALTER TABLE usage_events DROP CONSTRAINT usage_events_pkey",
        "usage_events",
        "unique",
    ),
    Damage(
        3,
        (
            "INSERT INTO usage_events SELECT (e).* FROM (SELECT jsonb_populate_record(e, "
            "jsonb_build_object('account_id', gen_random_uuid())) AS e FROM usage_events AS "
            "e) AS c"
        ),
        "reservation",
        "settled 2 times",
    ),
    Damage(3, "UPDATE usage_events SET price_nanos = price_nanos + 1", "usage event", "has price"),
    Damage(3, "DELETE FROM transfers WHERE kind = 'charge'", "usage event", "has price"),
    Damage(
        3,
        "UPDATE ledger_orders SET amount = amount + 1 WHERE kind = 'correction'",
        "correction",
        "no order",
    ),
    Damage(3, "DELETE FROM ledger_orders", "transfer", "no order"),
    Damage(3, "UPDATE transfers SET amount = 1 WHERE kind = 'refund'", "refund", "gives back"),
    Damage(
        3,
        (
            "INSERT INTO ledger_orders SELECT account_id, 'lost', gen_random_uuid(), kind, "
            "amount, '', 'x' FROM ledger_orders WHERE kind = 'topup'"
        ),
        "order lost",
        "no transfer",
    ),
    Damage(
        4,
        "ALTER TABLE transfers DISABLE TRIGGER transfers_append_only",
        "transfers",
        "append_only",
    ),
    Damage(4, "DROP TRIGGER batches_no_truncate ON batches", "batches", "no_truncate"),
    Damage(
        4,
        (
            "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
            "'BEGIN RETURN NEW; END'"
        ),
        "transfers",
        "changed",
    ),
    Damage(4, "GRANT DELETE ON usage_events TO PUBLIC", "usage_events", "PUBLIC may delete"),
    Damage(
        5,
        "UPDATE reservations SET state = 'released' WHERE state = 'settled'",
        "usage event",
        "released",
    ),
    Damage(5, "DELETE FROM reservations WHERE state = 'late'", "usage event", "missing"),
    Damage(
        5,
        "UPDATE reservations SET state = 'settled' WHERE state = 'released'",
        "reservation",
        "without a usage event",
    ),
    Damage(
        5,
        "UPDATE reservations SET expires_at = '2020-01-01' WHERE state = 'pending'",
        "reservation",
        "is pending",
    ),
    Damage(
        6,
        "UPDATE reservations SET held_nanos = 100000 WHERE state = 'pending'",
        "account",
        "holds",
    ),
]
