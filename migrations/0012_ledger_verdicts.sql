-- What each check of the ledger found, whoever asked for it: metrics and people read the newest.
-- `ledger_checks` holds only how far the ledger was proved; a check that found something broken adds
-- nothing there, and would be forgotten. `broken_now` are those of `broken` that no row of a batch
-- breaks, but how things stand: each check looks at all of that anew, so the newest one has the word.

CREATE TABLE ledger_verdicts (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    whole         boolean NOT NULL,
    since_batch   bigint NOT NULL CHECK (since_batch >= 0),
    through_batch bigint NOT NULL CHECK (through_batch >= 0),
    broken        smallint[] NOT NULL CHECK (broken <@ ARRAY[1, 2, 3, 4, 5, 6, 7, 8]::smallint[]),
    broken_now    smallint[] NOT NULL CHECK (broken_now <@ broken),
    skipped       smallint[] NOT NULL CHECK (skipped <@ ARRAY[1, 2, 3, 4, 5, 6, 7, 8]::smallint[]),
    verdict       text NOT NULL CHECK (length(verdict) BETWEEN 1 AND 2000),
    checked_by    text NOT NULL CHECK (length(checked_by) BETWEEN 1 AND 200),
    took_ms       bigint NOT NULL CHECK (took_ms >= 0),
    checked_at    timestamptz NOT NULL
);
CREATE INDEX ledger_verdicts_newest ON ledger_verdicts (whole, id);
