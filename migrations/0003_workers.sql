-- Who is running, and which hot copy is in force.

-- A worker of the front door holds admitted reservations for a moment before they are journaled.
-- flushed_at says: all that it admitted before this instant is in the table reservations.
CREATE TABLE workers (
    id           uuid PRIMARY KEY,
    role         text NOT NULL,
    started_at   timestamptz NOT NULL DEFAULT now(),
    heartbeat_at timestamptz NOT NULL DEFAULT now(),
    flushed_at   timestamptz NOT NULL DEFAULT '-infinity'
);

-- A copy in Redis is good only if it was built in this epoch; identity names the running Redis.
CREATE TABLE hot_epoch (
    id        smallint PRIMARY KEY DEFAULT 1 CHECK (id = 1),
    epoch     bigint NOT NULL,
    identity  text NOT NULL,
    raised_at timestamptz NOT NULL DEFAULT now(),
    reason    text NOT NULL
);
INSERT INTO hot_epoch (epoch, identity, reason) VALUES (1, '', 'installed');

-- What was committed and the hot copy was not told of yet. A row here is a promise: a settler keeps its
-- own, and those that are older than a few seconds. Orders of money and overdrafts have numbers below 0.
CREATE SEQUENCE promise_numbers;
CREATE TABLE unpublished (
    batch_id    bigint PRIMARY KEY DEFAULT -nextval('promise_numbers'),
    account_ids uuid[] NOT NULL,
    ended       uuid[] NOT NULL,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION tell_change() RETURNS trigger LANGUAGE plpgsql AS $$
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

CREATE TRIGGER accounts_tell AFTER INSERT OR UPDATE OR DELETE ON accounts
    FOR EACH ROW EXECUTE FUNCTION tell_change();
CREATE TRIGGER api_keys_tell_new AFTER INSERT OR DELETE ON api_keys
    FOR EACH ROW EXECUTE FUNCTION tell_change();
CREATE TRIGGER api_keys_tell AFTER UPDATE OF hash, status, scopes, expires_at ON api_keys
    FOR EACH ROW EXECUTE FUNCTION tell_change();
CREATE TRIGGER subscriptions_tell AFTER INSERT OR DELETE ON subscriptions
    FOR EACH ROW EXECUTE FUNCTION tell_change();
CREATE TRIGGER subscriptions_tell_update
    AFTER UPDATE OF plan, status, units_limit, period_start, period_end, rps_override, burst_override
    ON subscriptions FOR EACH ROW
    WHEN ((OLD.plan, OLD.status, OLD.units_limit, OLD.period_start, OLD.period_end,
           OLD.rps_override, OLD.burst_override)
          IS DISTINCT FROM (NEW.plan, NEW.status, NEW.units_limit, NEW.period_start, NEW.period_end,
                            NEW.rps_override, NEW.burst_override))
    EXECUTE FUNCTION tell_change();
