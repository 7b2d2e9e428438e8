-- What people can do about a request beside yes and no: take a vote back, change what would be done, let somebody stand in for them,
-- and look afterwards at what one of them did alone. Approver logins only; locks as everywhere: run, action, approval.

-- Who speaks on an approver's login, and in which groups; the person is NULL where the login may not speak for them.
CREATE TYPE control.speaker AS (person text, groups text[]);

CREATE FUNCTION control.speaker_of(p_login control.login, p_person text, p_identity jsonb) RETURNS control.speaker
    LANGUAGE sql STABLE AS $$
SELECT ROW(CASE WHEN p_identity IS NOT NULL THEN CASE WHEN (p_login).may_name_person THEN p_identity ->> 'person' END
                WHEN p_person IS NULL OR p_person = (p_login).person THEN (p_login).person
                WHEN (p_login).may_name_person THEN p_person END,
           CASE WHEN p_identity IS NULL THEN (p_login).groups ELSE control.groups_of(p_identity) END)::control.speaker
$$;

-- Take one's yes back while nothing was done with it. A grant that is then not enough any more is a request again.
CREATE FUNCTION control.withdraw_vote_v1(p_approval uuid, p_comment text, p_person text, p_identity jsonb, p_body bytea)
    RETURNS control.vote_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver');
    v_who control.speaker := control.speaker_of(l, p_person, p_identity);
    ap control.approval;
    v_run uuid;
    v_key bytea;
    v_now timestamptz;
    v_out control.vote_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_approval IS NOT NULL AND coalesce(length(p_comment), 0) <= 10000 AND length(p_body) <= control.body_bytes_max()
        AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a withdrawal that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_out.approval_id := p_approval;
    v_out.answer := 'refused';
    SELECT run_id, key INTO v_run, v_key FROM control.approval WHERE approval_id = p_approval AND tenant = l.tenant;
    IF v_run IS NULL THEN
        v_out.reason := control.unknown_request(l, p_approval, 'withdraw', p_comment, v_who.person, p_identity, p_body);
        RETURN v_out;
    END IF;
    PERFORM 1 FROM control.run_state WHERE run_id = v_run FOR UPDATE;
    PERFORM 1 FROM control.action WHERE tenant = l.tenant AND key = v_key FOR UPDATE;
    SELECT * INTO ap FROM control.approval WHERE approval_id = p_approval FOR UPDATE;
    v_now := control.clock();
    v_out.reason := CASE
        WHEN v_who.person IS NULL THEN 'not_yourself'
        WHEN ap.used_at IS NOT NULL THEN 'used'
        WHEN ap.state NOT IN ('open', 'granted') THEN 'closed'
        WHEN NOT EXISTS (SELECT FROM control.vote v WHERE v.approval_id = p_approval AND v.person = v_who.person AND v.decision <> 'reject')
            THEN 'no_vote' END;
    IF v_out.reason IS NULL THEN
        DELETE FROM control.vote v WHERE v.approval_id = p_approval AND v.person = v_who.person;
        -- Nothing was done with it, so nothing is to be looked at; the record keeps that it was so.
        DELETE FROM control.review WHERE approval_id = p_approval AND broken_by = v_who.person AND closed_at IS NULL;
        v_out.answer := 'open';
        IF ap.state = 'granted' AND control.satisfied(l.tenant, ap.tool, p_approval, ap.requirement) THEN
            v_out.answer := 'granted';
        ELSIF ap.state = 'granted' THEN
            UPDATE control.approval SET state = 'open', closed_at = NULL, execute_by = NULL WHERE approval_id = p_approval;
            INSERT INTO control.open_approval (tenant, requested_at, approval_id) VALUES (l.tenant, ap.requested_at, p_approval)
                ON CONFLICT DO NOTHING;
        END IF;
    END IF;
    PERFORM control.append(l.tenant, v_run, v_now,
        ARRAY[CASE WHEN v_out.reason IS NULL THEN 'approval.vote_withdrawn' ELSE 'approval.refused' END],
        jsonb_build_object('approval', p_approval, 'tool', ap.tool, 'key', encode(v_key, 'hex'), 'digest', encode(ap.digest, 'hex'),
            'person', v_who.person, 'roles', control.roles_said(l, v_who.person, p_identity), 'identity', p_identity,
            'decision', 'withdraw', 'comment', p_comment, 'answer', v_out.answer, 'reason', v_out.reason), p_body, NULL);
    -- Whoever was told of the grant finds out at the claim; whoever waits for the request has nothing new to look at.
    v_out.run_id := v_run;
    v_out.tool := ap.tool;
    v_out.expires_at := ap.expires_at;
    SELECT count(*) INTO v_out.votes FROM control.vote v WHERE v.approval_id = p_approval AND v.decision <> 'reject';
    RETURN v_out;
END
$$;

-- Say with which arguments instead. The call takes them at its next claim: checked by the tool, decided afresh, asked about afresh.
CREATE FUNCTION control.edit_v1(
    p_approval uuid, p_changes jsonb, p_comment text, p_person text, p_identity jsonb, p_body bytea
) RETURNS control.vote_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver');
    v_who control.speaker := control.speaker_of(l, p_person, p_identity);
    ap control.approval;
    a control.action;
    e control.edit;
    v_run uuid;
    v_key bytea;
    v_asked bytea;
    v_now timestamptz;
    v_check control.vote_check;
    v_out control.vote_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_approval IS NOT NULL AND jsonb_typeof(p_changes) = 'object' AND p_changes <> '{}' AND octet_length(p_changes::text) <= 1048576
        AND coalesce(length(p_comment), 0) <= 10000 AND length(p_body) <= control.body_bytes_max()
        AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'an edit that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_out.approval_id := p_approval;
    v_out.answer := 'refused';
    SELECT run_id, key INTO v_run, v_key FROM control.approval WHERE approval_id = p_approval AND tenant = l.tenant;
    IF v_run IS NULL THEN
        v_out.reason := control.unknown_request(l, p_approval, 'edit', p_comment, v_who.person, p_identity, p_body);
        RETURN v_out;
    END IF;
    PERFORM 1 FROM control.run_state WHERE run_id = v_run FOR UPDATE;
    SELECT * INTO a FROM control.action WHERE tenant = l.tenant AND key = v_key FOR UPDATE;
    SELECT * INTO ap FROM control.approval WHERE approval_id = p_approval FOR UPDATE;
    v_now := control.clock();
    v_check := control.vote_refusal(l.tenant, ap, v_who.person, v_who.groups, 'approve', p_comment, v_now);
    v_out.reason := CASE
        WHEN v_who.person IS NULL THEN 'not_yourself'
        WHEN a.approval_id IS DISTINCT FROM p_approval THEN 'closed'
        WHEN a.started THEN 'has_begun'
        ELSE v_check.reason END;
    IF v_out.reason IS NULL THEN
        -- An edit of what an edit made adds to it. All edits of one request are of the call that it shows, also once the action has taken
        -- one of them up and nobody could be asked about that yet.
        SELECT * INTO e FROM control.edit WHERE edit_no = ap.edit_no;
        v_asked := (SELECT x.asked FROM control.edit x WHERE x.tenant = l.tenant AND x.key = v_key AND x.approval_id = p_approval
            ORDER BY x.edit_no LIMIT 1);
        INSERT INTO control.edit (tenant, key, approval_id, asked, changes, person, roles, delegation, delegator, comment, made_at)
            VALUES (l.tenant, v_key, p_approval, coalesce(e.asked, v_asked, a.args_hash), coalesce(e.changes, '{}') || p_changes,
                    v_who.person, v_check.roles, v_check.delegation, v_check.delegator, p_comment, v_now);
        v_out.answer := 'edited';
    END IF;
    PERFORM control.append(l.tenant, v_run, v_now,
        ARRAY[CASE WHEN v_out.reason IS NULL THEN 'approval.edited' ELSE 'approval.refused' END],
        jsonb_build_object('approval', p_approval, 'tool', ap.tool, 'key', encode(v_key, 'hex'), 'digest', encode(ap.digest, 'hex'),
            'person', v_who.person, 'roles', v_check.roles, 'identity', p_identity, 'decision', 'edit', 'comment', p_comment,
            'delegation', v_check.delegation, 'delegator', v_check.delegator, 'answer', v_out.answer, 'reason', v_out.reason), p_body,
        CASE WHEN v_out.reason IS NULL THEN convert_to(p_changes::text, 'UTF8') END);
    IF v_out.reason IS NULL THEN
        PERFORM control.wake(l.tenant, v_key);
        PERFORM control.notify_waiters(l.tenant, v_key);
    END IF;
    v_out.run_id := v_run;
    v_out.tool := ap.tool;
    v_out.expires_at := ap.expires_at;
    RETURN v_out;
END
$$;

-- What became of an edit: the call goes on with it under this args hash, or its tool does not take it. False: the run is another's now.
CREATE FUNCTION control.edit_taken_v1(p_run uuid, p_token bigint, p_edit bigint, p_became bytea, p_problem text, p_body bytea)
    RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    s control.run_state;
    e control.edit;
    a control.action;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (coalesce(length(p_became), 32) = 32 AND (p_became IS NULL) = (p_problem IS NOT NULL) AND coalesce(length(p_problem), 0) <= 2000
        AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'what cannot have become of an edit' USING ERRCODE = 'LC002';
    END IF;
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain' FOR UPDATE;
    IF s.run_id IS NULL OR s.token IS DISTINCT FROM p_token OR s.state <> 'running' THEN
        RETURN false;
    END IF;
    SELECT x.* INTO a FROM control.edit n JOIN control.action x ON x.tenant = n.tenant AND x.key = n.key
        WHERE n.edit_no = p_edit AND n.tenant = v_tenant FOR UPDATE OF x;
    SELECT * INTO e FROM control.edit WHERE edit_no = p_edit AND tenant = v_tenant;
    IF e.edit_no IS NULL OR e.void OR e.became = p_became THEN
        RETURN true;
    END IF;
    -- What was taken once has been asked about: it is not undone by another version of the tool that does not take it.
    IF p_problem IS NOT NULL AND e.became IS NULL THEN
        UPDATE control.edit SET void = true WHERE edit_no = p_edit;
        PERFORM control.append(v_tenant, p_run, control.clock(), ARRAY['approval.edit_refused'],
            jsonb_build_object('approval', e.approval_id, 'tool', a.tool, 'key', encode(e.key, 'hex'), 'person', e.person,
                'roles', e.roles, 'reason', p_problem), p_body, NULL);
    ELSIF p_became IS NOT NULL THEN
        UPDATE control.edit SET became = p_became WHERE edit_no = p_edit;
    END IF;
    RETURN true;
END
$$;

-- Let somebody vote in one's roles, or in one of them, until a date. Returns why not, or NULL.
CREATE FUNCTION control.delegate_v1(
    p_delegation uuid, p_to text, p_role text, p_until timestamptz, p_comment text, p_person text, p_identity jsonb, p_body bytea
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver');
    v_who control.speaker := control.speaker_of(l, p_person, p_identity);
    v_chain uuid := control.tenant_chain(l.tenant);
    v_roles text[];
    v_now timestamptz;
    v_reason text;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_delegation IS NOT NULL AND length(p_to) BETWEEN 1 AND 256 AND p_to ~ '\S' AND p_to !~* '^\s*group:'
        AND coalesce(length(p_role), 0) <= 256 AND p_until IS NOT NULL
        AND coalesce(length(p_comment), 0) <= 10000 AND length(p_body) <= control.body_bytes_max()
        AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a delegation that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    v_now := control.clock();
    v_roles := control.roles_said(l, v_who.person, p_identity);
    v_reason := CASE
        WHEN v_who.person IS NULL THEN 'not_yourself'
        WHEN lower(btrim(p_to)) = lower(btrim(v_who.person)) THEN 'to_yourself'
        WHEN cardinality(v_roles) = 0 THEN 'unknown_person'
        WHEN p_role IS NOT NULL AND NOT EXISTS (SELECT FROM control.membership m WHERE m.tenant = l.tenant AND m.role = p_role)
            THEN 'unknown_role'
        WHEN p_role <> ALL (v_roles) THEN 'not_your_role'
        WHEN p_until <= v_now THEN 'over_already'
        WHEN p_until > v_now + interval '366 days' THEN 'too_long' END;
    IF v_reason IS NULL THEN
        INSERT INTO control.delegation (delegation_id, tenant, from_person, from_groups, to_person, role, made_at, until, comment)
            VALUES (p_delegation, l.tenant, v_who.person, v_who.groups, p_to, p_role, v_now, p_until, p_comment)
            ON CONFLICT DO NOTHING;
        IF NOT FOUND THEN
            RETURN NULL;  -- sent again
        END IF;
    END IF;
    PERFORM control.append(l.tenant, v_chain, v_now,
        ARRAY[CASE WHEN v_reason IS NULL THEN 'delegation.given' ELSE 'delegation.refused' END],
        jsonb_build_object('delegation', p_delegation, 'person', v_who.person, 'roles', v_roles, 'identity', p_identity, 'to', p_to,
            'role', p_role, 'until', (extract(epoch FROM p_until) * 1000000)::bigint, 'comment', p_comment, 'reason', v_reason), p_body, NULL);
    RETURN v_reason;
END
$$;

-- End a delegation: by who gave it, or by an admin; anybody else's word is refused and on record. Votes given under it that nothing was done with yet do not count any more.
CREATE FUNCTION control.revoke_delegation_v1(p_delegation uuid, p_comment text, p_person text, p_identity jsonb, p_body bytea)
    RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver', 'admin');
    v_who control.speaker := control.speaker_of(l, p_person, p_identity);
    v_chain uuid := control.tenant_chain(l.tenant);
    d control.delegation;
    v_now timestamptz;
    v_reason text;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_delegation IS NOT NULL AND coalesce(length(p_comment), 0) <= 10000 AND length(p_body) <= control.body_bytes_max()
        AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a revocation that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    SELECT * INTO d FROM control.delegation WHERE delegation_id = p_delegation AND tenant = l.tenant FOR UPDATE;
    v_now := control.clock();
    v_reason := CASE
        WHEN d.delegation_id IS NULL THEN 'unknown_delegation'
        WHEN l.role <> 'admin' AND lower(btrim(v_who.person)) IS DISTINCT FROM lower(btrim(d.from_person)) THEN 'not_yours' END;
    IF v_reason IS NULL AND d.revoked_at IS NOT NULL THEN
        RETURN NULL;
    END IF;
    UPDATE control.delegation SET revoked_at = v_now WHERE delegation_id = p_delegation AND v_reason IS NULL;
    PERFORM control.append(l.tenant, v_chain, v_now,
        ARRAY[CASE WHEN v_reason IS NULL THEN 'delegation.revoked' ELSE 'delegation.refused' END],
        jsonb_build_object('delegation', p_delegation, 'person', coalesce(v_who.person, l.login::text),
            'roles', control.roles_said(l, v_who.person, p_identity), 'identity', p_identity, 'comment', p_comment, 'reason', v_reason), p_body, NULL);
    RETURN v_reason;
END
$$;

-- Who stands in for whom now.
CREATE FUNCTION control.delegations_v1() RETURNS SETOF control.delegation
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT d.* FROM control.delegation d WHERE d.tenant = (control.caller('approver', 'admin', 'auditor')).tenant
    AND d.revoked_at IS NULL AND d.until > control.clock() ORDER BY d.made_at
$$;

-- What was done on one person's word and nobody has looked at since, oldest first.
CREATE FUNCTION control.reviews_v1(p_limit integer) RETURNS SETOF control.approval_row
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT shown.* FROM (
    SELECT a.* FROM control.review w JOIN control.approval a USING (approval_id)
    WHERE w.tenant = (control.caller('approver', 'admin', 'auditor')).tenant AND w.closed_at IS NULL
    ORDER BY w.opened_at LIMIT p_limit) a CROSS JOIN LATERAL control.approval_row(a) shown
$$;

-- Say what one thinks of it afterwards: whoever could have been asked, and was not the one. Returns why not, or NULL.
CREATE FUNCTION control.review_v1(
    p_approval uuid, p_verdict text, p_comment text, p_person text, p_identity jsonb, p_body bytea
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver');
    v_who control.speaker := control.speaker_of(l, p_person, p_identity);
    ap control.approval;
    w control.review;
    v_now timestamptz;
    v_reason text;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_approval IS NOT NULL AND p_verdict IN ('accepted', 'objected') AND coalesce(length(p_comment), 0) <= 10000
        AND length(p_body) <= control.body_bytes_max() AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a review that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    SELECT * INTO ap FROM control.approval WHERE approval_id = p_approval AND tenant = l.tenant;
    IF ap.approval_id IS NULL THEN
        RETURN control.unknown_request(l, p_approval, 'review', p_comment, v_who.person, p_identity, p_body);
    END IF;
    PERFORM 1 FROM control.run_state WHERE run_id = ap.run_id FOR UPDATE;
    SELECT * INTO w FROM control.review WHERE approval_id = p_approval FOR UPDATE;
    v_now := control.clock();
    v_reason := CASE
        WHEN v_who.person IS NULL THEN 'not_yourself'
        WHEN w.approval_id IS NULL THEN 'nothing_to_review'
        WHEN w.closed_at IS NOT NULL THEN 'closed'
        WHEN lower(btrim(v_who.person)) = lower(btrim(w.broken_by)) THEN 'broke_glass'
        WHEN NOT control.roles_of(l.tenant, v_who.person, v_who.groups) && w.roles
            THEN 'not_in_role'
        WHEN p_verdict = 'objected' AND coalesce(p_comment, '') !~ '\S' THEN 'comment_missing'
        ELSE control.kept_out(p_approval, v_who.person, ARRAY['requester']) END;
    IF v_reason IS NULL THEN
        UPDATE control.review SET verdict = p_verdict, person = v_who.person, comment = p_comment, closed_at = v_now
            WHERE approval_id = p_approval;
    END IF;
    PERFORM control.append(l.tenant, ap.run_id, v_now, ARRAY[CASE WHEN v_reason IS NULL THEN 'review.closed' ELSE 'review.refused' END],
        jsonb_build_object('approval', p_approval, 'tool', ap.tool, 'key', encode(ap.key, 'hex'), 'person', v_who.person,
            'roles', control.roles_said(l, v_who.person, p_identity), 'identity', p_identity, 'verdict', p_verdict,
            'comment', p_comment, 'reason', v_reason), p_body, NULL);
    RETURN v_reason;
END
$$;

REVOKE EXECUTE ON FUNCTION control.speaker_of, control.withdraw_vote_v1, control.edit_v1, control.edit_taken_v1, control.delegate_v1,
    control.revoke_delegation_v1, control.delegations_v1, control.reviews_v1, control.review_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.withdraw_vote_v1, control.edit_v1, control.delegate_v1, control.review_v1 TO control_approver;
GRANT EXECUTE ON FUNCTION control.revoke_delegation_v1 TO control_approver, control_admin;
GRANT EXECUTE ON FUNCTION control.delegations_v1, control.reviews_v1 TO control_approver, control_admin, control_auditor;
GRANT EXECUTE ON FUNCTION control.edit_taken_v1 TO control_agent;
