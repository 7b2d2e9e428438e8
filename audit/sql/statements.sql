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
    %(calls_max)s::integer, %(retry_ms_max)s::bigint, %(charges)s::jsonb, %(saga)s::jsonb, %(call_id)s::text, %(body)s::bytea, %(payload)s::bytea,
    %(card)s::bytea, %(edit_no)s::bigint);

-- name: settle
-- Say what came of an attempt.
SELECT * FROM control.settle_v1(
    %(run_id)s::uuid, %(attempt)s::uuid, %(key)s::bytea, %(outcome)s::text, %(events)s::text[], %(result)s::bytea, %(error)s::text,
    %(failure)s::text, %(call_id)s::text, %(xid)s::text, %(ended)s::boolean, %(pause_ms)s::bigint, %(body)s::bytea, %(payload)s::bytea);

-- name: claims
-- Several claims in one commit, in the order given; each is the same function's answer.
SELECT answer.* FROM unnest(
    %(run_id)s::uuid[], %(token)s::bigint[], %(attempt)s::uuid[], %(key)s::bytea[], %(args_hash)s::bytea[], %(scope)s::bytea[],
    %(digest)s::bytea[], %(verb)s::text[], %(requirement)s::text[], %(tool)s::text[], %(system)s::text[], %(impact)s::text[], %(kind)s::text[],
    %(fallback_kind)s::text[], %(lease_ms)s::integer[], %(keyed_ms)s::bigint[], %(visible_ms)s::bigint[], %(attempts_max)s::integer[],
    %(same_max)s::integer[], %(give_up_ms)s::bigint[], %(calls_max)s::integer[], %(retry_ms_max)s::bigint[], %(charges)s::text[],
    %(saga)s::text[], %(call_id)s::text[], %(body)s::bytea[], %(payload)s::bytea[], %(card)s::bytea[],
    %(edit_no)s::bigint[]
) WITH ORDINALITY AS asked (run_id, token, attempt, key, args_hash, scope, digest, verb, requirement, tool, system, impact, kind, fallback_kind,
    lease_ms, keyed_ms, visible_ms, attempts_max, same_max, give_up_ms, calls_max, retry_ms_max, charges, saga, call_id, body, payload, card,
    edit_no, place)
CROSS JOIN LATERAL control.claim_v1(
    run_id, token, attempt, key, args_hash, scope, digest, verb, requirement::jsonb, tool, system, impact, kind, fallback_kind, lease_ms, keyed_ms,
    visible_ms, attempts_max, same_max, give_up_ms, calls_max, retry_ms_max, charges::jsonb, saga::jsonb, call_id, body, payload, card,
    edit_no) AS answer
ORDER BY place;

-- name: settles
-- Several settles in one commit, in the order given.
SELECT answer.* FROM unnest(
    %(run_id)s::uuid[], %(attempt)s::uuid[], %(key)s::bytea[], %(outcome)s::text[], %(events)s::text[], %(result)s::bytea[],
    %(error)s::text[], %(failure)s::text[], %(call_id)s::text[], %(xid)s::text[], %(ended)s::boolean[], %(pause_ms)s::bigint[],
    %(body)s::bytea[], %(payload)s::bytea[]
) WITH ORDINALITY AS said (run_id, attempt, key, outcome, events, result, error, failure, call_id, xid, ended, pause_ms, body, payload, place)
CROSS JOIN LATERAL control.settle_v1(
    run_id, attempt, key, outcome, string_to_array(events, ','), result, error, failure, call_id, xid, ended, pause_ms, body, payload) AS answer
ORDER BY place;

-- name: saga
-- Which actions a saga claimed, step by step, and what became of them and of taking them back.
SELECT * FROM control.saga_v1(%(saga)s::bytea);

-- name: run_sagas
-- What is applied of the sagas of a run.
SELECT * FROM control.run_sagas_v1(%(run_id)s::uuid);

-- name: observe
-- Record a read.
SELECT * FROM control.observe_v1(
    %(run_id)s::uuid, %(token)s::bigint, %(tool)s::text, %(system)s::text, %(outcome)s::text, %(loop)s::text, %(origin)s::bytea,
    %(scope)s::bytea, %(turn)s::bytea, %(call)s::bytea, %(result)s::bytea, %(at)s::timestamptz, %(calls_max)s::integer, %(attempts_max)s::integer,
    %(give_up_ms)s::bigint, %(retry_ms_max)s::bigint, %(wait_ms)s::bigint, %(body)s::bytea, %(payload)s::bytea);

-- name: step
-- Keep a write that changed nothing among the run's steps.
SELECT * FROM control.step_v1(%(run_id)s::uuid, %(token)s::bigint, %(tool)s::text, %(loop)s::text, %(origin)s::bytea, %(scope)s::bytea,
    %(turn)s::bytea, %(call)s::bytea, %(result)s::bytea, %(at)s::timestamptz, %(repeats)s::bytea, %(calls_max)s::integer,
    %(body)s::bytea);

-- name: run_open
-- Register a run for a trigger, or join the run the trigger has.
SELECT * FROM control.run_open_v1(
    %(run_id)s::uuid, %(trigger)s::text, %(intent)s::text, %(graph)s::text, %(thread)s::text, %(own_thread)s::boolean, %(actor)s::text,
    %(on_behalf_of)s::text, %(deadline)s::timestamptz, %(input)s::bytea, %(holder)s::text, %(lease_ms)s::integer, %(body)s::bytea);

-- name: run_acquire
-- Take the lease of a known run.
SELECT * FROM control.run_acquire_v1(%(run_id)s::uuid, %(holder)s::text, %(lease_ms)s::integer, %(body)s::bytea);

-- name: run_replace
-- End a run that waits for people's approval, for a new message came on its thread.
SELECT control.run_replace_v1(%(run_id)s::uuid, %(trigger)s::text, %(body)s::bytea) AS answer;

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
    %(run_id)s::uuid, %(token)s::bigint, %(generation)s::bigint, %(state)s::text, %(reason)s::text, %(owner)s::text, %(next_step)s::text,
    %(wake_ms)s::bigint, %(body)s::bytea);

-- name: run
-- One run by id or trigger.
SELECT * FROM control.run_v1(%(run_id)s::uuid, %(trigger)s::text);

-- name: run_wake
-- Have a parked run driven now.
SELECT * FROM control.run_wake_v1(%(run_id)s::uuid);

-- name: runs
-- The newest runs, or those that stand where they stand longest.
SELECT * FROM control.runs_v1(
    %(limit)s::integer, %(state)s::text, %(owner)s::text, %(longest)s::boolean, %(since)s::timestamptz, %(after)s::uuid
);

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
SELECT * FROM control.vote_v1(%(approval_id)s::uuid, %(decision)s::text, %(code)s::text, %(comment)s::text, %(person)s::text,
    %(identity)s::jsonb, %(body)s::bytea);

-- name: withdraw_vote
-- A yes taken back.
SELECT * FROM control.withdraw_vote_v1(%(approval_id)s::uuid, %(comment)s::text, %(person)s::text, %(identity)s::jsonb, %(body)s::bytea);

-- name: edit
-- With which arguments instead.
SELECT * FROM control.edit_v1(%(approval_id)s::uuid, %(changes)s::jsonb, %(comment)s::text, %(person)s::text, %(identity)s::jsonb,
    %(body)s::bytea);

-- name: edit_taken
-- What became of an edit.
SELECT control.edit_taken_v1(%(run_id)s::uuid, %(token)s::bigint, %(edit_no)s::bigint, %(became)s::bytea, %(problem)s::text,
    %(body)s::bytea) AS taken;

-- name: delegate
-- Let somebody vote in one's roles until a date.
SELECT control.delegate_v1(%(delegation_id)s::uuid, %(to_person)s::text, %(role)s::text, %(until)s::timestamptz, %(comment)s::text,
    %(person)s::text, %(identity)s::jsonb, %(body)s::bytea) AS refused;

-- name: revoke_delegation
-- End a delegation.
SELECT control.revoke_delegation_v1(%(delegation_id)s::uuid, %(comment)s::text, %(person)s::text, %(identity)s::jsonb,
    %(body)s::bytea) AS refused;

-- name: delegations
-- Who stands in for whom now.
SELECT delegation_id, from_person, to_person, role, made_at, until, comment FROM control.delegations_v1();

-- name: reviews
-- What was done on one person's word in an emergency and nobody has looked at since.
SELECT * FROM control.reviews_v1(%(limit)s::integer);

-- name: review
-- What somebody thinks of it afterwards.
SELECT control.review_v1(%(approval_id)s::uuid, %(verdict)s::text, %(comment)s::text, %(person)s::text, %(identity)s::jsonb,
    %(body)s::bytea) AS refused;

-- name: inbox
-- The open requests, oldest first.
SELECT * FROM control.inbox_v1(%(limit)s::integer);

-- name: approval
-- One request.
SELECT * FROM control.approval_v1(%(approval_id)s::uuid);

-- name: policy_publish
-- Make a policy the current one.
SELECT control.policy_publish_v1(%(hash)s::text, %(text)s::text, %(members)s::jsonb, %(floors)s::jsonb, %(owners)s::jsonb,
    %(open_per_run)s::integer, %(open_per_tenant)s::integer, %(on_new_message)s::text, %(body)s::bytea) AS seq;

-- name: resolve
-- Say what became of an action that the program cannot settle.
SELECT * FROM control.resolve_v1(%(run_id)s::uuid, %(key)s::bytea, %(verdict)s::text, %(result)s::bytea, %(person)s::text, %(identity)s::jsonb,
    %(comment)s::text, %(body)s::bytea);

-- name: run_cancel
-- End a run that is not wanted any more.
SELECT * FROM control.run_cancel_v1(%(run_id)s::uuid, %(person)s::text, %(identity)s::jsonb, %(comment)s::text,
    %(leave_applied)s::boolean, %(body)s::bytea);

-- name: freeze
-- Stop writes from the next claim on; the answer lists what is under way.
SELECT * FROM control.freeze_v1(%(scope)s::text, %(name)s::text, %(person)s::text, %(identity)s::jsonb, %(comment)s::text, %(body)s::bytea);

-- name: unfreeze
-- Let writes go on.
SELECT * FROM control.unfreeze_v1(%(scope)s::text, %(name)s::text, %(person)s::text, %(identity)s::jsonb, %(comment)s::text, %(body)s::bytea);

-- name: names_seen
-- The agents, systems or tools that the newest runs wrote by.
SELECT * FROM control.names_seen_v1(%(scope)s::text) AS name;

-- name: brakes
-- What is stopped now.
SELECT * FROM control.brakes_v1();

-- name: report
-- Tell how calls to a system came out.
SELECT control.report_v1(%(system)s::text, %(calls)s::integer, %(failed)s::integer, %(took_ms)s::bigint, %(rate_limited_ms)s::bigint,
    %(error_rate)s::numeric, %(window_ms)s::bigint, %(calls_min)s::integer, %(open_ms)s::bigint, %(probes)s::integer,
    %(probe)s::boolean) AS event;

-- name: systems
-- How the systems are doing.
SELECT * FROM control.systems_v1(%(window_ms)s::bigint);

-- name: progress
-- How far a run and one of its actions have come.
SELECT * FROM control.progress_v1(%(run_id)s::uuid, %(key)s::bytea);

-- name: look
-- Note that a run asks for a write, and ask whether others did.
SELECT * FROM control.look_v1(%(run_id)s::uuid, %(token)s::bigint, %(key)s::bytea, %(twin)s::bytea, %(within_ms)s::bigint,
    %(seen)s::bytea);

-- name: ask
-- Put a question to the user, or find out what was answered.
SELECT * FROM control.ask_v1(%(run_id)s::uuid, %(token)s::bigint, %(question_id)s::uuid, %(key)s::bytea, %(tool)s::text, %(question)s::text);

-- name: answer
-- Answer a question.
SELECT * FROM control.answer_v1(%(run_id)s::uuid, %(question_id)s::uuid, %(answer)s::text, %(person)s::text, %(identity)s::jsonb, %(body)s::bytea,
    %(payload)s::bytea);

-- name: questions
-- What runs wait to be told.
SELECT * FROM control.questions_v1(%(run_id)s::uuid, %(limit)s::integer);

-- name: parts
-- What a request's card holds for somebody's roles alone.
SELECT control.parts_v1(%(approval_id)s::uuid, %(person)s::text, %(groups)s::text[]) AS parts;

-- name: yes_counted
-- How many of the yes on some requests count now.
SELECT * FROM control.yes_counted_v1(%(approvals)s::uuid[]);

-- name: own_person
-- Who speaks on this login by itself.
SELECT * FROM control.own_person_v1();

-- name: waiting
-- The open requests, a page of them.
SELECT * FROM control.waiting_v1(%(limit)s::integer, %(after_at)s::timestamptz, %(after)s::uuid, %(person)s::text, %(groups)s::text[],
    %(tool)s::text, %(actor)s::text);

-- name: decided
-- The decided requests, a page of them.
SELECT * FROM control.decided_v1(%(limit)s::integer, %(before_at)s::timestamptz, %(before)s::uuid, %(state)s::text, %(scan)s::integer);

-- name: pulse
-- Whether other requests are open than before.
SELECT * FROM control.pulse_v1();

-- name: votes
-- Who voted on a request, and what they said.
SELECT * FROM control.votes_v1(%(approval_id)s::uuid);

-- name: refusal
-- Why somebody's vote would not count.
SELECT control.refusal_v1(%(approval_id)s::uuid, %(person)s::text, %(groups)s::text[]) AS refused;

-- name: roles
-- The roles a person has now.
SELECT control.roles_v1(%(person)s::text, %(groups)s::text[]) AS roles;

-- name: in_flight
-- What is under way.
SELECT * FROM control.in_flight_v1();

-- name: notice_serve
-- Say which places this process tells of requests.
SELECT control.notice_serve_v1(%(sinks)s::jsonb) AS caught_up;

-- name: notice_take
-- Take the next thing that one place is to be told.
SELECT * FROM control.notice_take_v1(%(sink)s::text, %(lease)s::uuid, %(lease_ms)s::bigint);

-- name: notice_settle
-- Say what came of telling it.
SELECT control.notice_settle_v1(%(sink)s::text, %(approval_id)s::uuid, %(event)s::text, %(mark)s::text, %(lease)s::uuid, %(state)s::text,
    %(error)s::text, %(wait_ms)s::bigint) AS settled;

-- name: notice_retry
-- Have what was given up tried again.
SELECT control.notice_retry_v1(%(sink)s::text) AS retried;

-- name: notice_sinks
-- How far each place is behind.
SELECT * FROM control.notice_sinks_v1();

-- name: evidence
-- What was known when a request was opened: what its run had read, and what was asked about the record before.
SELECT * FROM control.evidence_v1(%(approval_id)s::uuid);

-- name: run_of_thread
-- The unfinished run of a thread.
SELECT control.run_of_thread_v1(%(thread)s::text) AS run_id;

-- name: attempt
-- Put on record that a resume tried to decide and was ignored.
SELECT control.attempt_v1(%(run_id)s::uuid, %(approval_id)s::uuid, %(reason)s::text, %(body)s::bytea, %(mark)s::text) AS noted;

-- name: access_refused
-- Put on record that somebody was not let in.
SELECT control.access_refused_v1(%(body)s::bytea);

-- Seals.

-- name: seal
-- Append the heads of chains that are no leaves yet.
SELECT * FROM control.seal_v1(%(limit)s::integer);

-- name: seal_due
-- Whether so many chains moved since all was sealed.
SELECT control.seal_due_v1(%(leaves)s::integer, %(not_before)s::bigint) AS not_before;

-- name: tree
-- The tree as it stands.
SELECT * FROM control.tree_v1();

-- name: rotate_key
-- Make a key the one that signs.
SELECT control.key_rotate_v1(%(name)s::text, %(public)s::bytea, %(body)s::bytea, %(endorsed)s::bytea) AS seq;

-- name: signing_keys
-- The keys, old ones too.
SELECT * FROM control.signing_keys_v1();

-- name: add_checkpoint
-- Keep a signed checkpoint.
SELECT control.checkpoint_add_v1(%(size)s::bigint, %(note)s::text) AS answer;

-- name: checkpoints
-- Checkpoints from a size on, or the newest.
SELECT * FROM control.checkpoints_v1(%(from_size)s::bigint, %(limit)s::integer, %(below)s::bigint);

-- name: leaves
-- Leaves of one chain or of all.
SELECT * FROM control.leaves_v1(%(run_id)s::uuid, %(from_index)s::bigint, %(limit)s::integer);

-- name: tree_nodes
-- Nodes of the tree.
SELECT * FROM control.tree_nodes_v1(%(levels)s::integer[], %(indexes)s::bigint[]);

-- Bundles.

-- name: bundle
-- Whose record it is.
SELECT * FROM control.bundle_v1();

-- name: chains_moved
-- Chains with the time of their newest entry.
SELECT * FROM control.chains_moved_v1(%(after)s::uuid, %(limit)s::integer);

-- name: policy_texts
-- Texts of policies by hash.
SELECT * FROM control.policy_texts_v1(%(hashes)s::text[]);

-- name: approval_entries
-- Where a run's chain speaks of a request.
SELECT * FROM control.approval_entries_v1(%(approval_id)s::uuid);
-- Erasure, retention, legal holds, and what follows a restore.

-- name: erase
-- Erase a part of what is asked for.
SELECT * FROM control.erase_v1(%(erasure)s::uuid, %(scope)s::text, %(run_id)s::uuid, %(key)s::bytea, %(name)s::text, %(older)s::interval,
    %(after)s::uuid, %(limit)s::integer, %(checkpoints)s::boolean, %(told)s::bytea, %(comment)s::text, %(body)s::bytea);

-- name: retain
-- Drop the oldest month that is over.
SELECT * FROM control.retain_v1(%(older)s::interval, %(after)s::date, %(told)s::bytea, %(comment)s::text, %(body)s::bytea);

-- name: hold
-- Put a legal hold.
SELECT * FROM control.hold_v1(%(hold_id)s::uuid, %(scope)s::text, %(run_id)s::uuid, %(name)s::text, %(comment)s::text, %(body)s::bytea);

-- name: hold_lift
-- Lift one.
SELECT * FROM control.hold_lift_v1(%(hold_id)s::uuid, %(comment)s::text, %(body)s::bytea);

-- name: holds
-- The holds that stand.
SELECT hold_id, scope, run_id, name, comment, set_by, since FROM control.holds_v1();

-- name: dropped
-- Where a chain was cut.
SELECT * FROM control.dropped_v1(%(run_id)s::uuid);

-- name: dropped_heads
-- The heads that one entry stands for.
SELECT * FROM control.dropped_heads_v1(%(place)s::bigint, %(after)s::uuid, %(limit)s::integer);

-- name: dropped_places
-- The entries that dropped heads name.
SELECT place FROM control.dropped_places_v1(%(runs)s::uuid[]) AS t (place);

-- name: months
-- Make the partitions of the months ahead.
SELECT control.months_v1() AS made;

-- name: server
-- Whether this is the server that it was, and no restore waits to be looked into.
SELECT control.server_v1() AS same;

-- name: restore_accept
-- Let writes go on after a restore.
SELECT * FROM control.restore_accept_v1(%(person)s::text, %(identity)s::jsonb, %(unreconciled)s::bigint, %(comment)s::text, %(body)s::bytea);

-- name: restore
-- The restore that waits to be looked into.
SELECT * FROM control.restore_v1();

-- name: reconciled
-- Put on record that everything was looked through.
SELECT control.reconciled_v1(%(restore)s::bigint, %(outside)s::boolean, %(requests)s::bigint, %(runs)s::bigint, %(actions)s::bigint,
    %(entries)s::bigint, %(asked)s::bigint, %(unclear)s::bigint, %(unanswered)s::bigint, %(no_tool)s::bigint, %(no_find)s::bigint,
    %(no_arguments)s::bigint, %(no_graph)s::bigint, %(open)s::bigint, %(differences)s::bigint, %(body)s::bytea) AS counts;

-- Search, report and rebuild.

-- name: search
-- Writes by who, what and when, a page of them.
SELECT * FROM control.search_v1(%(actor)s::text, %(record)s::text, %(tool)s::text, %(approver)s::text, %(state)s::text,
    %(since)s::timestamptz, %(until)s::timestamptz, %(before)s::timestamptz, %(before_key)s::bytea, %(limit)s::integer);

-- name: chains_between
-- Chains with an entry in a period, a page of them.
SELECT * FROM control.chains_between_v1(%(since)s::timestamptz, %(until)s::timestamptz, %(after)s::uuid, %(limit)s::integer);

-- name: policies
-- The texts of policies by their hashes.
SELECT * FROM control.policies_v1(%(hashes)s::text[]);

-- Reconciliation.

-- name: ledger_intents
-- Business requests, a page of them.
SELECT intent FROM control.ledger_intents_v1(%(run_id)s::uuid, %(since)s::timestamptz, %(after)s::text, %(limit)s::integer) AS t (intent);

-- name: ledger_runs
-- The runs of a business request as the ledger has them.
SELECT * FROM control.ledger_runs_v1(%(intent)s::text);

-- name: ledger_actions
-- Its actions.
SELECT * FROM control.ledger_actions_v1(%(intent)s::text);

-- name: ledger_requests
-- Its requests for approval.
SELECT * FROM control.ledger_requests_v1(%(intent)s::text);

-- name: thread_runs
-- The runs of one thread.
SELECT run_id FROM control.thread_runs_v1(%(thread)s::text) AS t (run_id);

-- name: checkpoint_threads
-- The threads that have checkpoints, a page of them, and whether the run is known that each is called by.
SELECT * FROM control.checkpoint_threads_v1(%(after)s::text, %(limit)s::integer);

-- Where spans go.

-- name: span_lease
-- Take the lease of a place that spans go to, or keep it.
SELECT control.span_lease_v1(%(sink)s::text, %(lease)s::uuid, %(lease_ms)s::bigint) AS wait_ms;

-- name: span_leave
-- Give it back.
SELECT control.span_leave_v1(%(sink)s::text, %(lease)s::uuid) AS left_it;

-- name: span_recent
-- Chains that moved in the last moments, where a place lacks that.
SELECT * FROM control.span_recent_v1(%(sink)s::text, %(back_ms)s::bigint, %(limit)s::integer);

-- name: span_behind
-- Of the next chains, those of which a place lacks entries.
SELECT * FROM control.span_behind_v1(%(sink)s::text, %(after)s::uuid, %(chains)s::integer);

-- name: span_entries
-- Entries of several chains.
SELECT * FROM control.span_entries_v1(%(runs)s::uuid[], %(after)s::bigint[], %(each)s::integer);

-- name: span_sent
-- Note what a place has taken.
SELECT control.span_sent_v1(%(sink)s::text, %(lease)s::uuid, %(lease_ms)s::bigint, %(runs)s::uuid[], %(seqs)s::bigint[], %(sent)s::bigint,
    %(dead)s::jsonb) AS noted;

-- name: span_failed
-- Note that a place took nothing, and why.
SELECT control.span_failed_v1(%(sink)s::text, %(lease)s::uuid, %(lease_ms)s::bigint, %(error)s::text) AS noted;

-- name: span_retry
-- Have spans that were given up sent again.
SELECT control.span_retry_v1(%(sink)s::text) AS retried;

-- name: span_note
-- Note which chains a place lacks something of.
SELECT control.span_note_v1(%(sink)s::text) AS noted;

-- name: span_sinks
-- How far each place is.
SELECT * FROM control.span_sinks_v1();

-- name: span_dead
-- Spans that a place refused.
SELECT * FROM control.span_dead_v1(%(sink)s::text, %(limit)s::integer);

-- name: gauges
-- Unfinished runs by state.
SELECT * FROM control.gauges_v1();

-- name: seal_lag
-- How old the oldest entry is that a checkpoint of a size does not cover.
SELECT control.seal_lag_v1(%(covered)s::bigint) AS lag_ms;

-- name: add_verification
-- Note what a verification found.
SELECT control.verified_add_v1(%(every)s::boolean, %(chains)s::bigint, %(tampered)s::bigint, %(took_ms)s::bigint);

-- name: find_verified
-- What is known of verifications.
SELECT * FROM control.verified_v1();
