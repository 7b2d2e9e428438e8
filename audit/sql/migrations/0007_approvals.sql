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

-- Whether a person may vote, and by whose leave.
CREATE TYPE control.vote_check AS (
    reason text,  -- NULL: they may
    delegation uuid,
    delegator text,
    roles text[]  -- in which they speak: their own, or those that the delegation gives
);

-- Has this person spoken on a request, or has somebody for them?
CREATE FUNCTION control.has_spoken(p_approval uuid, p_person text) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT EXISTS (SELECT FROM control.vote v LEFT JOIN control.delegation d ON d.delegation_id = v.delegation
    WHERE v.approval_id = p_approval AND (lower(btrim(p_person)) = lower(btrim(v.person))
        -- A word that was given for somebody who has taken that leave back is not theirs any more.
        OR lower(btrim(p_person)) = lower(btrim(v.delegator)) AND cardinality(control.roles_given(d)) > 0))
$$;

-- Why this person may not vote on this request now, if anything stands against it; else by whose leave, where the person has no role
-- of their own that is asked.
CREATE FUNCTION control.vote_refusal(
    p_tenant text, p_approval control.approval, p_person text, p_groups text[], p_decision text, p_comment text, p_now timestamptz
) RETURNS control.vote_check
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_roles text[];
    v_asked text[];
    v_words text[];
    f control.floor;
    d control.delegation;
    v_out control.vote_check;
BEGIN
    v_roles := control.roles_of(p_tenant, p_person, p_groups);
    v_out.roles := v_roles;
    IF p_person IS NULL OR p_person = '' THEN
        v_out.roles := '{}';
        v_out.reason := 'unknown_person';
        RETURN v_out;
    END IF;
    IF (p_approval).state <> 'open' OR (p_approval).expires_at <= p_now THEN
        v_out.reason := CASE WHEN (p_approval).state IN ('open', 'expired') THEN 'expired' ELSE 'closed' END;
        RETURN v_out;
    END IF;
    SELECT * INTO f FROM control.floor WHERE tenant = p_tenant AND tool IN ((p_approval).tool, '*') ORDER BY tool = '*' LIMIT 1;
    v_words := ARRAY(SELECT jsonb_array_elements_text((p_approval).requirement -> 'not_by')) || coalesce(f.not_by, '{}')
        || CASE WHEN p_decision = 'break_glass' THEN ARRAY['requester'] ELSE '{}' END;
    v_asked := ARRAY(SELECT jsonb_object_keys((p_approval).requirement -> 'quorum'));
    IF p_decision = 'break_glass' THEN
        v_asked := ARRAY(SELECT jsonb_array_elements_text((p_approval).requirement -> 'break_glass') INTERSECT SELECT unnest(f.break_glass));
    ELSIF NOT v_roles && v_asked OR ((f.must OR cardinality(f.roles) > 0) AND NOT v_roles && f.roles) THEN
        SELECT x.* INTO d FROM control.delegation x CROSS JOIN LATERAL control.roles_given(x) given
            WHERE x.tenant = p_tenant AND x.to_person = p_person AND x.until > p_now
              AND given && v_asked AND ((f.must OR cardinality(f.roles) > 0) IS NOT TRUE OR given && f.roles)
              AND NOT control.has_spoken((p_approval).approval_id, x.from_person)
            ORDER BY control.kept_out((p_approval).approval_id, x.from_person, v_words) IS NOT NULL, x.made_at LIMIT 1;
        v_roles := CASE WHEN d.delegation_id IS NULL THEN v_roles ELSE control.roles_given(d) END;
    END IF;
    v_out.delegation := d.delegation_id;
    v_out.delegator := d.from_person;
    v_out.roles := v_roles;
    v_out.reason := CASE
        WHEN cardinality(v_roles) = 0 THEN 'unknown_person'
        WHEN p_decision = 'break_glass' AND cardinality(v_asked) = 0 THEN 'no_break_glass'
        WHEN NOT v_roles && v_asked THEN 'not_in_role'
        WHEN p_decision <> 'break_glass' AND (f.must OR cardinality(f.roles) > 0) AND NOT v_roles && f.roles THEN 'not_in_role'
        ELSE coalesce(control.kept_out((p_approval).approval_id, p_person, v_words),
                      control.kept_out((p_approval).approval_id, d.from_person, v_words)) END;
    IF v_out.reason IS NULL AND coalesce(p_comment, '') !~ '\S'
       AND (p_decision = 'break_glass' OR ((p_approval).requirement ->> 'comment_required')::boolean) THEN
        v_out.reason := 'comment_missing';
    END IF;
    IF v_out.reason IS NULL AND control.has_spoken((p_approval).approval_id, p_person) THEN
        v_out.reason := 'already_voted';
    END IF;
    RETURN v_out;
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

-- Does this say how a service found out who somebody is? Never with the credential itself.
CREATE FUNCTION control.is_identity(p_identity jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
SELECT CASE WHEN jsonb_typeof(p_identity) = 'object' AND jsonb_typeof(p_identity -> 'groups') = 'array' AND octet_length(p_identity::text) <= 65536
    THEN length(p_identity ->> 'person') BETWEEN 1 AND 256 AND p_identity ->> 'person' !~ '^\s*group:' AND length(p_identity ->> 'issuer') BETWEEN 1 AND 2000
         AND length(p_identity ->> 'subject') BETWEEN 1 AND 2000 AND (p_identity ->> 'credential') ~ '^[0-9a-f]{64}$'
         AND coalesce(length(p_identity ->> 'acr'), 0) <= 256
         AND NOT EXISTS (SELECT FROM jsonb_array_elements(p_identity -> 'groups') g WHERE jsonb_typeof(g) <> 'string')
    ELSE false END
$$;

-- The groups of an identity, as the policy's roles name them.
CREATE FUNCTION control.groups_of(p_identity jsonb) RETURNS text[]
    LANGUAGE sql IMMUTABLE AS $$
SELECT CASE WHEN jsonb_typeof(p_identity -> 'groups') = 'array'
    THEN ARRAY(SELECT 'group:' || g FROM jsonb_array_elements_text(p_identity -> 'groups') g ORDER BY g) ELSE '{}' END
$$;

-- The roles that somebody has who speaks on a login, for the record; nobody has none, and groups count as a service that may speak for
-- people found them out, else as the login's.
CREATE FUNCTION control.roles_said(p_login control.login, p_person text, p_identity jsonb) RETURNS text[]
    LANGUAGE sql STABLE AS $$
SELECT CASE WHEN p_person IS NULL THEN '{}' ELSE control.roles_of((p_login).tenant, p_person,
    CASE WHEN p_identity IS NOT NULL AND (p_login).may_name_person THEN control.groups_of(p_identity) ELSE (p_login).groups END) END
$$;
REVOKE EXECUTE ON FUNCTION control.roles_said FROM PUBLIC;

-- Put on record that somebody spoke on what there is not for their tenant: mistyped, or guessed. In the tenant's own chain, for there is no
-- other. Returns why it is refused.
CREATE FUNCTION control.note_unknown(
    p_login control.login, p_event text, p_reason text, p_what jsonb, p_person text, p_identity jsonb, p_body bytea
) RETURNS text
    LANGUAGE plpgsql AS $$
DECLARE
    v_chain uuid := control.tenant_chain((p_login).tenant);
BEGIN
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    PERFORM control.append((p_login).tenant, v_chain, control.clock(), ARRAY[p_event],
        p_what || jsonb_build_object('person', p_person, 'roles', control.roles_said(p_login, p_person, p_identity), 'identity', p_identity,
            'reason', p_reason), p_body, NULL);
    RETURN p_reason;
END
$$;

-- The same of a request.
CREATE FUNCTION control.unknown_request(
    p_login control.login, p_approval uuid, p_decision text, p_comment text, p_person text, p_identity jsonb, p_body bytea
) RETURNS text
    LANGUAGE sql AS $$
SELECT control.note_unknown(p_login, 'approval.refused', 'unknown_request', jsonb_build_object('approval', p_approval,
    'decision', p_decision, 'comment', p_comment, 'answer', 'refused'), p_person, p_identity, p_body)
$$;
REVOKE EXECUTE ON FUNCTION control.note_unknown, control.unknown_request FROM PUBLIC;

-- Vote on a request. A refused vote changes nothing and is recorded. p_identity is for the login of a service that authenticates people.
CREATE FUNCTION control.vote_v1(
    p_approval uuid, p_decision text, p_code text, p_comment text, p_person text, p_identity jsonb, p_body bytea
) RETURNS control.vote_answer
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
    v_groups text[] := CASE WHEN p_identity IS NULL THEN l.groups ELSE control.groups_of(p_identity) END;
    v_check control.vote_check;
    v_out control.vote_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_decision IN ('approve', 'reject', 'break_glass') AND (p_code IS NULL OR p_decision = 'reject' AND p_code IN
            ('wrong_amount', 'wrong_target', 'wrong_time', 'needs_information', 'not_needed', 'not_allowed')) AND p_approval IS NOT NULL AND length(p_body) <= control.body_bytes_max()
        AND coalesce(length(p_comment), 0) <= 10000 AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a vote that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    p_person := coalesce(p_identity ->> 'person', p_person);
    v_person := CASE WHEN l.may_name_person AND p_person IS NOT NULL THEN p_person ELSE l.person END;
    v_out.approval_id := p_approval;
    v_out.answer := 'refused';
    SELECT run_id, key INTO v_run, v_key FROM control.approval WHERE approval_id = p_approval AND tenant = l.tenant;
    IF v_run IS NULL THEN
        v_out.reason := control.unknown_request(l, p_approval, p_decision, p_comment, v_person, p_identity, p_body);
        RETURN v_out;
    END IF;
    PERFORM 1 FROM control.run_state WHERE run_id = v_run FOR UPDATE;
    SELECT * INTO a FROM control.action WHERE tenant = l.tenant AND key = v_key FOR UPDATE;
    SELECT * INTO ap FROM control.approval WHERE approval_id = p_approval FOR UPDATE;
    v_now := control.clock();
    IF ap.state IN ('open', 'denied', 'granted', 'used')
       AND EXISTS (SELECT 1 FROM control.vote v WHERE v.approval_id = p_approval AND v.person = v_person AND v.login = session_user
               AND v.decision = p_decision AND v.comment IS NOT DISTINCT FROM p_comment) THEN
        -- The same word again: a vote whose answer was lost was sent once more.
        v_out.answer := CASE WHEN ap.state IN ('open', 'denied') THEN ap.state ELSE 'granted' END;
        v_out.run_id := v_run;
        v_out.tool := ap.tool;
        v_out.expires_at := ap.expires_at;
        SELECT count(*) INTO v_out.votes FROM control.vote v WHERE v.approval_id = p_approval AND v.decision <> 'reject';
        RETURN v_out;
    END IF;
    v_events := '{}';
    IF ap.state = 'open' AND ap.expires_at <= v_now AND control.after_expiry(ap.requirement) IS NOT NULL THEN
        ap := control.escalate(p_approval, v_now);
        v_events := ARRAY['approval.escalated'];
    END IF;
    IF NOT l.may_name_person AND (p_identity IS NOT NULL OR p_person IS NOT NULL AND p_person IS DISTINCT FROM l.person) THEN
        v_out.reason := 'not_yourself';
    ELSE
        v_check := control.vote_refusal(l.tenant, ap, v_person, v_groups, p_decision, p_comment, v_now);
        v_out.reason := v_check.reason;
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
        INSERT INTO control.vote (approval_id, person, decision, comment, login, groups, identity, delegation, delegator, voted_at)
            VALUES (p_approval, v_person, p_decision, p_comment, session_user, v_groups, p_identity, v_check.delegation,
                    v_check.delegator, v_now);
        v_events := v_events || ARRAY['approval.voted'];
        v_out.answer := 'open';
        IF p_decision = 'reject' THEN
            v_out.answer := 'denied';
            PERFORM control.close_approval(p_approval, 'denied', v_now);
            UPDATE control.approval SET comment = p_comment, code = p_code WHERE approval_id = p_approval;
            v_events := v_events || ARRAY['approval.denied'];
        ELSIF control.satisfied(l.tenant, ap.tool, p_approval, ap.requirement) THEN
            v_out.answer := 'granted';
            PERFORM control.grant_request(ap, ap.requirement, p_comment, v_now);
            v_events := v_events || ARRAY['approval.granted'];
            IF p_decision = 'break_glass' THEN
                -- What was looked at before was another emergency, taken back since; the record keeps what was said of it.
                INSERT INTO control.review (approval_id, tenant, opened_at, broken_by, roles)
                    VALUES (p_approval, l.tenant, v_now, v_person, ARRAY(SELECT jsonb_object_keys(ap.requirement -> 'quorum')))
                    ON CONFLICT (approval_id) DO UPDATE SET opened_at = excluded.opened_at, broken_by = excluded.broken_by, roles = excluded.roles,
                        verdict = NULL, person = NULL, comment = NULL, closed_at = NULL;
                v_events := v_events || ARRAY['approval.broke_glass', 'review.opened'];
            END IF;
        END IF;
        IF v_out.answer = 'denied' AND a.approval_id = p_approval AND a.state = 'needs_approval' THEN
            UPDATE control.action SET state = control.must_step(state, 'deny', kind) WHERE tenant = l.tenant AND key = v_key;
        END IF;
    END IF;
    PERFORM control.append(l.tenant, v_run, v_now, v_events,
        jsonb_build_object('approval', p_approval, 'tool', ap.tool, 'key', encode(v_key, 'hex'), 'digest', encode(ap.digest, 'hex'),
            'person', v_person, 'roles', coalesce(v_check.roles, control.roles_said(l, v_person, p_identity)), 'identity', p_identity,
            'decision', p_decision, 'code', p_code, 'comment', p_comment,
            'delegation', v_check.delegation, 'delegator', v_check.delegator, 'card', encode(sha256(ap.card), 'hex'),
            'answer', v_out.answer, 'reason', v_out.reason), p_body, NULL);
    IF v_out.answer IN ('granted', 'denied') OR 'approval.expired' = ANY (v_events) THEN
        PERFORM control.wake(l.tenant, v_key);
        PERFORM control.notify_waiters(l.tenant, v_key);
    END IF;
    v_out.run_id := v_run;
    v_out.tool := ap.tool;
    v_out.expires_at := ap.expires_at;
    SELECT count(*) INTO v_out.votes FROM control.vote v WHERE v.approval_id = p_approval AND v.decision <> 'reject';
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
          AND EXISTS (SELECT 1 FROM control.vote v WHERE v.approval_id = a.approval_id AND v.decision <> 'reject');
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
    intent text, trigger text, actor text, on_behalf_of text, voters text[],
    code text, supersedes uuid, edited_by text, in_review boolean
);

-- A card as JSON that Postgres can take apart: it holds no NUL, so another text stands for that one, which no card has in it.
CREATE FUNCTION control.card_read(p_card bytea) RETURNS text
    LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    IF position('\\u0000'::bytea IN p_card) = 0 THEN
        RETURN convert_from(p_card, 'UTF8');
    END IF;
    RETURN regexp_replace(convert_from(p_card, 'UTF8'), '(?<!\\)((?:\\\\)*)\\u0000', '\1' || encode(sha256(p_card), 'hex'), 'g');
EXCEPTION WHEN data_exception THEN
    RETURN '';
END
$$;

-- What was made of that, as what the card says.
CREATE FUNCTION control.card_written(p_card bytea, p_text text) RETURNS bytea
    LANGUAGE sql IMMUTABLE AS $$
SELECT convert_to(replace(p_text, encode(sha256(p_card), 'hex'), '\u0000'), 'UTF8')
$$;

-- What a card holds for some roles alone: one part for each.
CREATE FUNCTION control.card_parts(p_card jsonb) RETURNS SETOF jsonb
    LANGUAGE sql IMMUTABLE AS $$
SELECT part FROM jsonb_array_elements(
    CASE WHEN jsonb_typeof(p_card -> 'by_role' -> 'parts') = 'array' THEN p_card -> 'by_role' -> 'parts' ELSE '[]' END) part
$$;

-- A card as the calling login may see it: a record whose name is made of what the contract redacts is named to those who decide, and to
-- nobody else; of what is for some roles alone, only the roles are named (parts_v1 gives the rest to their people).
CREATE FUNCTION control.card_shown(p_card bytea) RETURNS bytea
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_text text;
    v_card jsonb;
    v_names boolean;
BEGIN
    IF position('"target_redacted":true'::bytea IN p_card) = 0 AND position('"by_role":'::bytea IN p_card) = 0 THEN
        RETURN p_card;
    END IF;
    v_text := control.card_read(p_card);
    v_card := control.read_json(convert_to(v_text, 'UTF8'));
    v_names := v_card -> 'where' -> 'target_redacted' IS DISTINCT FROM 'true'
        OR v_card -> 'where' -> 'target_by_role' IS DISTINCT FROM 'true'
           AND EXISTS (SELECT FROM control.login l WHERE l.login = session_user AND l.role = 'approver');
    IF v_names AND NOT v_card ? 'by_role' THEN
        RETURN p_card;
    END IF;
    -- Part by part: the order of the others stays, and with it the order of the arguments.
    RETURN coalesce((
        SELECT control.card_written(p_card, json_object_agg(part.key, CASE
            WHEN part.key = 'by_role'
            THEN (SELECT coalesce(json_agg(DISTINCT one ->> 'role'), '[]') FROM control.card_parts(v_card) one)
            WHEN part.key = 'where' AND NOT v_names AND json_typeof(part.value) = 'object'
            THEN jsonb_set(part.value::jsonb, '{target}', '"(redacted)"')::json
            ELSE part.value END ORDER BY part.place)::text)
        FROM json_each(CASE WHEN jsonb_typeof(v_card) = 'object' THEN v_text::json ELSE '{}' END)
            WITH ORDINALITY AS part (key, value, place)), ''::bytea);
END
$$;

-- What a request's card holds for the roles that somebody may speak in now, one part for each; NULL where it is nothing. On a login of their
-- own that is whose login it is, and nobody who is named there; a service that signs people in says who asks.
CREATE FUNCTION control.parts_v1(p_approval uuid, p_person text, p_groups text[]) RETURNS bytea
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver', 'admin', 'auditor');
    v_roles text[] := CASE
        WHEN l.role <> 'approver' THEN '{}'
        WHEN p_person IS NULL OR NOT l.may_name_person AND p_person = l.person
        THEN control.roles_spoken(l.tenant, l.person, l.groups, control.clock())
        WHEN l.may_name_person THEN control.roles_spoken(l.tenant, p_person, p_groups, control.clock()) ELSE '{}' END;
    v_card bytea := (SELECT a.card FROM control.approval a WHERE a.approval_id = p_approval AND a.tenant = l.tenant);
BEGIN
    -- As many as there are roles, whatever an agent stored.
    RETURN control.card_written(v_card, (SELECT jsonb_agg(part)::text FROM (
        SELECT DISTINCT ON (part ->> 'role') part FROM control.card_parts(control.read_json(convert_to(control.card_read(v_card), 'UTF8'))) part
        WHERE part ->> 'role' = ANY (v_roles) ORDER BY part ->> 'role') mine));
END
$$;
REVOKE EXECUTE ON FUNCTION control.card_shown, control.card_parts, control.card_read, control.card_written, control.parts_v1 FROM PUBLIC;

-- One request as a row for people.
CREATE FUNCTION control.approval_row(p_approval control.approval) RETURNS control.approval_row
    LANGUAGE sql STABLE AS $$
SELECT ROW((p_approval).approval_id, (p_approval).run_id, (p_approval).tool, (p_approval).digest, (p_approval).requirement,
           control.card_shown((p_approval).card), CASE WHEN (p_approval).state = 'open' AND (p_approval).expires_at <= control.clock()
                                        AND control.after_expiry((p_approval).requirement) IS NULL THEN 'expired'
                                   ELSE (p_approval).state END,
           (p_approval).requested_at, (p_approval).expires_at, (p_approval).execute_by, (p_approval).closed_at, (p_approval).comment,
           r.intent, r.trigger, r.actor, r.on_behalf_of,
           ARRAY(SELECT v.person || coalesce(' for ' || v.delegator, '') || ':' || v.decision
                 FROM control.vote v WHERE v.approval_id = (p_approval).approval_id ORDER BY v.voted_at),
           (p_approval).code, (p_approval).supersedes,
           (SELECT e.person || coalesce(' for ' || e.delegator, '') FROM control.edit e WHERE e.edit_no = (p_approval).edit_no),
           EXISTS (SELECT FROM control.review w WHERE w.approval_id = (p_approval).approval_id AND w.closed_at IS NULL)
       )::control.approval_row
FROM control.run r WHERE r.run_id = (p_approval).run_id
$$;

-- The open requests of the caller's tenant, oldest first.
CREATE FUNCTION control.inbox_v1(p_limit integer) RETURNS SETOF control.approval_row
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT shown.* FROM (
    SELECT a.* FROM control.open_approval o JOIN control.approval a USING (approval_id)
    WHERE o.tenant = (control.caller('approver', 'admin', 'auditor', 'agent')).tenant
      AND (a.expires_at > control.clock() OR control.after_expiry(a.requirement) IS NOT NULL)
    ORDER BY o.requested_at LIMIT p_limit) a
    CROSS JOIN LATERAL control.approval_row(a) shown  -- in the list of columns it would be called for each of them
$$;

-- One request, open or closed.
CREATE FUNCTION control.approval_v1(p_approval uuid) RETURNS SETOF control.approval_row
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT shown.* FROM control.approval a CROSS JOIN LATERAL control.approval_row(a) shown
    WHERE a.approval_id = p_approval AND a.tenant = (control.caller('approver', 'admin', 'auditor', 'agent')).tenant
$$;
