-- The service's own record. Nothing here is unique by action: a duplicate effect must be able to happen, to be seen.

-- Every request that arrived, before anything was decided about it.
CREATE TABLE IF NOT EXISTS request (
    id              INTEGER PRIMARY KEY,
    at_ms           INTEGER NOT NULL,
    method          TEXT NOT NULL,
    path            TEXT NOT NULL,
    target          TEXT,           -- order or recipient
    action_key      TEXT,           -- the caller's correlation id
    idempotency_key TEXT,
    fault           TEXT,           -- the fault played on it
    ended           TEXT,           -- answered | dropped; NULL while it is open
    status          INTEGER         -- what was answered
) STRICT;

-- Every effect, whoever learned of it.
CREATE TABLE IF NOT EXISTS effect (
    id              INTEGER PRIMARY KEY,
    request_id      INTEGER NOT NULL REFERENCES request (id),
    at_ms           INTEGER NOT NULL,
    visible_at_ms   INTEGER NOT NULL, -- reads do not show it before
    kind            TEXT NOT NULL,    -- refund | email | note
    target          TEXT NOT NULL,
    cents           INTEGER,          -- refunds only
    text            TEXT NOT NULL,
    action_key      TEXT
) STRICT;
CREATE INDEX IF NOT EXISTS effect_by_target ON effect (target);
CREATE INDEX IF NOT EXISTS effect_by_action_key ON effect (action_key);

CREATE TABLE IF NOT EXISTS customer_order (
    id       TEXT PRIMARY KEY,
    customer TEXT NOT NULL,
    cents    INTEGER NOT NULL,
    currency TEXT NOT NULL,
    status   TEXT NOT NULL,           -- paid | locked
    flagged  INTEGER NOT NULL,
    version  INTEGER NOT NULL         -- grows with each change of this row; effects are counted on top
) STRICT;

-- What was answered under an idempotency key; status is NULL while the first request is being worked on.
CREATE TABLE IF NOT EXISTS idempotency (
    key         TEXT PRIMARY KEY,
    fingerprint TEXT NOT NULL,
    status      INTEGER,
    body        TEXT
) STRICT;
