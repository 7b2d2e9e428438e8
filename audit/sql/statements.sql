-- The statements the client sends, by name: each one call of a versioned function, one commit.

-- name: session
-- What an agent process needs once.
SELECT tenant, secret, policies FROM control.session_v1();

-- name: claim
-- Ask for the right to have one effect.
SELECT * FROM control.claim_v1(
    %(run_id)s::uuid, %(token)s::bigint, %(attempt)s::uuid, %(key)s::bytea, %(args_hash)s::bytea, %(scope)s::bytea,
    %(digest)s::bytea, %(verb)s::text, %(requirement)s::jsonb, %(tool)s::text, %(impact)s::text, %(kind)s::text, %(fallback_kind)s::text, %(lease_ms)s::integer,
    %(keyed_ms)s::bigint, %(visible_ms)s::bigint, %(attempts_max)s::integer, %(call_id)s::text, %(body)s::bytea, %(payload)s::bytea,
    %(card)s::bytea);

-- name: settle
-- Say what came of an attempt.
SELECT * FROM control.settle_v1(
    %(run_id)s::uuid, %(attempt)s::uuid, %(key)s::bytea, %(outcome)s::text, %(events)s::text[], %(result)s::bytea, %(error)s::text,
    %(call_id)s::text, %(xid)s::text, %(ended)s::boolean, %(body)s::bytea, %(payload)s::bytea);

-- name: observe
-- Record a read.
SELECT control.observe_v1(%(run_id)s::uuid, %(token)s::bigint, %(tool)s::text, %(succeeded)s::boolean, %(body)s::bytea,
    %(payload)s::bytea) AS observed;

-- name: run_open
-- Register a run for a trigger, or join the run the trigger has.
SELECT * FROM control.run_open_v1(
    %(run_id)s::uuid, %(trigger)s::text, %(intent)s::text, %(graph)s::text, %(thread)s::text, %(own_thread)s::boolean, %(actor)s::text,
    %(on_behalf_of)s::text, %(deadline)s::timestamptz, %(input)s::bytea, %(holder)s::text, %(lease_ms)s::integer, %(body)s::bytea);

-- name: run_acquire
-- Take the lease of a known run.
SELECT * FROM control.run_acquire_v1(%(run_id)s::uuid, %(holder)s::text, %(lease_ms)s::integer, %(body)s::bytea);

-- name: run_submit
-- Register a run for a worker to drive.
SELECT * FROM control.run_submit_v1(
    %(run_id)s::uuid, %(trigger)s::text, %(intent)s::text, %(graph)s::text, %(thread)s::text, %(own_thread)s::boolean, %(actor)s::text,
    %(on_behalf_of)s::text, %(deadline)s::timestamptz, %(input)s::bytea, %(holder)s::text, %(body)s::bytea);

-- name: run_take
-- Take the lease of a run that is due.
SELECT * FROM control.run_take_v1(%(run_id)s::uuid, %(graphs)s::text[], %(holder)s::text, %(lease_ms)s::integer, %(body)s::bytea);

-- name: wakes
-- Which runs are due.
SELECT * FROM control.wakes_v1(%(graphs)s::text[], %(run_ids)s::uuid[], %(ahead_ms)s::integer, %(hold_ms)s::integer, %(limit)s::integer,
    %(others)s::boolean);

-- name: notify_waiters
-- Tell listening workers which runs wait for an action.
SELECT control.notify_waiters_v1(%(key)s::bytea);

-- name: worker_name
-- Keep a worker's name to one living connection.
SELECT pg_catalog.pg_try_advisory_lock(
    pg_catalog.hashtextextended('langgraph-control/worker/' || control.tenant_v1() || '/' || %(name)s::text, 0)) AS free;

-- name: run_base
-- Remember the newest checkpoint that a shared thread had before the run.
SELECT control.run_base_v1(%(run_id)s::uuid, %(token)s::bigint, %(checkpoint)s::text) AS base;

-- name: run_renew
-- Heartbeat of the leases this process holds.
SELECT run_id FROM control.run_renew_v1(%(run_ids)s::uuid[], %(tokens)s::bigint[], %(lease_ms)s::integer) AS t (run_id);

-- name: run_release
-- Give up a run's lease: done, or parked with a reason.
SELECT * FROM control.run_release_v1(
    %(run_id)s::uuid, %(token)s::bigint, %(generation)s::bigint, %(state)s::text, %(reason)s::text, %(wake_ms)s::bigint, %(body)s::bytea);

-- name: run
-- One run by id or trigger.
SELECT * FROM control.run_v1(%(run_id)s::uuid, %(trigger)s::text);

-- name: runs
-- The newest runs.
SELECT * FROM control.runs_v1(%(limit)s::integer);

-- name: actions
-- The actions a run asked for or waits for.
SELECT * FROM control.actions_v1(%(run_id)s::uuid);

-- name: entries
-- A run's entries after a place in its chain.
SELECT * FROM control.entries_v1(%(run_id)s::uuid, %(after)s::bigint, %(limit)s::integer);

-- name: vote
-- One person's word on one request.
SELECT * FROM control.vote_v1(%(approval_id)s::uuid, %(decision)s::text, %(comment)s::text, %(person)s::text, %(body)s::bytea);

-- name: inbox
-- The open requests, oldest first.
SELECT * FROM control.inbox_v1(%(limit)s::integer);

-- name: approval
-- One request.
SELECT * FROM control.approval_v1(%(approval_id)s::uuid);

-- name: policy_publish
-- Make a policy the current one.
SELECT control.policy_publish_v1(%(hash)s::text, %(text)s::text, %(members)s::jsonb, %(floors)s::jsonb, %(body)s::bytea) AS seq;
