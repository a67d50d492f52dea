-- Who pays: accounts, their keys, what they subscribed to.
-- The account leads every key of a table that grows with customers, so that tables can be distributed
-- by account_id; profiles and plans are small and can be replicated (docs/decisions/020).

CREATE TABLE accounts (
    id              uuid PRIMARY KEY,
    name            text NOT NULL CHECK (length(name) BETWEEN 1 AND 200),
    type            text NOT NULL DEFAULT 'personal' CHECK (type IN ('personal', 'org', 'platform_service')),
    tier            text NOT NULL DEFAULT 'standard' CHECK (length(tier) BETWEEN 1 AND 60),
    status          text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'suspended', 'closed')),
    wallet_address  text CHECK (length(wallet_address) BETWEEN 1 AND 200),
    overdraft_nanos bigint NOT NULL DEFAULT 0 CHECK (overdraft_nanos BETWEEN 0 AND 2305843009213693952),
    created_at      timestamptz NOT NULL DEFAULT now()
);
CREATE UNIQUE INDEX accounts_name ON accounts (name);

CREATE TABLE profiles (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,59}$'),
    created_at timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE plans (
    name       text PRIMARY KEY CHECK (name ~ '^[a-z][a-z0-9_-]{0,59}$'),
    definition jsonb NOT NULL,
    digest     bytea NOT NULL CHECK (length(digest) = 32),
    applied_at timestamptz NOT NULL DEFAULT now(),
    applied_by text NOT NULL
);

CREATE TABLE price_versions (
    version        text PRIMARY KEY CHECK (length(version) BETWEEN 1 AND 60),
    effective_from timestamptz NOT NULL,
    definition     jsonb NOT NULL,
    digest         bytea NOT NULL CHECK (length(digest) = 32),
    applied_at     timestamptz NOT NULL DEFAULT now(),
    applied_by     text NOT NULL
);

CREATE TABLE api_keys (
    account_id   uuid NOT NULL REFERENCES accounts,
    id           uuid NOT NULL,
    hash         bytea NOT NULL CHECK (length(hash) = 32),
    display      text NOT NULL CHECK (length(display) = 4),
    name         text NOT NULL DEFAULT '' CHECK (length(name) <= 200),
    status       text NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'revoked')),
    scopes       text[] NOT NULL DEFAULT '{}' CHECK (cardinality(scopes) <= 100),
    expires_at   timestamptz,
    created_at   timestamptz NOT NULL DEFAULT now(),
    revoked_at   timestamptz,
    last_used_at timestamptz,
    replaces     uuid,
    PRIMARY KEY (account_id, id),
    CHECK ((status = 'revoked') = (revoked_at IS NOT NULL))
);
CREATE UNIQUE INDEX api_keys_hash ON api_keys (hash);

CREATE TABLE subscriptions (
    account_id     uuid NOT NULL REFERENCES accounts,
    profile        text NOT NULL REFERENCES profiles,
    plan           text NOT NULL REFERENCES plans,
    status         text NOT NULL DEFAULT 'active'
                   CHECK (status IN ('active', 'past_due', 'suspended', 'cancelled')),
    period         text NOT NULL DEFAULT 'month' CHECK (period IN ('day', 'week', 'month')),
    billing_day    smallint NOT NULL DEFAULT 1 CHECK (billing_day BETWEEN 1 AND 31),
    units_limit    bigint CHECK (units_limit BETWEEN 0 AND 9007199254740991),
    units_used     bigint NOT NULL DEFAULT 0 CHECK (units_used >= 0),
    spent_nanos    bigint NOT NULL DEFAULT 0 CHECK (spent_nanos >= 0),
    period_start   timestamptz NOT NULL,
    period_end     timestamptz NOT NULL,
    rps_override   integer CHECK (rps_override BETWEEN 1 AND 1000000),
    burst_override integer CHECK (burst_override BETWEEN 1 AND 1000000),
    created_at     timestamptz NOT NULL DEFAULT now(),
    updated_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (account_id, profile),
    CHECK (period_start < period_end)
);
CREATE INDEX subscriptions_period_end ON subscriptions (period_end);
