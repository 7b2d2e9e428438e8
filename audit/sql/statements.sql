-- The statements the client sends, by name: each one call of a versioned function, one commit.

-- name: session
-- What an agent process needs once.
SELECT tenant, secret, policies FROM control.session_v1();

-- name: claim
-- Ask for the right to have one effect.
SELECT * FROM control.claim_v1(
    %(run_id)s::uuid, %(token)s::bigint, %(attempt)s::uuid, %(key)s::bytea, %(args_hash)s::bytea, %(scope)s::bytea,
    %(digest)s::bytea, %(verb)s::text, %(requirement)s::jsonb, %(tool)s::text, %(system)s::text, %(impact)s::text, %(kind)s::text, %(fallback_kind)s::text, %(lease_ms)s::integer,
    %(keyed_ms)s::bigint, %(visible_ms)s::bigint, %(attempts_max)s::integer, %(same_max)s::integer, %(give_up_ms)s::bigint,
    %(calls_max)s::integer, %(retry_ms_max)s::bigint, %(charges)s::jsonb, %(call_id)s::text, %(body)s::bytea, %(payload)s::bytea,
    %(card)s::bytea);

-- name: settle
-- Say what came of an attempt.
SELECT * FROM control.settle_v1(
    %(run_id)s::uuid, %(attempt)s::uuid, %(key)s::bytea, %(outcome)s::text, %(events)s::text[], %(result)s::bytea, %(error)s::text,
    %(failure)s::text, %(call_id)s::text, %(xid)s::text, %(ended)s::boolean, %(body)s::bytea, %(payload)s::bytea);

-- name: claims
-- Several claims in one commit, in the order given; each is the same function's answer.
SELECT answer.* FROM unnest(
    %(run_id)s::uuid[], %(token)s::bigint[], %(attempt)s::uuid[], %(key)s::bytea[], %(args_hash)s::bytea[], %(scope)s::bytea[],
    %(digest)s::bytea[], %(verb)s::text[], %(requirement)s::text[], %(tool)s::text[], %(system)s::text[], %(impact)s::text[], %(kind)s::text[],
    %(fallback_kind)s::text[], %(lease_ms)s::integer[], %(keyed_ms)s::bigint[], %(visible_ms)s::bigint[], %(attempts_max)s::integer[],
    %(same_max)s::integer[], %(give_up_ms)s::bigint[], %(calls_max)s::integer[], %(retry_ms_max)s::bigint[], %(charges)s::text[],
    %(call_id)s::text[], %(body)s::bytea[], %(payload)s::bytea[], %(card)s::bytea[]
) WITH ORDINALITY AS asked (run_id, token, attempt, key, args_hash, scope, digest, verb, requirement, tool, system, impact, kind, fallback_kind,
    lease_ms, keyed_ms, visible_ms, attempts_max, same_max, give_up_ms, calls_max, retry_ms_max, charges, call_id, body, payload, card, place)
CROSS JOIN LATERAL control.claim_v1(
    run_id, token, attempt, key, args_hash, scope, digest, verb, requirement::jsonb, tool, system, impact, kind, fallback_kind, lease_ms, keyed_ms,
    visible_ms, attempts_max, same_max, give_up_ms, calls_max, retry_ms_max, charges::jsonb, call_id, body, payload, card) AS answer
ORDER BY place;

-- name: settles
-- Several settles in one commit, in the order given.
SELECT answer.* FROM unnest(
    %(run_id)s::uuid[], %(attempt)s::uuid[], %(key)s::bytea[], %(outcome)s::text[], %(events)s::text[], %(result)s::bytea[],
    %(error)s::text[], %(failure)s::text[], %(call_id)s::text[], %(xid)s::text[], %(ended)s::boolean[], %(body)s::bytea[], %(payload)s::bytea[]
) WITH ORDINALITY AS said (run_id, attempt, key, outcome, events, result, error, failure, call_id, xid, ended, body, payload, place)
CROSS JOIN LATERAL control.settle_v1(
    run_id, attempt, key, outcome, string_to_array(events, ','), result, error, failure, call_id, xid, ended, body, payload) AS answer
ORDER BY place;

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
SELECT * FROM control.actions_v1(%(run_id)s::uuid, %(only_open)s::boolean);

-- name: last_error
-- What the newest settle of an action left to be told.
SELECT control.last_error_v1(%(key)s::bytea) AS error;

-- name: entries
-- A run's entries after a place in its chain.
SELECT * FROM control.entries_v1(%(run_id)s::uuid, %(after)s::bigint, %(limit)s::integer);

-- name: tenant_chain
-- Where the chain of what belongs to no run ends.
SELECT * FROM control.tenant_chain_v1();

-- name: chains
-- All chains of the tenant after one of them, in order.
SELECT run_id FROM control.chains_v1(%(after)s::uuid, %(limit)s::integer) AS t (run_id);

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
SELECT control.policy_publish_v1(%(hash)s::text, %(text)s::text, %(members)s::jsonb, %(floors)s::jsonb, %(owners)s::jsonb,
    %(body)s::bytea) AS seq;

-- name: resolve
-- Say what became of an action that the program cannot settle.
SELECT * FROM control.resolve_v1(%(run_id)s::uuid, %(key)s::bytea, %(verdict)s::text, %(result)s::bytea, %(person)s::text, %(comment)s::text,
    %(body)s::bytea);

-- name: run_cancel
-- End a run that is not wanted any more.
SELECT * FROM control.run_cancel_v1(%(run_id)s::uuid, %(person)s::text, %(comment)s::text, %(body)s::bytea);

-- name: freeze
-- Stop writes from the next claim on; the answer lists what is under way.
SELECT * FROM control.freeze_v1(%(scope)s::text, %(name)s::text, %(person)s::text, %(comment)s::text, %(body)s::bytea);

-- name: unfreeze
-- Let writes go on.
SELECT control.unfreeze_v1(%(scope)s::text, %(name)s::text, %(person)s::text, %(comment)s::text, %(body)s::bytea) AS woken;

-- name: brakes
-- What is stopped now.
SELECT * FROM control.brakes_v1();

-- name: report
-- Tell how calls to a system came out.
SELECT control.report_v1(%(system)s::text, %(calls)s::integer, %(failed)s::integer, %(took_ms)s::bigint, %(rate_limited_ms)s::bigint,
    %(error_rate)s::numeric, %(window_ms)s::bigint, %(calls_min)s::integer, %(open_ms)s::bigint, %(probes)s::integer) AS event;

-- name: systems
-- How the systems are doing.
SELECT * FROM control.systems_v1(%(window_ms)s::bigint);
