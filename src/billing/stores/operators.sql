-- Statements of postgres_operators.py and postgres_audit.py.

-- name: insert_operator
INSERT INTO operators (id, name, role, token_hash, display, created_at)
VALUES ($1, $2, $3, $4, $5, $6)
ON CONFLICT (name) WHERE revoked_at IS NULL DO NOTHING
RETURNING id::text, name, role, display, created_at, revoked_at, last_used_at

-- name: list_operators
SELECT id::text, name, role, display, created_at, revoked_at, last_used_at
FROM operators WHERE ($1::uuid IS NULL OR id > $1) ORDER BY id LIMIT $2

-- name: revoke_operator
UPDATE operators SET revoked_at = coalesce(revoked_at, $2)
WHERE id = (SELECT id FROM operators WHERE id::text = $1 OR name = $1
            ORDER BY revoked_at IS NOT NULL, revoked_at DESC LIMIT 1)
RETURNING id::text, name, role, display, created_at, revoked_at, last_used_at

-- name: operator_of_token
SELECT id::text, name, role, display, created_at, revoked_at, last_used_at
FROM operators WHERE token_hash = $1

-- name: operator_used
UPDATE operators SET last_used_at = $2::timestamptz
WHERE id = $1 AND (last_used_at IS NULL OR last_used_at < $2::timestamptz - interval '1 minute')

-- name: insert_audit
INSERT INTO audit_log (at, actor, via, action, account_id, detail)
VALUES ($1, $2, $3, $4, $5, $6::jsonb)

-- name: list_audit
SELECT id, at, actor, via, action, account_id::text, detail::text
FROM audit_log
WHERE ($1::uuid IS NULL OR account_id = $1) AND ($2::bigint IS NULL OR id < $2)
ORDER BY id DESC LIMIT $3

-- name: claim_idempotency_key
INSERT INTO idempotency_keys (owner, key, digest, created_at) VALUES ($1, $2, $3, $4)
ON CONFLICT (owner, key) DO NOTHING RETURNING key

-- name: answer_of_key
SELECT digest, answer::text FROM idempotency_keys WHERE owner = $1 AND key = $2

-- name: remember_answer
UPDATE idempotency_keys SET answer = $3::json WHERE owner = $1 AND key = $2

-- name: forget_old_answers
DELETE FROM idempotency_keys WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM idempotency_keys WHERE created_at < $1 LIMIT 100 FOR UPDATE SKIP LOCKED))
