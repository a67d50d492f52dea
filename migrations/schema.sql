-- The schema that all migrations together make; a test holds this file against them.
-- Written by `python -m tests.contract.schema_dump`; never applied to anything.

CREATE FUNCTION public.current_period(INOUT start timestamp with time zone, INOUT ends timestamp with time zone, period text, billing_day integer, at timestamp with time zone) RETURNS record
    LANGUAGE plpgsql IMMUTABLE
    AS $$
BEGIN
    WHILE ends <= at LOOP
        start := ends;
        ends := period_after(ends, period, billing_day);
    END LOOP;
END $$;

CREATE FUNCTION public.period_after(start timestamp with time zone, period text, billing_day integer) RETURNS timestamp with time zone
    LANGUAGE sql IMMUTABLE
    AS $$
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

CREATE FUNCTION public.refuse_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
BEGIN
    RAISE EXCEPTION 'rows of % are never changed; post a correction instead', TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION public.refuse_without_batch() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    missing bigint;
BEGIN
    SELECT f.batch_id INTO missing FROM (SELECT DISTINCT batch_id FROM fresh) AS f
    WHERE NOT EXISTS (SELECT FROM batches AS b WHERE b.id = f.batch_id) LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION 'rows of % name batch %, which is not in the ledger', TG_TABLE_NAME, missing
            USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION public.roll_periods(accounts uuid[], at timestamp with time zone) RETURNS void
    LANGUAGE plpgsql
    AS $$
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

CREATE FUNCTION public.tell_change() RETURNS trigger
    LANGUAGE plpgsql
    AS $$
DECLARE
    row record := coalesce(NEW, OLD);
BEGIN
    IF TG_TABLE_NAME = 'accounts' THEN
        PERFORM pg_notify('tollkeeper_changes', 'account ' || row.id);
    ELSIF TG_TABLE_NAME = 'api_keys' THEN
        PERFORM pg_notify('tollkeeper_changes', 'key ' || row.account_id || ' ' || encode(row.hash, 'hex'));
    ELSE
        PERFORM pg_notify('tollkeeper_changes', 'subscription ' || row.account_id);
    END IF;
    RETURN NULL;
END $$;

CREATE TABLE public.accounts (
    id uuid NOT NULL,
    name text NOT NULL,
    type text DEFAULT 'personal'::text NOT NULL,
    tier text DEFAULT 'standard'::text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    wallet_address text,
    overdraft_nanos bigint DEFAULT 0 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT accounts_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT accounts_overdraft_nanos_check CHECK (((overdraft_nanos >= 0) AND (overdraft_nanos <= '2305843009213693952'::bigint))),
    CONSTRAINT accounts_status_check CHECK ((status = ANY (ARRAY['active'::text, 'suspended'::text, 'closed'::text]))),
    CONSTRAINT accounts_tier_check CHECK (((length(tier) >= 1) AND (length(tier) <= 60))),
    CONSTRAINT accounts_type_check CHECK ((type = ANY (ARRAY['personal'::text, 'org'::text, 'platform_service'::text]))),
    CONSTRAINT accounts_wallet_address_check CHECK (((length(wallet_address) >= 1) AND (length(wallet_address) <= 200)))
);

CREATE TABLE public.api_keys (
    account_id uuid NOT NULL,
    id uuid NOT NULL,
    hash bytea NOT NULL,
    display text NOT NULL,
    name text DEFAULT ''::text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    scopes text[] DEFAULT '{}'::text[] NOT NULL,
    expires_at timestamp with time zone,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone,
    replaces uuid,
    CONSTRAINT api_keys_check CHECK (((status = 'revoked'::text) = (revoked_at IS NOT NULL))),
    CONSTRAINT api_keys_display_check CHECK ((length(display) = 4)),
    CONSTRAINT api_keys_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT api_keys_name_check CHECK ((length(name) <= 200)),
    CONSTRAINT api_keys_scopes_check CHECK ((cardinality(scopes) <= 100)),
    CONSTRAINT api_keys_status_check CHECK ((status = ANY (ARRAY['active'::text, 'revoked'::text])))
);

CREATE TABLE public.audit_log (
    id bigint NOT NULL,
    at timestamp with time zone DEFAULT now() NOT NULL,
    actor text NOT NULL,
    via text NOT NULL,
    action text NOT NULL,
    account_id uuid,
    detail jsonb DEFAULT '{}'::jsonb NOT NULL,
    CONSTRAINT audit_log_action_check CHECK (((length(action) >= 1) AND (length(action) <= 60))),
    CONSTRAINT audit_log_actor_check CHECK (((length(actor) >= 1) AND (length(actor) <= 200))),
    CONSTRAINT audit_log_via_check CHECK ((via = ANY (ARRAY['cli'::text, 'api'::text, 'self_service'::text, 'reload'::text])))
);

ALTER TABLE public.audit_log ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.audit_log_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.batches (
    id bigint NOT NULL,
    kind text NOT NULL,
    transfers integer NOT NULL,
    usage_events integer NOT NULL,
    previous_hash bytea NOT NULL,
    hash bytea NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT batches_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT batches_kind_check CHECK ((kind = ANY (ARRAY['settlement'::text, 'expiry'::text, 'topup'::text, 'correction'::text]))),
    CONSTRAINT batches_previous_hash_check CHECK ((length(previous_hash) = 32)),
    CONSTRAINT batches_transfers_check CHECK ((transfers >= 0)),
    CONSTRAINT batches_usage_events_check CHECK ((usage_events >= 0))
);

CREATE TABLE public.daily_usage (
    account_id uuid NOT NULL,
    day date NOT NULL,
    profile text NOT NULL,
    requests bigint NOT NULL,
    units bigint NOT NULL,
    price_nanos bigint NOT NULL,
    provider_cost_nanos bigint NOT NULL,
    CONSTRAINT daily_usage_price_nanos_check CHECK ((price_nanos >= 0)),
    CONSTRAINT daily_usage_provider_cost_nanos_check CHECK ((provider_cost_nanos >= 0)),
    CONSTRAINT daily_usage_requests_check CHECK ((requests >= 0)),
    CONSTRAINT daily_usage_units_check CHECK ((units >= 0))
)
WITH (fillfactor='70');

CREATE TABLE public.hot_epoch (
    id smallint DEFAULT 1 NOT NULL,
    epoch bigint NOT NULL,
    identity text NOT NULL,
    raised_at timestamp with time zone DEFAULT now() NOT NULL,
    reason text NOT NULL,
    CONSTRAINT hot_epoch_id_check CHECK ((id = 1))
);

CREATE TABLE public.idempotency_keys (
    owner uuid NOT NULL,
    key text NOT NULL,
    digest bytea NOT NULL,
    answer json,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT idempotency_keys_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT idempotency_keys_key_check CHECK (((length(key) >= 1) AND (length(key) <= 200)))
);

CREATE TABLE public.ledger_accounts (
    account_id uuid NOT NULL,
    code text NOT NULL,
    debits bigint DEFAULT 0 NOT NULL,
    credits bigint DEFAULT 0 NOT NULL,
    version bigint DEFAULT 0 NOT NULL,
    CONSTRAINT ledger_accounts_code_check CHECK ((code = ANY (ARRAY['credits'::text, 'cash'::text, 'revenue'::text, 'cost'::text, 'payable'::text]))),
    CONSTRAINT ledger_accounts_credits_check CHECK (((credits >= 0) AND (credits <= '4611686018427387904'::bigint))),
    CONSTRAINT ledger_accounts_debits_check CHECK (((debits >= 0) AND (debits <= '4611686018427387904'::bigint))),
    CONSTRAINT ledger_accounts_version_check CHECK ((version >= 0))
)
WITH (fillfactor='70');

COMMENT ON COLUMN public.ledger_accounts.version IS 'Raised by each transaction that touches the account; the hot copy keeps the newest it was told.';

CREATE TABLE public.ledger_chain (
    id smallint DEFAULT 1 NOT NULL,
    batch_id bigint NOT NULL,
    hash bytea NOT NULL,
    CONSTRAINT ledger_chain_hash_check CHECK ((length(hash) = 32)),
    CONSTRAINT ledger_chain_id_check CHECK ((id = 1))
);

CREATE TABLE public.ledger_checks (
    id bigint NOT NULL,
    batch_id bigint NOT NULL,
    hash bytea NOT NULL,
    totals jsonb NOT NULL,
    whole boolean NOT NULL,
    checked_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ledger_checks_batch_id_check CHECK ((batch_id >= 0)),
    CONSTRAINT ledger_checks_hash_check CHECK ((length(hash) = 32))
);

ALTER TABLE public.ledger_checks ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.ledger_checks_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.ledger_orders (
    account_id uuid NOT NULL,
    reference text NOT NULL,
    source_id uuid NOT NULL,
    kind text NOT NULL,
    amount bigint NOT NULL,
    reason text DEFAULT ''::text NOT NULL,
    created_by text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT ledger_orders_amount_check CHECK ((amount <> 0)),
    CONSTRAINT ledger_orders_kind_check CHECK ((kind = ANY (ARRAY['topup'::text, 'correction'::text]))),
    CONSTRAINT ledger_orders_reason_check CHECK ((length(reason) <= 1000)),
    CONSTRAINT ledger_orders_reference_check CHECK (((length(reference) >= 1) AND (length(reference) <= 200)))
);

CREATE TABLE public.ledger_verdicts (
    id bigint NOT NULL,
    whole boolean NOT NULL,
    since_batch bigint NOT NULL,
    through_batch bigint NOT NULL,
    broken smallint[] NOT NULL,
    broken_now smallint[] NOT NULL,
    skipped smallint[] NOT NULL,
    verdict text NOT NULL,
    checked_by text NOT NULL,
    took_ms bigint NOT NULL,
    checked_at timestamp with time zone NOT NULL,
    CONSTRAINT ledger_verdicts_broken_check CHECK ((broken <@ ARRAY[(1)::smallint, (2)::smallint, (3)::smallint, (4)::smallint, (5)::smallint, (6)::smallint, (7)::smallint, (8)::smallint])),
    CONSTRAINT ledger_verdicts_check CHECK ((broken_now <@ broken)),
    CONSTRAINT ledger_verdicts_checked_by_check CHECK (((length(checked_by) >= 1) AND (length(checked_by) <= 200))),
    CONSTRAINT ledger_verdicts_since_batch_check CHECK ((since_batch >= 0)),
    CONSTRAINT ledger_verdicts_skipped_check CHECK ((skipped <@ ARRAY[(1)::smallint, (2)::smallint, (3)::smallint, (4)::smallint, (5)::smallint, (6)::smallint, (7)::smallint, (8)::smallint])),
    CONSTRAINT ledger_verdicts_through_batch_check CHECK ((through_batch >= 0)),
    CONSTRAINT ledger_verdicts_took_ms_check CHECK ((took_ms >= 0)),
    CONSTRAINT ledger_verdicts_verdict_check CHECK (((length(verdict) >= 1) AND (length(verdict) <= 2000)))
);

ALTER TABLE public.ledger_verdicts ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.ledger_verdicts_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.operators (
    id uuid NOT NULL,
    name text NOT NULL,
    role text NOT NULL,
    token_hash bytea NOT NULL,
    display text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    revoked_at timestamp with time zone,
    last_used_at timestamp with time zone,
    CONSTRAINT operators_display_check CHECK ((length(display) = 4)),
    CONSTRAINT operators_name_check CHECK (((length(name) >= 1) AND (length(name) <= 200))),
    CONSTRAINT operators_role_check CHECK ((role = ANY (ARRAY['read'::text, 'billing'::text, 'admin'::text]))),
    CONSTRAINT operators_token_hash_check CHECK ((length(token_hash) = 32))
);

CREATE TABLE public.plans (
    name text NOT NULL,
    definition jsonb NOT NULL,
    digest bytea NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    applied_by text NOT NULL,
    CONSTRAINT plans_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT plans_name_check CHECK ((name ~ '^[a-z][a-z0-9_-]{0,59}$'::text))
);

CREATE TABLE public.price_versions (
    version text NOT NULL,
    effective_from timestamp with time zone NOT NULL,
    definition jsonb NOT NULL,
    digest bytea NOT NULL,
    applied_at timestamp with time zone DEFAULT now() NOT NULL,
    applied_by text NOT NULL,
    CONSTRAINT price_versions_digest_check CHECK ((length(digest) = 32)),
    CONSTRAINT price_versions_version_check CHECK (((length(version) >= 1) AND (length(version) <= 60)))
);

CREATE TABLE public.profiles (
    name text NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT profiles_name_check CHECK ((name ~ '^[a-z][a-z0-9_-]{0,59}$'::text))
);

CREATE SEQUENCE public.promise_numbers
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1;

CREATE TABLE public.quarantine (
    id bigint NOT NULL,
    account_id uuid,
    reservation_id uuid,
    reason text NOT NULL,
    entry text NOT NULL,
    digest bytea NOT NULL,
    seen bigint DEFAULT 1 NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT quarantine_digest_check CHECK ((length(digest) = 16)),
    CONSTRAINT quarantine_reason_check CHECK (((length(reason) >= 1) AND (length(reason) <= 200)))
);

ALTER TABLE public.quarantine ALTER COLUMN id ADD GENERATED ALWAYS AS IDENTITY (
    SEQUENCE NAME public.quarantine_id_seq
    START WITH 1
    INCREMENT BY 1
    NO MINVALUE
    NO MAXVALUE
    CACHE 1
);

CREATE TABLE public.reservations (
    account_id uuid NOT NULL,
    id uuid NOT NULL,
    key_id uuid NOT NULL,
    profile text NOT NULL,
    route text NOT NULL,
    price_version text NOT NULL,
    held_nanos bigint NOT NULL,
    quoted_nanos bigint NOT NULL,
    record text NOT NULL,
    basis text NOT NULL,
    state text NOT NULL,
    content_hash bytea,
    admitted_us bigint NOT NULL,
    expires_at timestamp with time zone NOT NULL,
    ended_us bigint,
    CONSTRAINT reservations_check CHECK (((state = 'pending'::text) = (ended_us IS NULL))),
    CONSTRAINT reservations_content_hash_check CHECK ((length(content_hash) = 16)),
    CONSTRAINT reservations_held_nanos_check CHECK ((held_nanos >= 0)),
    CONSTRAINT reservations_quoted_nanos_check CHECK ((quoted_nanos >= 0)),
    CONSTRAINT reservations_state_check CHECK ((state = ANY (ARRAY['pending'::text, 'settled'::text, 'released'::text, 'expired'::text, 'late'::text])))
)
WITH (fillfactor='70');

CREATE TABLE public.subscriptions (
    account_id uuid NOT NULL,
    profile text NOT NULL,
    plan text NOT NULL,
    status text DEFAULT 'active'::text NOT NULL,
    period text DEFAULT 'month'::text NOT NULL,
    billing_day smallint DEFAULT 1 NOT NULL,
    units_limit bigint,
    units_used bigint DEFAULT 0 NOT NULL,
    spent_nanos bigint DEFAULT 0 NOT NULL,
    period_start timestamp with time zone NOT NULL,
    period_end timestamp with time zone NOT NULL,
    rps_override integer,
    burst_override integer,
    created_at timestamp with time zone DEFAULT now() NOT NULL,
    updated_at timestamp with time zone DEFAULT now() NOT NULL,
    CONSTRAINT subscriptions_billing_day_check CHECK (((billing_day >= 1) AND (billing_day <= 31))),
    CONSTRAINT subscriptions_burst_override_check CHECK (((burst_override >= 1) AND (burst_override <= 1000000))),
    CONSTRAINT subscriptions_check CHECK ((period_start < period_end)),
    CONSTRAINT subscriptions_period_check CHECK ((period = ANY (ARRAY['day'::text, 'week'::text, 'month'::text]))),
    CONSTRAINT subscriptions_rps_override_check CHECK (((rps_override >= 1) AND (rps_override <= 1000000))),
    CONSTRAINT subscriptions_spent_nanos_check CHECK ((spent_nanos >= 0)),
    CONSTRAINT subscriptions_status_check CHECK ((status = ANY (ARRAY['active'::text, 'past_due'::text, 'suspended'::text, 'cancelled'::text]))),
    CONSTRAINT subscriptions_units_limit_check CHECK (((units_limit >= 0) AND (units_limit <= '9007199254740991'::bigint))),
    CONSTRAINT subscriptions_units_used_check CHECK ((units_used >= 0))
);

CREATE TABLE public.transfers (
    account_id uuid NOT NULL,
    source_id uuid NOT NULL,
    kind text NOT NULL,
    debit_code text NOT NULL,
    credit_code text NOT NULL,
    amount bigint NOT NULL,
    batch_id bigint NOT NULL,
    created_us bigint NOT NULL,
    CONSTRAINT transfers_amount_check CHECK (((amount >= 1) AND (amount <= '4611686018427387904'::bigint))),
    CONSTRAINT transfers_check CHECK ((debit_code <> credit_code)),
    CONSTRAINT transfers_credit_code_check CHECK ((credit_code = ANY (ARRAY['credits'::text, 'cash'::text, 'revenue'::text, 'cost'::text, 'payable'::text]))),
    CONSTRAINT transfers_debit_code_check CHECK ((debit_code = ANY (ARRAY['credits'::text, 'cash'::text, 'revenue'::text, 'cost'::text, 'payable'::text]))),
    CONSTRAINT transfers_kind_check CHECK ((kind = ANY (ARRAY['topup'::text, 'charge'::text, 'cost'::text, 'expiry'::text, 'refund'::text, 'correction'::text])))
);

CREATE TABLE public.unpublished (
    batch_id bigint DEFAULT (- nextval('public.promise_numbers'::regclass)) NOT NULL,
    account_ids uuid[] NOT NULL,
    ended uuid[] NOT NULL,
    created_at timestamp with time zone DEFAULT now() NOT NULL
);
ALTER TABLE ONLY public.unpublished ALTER COLUMN account_ids SET STORAGE EXTERNAL;
ALTER TABLE ONLY public.unpublished ALTER COLUMN ended SET STORAGE EXTERNAL;

CREATE TABLE public.usage_events (
    account_id uuid NOT NULL,
    reservation_id uuid NOT NULL,
    batch_id bigint NOT NULL,
    key_id uuid NOT NULL,
    profile text NOT NULL,
    route text NOT NULL,
    meter text NOT NULL,
    model text NOT NULL,
    price_version text NOT NULL,
    outcome text NOT NULL,
    status text NOT NULL,
    units bigint NOT NULL,
    price_nanos bigint NOT NULL,
    provider_cost_nanos bigint,
    held_nanos bigint NOT NULL,
    quoted_nanos bigint NOT NULL,
    review text DEFAULT ''::text NOT NULL,
    formula text NOT NULL,
    facts text NOT NULL,
    admitted_us bigint NOT NULL,
    completed_us bigint NOT NULL,
    settled_us bigint NOT NULL,
    CONSTRAINT usage_events_held_nanos_check CHECK ((held_nanos >= 0)),
    CONSTRAINT usage_events_outcome_check CHECK ((outcome = ANY (ARRAY['answered'::text, 'cut_short'::text, 'no_usage'::text]))),
    CONSTRAINT usage_events_price_nanos_check CHECK (((price_nanos >= 0) AND (price_nanos <= '4611686018427387904'::bigint))),
    CONSTRAINT usage_events_provider_cost_nanos_check CHECK (((provider_cost_nanos >= 0) AND (provider_cost_nanos <= '4611686018427387904'::bigint))),
    CONSTRAINT usage_events_quoted_nanos_check CHECK ((quoted_nanos >= 0)),
    CONSTRAINT usage_events_status_check CHECK ((status = ANY (ARRAY['billed'::text, 'needs_review'::text, 'late'::text]))),
    CONSTRAINT usage_events_units_check CHECK ((units >= 0))
);

CREATE TABLE public.workers (
    id uuid NOT NULL,
    role text NOT NULL,
    started_at timestamp with time zone DEFAULT now() NOT NULL,
    heartbeat_at timestamp with time zone DEFAULT now() NOT NULL,
    flushed_at timestamp with time zone DEFAULT '-infinity'::timestamp with time zone NOT NULL
);

ALTER TABLE ONLY public.accounts
    ADD CONSTRAINT accounts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_pkey PRIMARY KEY (account_id, id);

ALTER TABLE ONLY public.audit_log
    ADD CONSTRAINT audit_log_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.batches
    ADD CONSTRAINT batches_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.daily_usage
    ADD CONSTRAINT daily_usage_pkey PRIMARY KEY (account_id, day, profile);

ALTER TABLE ONLY public.hot_epoch
    ADD CONSTRAINT hot_epoch_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.idempotency_keys
    ADD CONSTRAINT idempotency_keys_pkey PRIMARY KEY (owner, key);

ALTER TABLE ONLY public.ledger_accounts
    ADD CONSTRAINT ledger_accounts_pkey PRIMARY KEY (account_id, code);

ALTER TABLE ONLY public.ledger_chain
    ADD CONSTRAINT ledger_chain_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.ledger_checks
    ADD CONSTRAINT ledger_checks_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.ledger_orders
    ADD CONSTRAINT ledger_orders_pkey PRIMARY KEY (account_id, reference);

ALTER TABLE ONLY public.ledger_verdicts
    ADD CONSTRAINT ledger_verdicts_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.operators
    ADD CONSTRAINT operators_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.plans
    ADD CONSTRAINT plans_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.price_versions
    ADD CONSTRAINT price_versions_pkey PRIMARY KEY (version);

ALTER TABLE ONLY public.profiles
    ADD CONSTRAINT profiles_pkey PRIMARY KEY (name);

ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT quarantine_pkey PRIMARY KEY (id);

ALTER TABLE ONLY public.quarantine
    ADD CONSTRAINT quarantine_reason_digest_key UNIQUE (reason, digest);

ALTER TABLE ONLY public.reservations
    ADD CONSTRAINT reservations_pkey PRIMARY KEY (account_id, id);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_pkey PRIMARY KEY (account_id, profile);

ALTER TABLE ONLY public.transfers
    ADD CONSTRAINT transfers_pkey PRIMARY KEY (account_id, source_id, kind);

ALTER TABLE ONLY public.unpublished
    ADD CONSTRAINT unpublished_pkey PRIMARY KEY (batch_id);

ALTER TABLE ONLY public.usage_events
    ADD CONSTRAINT usage_events_pkey PRIMARY KEY (account_id, reservation_id);

ALTER TABLE ONLY public.workers
    ADD CONSTRAINT workers_pkey PRIMARY KEY (id);

CREATE UNIQUE INDEX accounts_name ON public.accounts USING btree (name);

CREATE UNIQUE INDEX api_keys_hash ON public.api_keys USING btree (hash);

CREATE INDEX audit_log_account ON public.audit_log USING btree (account_id, id) WHERE (account_id IS NOT NULL);

CREATE INDEX idempotency_keys_age ON public.idempotency_keys USING brin (created_at);

CREATE INDEX ledger_verdicts_newest ON public.ledger_verdicts USING btree (whole, id);

CREATE UNIQUE INDEX operators_name ON public.operators USING btree (name) WHERE (revoked_at IS NULL);

CREATE UNIQUE INDEX operators_token ON public.operators USING btree (token_hash);

CREATE INDEX reservations_expired ON public.reservations USING btree (id) WHERE (state = 'expired'::text);

CREATE INDEX reservations_id ON public.reservations USING brin (id uuid_minmax_multi_ops) WITH (pages_per_range='32', autosummarize='on');

CREATE INDEX reservations_pending_account ON public.reservations USING btree (account_id) WHERE (state = 'pending'::text);

CREATE INDEX reservations_pending_end ON public.reservations USING btree (expires_at) WHERE (ended_us IS NULL);

CREATE INDEX subscriptions_period_end ON public.subscriptions USING btree (period_end);

CREATE INDEX transfers_batch ON public.transfers USING brin (batch_id);

CREATE INDEX usage_events_batch ON public.usage_events USING brin (batch_id);

CREATE TRIGGER accounts_tell AFTER INSERT OR DELETE OR UPDATE ON public.accounts FOR EACH ROW EXECUTE FUNCTION public.tell_change();

CREATE TRIGGER api_keys_tell AFTER UPDATE OF hash, status, scopes, expires_at ON public.api_keys FOR EACH ROW EXECUTE FUNCTION public.tell_change();

CREATE TRIGGER api_keys_tell_new AFTER INSERT OR DELETE ON public.api_keys FOR EACH ROW EXECUTE FUNCTION public.tell_change();

CREATE TRIGGER audit_log_append_only BEFORE DELETE OR UPDATE ON public.audit_log FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER audit_log_no_truncate BEFORE TRUNCATE ON public.audit_log FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER batches_append_only BEFORE DELETE OR UPDATE ON public.batches FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER batches_no_truncate BEFORE TRUNCATE ON public.batches FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER subscriptions_tell AFTER INSERT OR DELETE ON public.subscriptions FOR EACH ROW EXECUTE FUNCTION public.tell_change();

CREATE TRIGGER subscriptions_tell_update AFTER UPDATE OF plan, status, units_limit, period_start, period_end, rps_override, burst_override ON public.subscriptions FOR EACH ROW WHEN ((((((((old.plan IS DISTINCT FROM new.plan) OR (old.status IS DISTINCT FROM new.status)) OR (old.units_limit IS DISTINCT FROM new.units_limit)) OR (old.period_start IS DISTINCT FROM new.period_start)) OR (old.period_end IS DISTINCT FROM new.period_end)) OR (old.rps_override IS DISTINCT FROM new.rps_override)) OR (old.burst_override IS DISTINCT FROM new.burst_override))) EXECUTE FUNCTION public.tell_change();

CREATE TRIGGER transfers_append_only BEFORE DELETE OR UPDATE ON public.transfers FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER transfers_no_truncate BEFORE TRUNCATE ON public.transfers FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER transfers_of_a_batch AFTER INSERT ON public.transfers REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_without_batch();

CREATE TRIGGER usage_events_append_only BEFORE DELETE OR UPDATE ON public.usage_events FOR EACH ROW EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER usage_events_no_truncate BEFORE TRUNCATE ON public.usage_events FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_change();

CREATE TRIGGER usage_events_of_a_batch AFTER INSERT ON public.usage_events REFERENCING NEW TABLE AS fresh FOR EACH STATEMENT EXECUTE FUNCTION public.refuse_without_batch();

ALTER TABLE ONLY public.api_keys
    ADD CONSTRAINT api_keys_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.ledger_accounts
    ADD CONSTRAINT ledger_accounts_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.ledger_orders
    ADD CONSTRAINT ledger_orders_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_account_id_fkey FOREIGN KEY (account_id) REFERENCES public.accounts(id);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_plan_fkey FOREIGN KEY (plan) REFERENCES public.plans(name);

ALTER TABLE ONLY public.subscriptions
    ADD CONSTRAINT subscriptions_profile_fkey FOREIGN KEY (profile) REFERENCES public.profiles(name);

REVOKE ALL ON TABLE public.audit_log FROM postgres;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE public.audit_log TO postgres;

REVOKE ALL ON TABLE public.batches FROM postgres;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE public.batches TO postgres;

REVOKE ALL ON TABLE public.transfers FROM postgres;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE public.transfers TO postgres;

REVOKE ALL ON TABLE public.usage_events FROM postgres;
GRANT SELECT,INSERT,REFERENCES,TRIGGER,MAINTAIN ON TABLE public.usage_events TO postgres;
