-- What people do about runs: settle what the program cannot, cancel, stop writes and let them go on. Never on the agent's login.

-- Who speaks: whom a service has recognised, the person of an approver's login, or the admin's login by its own name. NULL: nobody.
CREATE FUNCTION control.operator(p_login control.login, p_person text, p_identity jsonb) RETURNS text
    LANGUAGE sql STABLE AS $$
SELECT CASE WHEN p_identity IS NOT NULL
                -- A role's member of that name is a group.
                THEN CASE WHEN (p_login).may_name_person AND NOT starts_with(p_identity ->> 'person', 'group:') THEN p_identity ->> 'person' END
            WHEN (p_login).may_name_person AND p_person IS NOT NULL THEN p_person
            WHEN p_person IS NULL OR p_person = (p_login).person THEN coalesce((p_login).person, CASE WHEN (p_login).role = 'admin' THEN (p_login).login::text END)
       END
$$;

-- The groups of whoever speaks: as the service found them out, else the login's.
CREATE FUNCTION control.operator_groups(p_login control.login, p_identity jsonb) RETURNS text[]
    LANGUAGE sql STABLE AS $$
SELECT CASE WHEN p_identity IS NULL THEN (p_login).groups ELSE control.groups_of(p_identity) END
$$;

-- Why this person's word does not count, whatever it is about; NULL when it may. An admin has mapped logins to people one by one, but
-- whom a service recognises may be anybody: they need one of the policy's roles, whichever it is.
CREATE FUNCTION control.operator_refusal(p_login control.login, p_person text, p_identity jsonb) RETURNS text
    LANGUAGE sql STABLE AS $$
SELECT CASE WHEN p_person IS NULL THEN 'not_yourself'
            WHEN p_identity IS NOT NULL AND NOT EXISTS (
                SELECT FROM control.membership m
                WHERE m.tenant = (p_login).tenant AND (m.member = p_person OR m.member = ANY (control.groups_of(p_identity))))
            THEN 'unknown_person' END
$$;

-- The role that settles what becomes of an action: the tool's, else the system's, the impact's, the tenant's; NULL: none is named.
CREATE FUNCTION control.owner_of(p_action control.action) RETURNS text
    LANGUAGE sql STABLE AS $$
SELECT o.role FROM control.owner o
WHERE o.tenant = (p_action).tenant AND (o.scope, o.name) IN (
    ('tool', (p_action).tool), ('system', (p_action).system), ('impact', (p_action).impact), ('default', ''))
ORDER BY array_position(ARRAY['tool', 'system', 'impact', 'default'], o.scope) LIMIT 1
$$;

-- May this person settle it? Whoever has the owner's role; without an owner, whoever has any; an admin always.
CREATE FUNCTION control.may_settle(p_login control.login, p_person text, p_identity jsonb, p_action control.action) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT ((p_login).role = 'admin' AND p_identity IS NULL) OR EXISTS (
    SELECT FROM control.membership m
    WHERE m.tenant = (p_login).tenant AND (m.member = p_person OR m.member = ANY (control.operator_groups(p_login, p_identity)))
      AND coalesce(m.role = control.owner_of(p_action), true))
$$;

CREATE TYPE control.resolve_answer AS (
    answer text,     -- resolved | refused
    reason text,     -- why it was refused: a stable word
    state text,
    tool text
);

-- A person says what became of an action that the program cannot settle: it happened, it did not, or nobody will find out.
CREATE FUNCTION control.resolve_v1(
    p_run uuid, p_key bytea, p_verdict text, p_result bytea, p_person text, p_identity jsonb, p_comment text, p_body bytea
) RETURNS control.resolve_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver', 'admin');
    a control.action;
    v_person text := control.operator(l, p_person, p_identity);
    v_now timestamptz;
    v_before text;
    v_withdrawn uuid;
    v_out control.resolve_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_verdict IN ('happened', 'did_not', 'give_up') AND p_run IS NOT NULL AND length(p_key) = 32 AND p_comment ~ '\S'
        AND length(p_comment) <= 10000 AND (p_result IS NULL OR p_verdict = 'happened') AND length(p_body) <= control.body_bytes_max()
        AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a resolution that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_out.answer := 'refused';
    PERFORM 1 FROM control.run_state WHERE run_id = p_run AND tenant = l.tenant AND state <> 'chain' FOR UPDATE;
    IF NOT FOUND THEN
        v_out.reason := control.note_unknown(l, 'action.resolution_refused', 'unknown_run',
            jsonb_build_object('run', p_run, 'action', encode(p_key, 'hex'), 'verdict', p_verdict), v_person, p_identity, p_body);
        RETURN v_out;
    END IF;
    SELECT * INTO a FROM control.action WHERE tenant = l.tenant AND key = p_key FOR UPDATE;
    v_now := control.clock();
    IF a.key IS NULL OR NOT (a.run_id = p_run OR EXISTS (
            SELECT FROM control.waiter w WHERE w.tenant = l.tenant AND w.key = p_key AND w.run_id = p_run)) THEN
        v_out.reason := 'unknown_action';
        -- Not as its key: what a run's entries have under that name is the run's, and goes where its payloads are erased.
        PERFORM control.append(l.tenant, p_run, v_now, ARRAY['action.resolution_refused'],
            jsonb_build_object('action', encode(p_key, 'hex'),
                'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity,
                'verdict', p_verdict, 'reason', v_out.reason), p_body, NULL);
        RETURN v_out;
    END IF;
    v_out.tool := a.tool;
    v_before := a.state;
    -- What waits for a person may also be a lost attempt that nobody has looked at since.
    IF a.state = 'executing' AND a.lease_until <= v_now THEN
        a.state := control.must_step('executing', 'lose', a.kind);
    ELSIF a.state = 'verifying' AND a.lease_until <= v_now THEN
        a.state := control.must_step('verifying', 'undetermined', 'verified');
    END IF;
    IF a.state = 'unknown' OR a.state = 'ready' AND v_before IN ('executing', 'ready') AND p_verdict = 'give_up' THEN
        a.state := control.must_step(a.state, 'give_up', a.kind);
    END IF;
    v_out.state := a.state;
    v_out.reason := coalesce(control.operator_refusal(l, v_person, p_identity), CASE
        WHEN NOT control.may_settle(l, v_person, p_identity, a) THEN 'not_the_owner'
        WHEN a.state IN ('executing', 'verifying') THEN 'in_flight'
        WHEN a.state IN ('succeeded', 'failed', 'denied', 'abandoned') THEN 'settled'
        WHEN a.state <> 'needs_human' THEN 'not_stuck' END);
    IF v_out.reason IS NOT NULL THEN
        PERFORM control.append(l.tenant, p_run, v_now, ARRAY['action.resolution_refused'],
            jsonb_build_object('tool', a.tool, 'key', encode(p_key, 'hex'),
                'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity,
                'verdict', p_verdict, 'reason', v_out.reason), p_body, NULL);
        RETURN v_out;
    END IF;
    a.state := control.must_step(a.state, CASE p_verdict
        WHEN 'happened' THEN 'person_done' WHEN 'did_not' THEN 'person_undone' ELSE 'abandon' END, a.kind);
    UPDATE control.action SET state = a.state, started = a.state <> 'ready', in_doubt = in_doubt AND a.state <> 'ready',
            attempts = CASE WHEN a.state = 'ready' THEN 0 ELSE attempts END, first_at = CASE WHEN a.state <> 'ready' THEN first_at END,
            first_sent = CASE WHEN a.state <> 'ready' THEN first_sent END,
            same_failures = 0, last_failure = NULL, charged = charged AND a.state <> 'ready', settled_attempt = coalesce(attempt_id, settled_attempt),
            lease_until = v_now, last_answer = '', call_id = NULL, not_before = NULL,
            result = CASE WHEN a.state = 'succeeded' THEN coalesce(p_result, result) ELSE result END,
            error = CASE WHEN a.state = 'abandoned' THEN p_comment END
        WHERE tenant = l.tenant AND key = p_key;
    IF a.charged AND a.state = 'ready' THEN
        DELETE FROM control.charge WHERE tenant = l.tenant AND key = p_key;
    END IF;
    IF a.undoes IS NOT NULL AND a.state = 'ready' THEN
        -- Whoever has an undo tried again has people asked again, too: the no that brought it here is answered.
        UPDATE control.approval SET state = 'superseded' WHERE approval_id = a.approval_id AND state IN ('denied', 'expired');
    END IF;
    PERFORM control.append(l.tenant, p_run, v_now,
        ARRAY['action.resolved', CASE a.state WHEN 'succeeded' THEN 'action.succeeded' WHEN 'ready' THEN 'action.failed' ELSE 'action.unknown' END]
            || CASE WHEN a.undoes IS NOT NULL AND a.state = 'succeeded' THEN ARRAY['compensation.succeeded'] ELSE '{}' END,
        jsonb_build_object('tool', a.tool, 'key', encode(p_key, 'hex'),
            'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity,
            'verdict', p_verdict, 'before', v_before, 'state', a.state, 'comment', p_comment), p_body, NULL);
    -- Nobody is asked any more about what is over.
    IF a.state <> 'ready' THEN
        SELECT approval_id INTO v_withdrawn FROM control.approval WHERE approval_id = a.approval_id AND state IN ('open', 'granted') FOR UPDATE;
    END IF;
    IF v_withdrawn IS NOT NULL THEN
        PERFORM control.close_approval(v_withdrawn, 'withdrawn', v_now);
        PERFORM control.append(l.tenant, p_run, v_now, ARRAY['approval.withdrawn'],
            jsonb_build_object('tool', a.tool, 'key', encode(p_key, 'hex'), 'approval', v_withdrawn, 'state', a.state,
                'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity), p_body, NULL);
    END IF;
    PERFORM control.wake(l.tenant, p_key);
    PERFORM control.notify_waiters(l.tenant, p_key);
    v_out.answer := 'resolved';
    v_out.state := a.state;
    RETURN v_out;
END
$$;

CREATE TYPE control.cancel_answer AS (
    answer text,        -- cancelled | refused
    reason text,        -- unknown_run | finished | unsettled | not_yourself | unknown_person
    unsettled text[]    -- tools whose outcome somebody has to settle first
);

-- The actions that a run has to do with: it asked for them, first or later, or something about them stands in its record.
CREATE FUNCTION control.concerning(p_tenant text, p_run uuid) RETURNS SETOF bytea
    LANGUAGE sql STABLE AS $$
SELECT key FROM control.action WHERE tenant = p_tenant AND run_id = p_run
UNION SELECT key FROM control.waiter WHERE tenant = p_tenant AND run_id = p_run
UNION SELECT decode(facts::jsonb ->> 'key', 'hex') FROM control.entry
    WHERE tenant = p_tenant AND run_id = p_run AND facts::jsonb ->> 'key' ~ '^[0-9a-f]{64}$'
$$;

-- Lock them.
CREATE FUNCTION control.lock_actions(p_tenant text, p_run uuid) RETURNS void
    LANGUAGE sql AS $$
SELECT 1 FROM control.action WHERE tenant = p_tenant AND key IN (SELECT control.concerning(p_tenant, p_run)) ORDER BY key FOR UPDATE
$$;

-- What a run has begun, for itself or in the place of another, and of which nobody knows the outcome.
CREATE FUNCTION control.open_outcomes(p_tenant text, p_run uuid) RETURNS SETOF control.action
    LANGUAGE sql STABLE AS $$
SELECT * FROM control.action WHERE tenant = p_tenant AND key IN (SELECT control.concerning(p_tenant, p_run))
    AND p_run IN (run_id, payload_run, execution_run) AND state IN ('executing', 'unknown', 'verifying', 'needs_human')
$$;

-- End a run whose state row and actions are locked here, and of which nothing is under way: what it asked for is withdrawn, and what it
-- had not begun is denied. Another run that waits for the same goes on with it, and asks in its own name: no word about a request is
-- said after its run's end.
CREATE FUNCTION control.end_run(
    p_tenant text, p_run uuid, p_now timestamptz, p_event text, p_reason text, p_who jsonb, p_why jsonb, p_body bytea
) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    a control.action;
    ap control.approval;
    v_seq bigint;
    v_denied text[] := '{}';
    v_left bytea[] := '{}';
    v_key bytea;
BEGIN
    DELETE FROM control.waiter WHERE run_id = p_run;
    FOR a IN SELECT * FROM control.action x WHERE x.tenant = p_tenant AND x.state IN ('ready', 'needs_approval') AND (x.run_id = p_run
             OR x.approval_id IN (SELECT o.approval_id FROM control.approval o WHERE o.run_id = p_run AND o.state IN ('open', 'granted')))
             ORDER BY x.key
    LOOP
        SELECT * INTO ap FROM control.approval WHERE approval_id = a.approval_id AND state IN ('open', 'granted');
        IF a.run_id = p_run AND NOT EXISTS (SELECT FROM control.waiter w WHERE w.tenant = p_tenant AND w.key = a.key) THEN
            a.state := control.must_step(a.state, 'deny', a.kind);
            v_denied := v_denied || encode(a.key, 'hex');
        ELSIF ap.run_id = p_run THEN
            a.state := CASE a.state WHEN 'needs_approval' THEN control.must_step(a.state, 'withdraw', a.kind) ELSE a.state END;
            v_left := v_left || a.key;
        ELSE
            CONTINUE;
        END IF;
        UPDATE control.action SET state = a.state WHERE tenant = p_tenant AND key = a.key;
        IF ap.approval_id IS NOT NULL THEN
            PERFORM control.close_approval(ap.approval_id, 'withdrawn', p_now);
            PERFORM control.append(p_tenant, p_run, p_now, ARRAY['approval.withdrawn'],
                jsonb_build_object('tool', a.tool, 'key', encode(a.key, 'hex'), 'approval', a.approval_id, 'state', a.state)
                    || p_who, p_body, NULL);
        END IF;
    END LOOP;
    SELECT seq + 1 INTO v_seq FROM control.run_state WHERE run_id = p_run;
    PERFORM control.append(p_tenant, p_run, p_now, ARRAY[p_event, 'run.finished'],
        jsonb_build_object('state', 'done', 'reason', p_reason, 'entries', v_seq, 'denied', v_denied) || p_who || p_why, p_body, NULL);
    -- Whoever still drives it is stale from now on.
    UPDATE control.run_state SET token = token + 1, holder = '', lease_until = '-infinity', state = 'done', reason = p_reason,
            owner = '', next_step = '', state_since = p_now, wake_at = NULL
        WHERE run_id = p_run;
    DELETE FROM control.open_run WHERE run_id = p_run AND tenant = p_tenant;
    PERFORM control.forget(p_run);
    FOREACH v_key IN ARRAY v_left LOOP
        PERFORM control.wake(p_tenant, v_key);
    END LOOP;
END
$$;

-- End a run that is not wanted any more. What it asked for is withdrawn; what may have happened has to be settled first, and what is in
-- effect of its sagas stays so only where the person says so: nothing takes it back any more.
CREATE FUNCTION control.run_cancel_v1(
    p_run uuid, p_person text, p_identity jsonb, p_comment text, p_leave_applied boolean, p_body bytea
) RETURNS control.cancel_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver', 'admin');
    s control.run_state;
    v_person text := control.operator(l, p_person, p_identity);
    v_now timestamptz;
    v_applied text[];
    v_out control.cancel_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_run IS NOT NULL AND p_comment ~ '\S' AND length(p_comment) <= 10000 AND length(p_body) <= control.body_bytes_max()
        AND p_leave_applied IS NOT NULL AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a cancellation that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_out.answer := 'refused';
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = l.tenant AND state <> 'chain' FOR UPDATE;
    IF s.run_id IS NULL THEN
        v_out.reason := control.note_unknown(l, 'run.cancel_refused', 'unknown_run', jsonb_build_object('run', p_run),
            v_person, p_identity, p_body);
        RETURN v_out;
    END IF;
    v_out.reason := coalesce(control.operator_refusal(l, v_person, p_identity), CASE WHEN s.state = 'done' THEN 'finished' END);
    IF v_out.reason IS NULL THEN
        PERFORM control.lock_actions(l.tenant, p_run);
        SELECT array_agg(DISTINCT tool ORDER BY tool) INTO v_out.unsettled FROM control.open_outcomes(l.tenant, p_run);
        v_out.reason := CASE WHEN v_out.unsettled IS NOT NULL THEN 'unsettled' END;
    END IF;
    IF v_out.reason IS NULL THEN
        SELECT array_agg(DISTINCT tool ORDER BY tool), array_agg(encode(key, 'hex') ORDER BY step) INTO v_out.unsettled, v_applied
            FROM control.left_applied(l.tenant, p_run);
        v_out.reason := CASE WHEN v_applied IS NOT NULL AND NOT p_leave_applied THEN 'saga' END;
    END IF;
    v_now := control.clock();
    IF v_out.reason IS NOT NULL THEN
        PERFORM control.append(l.tenant, p_run, v_now, ARRAY['run.cancel_refused'],
            jsonb_build_object('person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity,
                'reason', v_out.reason), p_body, NULL);
        RETURN v_out;
    END IF;
    PERFORM control.end_run(l.tenant, p_run, v_now, 'run.cancelled', 'cancelled',
        jsonb_build_object('person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity),
        jsonb_build_object('comment', p_comment, 'applied', coalesce(v_applied, '{}')), p_body);
    v_out.answer := 'cancelled';
    RETURN v_out;
END
$$;

-- A new message came on the thread of a run that waits for people's approval: where the published policy says so, end the run, so that
-- the message's own run can begin. Not while anything of it is under way, unknown or decided, nor with a saga that is half done.
CREATE FUNCTION control.run_replace_v1(p_run uuid, p_trigger text, p_body bytea) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    s control.run_state;
    v_now timestamptz;
    v_refused text;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_run IS NOT NULL AND length(p_trigger) BETWEEN 1 AND 1024 AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a replacement that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM control.same_server();
    IF (SELECT on_new_message FROM control.tenant WHERE tenant = v_tenant) <> 'withdraw' THEN
        RETURN 'not_allowed';
    END IF;
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain' FOR UPDATE;
    IF s.run_id IS NULL OR s.state = 'done' THEN
        RETURN CASE WHEN s.run_id IS NULL THEN 'unknown_run' ELSE 'finished' END;
    END IF;
    PERFORM control.lock_actions(v_tenant, p_run);
    v_now := control.clock();
    SELECT CASE WHEN s.state <> 'needs_approval' OR s.lease_until > v_now THEN 'not_waiting'
                WHEN EXISTS (SELECT FROM control.open_outcomes(v_tenant, p_run)) THEN 'unsettled'
                WHEN bool_or(p_run IN (a.run_id, ap.run_id) AND a.state = 'ready' AND ap.state = 'granted') THEN 'decided'
                WHEN bool_or(ap.state = 'open') IS NOT TRUE THEN 'not_waiting'
                WHEN EXISTS (SELECT FROM control.left_applied(v_tenant, p_run)) THEN 'saga' END
        INTO v_refused
        FROM control.action a LEFT JOIN control.approval ap ON ap.approval_id = a.approval_id
        WHERE a.tenant = v_tenant AND a.key IN (SELECT control.concerning(v_tenant, p_run));
    IF v_refused IS NOT NULL THEN
        RETURN v_refused;
    END IF;
    PERFORM control.end_run(v_tenant, p_run, v_now, 'run.replaced', 'replaced', jsonb_build_object('message', p_trigger), '{}', p_body);
    RETURN 'replaced';
END
$$;

-- What may be having its effect at this moment under a scope: a freeze stops the next claim, not these. Each is its run's that makes
-- the attempt, which need not be the one that first asked; whoever acts on another run's action is on the list of its waiters.
CREATE FUNCTION control.in_flight(p_tenant text, p_scope text, p_name text, p_now timestamptz)
    RETURNS TABLE (run_id uuid, key bytea, tool text, state text, lease_until timestamptz)
    LANGUAGE sql STABLE AS $$
SELECT o.run_id, a.key, a.tool, a.state, a.lease_until
FROM control.open_run o JOIN control.run r ON r.run_id = o.run_id CROSS JOIN LATERAL (
    SELECT * FROM control.action own WHERE own.run_id = o.run_id AND own.attempt_run IS NULL
    UNION ALL
    SELECT other.* FROM control.waiter w JOIN control.action other USING (tenant, key)
        WHERE w.run_id = o.run_id AND w.tenant = p_tenant AND other.attempt_run = o.run_id) a
WHERE o.tenant = p_tenant AND a.state IN ('executing', 'verifying') AND a.lease_until > p_now
  AND (p_scope = 'tenant' OR p_scope = 'tool' AND a.tool = p_name OR p_scope = 'agent' AND r.actor = p_name
       OR p_scope = 'system' AND a.system = p_name)
ORDER BY a.lease_until
$$;

-- Stop writes of a tenant, agent, system or tool from the next claim on. Returns what is under way; or one row that says why not.
CREATE FUNCTION control.freeze_v1(p_scope text, p_name text, p_person text, p_identity jsonb, p_comment text, p_body bytea)
    RETURNS TABLE (refused text, run_id uuid, key bytea, tool text, state text, lease_until timestamptz)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver', 'admin');
    v_person text := control.operator(l, p_person, p_identity);
    v_refused text;
    v_chain uuid;
    v_now timestamptz;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_scope IN ('tenant', 'agent', 'system', 'tool') AND (p_scope = 'tenant') = (p_name = '') AND length(p_name) <= 512
        AND p_comment ~ '\S' AND length(p_comment) <= 10000 AND length(p_body) <= control.body_bytes_max()
        AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a freeze that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_chain := control.tenant_chain(l.tenant);
    PERFORM 1 FROM control.run_state s WHERE s.run_id = v_chain FOR UPDATE;
    v_now := control.clock();
    v_refused := control.operator_refusal(l, v_person, p_identity);
    IF v_refused IS NOT NULL THEN
        PERFORM control.append(l.tenant, v_chain, v_now, ARRAY['freeze.refused'],
            jsonb_build_object('scope', p_scope, 'name', p_name,
                'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity,
                'reason', v_refused), p_body, NULL);
        RETURN QUERY SELECT v_refused, NULL::uuid, NULL::bytea, NULL::text, NULL::text, NULL::timestamptz;
        RETURN;
    END IF;
    INSERT INTO control.brake AS b (tenant, scope, name, cause, until, since, set_by, comment)
        VALUES (l.tenant, p_scope, p_name, 'freeze', '9999-01-01 00:00:00+00', v_now, v_person, p_comment)
        ON CONFLICT (tenant, scope, name, cause) DO UPDATE SET set_by = excluded.set_by, comment = excluded.comment;
    PERFORM control.append(l.tenant, v_chain, v_now, ARRAY['freeze.set'],
        jsonb_build_object('scope', p_scope, 'name', p_name,
            'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity,
            'comment', p_comment), p_body, NULL);
    RETURN QUERY SELECT NULL::text, f.* FROM control.in_flight(l.tenant, p_scope, p_name, v_now) f;
END
$$;

CREATE TYPE control.unfreeze_answer AS (
    reason text,   -- NULL: done; else not_frozen | restored | not_restored | not_yourself | unknown_person
    woken bigint   -- runs that stood still for it
);

-- Wake the runs of a tenant that stand still for a freeze. Returns how many.
CREATE FUNCTION control.wake_frozen(p_tenant text) RETURNS bigint
    LANGUAGE plpgsql AS $$
DECLARE
    v_woken bigint;
BEGIN
    INSERT INTO control.run_wake AS w (run_id, generation)
        SELECT DISTINCT o.run_id, 1 FROM control.waiter o WHERE o.tenant = p_tenant AND split_part(o.note, '|', 3) = 'frozen' ORDER BY 1
        ON CONFLICT (run_id) DO UPDATE SET generation = w.generation + 1;
    GET DIAGNOSTICS v_woken = ROW_COUNT;
    IF v_woken > 0 THEN
        PERFORM pg_notify('control_wake', '');
    END IF;
    RETURN v_woken;
END
$$;

-- Let writes go on, and wake the runs that stood still for it.
CREATE FUNCTION control.unfreeze_v1(p_scope text, p_name text, p_person text, p_identity jsonb, p_comment text, p_body bytea)
    RETURNS control.unfreeze_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver', 'admin');
    v_person text := control.operator(l, p_person, p_identity);
    v_chain uuid;
    v_out control.unfreeze_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_comment ~ '\S' AND length(p_comment) <= 10000 AND length(p_body) <= control.body_bytes_max()
        AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a freeze that cannot be lifted so' USING ERRCODE = 'LC002';
    END IF;
    v_chain := control.tenant_chain(l.tenant);
    PERFORM 1 FROM control.run_state s WHERE s.run_id = v_chain FOR UPDATE;
    v_out.reason := control.operator_refusal(l, v_person, p_identity);
    IF v_out.reason IS NOT NULL THEN
        PERFORM control.append(l.tenant, v_chain, control.clock(), ARRAY['freeze.refused'],
            jsonb_build_object('scope', p_scope, 'name', p_name,
                'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity,
                'reason', v_out.reason), p_body, NULL);
        RETURN v_out;
    END IF;
    DELETE FROM control.brake b WHERE b.tenant = l.tenant AND b.scope = p_scope AND b.name = p_name AND b.cause = 'freeze';
    IF NOT FOUND THEN
        v_out.reason := CASE WHEN p_scope = 'tenant' AND EXISTS (
            SELECT FROM control.brake b WHERE b.tenant = l.tenant AND b.cause = 'restored') THEN 'restored' ELSE 'not_frozen' END;
        RETURN v_out;
    END IF;
    PERFORM control.append(l.tenant, v_chain, control.clock(), ARRAY['freeze.lifted'],
        jsonb_build_object('scope', p_scope, 'name', p_name,
            'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity,
            'comment', p_comment), p_body, NULL);
    v_out.woken := control.wake_frozen(l.tenant);
    RETURN v_out;
END
$$;

-- What is stopped now.
CREATE FUNCTION control.brakes_v1() RETURNS SETOF control.brake
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT * FROM control.brake b WHERE b.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant ORDER BY b.since
$$;

-- The agents, systems or tools that the tenant's newest 10,000 runs wrote by: a name that is not among them may be misspelt. No index
-- holds the names, and a freeze is not to wait for more.
CREATE FUNCTION control.names_seen_v1(p_scope text) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
WITH newest AS (
    SELECT r.run_id, r.actor FROM control.run r WHERE r.tenant = (control.caller('approver', 'admin')).tenant
    ORDER BY r.started_at DESC LIMIT 10000)
SELECT n.actor FROM newest n WHERE p_scope = 'agent'
UNION
SELECT s.name FROM newest n JOIN control.action a USING (run_id)
CROSS JOIN LATERAL (SELECT CASE p_scope WHEN 'system' THEN a.system WHEN 'tool' THEN a.tool END) s (name)
WHERE p_scope IN ('system', 'tool') AND s.name IS NOT NULL
$$;

REVOKE EXECUTE ON FUNCTION control.operator, control.operator_groups, control.operator_refusal, control.owner_of, control.may_settle, control.resolve_v1, control.concerning, control.lock_actions, control.open_outcomes, control.end_run, control.run_cancel_v1, control.run_replace_v1, control.in_flight, control.freeze_v1,
    control.wake_frozen, control.unfreeze_v1, control.brakes_v1, control.names_seen_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.resolve_v1, control.run_cancel_v1, control.freeze_v1, control.unfreeze_v1, control.names_seen_v1 TO control_approver, control_admin;
GRANT EXECUTE ON FUNCTION control.run_replace_v1 TO control_agent;
GRANT EXECUTE ON FUNCTION control.brakes_v1 TO control_agent, control_approver, control_admin, control_auditor;
