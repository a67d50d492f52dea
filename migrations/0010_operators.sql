-- Who runs the place: operators with their tokens, what they changed, and answers given before.

CREATE TABLE operators (
    id           uuid PRIMARY KEY,
    name         text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    role         text NOT NULL CHECK (role IN ('read', 'billing', 'admin')),
    token_hash   bytea NOT NULL CHECK (length(token_hash) = 32),
    display      text NOT NULL CHECK (length(display) = 4),
    created_at   timestamptz NOT NULL DEFAULT now(),
    revoked_at   timestamptz,
    last_used_at timestamptz
);
CREATE UNIQUE INDEX operators_name ON operators (name) WHERE revoked_at IS NULL;
CREATE UNIQUE INDEX operators_token ON operators (token_hash);

-- Written in the transaction of the change itself, and never changed afterwards.
CREATE TABLE audit_log (
    id         bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at         timestamptz NOT NULL DEFAULT now(),
    actor      text NOT NULL CHECK (length(actor) BETWEEN 1 AND 200),
    via        text NOT NULL CHECK (via IN ('cli', 'api', 'self_service', 'reload')),
    action     text NOT NULL CHECK (length(action) BETWEEN 1 AND 60),
    account_id uuid,
    detail     jsonb NOT NULL DEFAULT '{}'
);
CREATE INDEX audit_log_account ON audit_log (account_id, id) WHERE account_id IS NOT NULL;
CREATE TRIGGER audit_log_append_only BEFORE UPDATE OR DELETE ON audit_log
    FOR EACH ROW EXECUTE FUNCTION refuse_change();
CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON audit_log
    FOR EACH STATEMENT EXECUTE FUNCTION refuse_change();

-- The answer to a request that may be repeated; owner is the operator or the account that asked.
CREATE TABLE idempotency_keys (
    owner      uuid NOT NULL,
    key        text NOT NULL CHECK (length(key) BETWEEN 1 AND 200),
    digest     bytea NOT NULL CHECK (length(digest) = 32),
    answer     json,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (owner, key)
);
CREATE INDEX idempotency_keys_age ON idempotency_keys USING brin (created_at);
