-- The truth about money: double entry, append-only, chained by hash.

CREATE TABLE ledger_accounts (
    account_id uuid NOT NULL REFERENCES accounts,
    code       text NOT NULL CHECK (code IN ('credits', 'cash', 'revenue', 'cost', 'payable')),
    debits     bigint NOT NULL DEFAULT 0 CHECK (debits BETWEEN 0 AND 4611686018427387904),
    credits    bigint NOT NULL DEFAULT 0 CHECK (credits BETWEEN 0 AND 4611686018427387904),
    version    bigint NOT NULL DEFAULT 0 CHECK (version >= 0),
    PRIMARY KEY (account_id, code)
) WITH (fillfactor = 70);
COMMENT ON COLUMN ledger_accounts.version IS
    'Raised by each transaction that touches the account; the hot copy keeps the newest it was told.';

-- One row: the end of the chain. Locking it makes the ledger single-writer, so that batches are
-- ordered and no two transactions can wait for each other's accounts.
CREATE TABLE ledger_chain (
    id       smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    batch_id bigint NOT NULL,
    hash     bytea NOT NULL CHECK (length(hash) = 32)
);
INSERT INTO ledger_chain (batch_id, hash) VALUES (0, decode(repeat('00', 32), 'hex'));

CREATE TABLE batches (
    id            bigint PRIMARY KEY,
    kind          text NOT NULL CHECK (kind IN ('settlement', 'expiry', 'topup', 'correction')),
    transfers     integer NOT NULL CHECK (transfers >= 0),
    usage_events  integer NOT NULL CHECK (usage_events >= 0),
    previous_hash bytea NOT NULL CHECK (length(previous_hash) = 32),
    hash          bytea NOT NULL CHECK (length(hash) = 32),
    created_at    timestamptz NOT NULL DEFAULT now()
);

-- source_id is the reservation (UUIDv7, so the key is ordered by time within the account) or the top-up.
CREATE TABLE transfers (
    account_id  uuid NOT NULL,
    source_id   uuid NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('topup', 'charge', 'cost', 'expiry', 'refund', 'correction')),
    debit_code  text NOT NULL CHECK (debit_code IN ('credits', 'cash', 'revenue', 'cost', 'payable')),
    credit_code text NOT NULL CHECK (credit_code IN ('credits', 'cash', 'revenue', 'cost', 'payable')),
    amount      bigint NOT NULL CHECK (amount BETWEEN 1 AND 4611686018427387904),
    batch_id    bigint NOT NULL REFERENCES batches DEFERRABLE INITIALLY DEFERRED,
    created_us  bigint NOT NULL,
    PRIMARY KEY (account_id, source_id, kind),
    CHECK (debit_code <> credit_code)
);
CREATE INDEX transfers_batch ON transfers USING brin (batch_id);

-- Why money moved other than by a request: the reference makes it idempotent.
CREATE TABLE ledger_orders (
    account_id  uuid NOT NULL REFERENCES accounts,
    reference   text NOT NULL CHECK (length(reference) BETWEEN 1 AND 200),
    source_id   uuid NOT NULL,
    kind        text NOT NULL CHECK (kind IN ('topup', 'correction')),
    amount      bigint NOT NULL CHECK (amount <> 0),
    reason      text NOT NULL DEFAULT '' CHECK (length(reason) <= 1000),
    created_by  text NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, reference)
);

CREATE TABLE usage_events (
    account_id          uuid NOT NULL,
    reservation_id      uuid NOT NULL,
    batch_id            bigint NOT NULL REFERENCES batches DEFERRABLE INITIALLY DEFERRED,
    key_id              uuid NOT NULL,
    profile             text NOT NULL,
    route               text NOT NULL,
    meter               text NOT NULL,
    model               text NOT NULL,
    price_version       text NOT NULL,
    outcome             text NOT NULL CHECK (outcome IN ('answered', 'cut_short', 'no_usage')),
    status              text NOT NULL CHECK (status IN ('billed', 'needs_review', 'late')),
    units               bigint NOT NULL CHECK (units >= 0),
    price_nanos         bigint NOT NULL CHECK (price_nanos BETWEEN 0 AND 4611686018427387904),
    provider_cost_nanos bigint CHECK (provider_cost_nanos BETWEEN 0 AND 4611686018427387904),
    held_nanos          bigint NOT NULL CHECK (held_nanos >= 0),
    quoted_nanos        bigint NOT NULL CHECK (quoted_nanos >= 0),
    review              text NOT NULL DEFAULT '',
    formula             text NOT NULL,
    facts               text NOT NULL,
    admitted_us         bigint NOT NULL,
    completed_us        bigint NOT NULL,
    settled_us          bigint NOT NULL,
    PRIMARY KEY (account_id, reservation_id)
);
CREATE INDEX usage_events_batch ON usage_events USING brin (batch_id);

CREATE TABLE daily_usage (
    account_id          uuid NOT NULL,
    day                 date NOT NULL,
    profile             text NOT NULL,
    requests            bigint NOT NULL CHECK (requests >= 0),
    units               bigint NOT NULL CHECK (units >= 0),
    price_nanos         bigint NOT NULL CHECK (price_nanos >= 0),
    provider_cost_nanos bigint NOT NULL CHECK (provider_cost_nanos >= 0),
    PRIMARY KEY (account_id, day, profile)
) WITH (fillfactor = 70);

-- Each reservation ends exactly once (billing/reservations.py has the table of states).
CREATE TABLE reservations (
    account_id    uuid NOT NULL,
    id            uuid NOT NULL,
    key_id        uuid NOT NULL,
    profile       text NOT NULL,
    route         text NOT NULL,
    price_version text NOT NULL,
    held_nanos    bigint NOT NULL CHECK (held_nanos >= 0),
    quoted_nanos  bigint NOT NULL CHECK (quoted_nanos >= 0),
    record        text NOT NULL,
    basis         text NOT NULL,
    state         text NOT NULL CHECK (state IN ('pending', 'settled', 'released', 'expired', 'late')),
    content_hash  bytea CHECK (length(content_hash) = 16),
    admitted_us   bigint NOT NULL,
    expires_at    timestamptz NOT NULL,
    ended_us      bigint,
    PRIMARY KEY (account_id, id),
    CHECK ((state = 'pending') = (ended_us IS NULL))
) WITH (fillfactor = 70);
CREATE INDEX reservations_pending ON reservations (expires_at) WHERE state = 'pending';
CREATE INDEX reservations_pending_account ON reservations (account_id) WHERE state = 'pending';

-- What cannot be settled and must not be lost: a person looks here.
CREATE TABLE quarantine (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    account_id     uuid,
    reservation_id uuid,
    reason         text NOT NULL CHECK (length(reason) BETWEEN 1 AND 200),
    entry          text NOT NULL,
    digest         bytea NOT NULL CHECK (length(digest) = 16),
    seen           bigint NOT NULL DEFAULT 1,
    created_at     timestamptz NOT NULL DEFAULT now(),
    UNIQUE (reason, digest)
);

CREATE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed; post a correction instead', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER transfers_append_only BEFORE UPDATE OR DELETE ON transfers
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER transfers_no_truncate BEFORE TRUNCATE ON transfers
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER batches_append_only BEFORE UPDATE OR DELETE ON batches
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER batches_no_truncate BEFORE TRUNCATE ON batches
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();
CREATE TRIGGER usage_events_append_only BEFORE UPDATE OR DELETE ON usage_events
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER usage_events_no_truncate BEFORE TRUNCATE ON usage_events
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The platform's own side of the ledger.
INSERT INTO accounts (id, name, type)
    VALUES ('00000000-0000-0000-0000-000000000000', 'platform', 'platform_service');
INSERT INTO ledger_accounts (account_id, code)
    SELECT '00000000-0000-0000-0000-000000000000', code
    FROM unnest(ARRAY['cash', 'revenue', 'cost', 'payable']) AS code;

-- The end of a subscription's period that begins at `start`: the same rule as billing/plans.py.
CREATE FUNCTION period_after(start timestamptz, period text, billing_day integer)
RETURNS timestamptz LANGUAGE sql IMMUTABLE AS $$
    SELECT CASE period
        WHEN 'day' THEN start + interval '24 hours'
        WHEN 'week' THEN start + interval '168 hours'
        ELSE (date_trunc('month', u) + interval '1 month'
              + (least(billing_day, extract(day FROM date_trunc('month', u) + interval '2 months'
                                                     - interval '1 day')::integer) - 1) * interval '1 day'
              + (u - date_trunc('day', u))) AT TIME ZONE 'UTC'
        END
    FROM (SELECT start AT TIME ZONE 'UTC' AS u) AS utc
$$;

-- Bring the periods of these accounts (all of them when NULL) up to `at`, counting anew from zero.
CREATE FUNCTION roll_periods(accounts uuid[], at timestamptz) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    LOOP
        UPDATE subscriptions SET
            period_start = period_end,
            period_end = period_after(period_end, period, billing_day),
            units_used = 0, spent_nanos = 0, updated_at = now()
        WHERE period_end <= at AND (accounts IS NULL OR account_id = ANY (accounts));
        EXIT WHEN NOT FOUND;
    END LOOP;
END $$;

-- The period that `at` lies in, without changing anything.
CREATE FUNCTION current_period(INOUT start timestamptz, INOUT ends timestamptz, period text,
                               billing_day integer, at timestamptz)
LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    WHILE ends <= at LOOP
        start := ends;
        ends := period_after(ends, period, billing_day);
    END LOOP;
END $$;
