-- How far the ledger was proved, and what makes its rows unchangeable and quick to find.

-- totals: what all accounts of a code gave and took up to the batch, as text, by code.
CREATE TABLE ledger_checks (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    batch_id   bigint NOT NULL CHECK (batch_id >= 0),
    hash       bytea NOT NULL CHECK (length(hash) = 32),
    totals     jsonb NOT NULL,
    whole      boolean NOT NULL,
    checked_at timestamptz NOT NULL DEFAULT now()
);

-- A reservation is looked for by its id alone when a client asks why. Ids are ordered by time, so a
-- block range index finds them and costs next to nothing to write.
CREATE INDEX reservations_id ON reservations
    USING brin (id uuid_minmax_multi_ops) WITH (pages_per_range = 32, autosummarize = on);
CREATE INDEX reservations_expired ON reservations (id) WHERE state = 'expired';

-- Triggers refuse a change; without the privilege nobody but a superuser comes that far. Foreign keys
-- to batches lock the row that they point to, which asks for UPDATE on one column: it is one that the
-- hash chain does not need, and the trigger refuses it all the same.
DO $$
DECLARE
    owned text;
BEGIN
    FOREACH owned IN ARRAY ARRAY['transfers', 'batches', 'usage_events', 'audit_log'] LOOP
        EXECUTE format('REVOKE UPDATE, DELETE, TRUNCATE ON %I FROM PUBLIC, %I', owned, current_user);
    END LOOP;
    EXECUTE format('GRANT UPDATE (created_at) ON batches TO %I', current_user);
END $$;
