-- Two partial indexes held the same rows, the pending ones. When a table was analyzed while nothing was
-- pending, both looked empty, and the planner looked for the pending reservations of one account in the
-- one by end of life: all of them, for each account that a copy was built of. Now each statement fits
-- one index only: by account where it says `state = 'pending'`, by end where it says that it has none.
DROP INDEX reservations_pending;
CREATE INDEX reservations_pending_end ON reservations (expires_at) WHERE ended_us IS NULL;
