-- Votes. Only these functions write approval.voted, granted and denied. Only approver logins may vote; that votes which were given
-- are enough by now can also be found when a policy is published.

CREATE TYPE control.vote_answer AS (
    answer text,      -- open | granted | denied | refused
    reason text,      -- why a vote was refused: a stable word
    approval_id uuid,
    run_id uuid,
    tool text,
    votes integer,
    expires_at timestamptz
);

-- Why this person may not vote on this request now; NULL when they may.
CREATE FUNCTION control.vote_refusal(
    p_tenant text, p_approval control.approval, p_person text, p_groups text[], p_comment text, p_now timestamptz
) RETURNS text
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_roles text[];
    f control.floor;
BEGIN
    IF p_person IS NULL OR p_person = '' THEN
        RETURN 'unknown_person';
    END IF;
    IF (p_approval).state <> 'open' THEN
        RETURN CASE WHEN (p_approval).state = 'expired' THEN 'expired' ELSE 'closed' END;
    END IF;
    IF (p_approval).expires_at <= p_now THEN
        RETURN 'expired';
    END IF;
    SELECT array_agg(DISTINCT m.role) INTO v_roles FROM control.membership m
        WHERE m.tenant = p_tenant AND (m.member = p_person OR m.member = ANY (p_groups));
    IF v_roles IS NULL THEN
        RETURN 'unknown_person';
    END IF;
    SELECT * INTO f FROM control.floor WHERE tenant = p_tenant AND tool IN ((p_approval).tool, '*') ORDER BY tool = '*' LIMIT 1;
    IF NOT v_roles && ARRAY(SELECT jsonb_object_keys((p_approval).requirement -> 'quorum'))
       OR (f.tool IS NOT NULL AND NOT v_roles && f.roles) THEN
        RETURN 'not_in_role';
    END IF;
    IF ((p_approval).requirement -> 'not_by' ? 'requester' OR 'requester' = ANY (f.not_by)) AND
       control.asked_for((p_approval).approval_id, p_person) THEN
        RETURN 'is_requester';
    END IF;
    IF ((p_approval).requirement ->> 'comment_required')::boolean AND coalesce(p_comment, '') !~ '\S' THEN
        RETURN 'comment_missing';
    END IF;
    IF EXISTS (SELECT 1 FROM control.vote v WHERE v.approval_id = (p_approval).approval_id AND v.person = p_person) THEN
        RETURN 'already_voted';
    END IF;
    RETURN NULL;
END
$$;

-- The votes are enough: the grant, usable until its time is over, and the action that waits for it. All three rows are locked.
CREATE FUNCTION control.grant_request(p_approval control.approval, p_requirement jsonb, p_comment text, p_now timestamptz) RETURNS void
    LANGUAGE sql AS $$
SELECT control.close_approval((p_approval).approval_id, 'granted', p_now);
UPDATE control.approval SET requirement = p_requirement, comment = p_comment,
        execute_by = p_now + make_interval(secs => (p_requirement ->> 'execute_within_seconds')::double precision)
    WHERE approval_id = (p_approval).approval_id;
UPDATE control.action SET state = control.must_step(state, 'grant', kind)
    WHERE tenant = (p_approval).tenant AND key = (p_approval).key AND approval_id = (p_approval).approval_id AND state = 'needs_approval';
$$;

-- Tell the workers that listen which runs wait for an action that something happened to. One notification at most, delivered
-- with the caller's commit and never inside claim or settle: whoever notifies waits at its commit for all others that do.
CREATE FUNCTION control.notify_waiters(p_tenant text, p_key bytea) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    v_runs uuid[] := ARRAY(SELECT run_id FROM control.waiter WHERE tenant = p_tenant AND key = p_key LIMIT 201);
BEGIN
    -- A payload holds 8000 bytes. With more runs than that the workers look for themselves.
    IF cardinality(v_runs) > 0 THEN
        PERFORM pg_notify('control_wake', CASE WHEN cardinality(v_runs) <= 200 THEN array_to_string(v_runs, ',') ELSE '' END);
    END IF;
END
$$;

-- Vote on a request. A refused vote changes nothing and is recorded.
CREATE FUNCTION control.vote_v1(p_approval uuid, p_decision text, p_comment text, p_person text, p_body bytea) RETURNS control.vote_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver');
    v_person text;
    ap control.approval;
    a control.action;
    v_run uuid;
    v_key bytea;
    v_now timestamptz;
    v_events text[];
    v_roles text[];
    v_out control.vote_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_decision IN ('approve', 'reject') AND p_approval IS NOT NULL AND length(p_body) <= control.body_bytes_max()
        AND coalesce(length(p_comment), 0) <= 10000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a vote that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_person := CASE WHEN l.may_name_person AND p_person IS NOT NULL THEN p_person ELSE l.person END;
    v_out.approval_id := p_approval;
    v_out.answer := 'refused';
    SELECT run_id, key INTO v_run, v_key FROM control.approval WHERE approval_id = p_approval AND tenant = l.tenant;
    IF v_run IS NULL THEN
        v_out.reason := 'unknown_request';
        RETURN v_out;
    END IF;
    PERFORM 1 FROM control.run_state WHERE run_id = v_run FOR UPDATE;
    SELECT * INTO a FROM control.action WHERE tenant = l.tenant AND key = v_key FOR UPDATE;
    SELECT * INTO ap FROM control.approval WHERE approval_id = p_approval FOR UPDATE;
    v_now := control.clock();
    IF EXISTS (SELECT 1 FROM control.vote v WHERE v.approval_id = p_approval AND v.person = v_person AND v.login = session_user
               AND v.decision = p_decision AND v.comment IS NOT DISTINCT FROM p_comment) THEN
        -- The same word again: a vote whose answer was lost was sent once more.
        v_out.answer := CASE ap.state WHEN 'open' THEN 'open' WHEN 'denied' THEN 'denied' ELSE 'granted' END;
        v_out.run_id := v_run;
        v_out.tool := ap.tool;
        v_out.expires_at := ap.expires_at;
        SELECT count(*) INTO v_out.votes FROM control.vote v WHERE v.approval_id = p_approval AND v.decision = 'approve';
        RETURN v_out;
    END IF;
    v_events := '{}';
    IF ap.state = 'open' AND ap.expires_at <= v_now AND control.after_expiry(ap.requirement) IS NOT NULL THEN
        ap := control.escalate(p_approval, v_now);
        v_events := ARRAY['approval.escalated'];
    END IF;
    IF p_person IS NOT NULL AND NOT l.may_name_person AND p_person IS DISTINCT FROM l.person THEN
        v_out.reason := 'not_yourself';
    ELSE
        v_out.reason := control.vote_refusal(l.tenant, ap, v_person, l.groups, p_comment, v_now);
    END IF;
    IF v_out.reason IS NOT NULL THEN
        v_events := v_events || ARRAY['approval.refused'];
        IF v_out.reason = 'expired' AND ap.state = 'open' THEN
            PERFORM control.close_approval(p_approval, 'expired', v_now);
            v_events := v_events || ARRAY['approval.expired'];
            IF a.approval_id = p_approval AND a.state = 'needs_approval' THEN
                UPDATE control.action SET state = control.must_step(state, 'deny', kind) WHERE tenant = l.tenant AND key = v_key;
            END IF;
        END IF;
    ELSE
        INSERT INTO control.vote (approval_id, person, decision, comment, login, groups, voted_at)
            VALUES (p_approval, v_person, p_decision, p_comment, session_user, l.groups, v_now);
        v_events := v_events || ARRAY['approval.voted'];
        v_out.answer := 'open';
        IF p_decision = 'reject' THEN
            v_out.answer := 'denied';
            PERFORM control.close_approval(p_approval, 'denied', v_now);
            UPDATE control.approval SET comment = p_comment WHERE approval_id = p_approval;
            v_events := v_events || ARRAY['approval.denied'];
        ELSIF control.satisfied(l.tenant, ap.tool, p_approval, ap.requirement) THEN
            v_out.answer := 'granted';
            PERFORM control.grant_request(ap, ap.requirement, p_comment, v_now);
            v_events := v_events || ARRAY['approval.granted'];
        END IF;
        IF v_out.answer = 'denied' AND a.approval_id = p_approval AND a.state = 'needs_approval' THEN
            UPDATE control.action SET state = control.must_step(state, 'deny', kind) WHERE tenant = l.tenant AND key = v_key;
        END IF;
    END IF;
    SELECT array_agg(DISTINCT m.role ORDER BY m.role) INTO v_roles FROM control.membership m
        WHERE m.tenant = l.tenant AND (m.member = v_person OR m.member = ANY (l.groups));
    PERFORM control.append(l.tenant, v_run, v_now, v_events,
        jsonb_build_object('approval', p_approval, 'tool', ap.tool, 'key', encode(v_key, 'hex'), 'digest', encode(ap.digest, 'hex'),
            'person', v_person, 'roles', v_roles, 'decision', p_decision, 'comment', p_comment, 'answer', v_out.answer,
            'reason', v_out.reason), p_body, NULL);
    IF v_out.answer IN ('granted', 'denied') OR 'approval.expired' = ANY (v_events) THEN
        PERFORM control.wake(l.tenant, v_key);
        PERFORM control.notify_waiters(l.tenant, v_key);
    END IF;
    v_out.run_id := v_run;
    v_out.tool := ap.tool;
    v_out.expires_at := ap.expires_at;
    SELECT count(*) INTO v_out.votes FROM control.vote v WHERE v.approval_id = p_approval AND v.decision = 'approve';
    RETURN v_out;
END
$$;

-- Do the votes on an open request meet what its tool can be asked for at most by the policy published now? Then they are enough,
-- whatever that policy would decide about this very call. Votes count as they were given: where comments or other people than the
-- requester are wanted only by now, they are not taken for more than they were.
CREATE FUNCTION control.meets_most(p_approval control.approval, p_most jsonb) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT CASE WHEN control.is_requirement(p_most)
    THEN ((p_approval).requirement -> 'not_by') @> (p_most -> 'not_by')
     AND ((p_approval).requirement ->> 'comment_required' = 'true' OR p_most ->> 'comment_required' = 'false')
     AND control.satisfied((p_approval).tenant, (p_approval).tool, (p_approval).approval_id, p_most)
    ELSE false END
$$;

-- Count again after a policy was published: grant the requests that have votes enough under it, and wake every run that waits for a
-- request with votes, so that its claim says what is required by now. p_most is what can be asked for at most, by tool.
-- Locks in the order of everywhere, all rows of one kind before any of the next, each kind in one order.
CREATE FUNCTION control.count_again(p_tenant text, p_most jsonb, p_body bytea) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    v_requests uuid[];
    v_keys bytea[];
    v_requirement jsonb;
    v_most jsonb;
    v_now timestamptz;
    ap control.approval;
BEGIN
    SELECT array_agg(a.approval_id), array_agg(a.key) INTO v_requests, v_keys
        FROM control.open_approval o JOIN control.approval a USING (approval_id)
        WHERE o.tenant = p_tenant
          AND EXISTS (SELECT 1 FROM control.vote v WHERE v.approval_id = a.approval_id AND v.decision = 'approve');
    PERFORM 1 FROM control.run_state WHERE run_id IN (SELECT run_id FROM control.approval WHERE approval_id = ANY (v_requests))
        ORDER BY run_id FOR UPDATE;
    PERFORM 1 FROM control.action WHERE tenant = p_tenant AND key = ANY (v_keys) ORDER BY key FOR UPDATE;
    PERFORM 1 FROM control.approval WHERE approval_id = ANY (v_requests) ORDER BY approval_id FOR UPDATE;
    v_now := control.clock();
    FOR ap IN SELECT * FROM control.approval
        WHERE approval_id = ANY (v_requests) AND state = 'open' AND expires_at > v_now ORDER BY requested_at, approval_id
    LOOP
        v_most := CASE WHEN p_most ? ap.tool THEN p_most -> ap.tool ELSE p_most -> '*' END;
        v_requirement := CASE
            WHEN control.satisfied(p_tenant, ap.tool, ap.approval_id, ap.requirement) THEN ap.requirement
            WHEN control.meets_most(ap, v_most) THEN jsonb_set(ap.requirement, '{quorum}', v_most -> 'quorum') END;
        IF v_requirement IS NOT NULL THEN
            PERFORM control.grant_request(ap, v_requirement, NULL, v_now);
            PERFORM control.append(p_tenant, ap.run_id, v_now, ARRAY['approval.granted'],
                jsonb_build_object('approval', ap.approval_id, 'tool', ap.tool, 'key', encode(ap.key, 'hex'),
                    'digest', encode(ap.digest, 'hex'), 'answer', 'granted', 'reason', 'policy_published'), p_body, NULL);
        END IF;
    END LOOP;
    INSERT INTO control.run_wake AS w (run_id, generation)
        SELECT DISTINCT run_id, 1 FROM control.waiter WHERE tenant = p_tenant AND key = ANY (v_keys) ORDER BY run_id
        ON CONFLICT (run_id) DO UPDATE SET generation = w.generation + 1;
END
$$;

CREATE TYPE control.approval_row AS (
    approval_id uuid, run_id uuid, tool text, digest bytea, requirement jsonb, card bytea, state text,
    requested_at timestamptz, expires_at timestamptz, execute_by timestamptz, closed_at timestamptz, comment text,
    intent text, trigger text, actor text, on_behalf_of text, voters text[]
);

-- One request as a row for people.
CREATE FUNCTION control.approval_row(p_approval control.approval) RETURNS control.approval_row
    LANGUAGE sql STABLE AS $$
SELECT ROW((p_approval).approval_id, (p_approval).run_id, (p_approval).tool, (p_approval).digest, (p_approval).requirement,
           (p_approval).card, CASE WHEN (p_approval).state = 'open' AND (p_approval).expires_at <= control.clock()
                                        AND control.after_expiry((p_approval).requirement) IS NULL THEN 'expired'
                                   ELSE (p_approval).state END,
           (p_approval).requested_at, (p_approval).expires_at, (p_approval).execute_by, (p_approval).closed_at, (p_approval).comment,
           r.intent, r.trigger, r.actor, r.on_behalf_of,
           ARRAY(SELECT v.person || ':' || v.decision FROM control.vote v WHERE v.approval_id = (p_approval).approval_id ORDER BY v.voted_at)
       )::control.approval_row
FROM control.run r WHERE r.run_id = (p_approval).run_id
$$;

-- The open requests of the caller's tenant, oldest first.
CREATE FUNCTION control.inbox_v1(p_limit integer) RETURNS SETOF control.approval_row
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT (control.approval_row(a)).* FROM (
    SELECT a.* FROM control.open_approval o JOIN control.approval a USING (approval_id)
    WHERE o.tenant = (control.caller('approver', 'admin', 'auditor', 'agent')).tenant
      AND (a.expires_at > control.clock() OR control.after_expiry(a.requirement) IS NOT NULL)
    ORDER BY o.requested_at LIMIT p_limit) a
$$;

-- One request, open or closed.
CREATE FUNCTION control.approval_v1(p_approval uuid) RETURNS SETOF control.approval_row
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT (control.approval_row(a)).* FROM control.approval a
    WHERE a.approval_id = p_approval AND a.tenant = (control.caller('approver', 'admin', 'auditor', 'agent')).tenant
$$;
