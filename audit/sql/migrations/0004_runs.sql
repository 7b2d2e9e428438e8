-- Runs: opened once per trigger, leased to one worker at a time, fenced by a token, closed only when nothing is left undecided.

CREATE TYPE control.run_answer AS (
    answer text,            -- acquired | held | finished | thread_busy | mismatch | unknown | queued | not_due
    run_id uuid,
    token bigint,
    generation bigint,      -- read under the lease: what happened after it is noticed when the lease is given up
    lease_ms_left integer,
    state text,
    reason text,
    thread_id text,
    intent text,
    trigger text,
    graph text,
    actor text,
    on_behalf_of text,
    deadline timestamptz,
    input bytea,
    base_checkpoint text,
    other_run uuid,         -- the unfinished run that holds the thread
    recall jsonb            -- what its drivers so far knew of it
);

-- The generation of wake-ups that a run has seen so far.
CREATE FUNCTION control.generation(p_run uuid) RETURNS bigint
    LANGUAGE sql STABLE AS 'SELECT coalesce((SELECT generation FROM control.run_wake WHERE run_id = p_run), 0)';

-- Did this person ask for what a request is about, or have it asked: in the run that made the request, in the one that asked
-- first, in any that waits for the same action, however late it came, or in the one that asks just now?
CREATE FUNCTION control.asked_for(p_approval uuid, p_person text, p_run uuid DEFAULT NULL) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT EXISTS (
    SELECT 1 FROM control.approval ap LEFT JOIN control.action a USING (tenant, key)
        CROSS JOIN LATERAL (SELECT ap.run_id UNION SELECT a.run_id UNION SELECT p_run
                            UNION SELECT w.run_id FROM control.waiter w WHERE w.tenant = ap.tenant AND w.key = ap.key) asking
        JOIN control.run r ON r.run_id = asking.run_id
    WHERE ap.approval_id = p_approval AND lower(btrim(p_person)) IN (lower(btrim(r.actor)), lower(btrim(r.on_behalf_of))))
$$;

-- Did this person say yes to another change of the run that makes this request?
CREATE FUNCTION control.approved_before(p_approval uuid, p_person text) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT EXISTS (
    SELECT FROM control.approval ap JOIN control.approval o ON o.run_id = ap.run_id AND o.key <> ap.key
        JOIN control.vote v ON v.approval_id = o.approval_id
    WHERE ap.approval_id = p_approval AND o.state IN ('granted', 'used') AND v.decision <> 'reject'
      AND lower(btrim(p_person)) IN (lower(btrim(v.person)), lower(btrim(v.delegator))))
$$;

-- Is what a request shows of this person's making, or made for them by who stood in?
CREATE FUNCTION control.edited(p_approval uuid, p_person text) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT EXISTS (
    SELECT FROM control.approval ap JOIN control.edit e ON e.tenant = ap.tenant AND e.key = ap.key AND e.became IS NOT NULL AND NOT e.void
    WHERE ap.approval_id = p_approval AND lower(btrim(p_person)) IN (lower(btrim(e.person)), lower(btrim(e.delegator))))
$$;

-- Why somebody of the role may still not decide; NULL where nothing stands against it.
CREATE FUNCTION control.kept_out(p_approval uuid, p_person text, p_words text[], p_run uuid DEFAULT NULL) RETURNS text
    LANGUAGE sql STABLE AS $$
SELECT CASE WHEN 'requester' = ANY (p_words) AND control.asked_for(p_approval, p_person, p_run) THEN 'is_requester'
            WHEN 'editor' = ANY (p_words) AND control.edited(p_approval, p_person) THEN 'is_editor'
            WHEN 'previous_approver' = ANY (p_words) AND control.approved_before(p_approval, p_person) THEN 'approved_before' END
$$;

-- The roles of a person now, by name and by groups.
CREATE FUNCTION control.roles_of(p_tenant text, p_person text, p_groups text[]) RETURNS text[]
    LANGUAGE sql STABLE AS $$
SELECT ARRAY(SELECT DISTINCT m.role FROM control.membership m
             WHERE m.tenant = p_tenant AND (m.member = p_person OR m.member = ANY (p_groups)) ORDER BY m.role)
$$;

-- The roles that a delegation gives now: what the delegator still has, and no more.
CREATE FUNCTION control.roles_given(p_delegation control.delegation) RETURNS text[]
    LANGUAGE sql STABLE AS $$
SELECT ARRAY(SELECT r FROM unnest(control.roles_of((p_delegation).tenant, (p_delegation).from_person, (p_delegation).from_groups)) r
             WHERE (p_delegation).revoked_at IS NULL AND r = coalesce((p_delegation).role, r))
$$;

-- Take the lease of a run whose state row is locked here; the previous holder's token is dead from now on.
CREATE FUNCTION control.take_lease(
    p_tenant text, p_run uuid, p_holder text, p_lease_ms integer, p_first boolean, p_body bytea
) RETURNS control.run_answer
    LANGUAGE plpgsql AS $$
DECLARE
    s control.run_state;
    r control.run;
    v_now timestamptz;
    v_out control.run_answer;
BEGIN
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = p_tenant AND state <> 'chain' FOR UPDATE;
    SELECT * INTO r FROM control.run WHERE run_id = p_run AND tenant = p_tenant;
    IF s.run_id IS NULL OR r.run_id IS NULL THEN
        v_out.answer := 'unknown';
        RETURN v_out;
    END IF;
    v_now := control.clock();
    v_out.run_id := r.run_id;
    v_out.thread_id := r.thread_id;
    v_out.intent := r.intent;
    v_out.trigger := r.trigger;
    v_out.graph := r.graph;
    v_out.actor := r.actor;
    v_out.on_behalf_of := r.on_behalf_of;
    v_out.deadline := r.deadline;
    v_out.state := s.state;
    v_out.reason := s.reason;
    v_out.base_checkpoint := s.base_checkpoint;
    IF s.state = 'done' THEN
        v_out.answer := 'finished';
        RETURN v_out;
    END IF;
    IF s.lease_until > v_now AND s.holder <> p_holder THEN
        v_out.answer := 'held';
        v_out.lease_ms_left := ceil(extract(epoch FROM s.lease_until - v_now) * 1000);
        RETURN v_out;
    END IF;
    -- A re-sent request of the same holder finds the lease it already has.
    IF s.lease_until > v_now AND s.holder = p_holder THEN
        v_out.token := s.token;
    ELSE
        v_out.token := s.token + 1;
        PERFORM control.append(p_tenant, p_run, v_now,
            ARRAY[CASE WHEN p_first THEN 'run.started' ELSE 'run.resumed' END],
            jsonb_build_object('token', v_out.token, 'holder', p_holder) || CASE WHEN p_first THEN jsonb_build_object('trigger', r.trigger,
                'intent', r.intent, 'graph', r.graph, 'thread', r.thread_id, 'actor', r.actor, 'on_behalf_of', r.on_behalf_of,
                'deadline', (extract(epoch FROM r.deadline) * 1000000)::bigint) ELSE '{}' END,
            p_body, CASE WHEN p_first THEN r.input END);
    END IF;
    UPDATE control.run_state SET token = v_out.token, holder = p_holder,
            lease_until = v_now + make_interval(secs => p_lease_ms / 1000.0),
            state = 'running', reason = '', owner = '', next_step = '', wake_at = NULL,
            retrying_ms = retrying_ms + CASE WHEN state = 'retrying' THEN (extract(epoch FROM v_now - state_since) * 1000)::bigint ELSE 0 END,
            state_since = CASE WHEN state = 'running' THEN state_since ELSE v_now END
        WHERE run_id = p_run;
    -- From now on a sweep looks at its lease.
    UPDATE control.open_run SET due_at = '-infinity', offered_until = '-infinity' WHERE run_id = p_run AND tenant = p_tenant;
    v_out.answer := 'acquired';
    v_out.lease_ms_left := p_lease_ms;
    v_out.generation := control.generation(p_run);
    v_out.input := r.input;
    v_out.recall := control.recall(p_run);
    RETURN v_out;
END
$$;

-- Register a run for a trigger, or join the run that the trigger already has, and take its lease.
CREATE FUNCTION control.run_open_v1(
    p_run uuid, p_trigger text, p_intent text, p_graph text, p_thread text, p_own_thread boolean, p_actor text,
    p_on_behalf_of text, p_deadline timestamptz, p_input bytea, p_holder text, p_lease_ms integer, p_body bytea
) RETURNS control.run_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    r control.run;
    v_now timestamptz := control.clock();
    v_other uuid;
    v_out control.run_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (substr(p_run::text, 15, 1) <> '8' AND length(p_trigger) BETWEEN 1 AND 1024 AND length(p_intent) BETWEEN 1 AND 1024
        AND length(p_graph) BETWEEN 1 AND 256 AND length(p_thread) BETWEEN 1 AND 1024 AND length(p_actor) BETWEEN 1 AND 512
        AND coalesce(length(p_on_behalf_of), 0) <= 512 AND p_own_thread IS NOT NULL AND length(p_holder) BETWEEN 1 AND 512
        AND p_lease_ms BETWEEN 1 AND 86400000 AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a run that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM control.same_server();
    SELECT * INTO r FROM control.run WHERE tenant = v_tenant AND trigger = p_trigger;
    IF r.run_id IS NULL THEN
        INSERT INTO control.open_run (tenant, thread_id, run_id, graph) VALUES (v_tenant, p_thread, p_run, p_graph) ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            SELECT run_id INTO v_other FROM control.open_run WHERE tenant = v_tenant AND thread_id = p_thread;
            SELECT * INTO r FROM control.run WHERE run_id = v_other AND tenant = v_tenant AND trigger = p_trigger;
            IF r.run_id IS NULL THEN
                v_out.answer := 'thread_busy';
                v_out.other_run := v_other;
                RETURN v_out;
            END IF;
        ELSE
            INSERT INTO control.run (run_id, tenant, trigger, intent, graph, thread_id, actor, on_behalf_of, deadline, input, started_at)
                VALUES (p_run, v_tenant, p_trigger, p_intent, p_graph, p_thread, p_actor, p_on_behalf_of, p_deadline, p_input, v_now)
                ON CONFLICT DO NOTHING;
            IF FOUND THEN
                INSERT INTO control.run_state (run_id, tenant, state, state_since, deadline, base_checkpoint)
                    VALUES (p_run, v_tenant, 'waiting', v_now, p_deadline, CASE WHEN p_own_thread THEN '' END);
                RETURN control.take_lease(v_tenant, p_run, p_holder, p_lease_ms, true, p_body);
            END IF;
            -- Another delivery of the same trigger was first.
            DELETE FROM control.open_run WHERE tenant = v_tenant AND thread_id = p_thread AND run_id = p_run;
            SELECT * INTO r FROM control.run WHERE tenant = v_tenant AND trigger = p_trigger;
        END IF;
    END IF;
    IF r.intent <> p_intent OR r.graph <> p_graph THEN
        v_out.answer := 'mismatch';
        v_out.run_id := r.run_id;
        v_out.intent := r.intent;
        v_out.graph := r.graph;
        RETURN v_out;
    END IF;
    RETURN control.take_lease(v_tenant, r.run_id, p_holder, p_lease_ms, false, p_body);
END
$$;

-- Take the lease of a known run.
CREATE FUNCTION control.run_acquire_v1(p_run uuid, p_holder text, p_lease_ms integer, p_body bytea) RETURNS control.run_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (length(p_holder) BETWEEN 1 AND 512 AND p_lease_ms BETWEEN 1 AND 86400000
        AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a lease that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM control.same_server();
    RETURN control.take_lease((control.caller('agent')).tenant, p_run, p_holder, p_lease_ms, false, p_body);
END
$$;

-- Remember the newest checkpoint that a shared thread had before this run, once. Returns the remembered one; NULL for a stale token.
CREATE FUNCTION control.run_base_v1(p_run uuid, p_token bigint, p_checkpoint text) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_base text;
BEGIN
    UPDATE control.run_state SET base_checkpoint = coalesce(base_checkpoint, p_checkpoint)
        WHERE run_id = p_run AND tenant = (control.caller('agent')).tenant AND token = p_token
        RETURNING base_checkpoint INTO v_base;
    RETURN v_base;
END
$$;

-- Heartbeat: lengthen the leases that are still held. Returns the runs for which that worked; no entry is written.
CREATE FUNCTION control.run_renew_v1(p_runs uuid[], p_tokens bigint[], p_lease_ms integer) RETURNS SETOF uuid
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    i integer;
BEGIN
    IF (p_lease_ms BETWEEN 1 AND 86400000 AND cardinality(p_runs) = cardinality(p_tokens)) IS NOT TRUE THEN
        RAISE EXCEPTION 'a heartbeat that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    -- One row at a time and none that is busy: a heartbeat must never wait behind a claim, nor hold two rows.
    FOR i IN 1 .. cardinality(p_runs) LOOP
        PERFORM 1 FROM control.run_state
            WHERE run_id = p_runs[i] AND tenant = v_tenant AND token = p_tokens[i] AND state = 'running' FOR UPDATE SKIP LOCKED;
        IF FOUND THEN
            UPDATE control.run_state SET lease_until = greatest(lease_until, control.clock() + make_interval(secs => p_lease_ms / 1000.0))
                WHERE run_id = p_runs[i];
            RETURN NEXT p_runs[i];
        END IF;
    END LOOP;
END
$$;

CREATE TYPE control.release_answer AS (
    answer text,        -- released | again | unsettled | stale
    generation bigint,
    entries bigint,     -- length of the chain
    unsettled text[],   -- tools of the actions that are not decided yet
    needs_human boolean,-- one of them waits for a person to say what happened
    state text,         -- where it stands now; NULL unless released
    reason text
);

-- Who has to act for a run that stands there. Where people must vote, those who are asked now: a request may be the floor's, or have
-- been put to others since the caller looked.
CREATE FUNCTION control.owner_of_run(p_tenant text, p_run uuid, p_state text, p_owner text) RETURNS text
    LANGUAGE sql STABLE AS $$
SELECT coalesce(CASE WHEN p_state = 'needs_approval' THEN (
    SELECT string_agg(DISTINCT asked.role, ', ' ORDER BY asked.role)
    FROM control.waiter w JOIN control.action a USING (tenant, key) JOIN control.approval ap ON ap.approval_id = a.approval_id
        CROSS JOIN LATERAL jsonb_object_keys(ap.requirement -> 'quorum') asked (role)
    WHERE w.tenant = p_tenant AND w.run_id = p_run AND ap.state = 'open') END, p_owner)
$$;

-- Who settles what the policy names nobody for.
CREATE FUNCTION control.owner_of_all(p_tenant text) RETURNS text
    LANGUAGE sql STABLE AS $$
SELECT coalesce((SELECT o.role FROM control.owner o WHERE o.tenant = p_tenant AND o.scope = 'default'), 'any role')
$$;

-- The actions of a run whose outcome is open. A run with one of them is not done, whatever its graph says. What it only waited for
-- after its graph had ended, and what was then found undone, it does not come back to.
CREATE FUNCTION control.unsettled(p_tenant text, p_run uuid) RETURNS TABLE (tool text, state text, attempts integer, last_answer text)
    LANGUAGE sql STABLE AS $$
SELECT a.tool, a.state, a.attempts, a.last_answer FROM control.action a
    WHERE a.tenant = p_tenant AND a.run_id = p_run
      AND a.state IN ('executing', 'unknown', 'verifying', 'needs_approval', 'needs_human')
UNION
SELECT a.tool, a.state, a.attempts, a.last_answer FROM control.waiter w JOIN control.action a USING (tenant, key)
    WHERE w.tenant = p_tenant AND w.run_id = p_run AND a.state NOT IN ('succeeded', 'failed', 'denied', 'abandoned')
      AND NOT (w.note = 'ended' AND a.state = 'ready')
$$;

-- The actions that a run asked for or whose list it is on, of those whose outcome may have to be found out.
CREATE FUNCTION control.begun(p_tenant text, p_run uuid) RETURNS bytea[]
    LANGUAGE sql STABLE AS $$
SELECT ARRAY(SELECT key FROM control.action WHERE tenant = p_tenant AND run_id = p_run
                 AND state IN ('executing', 'unknown', 'verifying', 'needs_human')
             UNION SELECT key FROM control.waiter WHERE tenant = p_tenant AND run_id = p_run)
$$;

-- A graph has ended, and nobody will come back to an attempt whose outcome is open: a person must find out.
CREATE FUNCTION control.hand_over(p_tenant text, p_run uuid, p_now timestamptz, p_body bytea) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    a control.action;
    v_keys bytea[] := control.begun(p_tenant, p_run);
    v_state text;
BEGIN
    FOR a IN SELECT * FROM control.action x
        WHERE tenant = p_tenant AND key = ANY (v_keys)
            AND (state = 'unknown' OR state IN ('executing', 'verifying') AND lease_until <= p_now)
            -- What it had taken up from a run that is over is left to nobody else, either.
            AND (run_id = p_run OR execution_run = p_run
                AND NOT EXISTS (SELECT FROM control.open_run o WHERE o.run_id = x.run_id)
                AND NOT EXISTS (SELECT FROM control.waiter w WHERE w.tenant = p_tenant AND w.key = x.key AND w.run_id <> p_run))
        ORDER BY key FOR UPDATE
    LOOP
        v_state := CASE a.state
            WHEN 'executing' THEN control.must_step('executing', 'lose', a.kind)
            WHEN 'verifying' THEN control.must_step('verifying', 'undetermined', 'verified')
            ELSE a.state END;
        IF v_state = 'unknown' THEN
            v_state := control.must_step('unknown', 'give_up', a.kind);
        END IF;
        UPDATE control.action SET state = v_state, started = v_state <> 'ready' WHERE tenant = p_tenant AND key = a.key;
        PERFORM control.append(p_tenant, p_run, p_now, ARRAY['action.unknown'],
            jsonb_build_object('tool', a.tool, 'key', encode(a.key, 'hex'), 'state', v_state, 'reason', 'graph_ended'), p_body, NULL);
    END LOOP;
END
$$;

-- What is left to people of a run that stops, whatever else it waits for: such as a write that was broken off in the middle because a
-- call beside it parked, to which the run comes back no sooner than to that one. The run is put on its list, so that a person's word
-- wakes it.
CREATE FUNCTION control.left_to_people(p_tenant text, p_run uuid, p_now timestamptz, p_body bytea) RETURNS SETOF control.action
    LANGUAGE plpgsql AS $$
DECLARE
    a control.action;
    v_keys bytea[] := control.begun(p_tenant, p_run);
BEGIN
    FOR a IN SELECT * FROM control.action
        WHERE tenant = p_tenant AND key = ANY (v_keys)
            AND (state = 'needs_human' OR state = 'executing' AND kind = 'blind' AND lease_until <= p_now AND p_run = coalesce(attempt_run, run_id))
        ORDER BY key FOR UPDATE
    LOOP
        IF a.state = 'executing' THEN
            a.state := control.must_step('executing', 'lose', a.kind);
            PERFORM control.append(p_tenant, p_run, p_now, ARRAY['action.unknown'],
                jsonb_build_object('tool', a.tool, 'key', encode(a.key, 'hex'), 'state', a.state, 'reason', 'broken_off'), p_body, NULL);
        END IF;
        UPDATE control.action SET state = a.state, waited = true WHERE tenant = p_tenant AND key = a.key;
        INSERT INTO control.waiter (tenant, key, run_id, note) VALUES (p_tenant, a.key, p_run, 'ended') ON CONFLICT DO NOTHING;
        RETURN NEXT a;
    END LOOP;
END
$$;

-- Why such a run needs a person, before the names of the tools; a test holds it equal to guards/run_reasons.py.
CREATE FUNCTION control.left_to_people_reason() RETURNS text LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$SELECT 'a person has to settle '$$;

-- Give up a run's lease: done, or parked with a reason, an owner and the next step. Refused while something happened that the run has
-- not seen. Whatever it waits for, it is driven again at its deadline: calls are then told that it is over, and a question that nobody
-- answered becomes a person's.
CREATE FUNCTION control.run_release_v1(
    p_run uuid, p_token bigint, p_generation bigint, p_state text, p_reason text, p_owner text, p_next_step text, p_wake_ms bigint,
    p_body bytea
) RETURNS control.release_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    s control.run_state;
    v_now timestamptz;
    v_wake timestamptz;
    v_late boolean;
    v_crossed boolean;
    v_state text := p_state;
    v_reason text := p_reason;
    v_owner text := p_owner;
    v_next text := p_next_step;
    v_left control.action[];
    v_out control.release_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_state IN ('done', 'waiting', 'retrying', 'needs_approval', 'needs_human', 'blocked') AND length(p_reason) <= 2000
        AND length(p_owner) <= 600 AND length(p_next_step) <= 4000
        -- People are shown this as what to do: commands of ours or a call, and nothing that a shell would do beside them.
        AND p_next_step ~ '^((langgraph-control |control\.)[^;|&$<>`\\[:cntrl:]]*(; (or )?langgraph-control [^;|&$<>`\\[:cntrl:]]*)*)?$'
        AND coalesce(p_wake_ms, 0) BETWEEN 0 AND 31622400000 AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a state that is none' USING ERRCODE = 'LC002';
    END IF;
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain' FOR UPDATE;
    v_out.generation := control.generation(p_run);
    v_out.entries := s.seq;
    IF s.token = p_token + 1 AND s.holder = '' AND (s.state = p_state AND s.reason = p_reason
        OR s.state = 'needs_human' AND (s.reason = 'deadline_passed' AND p_reason = 'question'
            OR starts_with(s.reason, control.left_to_people_reason()))) THEN
        v_out.answer := 'released';  -- a re-sent release whose first send landed
        v_out.state := s.state;
        v_out.reason := s.reason;
        RETURN v_out;
    END IF;
    IF s.run_id IS NULL OR s.token IS DISTINCT FROM p_token OR s.state <> 'running' THEN
        v_out.answer := 'stale';
        RETURN v_out;
    END IF;
    IF v_out.generation <> p_generation THEN
        v_out.answer := 'again';
        RETURN v_out;
    END IF;
    v_now := control.clock();
    IF p_state = 'done' THEN
        PERFORM control.hand_over(v_tenant, p_run, v_now, p_body);
        SELECT array_agg(u.tool ORDER BY u.tool), bool_or(u.state = 'needs_human') INTO v_out.unsettled, v_out.needs_human FROM control.unsettled(v_tenant, p_run) u;
        IF v_out.unsettled IS NOT NULL THEN
            -- It ends once they are settled, by a person or by another run that has taken them up: whoever does is to wake it.
            UPDATE control.action SET waited = true WHERE tenant = v_tenant AND run_id = p_run
                AND state IN ('executing', 'unknown', 'verifying', 'needs_approval', 'needs_human');
            INSERT INTO control.waiter (tenant, key, run_id, note)
                SELECT tenant, key, p_run, 'ended' FROM control.action WHERE tenant = v_tenant AND run_id = p_run
                    AND state IN ('executing', 'unknown', 'verifying', 'needs_approval', 'needs_human')
                ON CONFLICT DO NOTHING;
            -- Looked at again, for one of them may just have been settled.
            SELECT array_agg(u.tool ORDER BY u.tool), bool_or(u.state = 'needs_human') INTO v_out.unsettled, v_out.needs_human FROM control.unsettled(v_tenant, p_run) u;
        END IF;
        IF v_out.unsettled IS NOT NULL THEN
            v_out.answer := 'unsettled';
            RETURN v_out;
        END IF;
    ELSE
        v_left := ARRAY(SELECT l FROM control.left_to_people(v_tenant, p_run, v_now, p_body) l);
    END IF;
    v_wake := v_now + make_interval(secs => p_wake_ms / 1000.0);
    v_late := coalesce(s.deadline <= v_now, false);
    -- What was claimed before the deadline is claimed once more after it, and then begins nothing.
    v_crossed := v_late AND s.state_since < s.deadline;
    IF v_late AND p_state = 'waiting' AND p_reason = 'question' THEN
        v_state := 'needs_human';
        v_reason := 'deadline_passed';
        v_owner := control.owner_of_all(v_tenant);
    ELSIF (v_crossed OR NOT v_late) AND (p_state IN ('waiting', 'retrying', 'needs_approval') OR p_reason = 'frozen') THEN
        v_wake := least(v_wake, s.deadline);
    END IF;
    -- What was broken off while it was waited for is looked at once its lease is over, and not only when people have answered.
    IF p_state = 'needs_approval' OR p_reason IN ('question', 'ask') THEN
        v_wake := least(v_wake, (SELECT min(lease_until) FROM control.action
            WHERE tenant = v_tenant AND key = ANY (control.begun(v_tenant, p_run)) AND p_run = coalesce(attempt_run, run_id)
              AND state IN ('executing', 'verifying') AND lease_until > v_now));
    END IF;
    -- What only a person can settle comes before all else; what is driven on at once says itself where it stands then.
    IF v_state <> 'needs_human' AND cardinality(v_left) > 0 AND p_wake_ms IS DISTINCT FROM 0 THEN
        v_state := 'needs_human';
        v_reason := left(control.left_to_people_reason()
            || (SELECT string_agg(DISTINCT l.tool, ', ' ORDER BY l.tool) FROM unnest(v_left) l), 2000);
        v_owner := left((SELECT string_agg(DISTINCT o.role, ', ' ORDER BY o.role) FROM (
            SELECT coalesce(control.owner_of(l), control.owner_of_all(v_tenant)) AS role FROM unnest(v_left) l) o), 600);
        v_next := format('langgraph-control show %1$s, then langgraph-control resolve %1$s', 'run_' || replace(p_run::text, '-', ''))
            || CASE WHEN cardinality(v_left) = 1 AND v_left[1].tool ~ '^\w[\w.-]*$' THEN ' --tool ' || v_left[1].tool ELSE '' END;
    END IF;
    SELECT seq INTO v_out.entries FROM control.run_state WHERE run_id = p_run;
    v_out.entries := control.append(v_tenant, p_run, v_now,
        ARRAY[CASE WHEN p_state = 'done' THEN 'run.finished' ELSE 'wait.started' END],
        jsonb_build_object('state', v_state, 'reason', v_reason, 'entries', v_out.entries + 1,
                           'wake_at', (extract(epoch FROM v_wake) * 1000000)::bigint), p_body, NULL);
    -- The token moves on, so that a zombie of this driver is stale from now on.
    UPDATE control.run_state SET token = token + 1, holder = '', lease_until = '-infinity', state = v_state, reason = v_reason,
            owner = control.owner_of_run(v_tenant, p_run, v_state, v_owner), next_step = v_next, state_since = v_now, wake_at = v_wake
        WHERE run_id = p_run;
    -- What comes after this generation is news, even if it was committed since it was read above.
    UPDATE control.run_wake SET seen = p_generation WHERE run_id = p_run;
    IF p_state = 'done' THEN
        DELETE FROM control.open_run WHERE run_id = p_run AND tenant = v_tenant;
        DELETE FROM control.waiter WHERE run_id = p_run;
        PERFORM control.forget(p_run);
    ELSE
        UPDATE control.open_run SET due_at = v_wake, offered_until = '-infinity' WHERE run_id = p_run AND tenant = v_tenant;
    END IF;
    v_out.answer := 'released';
    v_out.state := v_state;
    v_out.reason := v_reason;
    RETURN v_out;
END
$$;
