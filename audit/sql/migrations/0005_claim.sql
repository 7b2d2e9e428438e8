-- claim: asked before every effect; its answer is the only routing.
-- Locks, in this order everywhere: run, action, approval, run_wake.

CREATE TYPE control.claim_answer AS (
    answer text,             -- go | stored | wait | park | verify | stop | edit | stale
    reason text,             -- a stable word: see audit/asking/ledger.py
    state text,              -- of the action
    fence bigint,            -- rises with every lease of this action
    seq bigint,              -- the entry written, if one was
    attempts integer,
    digest bytea,            -- the digest that counts: frozen once an attempt has started
    payload bytea,           -- the arguments of that digest where they are not this call's own: exactly those run
    result bytea,
    error text,
    wait_ms integer,         -- until a lease ends, or until absence may be believed
    absence_counts boolean,
    approval_id uuid,
    expires_at timestamptz,
    comment text,            -- of the person who rejected, or who changed the arguments
    code text,               -- and the word for why
    edit_no bigint           -- a person changed the arguments: with what payload has, it is to be asked about instead
);

-- The yes on a request that stand now, of people as they are now: a vote of somebody who lost the login, the group or the role, or whose
-- leave was taken back, no longer counts.
CREATE FUNCTION control.yes_on(p_tenant text, p_tool text, p_approval uuid, p_requirement jsonb, p_run uuid DEFAULT NULL)
    RETURNS TABLE (person text, roles text[], counts boolean, alone boolean)  -- alone: in an emergency, it is enough by itself
    LANGUAGE sql STABLE AS $$
WITH floor AS (
    SELECT * FROM control.floor WHERE tenant = p_tenant AND tool IN (p_tool, '*') ORDER BY tool = '*' LIMIT 1
), words AS (
    SELECT ARRAY(SELECT jsonb_array_elements_text(p_requirement -> 'not_by')) || coalesce((SELECT not_by FROM floor), '{}') AS not_by
), yes AS (
    SELECT v.person, v.decision, v.comment, CASE WHEN v.delegation IS NULL
            THEN control.roles_of(p_tenant, v.person, CASE WHEN v.identity IS NULL THEN l.groups ELSE v.groups END)
            ELSE (SELECT control.roles_given(d) FROM control.delegation d WHERE d.delegation_id = v.delegation) END AS roles
    FROM control.vote v JOIN control.login l ON l.login = v.login AND l.tenant = p_tenant AND l.role = 'approver'
        AND (l.person = v.person OR l.may_name_person)
    WHERE v.approval_id = p_approval AND v.decision <> 'reject'
      -- Nor that of somebody who has asked for the same since, in another run, nor one given for such a person.
      AND control.kept_out(p_approval, v.person, (SELECT not_by FROM words), p_run) IS NULL
      AND (v.delegator IS NULL OR control.kept_out(p_approval, v.delegator, (SELECT not_by FROM words), p_run) IS NULL)
)
SELECT y.person, y.roles,
    y.roles && ARRAY(SELECT jsonb_object_keys(p_requirement -> 'quorum') UNION SELECT jsonb_object_keys(f.always -> 'quorum'))
        AND (coalesce(y.comment, '') ~ '\S' OR NOT (coalesce((p_requirement ->> 'comment_required')::boolean, false)
                                                    OR coalesce((f.always ->> 'comment_required')::boolean, false)))
        -- A floor that names no role means nobody, not anybody; but where it lets the write run unasked, whoever asks more may say whom.
        AND (NOT coalesce(f.must OR cardinality(f.roles) > 0, false) OR y.roles && f.roles),
    y.decision = 'break_glass' AND coalesce(y.roles && f.break_glass, false)
        AND y.roles && ARRAY(SELECT jsonb_array_elements_text(p_requirement -> 'break_glass'))
        AND control.kept_out(p_approval, y.person, ARRAY['requester'], p_run) IS NULL
FROM yes y LEFT JOIN floor f ON true
$$;

-- Does the tally of a request meet what is required now, by the request and by the published floor?
-- Role by role, people who are in the role now; and as many people as the roles ask for in all.
CREATE FUNCTION control.satisfied(
    p_tenant text, p_tool text, p_approval uuid, p_requirement jsonb, p_run uuid DEFAULT NULL
) RETURNS boolean
    LANGUAGE sql STABLE AS $$
WITH floor AS (
    SELECT * FROM control.floor WHERE tenant = p_tenant AND tool IN (p_tool, '*') ORDER BY tool = '*' LIMIT 1
), yes AS (
    SELECT * FROM control.yes_on(p_tenant, p_tool, p_approval, p_requirement, p_run)
), asked AS (
    -- What the caller says is required, and at least what every call of the tool needs.
    SELECT role, max(people) AS people FROM (
        SELECT key AS role, value::integer AS people FROM jsonb_each_text(p_requirement -> 'quorum')
        UNION ALL SELECT key, value::integer FROM floor CROSS JOIN LATERAL jsonb_each_text(floor.always -> 'quorum')) each
    GROUP BY role
)
SELECT EXISTS (SELECT 1 FROM asked)
   AND NOT EXISTS (SELECT 1 FROM asked WHERE (SELECT count(*) FROM yes WHERE counts AND asked.role = ANY (yes.roles)) < asked.people)
   AND (SELECT count(*) FROM yes WHERE counts) >= greatest(
        (SELECT sum(people) FROM asked), coalesce((SELECT quorum FROM floor), 0))
    -- Or one person of those who may in an emergency, by the rule and by what is published.
    OR EXISTS (SELECT FROM yes WHERE alone)
$$;

-- Close a request that was neither used nor decided.
CREATE FUNCTION control.close_approval(p_approval uuid, p_state text, p_now timestamptz) RETURNS void
    LANGUAGE sql AS $$
DELETE FROM control.open_approval o USING control.approval a
    WHERE a.approval_id = p_approval AND o.approval_id = a.approval_id AND o.tenant = a.tenant AND o.requested_at = a.requested_at;
UPDATE control.approval SET state = p_state, closed_at = p_now WHERE approval_id = p_approval;
$$;

-- What is asked once nobody answered in time: others, with a time of their own; NULL where the request is denied then.
CREATE FUNCTION control.after_expiry(p_requirement jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $$
SELECT CASE WHEN jsonb_typeof(p_requirement -> 'on_expiry') = 'object' THEN p_requirement || jsonb_build_object(
    'quorum', p_requirement -> 'on_expiry' -> 'escalate', 'within_seconds', p_requirement -> 'on_expiry' -> 'within_seconds',
    'on_expiry', CASE WHEN p_requirement -> 'on_expiry' ? 'again' THEN p_requirement -> 'on_expiry' ELSE '"deny"' END) END
$$;

-- What is asked where taking something back needs people: silence never decides. Whoever the policy names is asked next, else the same
-- people once more, and again after that.
CREATE FUNCTION control.kept_open(p_requirement jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $$
SELECT p_requirement || jsonb_build_object('on_expiry', jsonb_build_object(
    'escalate', coalesce(p_requirement -> 'on_expiry' -> 'escalate', p_requirement -> 'quorum'),
    'within_seconds', coalesce(p_requirement -> 'on_expiry' -> 'within_seconds', p_requirement -> 'within_seconds'), 'again', true))
$$;

-- Put an open request whose time is over to the others it names. Votes that were given stay; whose role is asked now, counts.
CREATE FUNCTION control.escalate(p_approval uuid, p_now timestamptz) RETURNS control.approval
    LANGUAGE sql AS $$
UPDATE control.approval SET requirement = control.after_expiry(requirement), escalated = true,
        expires_at = p_now + make_interval(secs => (requirement -> 'on_expiry' ->> 'within_seconds')::double precision)
    WHERE approval_id = p_approval RETURNING *
$$;

-- What a claim finds out about the grant of an action.
CREATE TYPE control.grant_check AS (
    verdict text,            -- pass | park | stop
    reason text,
    events text[],
    approval_id uuid,
    digest bytea,            -- of the request: what runs is what people saw, in their words
    expires_at timestamptz,
    comment text,
    code text
);

-- Is there a grant for this action, digest and instant? Opens, supersedes and expires requests on the way.
CREATE FUNCTION control.check_grant(
    p_tenant text, p_action control.action, p_run uuid, p_key bytea, p_tool text, p_scope bytea, p_digest bytea,
    p_requirement jsonb, p_card bytea, p_now timestamptz, p_keeps_digest boolean, p_edit bigint
) RETURNS control.grant_check
    LANGUAGE plpgsql AS $$
DECLARE
    ap control.approval;
    v_requirement jsonb;
    v_same boolean;
    v_out control.grant_check;
BEGIN
    v_out.events := '{}';
    IF p_action.approval_id IS NOT NULL THEN
        SELECT * INTO ap FROM control.approval WHERE approval_id = p_action.approval_id FOR UPDATE;
    END IF;
    IF ap.state = 'open' AND ap.expires_at <= p_now AND control.after_expiry(ap.requirement) IS NOT NULL THEN
        ap := control.escalate(ap.approval_id, p_now);
        v_out.events := ARRAY['approval.escalated'];
    END IF;
    -- The same change in other words is the same request, unless people wrote the words, or are yet to be shown any.
    v_same := p_keeps_digest AND ap.digest = p_digest OR ap.scope = p_scope AND (ap.digest = p_digest
        OR p_keeps_digest OR NOT (coalesce(p_edit > coalesce(ap.edit_no, 0), false) OR ap.card = ''::bytea AND p_card IS NOT NULL));
    -- Who is asked for another change, or anew after a request that came to nothing, is asked from the beginning.
    IF ap.escalated AND v_same AND ap.state IN ('open', 'granted', 'used') THEN
        p_requirement := coalesce(control.after_expiry(p_requirement), p_requirement);
    END IF;
    v_requirement := coalesce(p_requirement, ap.requirement);
    IF v_same THEN
        IF p_requirement IS NOT NULL AND ap.requirement <> p_requirement AND ap.state <> 'used' THEN
            -- What is required is what is required now; what was granted stays.
            UPDATE control.approval SET requirement = p_requirement WHERE approval_id = ap.approval_id;
        END IF;
        IF ap.card = ''::bytea AND p_card IS NOT NULL THEN
            UPDATE control.approval SET card = p_card WHERE approval_id = ap.approval_id;
        END IF;
        IF p_edit > coalesce(ap.edit_no, 0) THEN
            UPDATE control.approval SET edit_no = p_edit WHERE approval_id = ap.approval_id;
        END IF;
        v_out.approval_id := ap.approval_id;
        v_out.digest := ap.digest;
        v_out.expires_at := ap.expires_at;
        v_out.comment := ap.comment;
        v_out.code := ap.code;
        IF ap.state IN ('granted', 'used') AND ap.execute_by > p_now
           AND coalesce(ap.closed_at + make_interval(secs => (v_requirement ->> 'execute_within_seconds')::double precision) > p_now, true) THEN
            IF control.satisfied(p_tenant, p_tool, ap.approval_id, v_requirement, p_run) THEN
                v_out.verdict := 'pass';
                RETURN v_out;
            ELSIF ap.expires_at > p_now OR ap.state = 'granted' THEN
                -- For what is missing there is the time to answer anew, where that is over: what was granted stays.
                UPDATE control.approval SET state = 'open', closed_at = NULL, requirement = v_requirement,
                        expires_at = CASE WHEN ap.expires_at > p_now THEN ap.expires_at ELSE
                            p_now + make_interval(secs => (v_requirement ->> 'within_seconds')::double precision) END
                    WHERE approval_id = ap.approval_id RETURNING expires_at INTO v_out.expires_at;
                INSERT INTO control.open_approval (tenant, requested_at, approval_id)
                    VALUES (p_tenant, ap.requested_at, ap.approval_id) ON CONFLICT DO NOTHING;
                v_out.verdict := 'park';
                v_out.reason := 'needs_approval';
                RETURN v_out;
            END IF;
        ELSIF ap.state = 'open' AND ap.expires_at > p_now THEN
            v_out.verdict := 'park';
            v_out.reason := 'needs_approval';
            RETURN v_out;
        ELSIF ap.state = 'open' THEN
            PERFORM control.close_approval(ap.approval_id, 'expired', p_now);
            v_out.events := v_out.events || ARRAY['approval.expired'];
            v_out.verdict := 'stop';
            v_out.reason := 'approval_expired';
            RETURN v_out;
        ELSIF ap.state = 'denied' THEN
            v_out.verdict := 'stop';
            v_out.reason := 'rejected';
            RETURN v_out;
        ELSIF ap.state = 'expired' AND ap.run_id = p_run THEN
            v_out.verdict := 'stop';
            v_out.reason := 'approval_expired';
            RETURN v_out;
        END IF;
    END IF;
    -- Nothing usable. An effect that may have begun cannot be asked about afresh: its digest is frozen.
    IF p_keeps_digest THEN
        v_out.verdict := 'park';
        v_out.reason := 'grant_used_up';
        RETURN v_out;
    END IF;
    IF ap.state = 'open' OR ap.state = 'granted' THEN
        PERFORM control.close_approval(ap.approval_id, CASE WHEN v_same THEN 'expired' ELSE 'superseded' END, p_now);
        v_out.events := v_out.events || ARRAY[CASE WHEN v_same THEN 'approval.expired' ELSE 'approval.superseded' END];
    END IF;
    -- A run that floods people with requests gets no more of their time.
    IF EXISTS (SELECT FROM control.tenant t WHERE t.tenant = p_tenant AND (
            (SELECT count(*) FROM (SELECT FROM control.approval o WHERE o.run_id = p_run AND o.state = 'open' AND o.expires_at > p_now
                                   LIMIT t.open_per_run) waiting) >= t.open_per_run
            OR (SELECT count(*) FROM (SELECT FROM control.open_approval o WHERE o.tenant = p_tenant
                                      LIMIT t.open_per_tenant) listed) >= t.open_per_tenant
               -- Those whose time is over wait for nobody, though nobody has closed them yet.
               AND (SELECT count(*) FROM control.open_approval o JOIN control.approval a USING (approval_id)
                    WHERE o.tenant = p_tenant AND (a.expires_at > p_now OR control.after_expiry(a.requirement) IS NOT NULL))
                   >= t.open_per_tenant)) THEN
        v_out.approval_id := NULL;
        v_out.verdict := 'stop';
        v_out.reason := 'too_many_requests';
        RETURN v_out;
    END IF;
    v_out.approval_id := gen_random_uuid();
    v_out.digest := p_digest;
    v_out.comment := NULL;
    v_out.code := NULL;
    v_out.expires_at := p_now + make_interval(secs => (v_requirement ->> 'within_seconds')::double precision);
    INSERT INTO control.approval (approval_id, tenant, key, run_id, tool, scope, digest, requirement, card, state, requested_at, expires_at,
            supersedes, edit_no)
        VALUES (v_out.approval_id, p_tenant, p_key, p_run, p_tool, p_scope, p_digest, v_requirement, coalesce(p_card, ''::bytea), 'open', p_now,
                v_out.expires_at, CASE WHEN 'approval.superseded' = ANY (v_out.events) THEN ap.approval_id END, p_edit);
    INSERT INTO control.open_approval (tenant, requested_at, approval_id) VALUES (p_tenant, p_now, v_out.approval_id);
    v_out.events := v_out.events || ARRAY['approval.requested'];
    v_out.verdict := 'park';
    v_out.reason := 'needs_approval';
    RETURN v_out;
END
$$;

-- What holds this write back now: a freeze before all, else whatever lasts longest. A breaker is told even when its time is over.
CREATE FUNCTION control.brake_on(p_tenant text, p_run uuid, p_system text, p_tool text, p_now timestamptz) RETURNS SETOF control.brake
    LANGUAGE sql STABLE AS $$
SELECT b.* FROM control.brake b WHERE b.tenant = p_tenant AND (b.until > p_now OR b.cause = 'breaker') AND (
    b.scope = 'tenant' OR b.scope = 'tool' AND b.name = p_tool OR b.scope = 'system' AND b.name = p_system
    OR b.scope = 'agent' AND b.name = (SELECT r.actor FROM control.run r WHERE r.run_id = p_run))
ORDER BY b.cause IN ('freeze', 'restored') DESC, b.until DESC LIMIT 1
$$;

-- Are these charges that can be counted? Each says which limit, whose, how much, of how much, in how many seconds (null: for ever).
CREATE FUNCTION control.are_charges(p_charges jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
SELECT jsonb_typeof(p_charges) = 'array' AND jsonb_array_length(p_charges) BETWEEN 1 AND 100 AND NOT EXISTS (
    SELECT FROM jsonb_array_elements(p_charges) c
    WHERE (length(c ->> 'name') BETWEEN 1 AND 2000 AND c ->> 'amount' ~ '^[0-9]{1,200}(\.[0-9]{1,200})?$'
           AND c ->> 'max' ~ '^[0-9]{1,200}(\.[0-9]{1,200})?$'
           AND (c -> 'seconds' = 'null' OR c ->> 'seconds' ~ '^[1-9][0-9]{0,8}$')) IS NOT TRUE)
$$;

-- Take an action's part of each budget, all or none. NULL: taken. Else how long until there may be room, in milliseconds; 0: never.
-- An action counts once, however often it is tried; an unknown outcome keeps its part.
CREATE FUNCTION control.charge_for(p_tenant text, p_run uuid, p_key bytea, p_charges jsonb, p_now timestamptz) RETURNS bigint
    LANGUAGE plpgsql AS $$
DECLARE
    c record;
    v_spent numeric;
    v_oldest timestamptz;
BEGIN
    FOR c IN SELECT x ->> 'name' AS name, (x ->> 'amount')::numeric AS amount, (x ->> 'max')::numeric AS most,
                    (x ->> 'seconds')::integer * interval '1 s' AS span
             FROM jsonb_array_elements(p_charges) x ORDER BY 1
    LOOP
        INSERT INTO control.budget (tenant, name) VALUES (p_tenant, c.name) ON CONFLICT DO NOTHING;
        PERFORM 1 FROM control.budget WHERE tenant = p_tenant AND name = c.name FOR UPDATE;
        SELECT coalesce(sum(amount), 0), min(at) INTO v_spent, v_oldest FROM control.charge
            WHERE tenant = p_tenant AND name = c.name AND key <> p_key AND (c.span IS NULL OR at > p_now - c.span);
        IF v_spent + c.amount > c.most THEN
            RETURN CASE WHEN c.span IS NULL OR c.amount > c.most THEN 0
                        ELSE greatest(1, ceil(extract(epoch FROM v_oldest + c.span - p_now) * 1000))::bigint END;
        END IF;
    END LOOP;
    -- Another attempt counts from now on: a span that ends later must not miss what may happen only now.
    INSERT INTO control.charge (tenant, name, key, amount, at)
        SELECT DISTINCT ON (x ->> 'name') p_tenant, x ->> 'name', p_key, (x ->> 'amount')::numeric, p_now
        FROM jsonb_array_elements(p_charges) x ORDER BY x ->> 'name'
        ON CONFLICT (tenant, name, key) DO UPDATE SET amount = excluded.amount, at = excluded.at;
    RETURN NULL;
END
$$;

-- Roles, each with a number of people.
CREATE FUNCTION control.is_quorum(p_quorum jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
SELECT jsonb_typeof(p_quorum) = 'object' AND (
    SELECT count(*) > 0 AND bool_and(CASE WHEN jsonb_typeof(value) = 'number' THEN value::text ~ '^[1-9][0-9]{0,3}$' ELSE false END)
    FROM jsonb_each(CASE WHEN jsonb_typeof(p_quorum) = 'object' THEN p_quorum ELSE '{}'::jsonb END))
$$;

-- Is this a requirement that people can meet? What an agent asserts is checked here; what it may not lower is in the floor.
CREATE FUNCTION control.is_requirement(p_requirement jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
SELECT CASE WHEN jsonb_typeof(p_requirement) = 'object' AND jsonb_typeof(p_requirement -> 'quorum') = 'object'
             AND jsonb_typeof(p_requirement -> 'not_by') = 'array'
             AND jsonb_typeof(p_requirement -> 'comment_required') = 'boolean'
             AND jsonb_typeof(p_requirement -> 'within_seconds') = 'number'
             AND jsonb_typeof(p_requirement -> 'execute_within_seconds') = 'number'
    THEN control.is_quorum(p_requirement -> 'quorum')
         AND coalesce(jsonb_typeof(p_requirement -> 'break_glass') = 'array', true)
         AND (p_requirement -> 'on_expiry' = '"deny"' OR control.is_quorum(p_requirement -> 'on_expiry' -> 'escalate')
              AND (p_requirement -> 'on_expiry' ->> 'within_seconds') ~ '^[1-9][0-9]{0,8}$')
         AND (p_requirement ->> 'within_seconds') ~ '^[1-9][0-9]{0,8}$'
         AND (p_requirement ->> 'execute_within_seconds') ~ '^[1-9][0-9]{0,8}$'
    ELSE false END
$$;

-- Does this say which step of which saga a claim is for, and what it takes back, if anything?
CREATE FUNCTION control.is_saga_step(p_saga jsonb) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
SELECT jsonb_typeof(p_saga) = 'object' AND (p_saga ->> 'id') ~ '^[0-9a-f]{64}$' AND length(p_saga ->> 'name') BETWEEN 1 AND 256
   AND (p_saga ->> 'step') ~ '^[1-9][0-9]{0,3}$' AND coalesce(p_saga ->> 'undoes', repeat('0', 64)) ~ '^[0-9a-f]{64}$'
$$;

-- Has this action been taken back, or may that be under way?
CREATE FUNCTION control.taken_back(p_tenant text, p_key bytea) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT EXISTS (SELECT FROM control.action u WHERE u.tenant = p_tenant AND u.undoes = p_key
               AND u.state IN ('executing', 'unknown', 'verifying', 'succeeded'))
$$;

-- Is a saga being taken back, or has it been?
CREATE FUNCTION control.being_undone(p_tenant text, p_saga bytea) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT EXISTS (SELECT FROM control.saga_step t JOIN control.action u ON u.tenant = t.tenant AND u.undoes = t.key
               WHERE t.tenant = p_tenant AND t.saga = p_saga)
$$;

-- Every case of a claim. The ordinary one has a shorter way, and comes here whenever it is not quite that.
CREATE FUNCTION control.claim_any(
    p_run uuid, p_token bigint, p_attempt uuid, p_key bytea, p_args_hash bytea, p_scope bytea, p_digest bytea,
    p_verb text,
    p_requirement jsonb, p_tool text, p_system text, p_impact text, p_kind text, p_fallback_kind text, p_lease_ms integer, p_keyed_ms bigint,
    p_visible_ms bigint, p_attempts_max integer, p_same_max integer, p_give_up_ms bigint, p_calls_max integer, p_retry_ms_max bigint,
    p_charges jsonb, p_saga jsonb, p_call text, p_body bytea, p_payload bytea, p_card bytea, p_edit bigint
) RETURNS control.claim_answer
    LANGUAGE plpgsql AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    v_undoes bytea := decode(p_saga ->> 'undoes', 'hex');
    v_ended text;
    v_heeds_end boolean;
    s control.run_state;
    a control.action;
    f control.floor;
    g control.grant_check;
    v_brake control.brake;
    v_probe boolean := false;
    v_over text;
    v_pause_ms bigint;
    v_last_try timestamptz;
    v_requirement jsonb;
    v_now timestamptz;
    v_fresh boolean;
    v_elsewhere boolean;
    v_was text;
    v_frozen boolean;
    v_listed boolean;
    v_kind text;
    v_digest bytea;
    v_payload bytea;
    v_events text[];
    v_note text;
    v_last text;
    v_out control.claim_answer;
BEGIN
    -- 0. What cannot be a claim spoils nothing: it is refused before it touches a row.
    IF (p_token IS NOT NULL AND p_attempt IS NOT NULL AND length(p_key) = 32 AND length(p_args_hash) = 32
        AND coalesce(length(p_digest), 32) = 32 AND coalesce(length(p_scope), 32) = 32 AND (p_scope IS NULL) = (p_digest IS NULL)
        AND p_verb IN ('allow', 'approve', 'ask', 'retry_later', 'verify_first', 'deduplicate', 'escalate', 'dry_run', 'deny')
        AND (p_verb = 'approve') = (p_requirement IS NOT NULL) AND (p_requirement IS NULL OR control.is_requirement(p_requirement))
        AND length(p_tool) BETWEEN 1 AND 256 AND coalesce(length(p_system), 0) <= 256 AND length(p_impact) BETWEEN 1 AND 64
        AND p_kind IN ('transaction', 'keyed', 'verified', 'blind') AND p_fallback_kind IN ('verified', 'blind')
        AND p_lease_ms BETWEEN 1 AND 86400000 AND p_keyed_ms BETWEEN 0 AND 31622400000 AND p_visible_ms BETWEEN 0 AND 31622400000
        AND p_attempts_max BETWEEN 1 AND 1000 AND p_same_max BETWEEN 1 AND 1000 AND p_give_up_ms BETWEEN 1 AND 31622400000
        AND p_calls_max BETWEEN 1 AND 1000000 AND p_retry_ms_max BETWEEN 1 AND 31622400000
        AND (p_charges IS NULL OR control.are_charges(p_charges)) AND (p_saga IS NULL OR control.is_saga_step(p_saga))
        AND coalesce(length(p_call), 0) <= 1024
        AND length(p_body) <= control.body_bytes_max() AND length(p_payload) <= 4194304 AND coalesce(length(p_card), 0) <= 2097152
       ) IS NOT TRUE THEN
        RAISE EXCEPTION 'a claim that cannot be one' USING ERRCODE = 'LC002';
    END IF;

    -- 1. The run's fencing token, before anything else: a stalled worker that asks the model again comes with other keys.
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain' FOR UPDATE;
    IF s.run_id IS NULL OR s.token IS DISTINCT FROM p_token OR s.state <> 'running' THEN
        IF s.run_id IS NOT NULL AND s.fenced_token <> p_token AND EXISTS (SELECT 1 FROM control.run WHERE run_id = p_run) THEN
            PERFORM control.append(v_tenant, p_run, control.clock(), ARRAY['run.fenced'],
                jsonb_build_object('token', p_token, 'current', s.token, 'tool', p_tool), p_body, NULL);
            UPDATE control.run_state SET fenced_token = p_token WHERE run_id = p_run;
        END IF;
        v_out.answer := 'stale';
        v_out.reason := 'run_taken_over';
        RETURN v_out;
    END IF;

    LOOP
        v_events := '{}';
        g := NULL;
        v_out := NULL;
        SELECT * INTO a FROM control.action WHERE tenant = v_tenant AND key = p_key FOR UPDATE;
        v_fresh := a.key IS NULL;
        v_was := a.state;
        v_now := control.clock();
        IF v_fresh THEN
            a.tenant := v_tenant;
            a.key := p_key;
            a.run_id := p_run;
            a.tool := p_tool;
            a.state := 'ready';
            a.started := false;
            a.in_doubt := false;
            a.attempts := 0;
            a.fence := 0;
            a.absence_counts := false;
            a.waited := false;
            a.same_failures := 0;
            a.charged := false;
            a.last_answer := '';
            a.undoes := v_undoes;
            v_events := ARRAY['action.proposed'];
        ELSIF a.undoes IS DISTINCT FROM v_undoes THEN
            RAISE EXCEPTION 'one key for a change and for taking one back' USING ERRCODE = 'LC002';
        END IF;

        IF p_edit IS NOT NULL AND NOT EXISTS (SELECT FROM control.edit e WHERE e.edit_no = p_edit AND e.tenant = v_tenant AND e.key = p_key
                                              AND e.became = p_args_hash AND NOT e.void) THEN
            RAISE EXCEPTION 'a change of something else' USING ERRCODE = 'LC002';
        END IF;

        -- What people changed stands in the place of what the model asked for, whatever became of it since; p_edit is the newest change
        -- that this call has in it already.
        IF a.approval_id IS NOT NULL AND a.erased_at IS NULL THEN
            SELECT e.edit_no, convert_to(e.changes::text, 'UTF8'), e.comment,
                   CASE WHEN EXISTS (SELECT FROM control.edit older WHERE older.tenant = e.tenant AND older.key = e.key
                                     AND older.asked = e.asked AND older.edit_no < e.edit_no AND NOT older.void) THEN 'again' END
                INTO v_out.edit_no, v_out.payload, v_out.comment, v_out.code
                FROM control.edit e WHERE e.tenant = v_tenant AND e.key = p_key AND NOT e.void AND e.edit_no > coalesce(p_edit, 0)
                  AND e.asked = coalesce((SELECT taken.asked FROM control.edit taken WHERE taken.edit_no = p_edit), p_args_hash)
                ORDER BY e.edit_no DESC LIMIT 1;
            IF FOUND THEN
                v_out.answer := 'edit';
                v_out.reason := 'edited';
                v_out.state := a.state;
                v_out.approval_id := a.approval_id;
                RETURN v_out;
            END IF;
        END IF;

        -- What was erased is known by what the model had asked for, too, and not only by what people had made of it.
        IF a.erased_at IS NOT NULL AND a.state = 'succeeded' AND EXISTS (SELECT FROM control.edit e
                WHERE e.tenant = v_tenant AND e.key = p_key AND e.asked = p_args_hash AND NOT e.void) THEN
            p_args_hash := a.args_hash;
        END IF;

        -- 2. Another change under the same key: a conflict once something may have happened, else it takes the place of the old one.
        -- What is in effect in one system is not in another. A system that was not named before may be the same one; an impact, or a
        -- kind, says how a write is to be judged, and not which one it is.
        v_elsewhere := coalesce(a.system <> p_system, false);
        IF NOT v_fresh AND (a.args_hash <> p_args_hash OR v_elsewhere) THEN
            -- Two runs of one intent that want different things would supersede each other's requests for ever: also for a person.
            IF a.started OR a.state IN ('executing', 'unknown', 'verifying', 'succeeded', 'needs_human', 'abandoned')
               OR v_elsewhere AND EXISTS (SELECT FROM control.approval o WHERE o.approval_id = a.approval_id AND o.state = 'used') OR EXISTS (
                SELECT 1 FROM control.approval o JOIN control.run_state r USING (run_id)
                WHERE o.approval_id = a.approval_id AND o.state IN ('open', 'granted') AND o.run_id <> p_run AND r.state <> 'done'
                  -- What people made of that very request is no other wish: whichever run comes first goes on with it.
                  AND NOT EXISTS (SELECT FROM control.edit e WHERE e.edit_no = p_edit AND e.approval_id = o.approval_id)) THEN
                v_out.answer := 'stop';
                v_out.reason := 'key_conflict';
                v_out.code := CASE WHEN v_elsewhere THEN 'other_system' END;
                -- Nobody comes back with the first arguments to find out what became of them.
                IF a.state = 'executing' AND a.lease_until <= v_now THEN
                    a.state := control.must_step('executing', 'lose', a.kind);
                    a.started := a.state <> 'ready';
                END IF;
                IF a.state = 'unknown' THEN
                    a.state := control.must_step('unknown', 'give_up', a.kind);
                END IF;
            ELSE
                v_events := ARRAY['action.proposed'];
                a.attempts := 0;
                a.first_at := NULL;
                a.first_sent := NULL;
                a.same_failures := 0;
                a.state := 'ready';
                a.call_id := NULL;
                -- Its digest may be the same one; but people were shown the other system.
                IF v_elsewhere AND EXISTS (SELECT 1 FROM control.approval WHERE approval_id = a.approval_id AND state IN ('open', 'granted')
                                           FOR UPDATE) THEN
                    PERFORM control.close_approval(a.approval_id, 'superseded', v_now);
                    v_events := v_events || ARRAY['approval.superseded'];
                END IF;
            END IF;
        END IF;

        -- 3. What is settled answers with what is stored, whatever the policy says now and whether or not the dependency is up.
        IF v_out.answer IS NULL AND a.state = 'succeeded' AND control.taken_back(v_tenant, p_key) THEN
            v_out.answer := 'stop';
            v_out.reason := 'undone';
        ELSIF v_out.answer IS NULL AND a.state = 'succeeded' THEN
            v_out.answer := 'stored';
            v_out.reason := 'succeeded';
            v_out.result := a.result;
        ELSIF v_out.answer IS NULL AND a.state = 'failed' AND a.call_id = p_call THEN
            v_out.answer := 'stored';
            v_out.reason := 'failed';
            v_out.error := a.error;
            v_out.result := a.result;
        END IF;

        -- Taken up again, it stores something anew.
        IF v_out.answer IS NULL THEN
            a.erased_at := NULL;
        END IF;

        -- 4. Somebody holds it, or held it and is gone.
        -- What may be done about an open attempt follows from what that attempt was, not from what the contract is by now.
        v_kind := CASE WHEN NOT a.started OR a.kind = p_kind THEN p_kind
                       WHEN a.kind = 'transaction' AND a.state = 'executing' THEN a.kind
                       WHEN p_kind = 'verified' THEN p_kind  -- reading back is sound, whatever the attempt was
                       ELSE 'blind' END;
        -- The key is safe only if the provider still remembers it when the last byte of this attempt may be sent.
        IF v_kind = 'keyed' AND a.first_sent IS NOT NULL AND a.started
           AND v_now + make_interval(secs => p_lease_ms / 1000.0) >= a.first_sent + make_interval(secs => p_keyed_ms / 1000.0) THEN
            v_kind := CASE WHEN a.fallback_kind = p_fallback_kind THEN p_fallback_kind ELSE 'blind' END;
        END IF;
        IF v_out.answer IS NULL AND a.state IN ('executing', 'verifying') THEN
            IF a.attempt_id = p_attempt AND a.lease_until > v_now THEN
                -- A re-sent claim is recognised by the attempt id that its client made.
                v_out.answer := CASE a.state WHEN 'executing' THEN 'go' ELSE 'verify' END;
                v_out.reason := 'resent';
                v_out.absence_counts := a.absence_counts;
                v_out.wait_ms := ceil(extract(epoch FROM
                    a.sent_by + make_interval(secs => p_visible_ms / 1000.0) - v_now) * 1000);
            ELSIF a.lease_until > v_now THEN
                v_out.answer := 'wait';
                v_out.reason := 'held';
                v_out.wait_ms := ceil(extract(epoch FROM a.lease_until - v_now) * 1000);
            ELSIF a.state = 'executing' THEN
                a.state := control.must_step('executing', 'lose', v_kind);
                a.started := a.state <> 'ready';
                v_events := v_events || ARRAY['action.unknown'];
            ELSE
                a.state := control.must_step('verifying', 'undetermined', 'verified');
            END IF;
        END IF;

        -- 5. Nobody knows: find out first, or ask a person.
        IF v_out.answer IS NULL AND a.state = 'unknown' AND v_kind = 'blind' THEN
            a.state := control.must_step('unknown', 'give_up', v_kind);
        END IF;
        IF v_out.answer IS NULL AND a.state = 'unknown' AND v_kind = 'verified' THEN
            IF p_digest IS NULL THEN
                v_out.answer := 'park';
                v_out.reason := 'record_unreadable';
            ELSE
                a.state := control.must_step('unknown', 'verify', v_kind);
                a.attempt_id := p_attempt;
                a.attempt_run := nullif(p_run, a.run_id);
                a.fence := a.fence + 1;
                a.lease_until := v_now + make_interval(secs => p_lease_ms / 1000.0);
                -- Absence is believed only by a reader that began after the last possible send has had time to show.
                a.absence_counts := v_now >= a.sent_by + make_interval(secs => p_visible_ms / 1000.0);
                v_out.answer := 'verify';
                v_out.reason := 'outcome_unknown';
                v_out.absence_counts := a.absence_counts;
                v_out.wait_ms := ceil(extract(epoch FROM
                    a.sent_by + make_interval(secs => p_visible_ms / 1000.0) - v_now) * 1000);
            END IF;
        END IF;
        IF v_out.answer IS NULL AND a.state = 'needs_human' THEN
            v_out.answer := 'park';
            v_out.reason := 'needs_human';
        END IF;
        IF v_out.answer IS NULL AND a.state = 'abandoned' THEN
            v_out.answer := 'stop';
            v_out.reason := 'abandoned';
            v_out.error := a.error;
        END IF;
        IF v_out.answer IS NULL AND a.settled_attempt = p_attempt THEN
            v_out.answer := 'stop';
            v_out.reason := 'attempt_settled';
        END IF;

        -- What the program could not take back is for people, who say what is to become of it.
        IF v_out.answer IS NULL AND v_undoes IS NOT NULL AND p_verb = 'escalate' THEN
            IF a.state = 'ready' AND a.last_answer = '' AND NOT v_fresh THEN
                v_out.answer := 'stop';  -- a person has said since that it did not happen: so it can be tried
                v_out.reason := 'ready_again';
            ELSE
                IF a.state = 'needs_approval' THEN
                    PERFORM control.close_approval(a.approval_id, 'withdrawn', v_now);
                    v_events := v_events || ARRAY['approval.withdrawn'];
                    a.state := control.must_step(a.state, 'withdraw', v_kind);
                END IF;
                a.state := control.must_step(a.state, 'give_up', v_kind);
                v_events := v_events || ARRAY['compensation.failed'];
                v_out.answer := 'park';
                v_out.reason := 'needs_human';
            END IF;
        END IF;

        -- 6. Nothing stands in the way but the run's deadline, the decision, a freeze or another brake, the limits and the grant.
        v_frozen := a.started;
        v_digest := CASE WHEN v_frozen THEN a.digest ELSE p_digest END;
        -- A saga does not stop half-way because its run is over: the step is refused, and what was done is taken back. And once
        -- anything of it is being taken back, none of its steps begins.
        v_ended := CASE WHEN v_undoes IS NOT NULL THEN NULL
                        WHEN p_saga IS NOT NULL AND NOT v_frozen AND control.being_undone(v_tenant, decode(p_saga ->> 'id', 'hex')) THEN 'undone'
                        WHEN s.deadline <= v_now THEN 'deadline_passed'
                        WHEN s.calls >= p_calls_max THEN 'calls_used_up' WHEN s.retrying_ms >= p_retry_ms_max THEN 'retry_time_used_up' END;
        v_heeds_end := p_verb NOT IN ('deduplicate', 'deny', 'dry_run');
        IF v_out.answer IS NULL AND v_heeds_end AND p_saga IS NOT NULL AND v_ended IS NOT NULL AND NOT v_frozen THEN
            -- Also a yes that nothing came of: taken back later, it would have others asked.
            IF EXISTS (SELECT 1 FROM control.approval WHERE approval_id = a.approval_id AND state IN ('open', 'granted') FOR UPDATE) THEN
                PERFORM control.close_approval(a.approval_id, 'withdrawn', v_now);
                v_events := v_events || ARRAY['approval.withdrawn'];
            END IF;
            a.state := control.must_step(a.state, 'deny', v_kind);
            v_out.answer := 'stop';
            v_out.reason := v_ended;
        END IF;
        -- What was refused or did not happen is over once its run may begin nothing any more: the model is told, nobody is asked.
        IF v_out.answer IS NULL AND v_heeds_end AND v_ended IS NOT NULL AND a.state IN ('denied', 'failed') AND NOT v_fresh THEN
            v_out.answer := 'stop';
            v_out.reason := v_ended;
            SELECT 'rejected', comment, code INTO v_out.reason, v_out.comment, v_out.code FROM control.approval
                WHERE approval_id = a.approval_id AND state = 'denied';
            v_out.reason := coalesce(v_out.reason, v_ended);
        END IF;
        -- After the deadline nothing new is begun, whatever else it waits for; what is refused anyway is still refused.
        IF v_out.answer IS NULL AND v_heeds_end AND v_ended = 'deadline_passed' THEN
            v_out.answer := 'park';
            v_out.reason := 'deadline_passed';
            -- Nobody is to decide what will not go, unless another run waits for the same whose time is not over.
            IF a.state = 'needs_approval' AND NOT EXISTS (
                    SELECT FROM control.waiter w JOIN control.run_state o USING (run_id)
                    WHERE w.tenant = v_tenant AND w.key = p_key AND w.run_id <> p_run AND (o.deadline IS NULL OR o.deadline > v_now)) THEN
                PERFORM control.close_approval(a.approval_id, 'withdrawn', v_now);
                v_events := v_events || ARRAY['approval.withdrawn'];
                a.state := control.must_step(a.state, 'withdraw', v_kind);
            END IF;
        END IF;
        IF v_out.answer IS NULL AND p_digest IS NULL THEN
            v_out.answer := 'park';
            v_out.reason := 'record_unreadable';
        END IF;
        -- "Already as wanted" says nothing against asking the provider again under the same key: it may be our own doing.
        IF v_out.answer IS NULL AND p_verb IN ('deduplicate', 'deny', 'dry_run') AND NOT (v_frozen AND p_verb = 'deduplicate') THEN
            v_out.answer := CASE WHEN v_frozen THEN 'park' ELSE 'stop' END;
            v_out.reason := p_verb;
            IF v_frozen THEN
                -- The policy turned while an outcome is open: no repeat, and nobody may call it undone.
                a.state := control.must_step(a.state, 'give_up', v_kind);
                v_out.reason := 'needs_human';
            ELSE
                -- Nobody needs to decide about what is not going to be done, nor what was decided.
                IF EXISTS (SELECT 1 FROM control.approval WHERE approval_id = a.approval_id AND state IN ('open', 'granted') FOR UPDATE) THEN
                    PERFORM control.close_approval(a.approval_id, 'withdrawn', v_now);
                    v_events := v_events || ARRAY['approval.withdrawn'];
                END IF;
                IF p_verb = 'deny' OR a.state = 'needs_approval' THEN
                    a.state := control.must_step(a.state, 'deny', v_kind);
                END IF;
            END IF;
        END IF;
        -- How long a failure is waited for: until its pause is over, or there will be no other attempt.
        v_last_try := least(coalesce(a.first_at, a.first_sent) + p_give_up_ms * interval '1 ms',
            CASE WHEN v_undoes IS NULL THEN least(s.deadline, v_now + (p_retry_ms_max - s.retrying_ms) * interval '1 ms') END);
        IF a.not_before > v_now THEN
            v_pause_ms := greatest(1, ceil(extract(epoch FROM least(a.not_before, v_last_try) - v_now) * 1000));
        END IF;
        IF v_out.answer IS NULL AND p_verb IN ('ask', 'escalate', 'retry_later', 'verify_first') THEN
            v_out.answer := 'park';
            v_out.reason := p_verb;
            v_out.wait_ms := CASE WHEN p_verb = 'retry_later' THEN v_pause_ms END;
        END IF;
        -- What is refused is refused at once; what may be done waits for what holds it back.
        IF v_out.answer IS NULL THEN
            SELECT * INTO v_brake FROM control.brake_on(v_tenant, p_run, p_system, p_tool, v_now);
            IF v_brake.cause = 'breaker' AND v_brake.until <= v_now THEN
                v_brake := NULL;
                v_probe := true;
            END IF;
            v_over := CASE WHEN a.attempts >= p_attempts_max THEN 'attempts_used_up'
                           WHEN a.same_failures >= p_same_max THEN 'same_failure'
                           WHEN coalesce(a.first_at, a.first_sent) + p_give_up_ms * interval '1 ms' <= v_now THEN 'gave_up' END;
            IF v_brake.cause IN ('freeze', 'restored') OR (v_brake.cause IS NOT NULL AND v_over IS NULL) THEN
                v_out.answer := 'park';
                v_out.reason := CASE v_brake.cause WHEN 'freeze' THEN 'frozen' WHEN 'restored' THEN 'frozen' WHEN 'rate_limit' THEN 'rate_limited' ELSE 'system_down' END;
                v_out.wait_ms := CASE WHEN v_brake.cause NOT IN ('freeze', 'restored')
                    THEN greatest(1, ceil(extract(epoch FROM least(v_brake.until, v_last_try) - v_now) * 1000)) END;
            ELSIF v_ended IS NOT NULL THEN
                v_out.answer := 'park';
                v_out.reason := v_ended;
            END IF;
        END IF;
        IF v_out.answer IS NULL THEN
            IF v_over IS NOT NULL AND a.state = 'failed' THEN
                v_out.answer := 'stop';  -- provably not done, and not worth a repeat: the model is told
                v_out.reason := 'attempts_used_up';
            ELSIF v_over IS NOT NULL THEN
                -- Nobody is to decide about another try any more.
                IF a.state = 'needs_approval' THEN
                    PERFORM control.close_approval(a.approval_id, 'withdrawn', v_now);
                    v_events := v_events || ARRAY['approval.withdrawn'];
                    a.state := control.must_step(a.state, 'withdraw', v_kind);
                END IF;
                a.state := control.must_step(a.state, 'give_up', v_kind);
                v_out.answer := 'park';
                v_out.reason := 'needs_human';
            ELSIF a.not_before > v_now THEN
                v_out.answer := 'park';
                v_out.reason := 'retry_later';
                v_out.wait_ms := v_pause_ms;
            END IF;
        END IF;
        IF v_out.answer IS NULL THEN
            SELECT * INTO f FROM control.floor WHERE tenant = v_tenant AND tool IN (p_tool, '*') ORDER BY tool = '*' LIMIT 1;
            v_requirement := CASE WHEN v_undoes IS NULL THEN p_requirement ELSE control.kept_open(p_requirement) END;
            IF f.must AND p_requirement IS NULL AND a.approval_id IS NULL THEN
                -- The caller asks nobody where the published policy asks somebody: then the floor's own people are asked.
                v_requirement := jsonb_build_object('quorum', coalesce(nullif(f.always -> 'quorum', '{}'),
                        (SELECT jsonb_build_object(role, f.quorum) FROM unnest(f.roles) role ORDER BY role LIMIT 1), '{}'::jsonb),
                    'not_by', jsonb_build_array('requester'), 'within_seconds', 86400, 'execute_within_seconds', 86400,
                    'on_expiry', 'deny', 'comment_required', coalesce(f.always -> 'comment_required', 'false'));
                v_requirement := CASE WHEN v_undoes IS NULL THEN v_requirement ELSE control.kept_open(v_requirement) END;
            END IF;
            IF f.must AND cardinality(f.roles) = 0 AND NOT v_frozen THEN
                a.state := control.must_step(a.state, 'deny', v_kind);
                v_out.answer := 'stop';
                v_out.reason := 'deny';
            ELSIF p_verb = 'approve' OR f.must OR a.approval_id IS NOT NULL THEN
                g := control.check_grant(v_tenant, a, p_run, p_key, p_tool, p_scope, v_digest, v_requirement, p_card, v_now, v_frozen, p_edit);
                a.approval_id := coalesce(g.approval_id, a.approval_id);
                v_digest := coalesce(g.digest, v_digest);
                v_events := v_events || g.events;
                v_out.approval_id := g.approval_id;
                v_out.expires_at := g.expires_at;
                v_out.comment := g.comment;
                v_out.code := g.code;
                IF g.verdict <> 'pass' THEN
                    v_out.answer := g.verdict;
                    v_out.reason := g.reason;
                    IF v_frozen AND (g.verdict = 'stop' OR g.reason = 'grant_used_up') THEN
                        a.state := control.must_step(a.state, 'give_up', v_kind);
                        v_out.answer := 'park';
                        v_out.reason := 'needs_human';
                    ELSIF NOT v_frozen THEN
                        a.state := control.must_step(a.state, CASE g.verdict WHEN 'park' THEN 'ask' ELSE 'deny' END, v_kind);
                    END IF;
                END IF;
            END IF;
        END IF;

        -- Half open: what would go now finds out, one at a time; whoever waits for people takes no turn.
        IF v_out.answer IS NULL AND v_probe THEN
            UPDATE control.brake SET until = v_now + open_ms * interval '1 ms'
                WHERE tenant = v_tenant AND scope = 'system' AND name = p_system AND cause = 'breaker' AND until <= v_now;
            IF NOT FOUND THEN
                v_out.answer := 'park';  -- somebody else was faster
                v_out.reason := 'system_down';
                v_out.wait_ms := 1000;
            END IF;
        END IF;
        IF v_out.answer IS NULL AND p_charges IS NOT NULL THEN
            v_out.wait_ms := control.charge_for(v_tenant, p_run, p_key, p_charges, v_now);
            IF v_out.wait_ms IS NULL THEN
                a.charged := true;
            ELSIF v_frozen THEN
                v_out.answer := 'park';  -- what has begun is finished once there is room again
                v_out.reason := 'limit_reached';
            ELSE
                v_out.answer := 'stop';
                v_out.reason := 'limit_reached';
                -- As above: what was decided is not going to be done. Asked for again, it is asked about again.
                IF EXISTS (SELECT 1 FROM control.approval WHERE approval_id = g.approval_id AND state = 'granted' FOR UPDATE) THEN
                    PERFORM control.close_approval(g.approval_id, 'withdrawn', v_now);
                    v_events := v_events || ARRAY['approval.withdrawn'];
                END IF;
            END IF;
        END IF;

        -- 7. Go: the grant is used up, and only now; the lease, the fencing token, the digest that will really run.
        IF v_out.answer IS NULL THEN
            IF g.verdict = 'pass' THEN
                UPDATE control.approval SET state = 'used', closed_at = coalesce(closed_at, v_now), used_at = coalesce(used_at, v_now)
                    WHERE approval_id = g.approval_id AND state <> 'used';
            END IF;
            -- The same key again, while nobody knows about the last attempt: what this one proves, it proves of itself alone.
            a.in_doubt := a.state = 'unknown';
            a.state := control.must_step(a.state, 'start', v_kind);
            a.attempts := a.attempts + 1;
            a.attempt_id := p_attempt;
            a.execution_id := p_attempt;
            a.attempt_run := nullif(p_run, a.run_id);
            a.execution_run := a.attempt_run;
            a.fence := a.fence + 1;
            a.lease_until := v_now + make_interval(secs => p_lease_ms / 1000.0);
            a.sent_by := a.lease_until;
            a.first_at := coalesce(a.first_at, a.first_sent);
            a.first_sent := CASE WHEN v_frozen THEN a.first_sent ELSE v_now END;
            a.started := true;
            v_out.answer := 'go';
            v_out.reason := CASE WHEN v_probe THEN 'probe' ELSE p_verb END;
            v_events := v_events || ARRAY['action.attempt_started'];
            IF v_undoes IS NOT NULL THEN
                v_events := v_events || ARRAY['compensation.started'];
            END IF;
        END IF;

        -- 8. One entry, unless it would say what the last one said. Which call was told what is stored belongs to what it says: so each
        -- answer that a conversation has of a write is one of an entry.
        v_note := concat_ws('|', p_run::text, v_out.answer, v_out.reason, encode(v_digest, 'hex'),
                            CASE WHEN v_out.answer = 'stored' THEN p_call END);
        v_last := a.last_answer;
        IF a.waited THEN
            SELECT note INTO v_last FROM control.waiter WHERE tenant = v_tenant AND key = p_key AND run_id = p_run;
            v_last := coalesce(v_last, a.last_answer);
        END IF;
        IF v_out.answer = 'stored' THEN
            v_events := ARRAY['action.duplicate'];
        ELSIF v_out.answer <> 'wait' AND v_out.reason <> 'resent' THEN
            v_events := CASE WHEN v_fresh THEN v_events[1:1] || ARRAY['action.decided'] || v_events[2:]
                             ELSE ARRAY['action.decided'] || v_events END;
        END IF;
        IF v_out.reason <> 'key_conflict' THEN
            a.args_hash := p_args_hash;
            a.digest := v_digest;
            a.system := p_system;
            a.impact := p_impact;
        END IF;
        IF NOT v_frozen THEN
            a.kind := p_kind;
            a.fallback_kind := p_fallback_kind;
        END IF;
        -- A run that acts on another run's action is on its list of waiters, so that neither can end while it is open.
        v_listed := v_out.answer IN ('park', 'wait', 'verify') OR (v_out.answer = 'go' AND a.run_id <> p_run);
        a.waited := a.waited OR v_listed;
        IF v_out.answer NOT IN ('wait') AND v_out.reason <> 'resent' AND (v_out.answer = 'go' OR v_note <> v_last OR cardinality(v_events) > 1
           OR a.state <> v_was) THEN  -- no state changes without an entry
            v_out.seq := s.seq + 1;
            a.last_answer := CASE WHEN v_out.answer = 'go' THEN '' ELSE v_note END;  -- a go is always an entry
            -- Where the arguments of this digest are kept: with the request people saw, else with the attempt.
            IF v_digest = p_digest AND NOT v_frozen
               AND (v_out.answer = 'go' OR 'approval.requested' = ANY (v_events)) THEN
                a.payload_run := p_run;
                a.payload_seq := v_out.seq;
            END IF;
        END IF;
        IF v_fresh THEN
            INSERT INTO control.action SELECT (a).* ON CONFLICT DO NOTHING;
            IF NOT FOUND THEN
                -- Somebody else inserted the key: the request made for it belongs to nothing.
                DELETE FROM control.open_approval WHERE approval_id = v_out.approval_id AND tenant = v_tenant AND requested_at = v_now;
                DELETE FROM control.approval WHERE approval_id = v_out.approval_id;
                CONTINUE;
            END IF;
        ELSE
            UPDATE control.action SET
                    tool = a.tool, system = a.system, impact = a.impact, kind = a.kind, fallback_kind = a.fallback_kind, args_hash = a.args_hash,
                    digest = a.digest, state = a.state, started = a.started, in_doubt = a.in_doubt, attempts = a.attempts, execution_id = a.execution_id,
                    attempt_id = a.attempt_id, lease_until = a.lease_until, fence = a.fence, sent_by = a.sent_by,
                    first_sent = a.first_sent, absence_counts = a.absence_counts, approval_id = a.approval_id, waited = a.waited,
                    payload_run = a.payload_run, payload_seq = a.payload_seq, call_id = a.call_id, last_answer = a.last_answer,
                    first_at = a.first_at, same_failures = a.same_failures, charged = a.charged, erased_at = a.erased_at,
                    execution_run = a.execution_run, attempt_run = a.attempt_run
                WHERE tenant = v_tenant AND key = p_key AND v_out.reason <> 'resent';
        END IF;
        EXIT;
    END LOOP;

    IF v_digest IS DISTINCT FROM p_digest OR (v_frozen AND v_out.answer IN ('go', 'verify')) THEN
        SELECT payload INTO v_payload FROM control.entry WHERE run_id = a.payload_run AND seq = a.payload_seq;
        IF v_payload IS NULL AND v_digest IS DISTINCT FROM p_digest AND v_out.answer = 'go' THEN
            RAISE EXCEPTION 'the arguments of this digest are gone' USING ERRCODE = 'LC002';
        END IF;
    END IF;
    IF p_saga IS NOT NULL AND v_undoes IS NULL AND v_out.reason <> 'key_conflict' THEN
        INSERT INTO control.saga_step (tenant, saga, step, key, name, run_id)
            VALUES (v_tenant, decode(p_saga ->> 'id', 'hex'), (p_saga ->> 'step')::integer, p_key, p_saga ->> 'name', p_run)
            ON CONFLICT DO NOTHING;
    END IF;
    IF v_out.seq IS NOT NULL THEN
        PERFORM control.append(v_tenant, p_run, v_now, v_events,
            jsonb_strip_nulls(jsonb_build_object('tool', p_tool, 'key', encode(p_key, 'hex'), 'digest', encode(v_digest, 'hex'), 'attempt', p_attempt,
                'answer', v_out.answer, 'reason', CASE WHEN v_out.answer <> 'go' THEN v_out.reason END, 'state', a.state, 'kind', v_kind, 'fence', a.fence,
                'attempts', a.attempts, 'verb', p_verb, 'because', v_over, 'approval', v_out.approval_id,
                'card', CASE WHEN 'approval.requested' = ANY (v_events) THEN encode(sha256(p_card), 'hex') END,
                'saga', p_saga -> 'name', 'step', p_saga -> 'step', 'undoes', p_saga -> 'undoes')), p_body,
            CASE WHEN a.erased_at IS NULL THEN coalesce(v_payload, p_payload) END);
    END IF;
    IF v_out.answer = 'go' THEN
        UPDATE control.run_state SET calls = calls + 1 WHERE run_id = p_run;
    END IF;
    IF v_listed THEN
        INSERT INTO control.waiter AS w (tenant, key, run_id, note) VALUES (v_tenant, p_key, p_run, v_note)
            ON CONFLICT (tenant, key, run_id) DO UPDATE SET note = excluded.note
            WHERE v_out.answer <> 'wait' AND w.note <> excluded.note;
    ELSIF a.waited AND v_out.reason = 'key_conflict' THEN
        -- The run was told, and does not come back to the change it asked for first: found undone, that keeps it from no end.
        UPDATE control.waiter SET note = 'ended' WHERE tenant = v_tenant AND key = p_key AND run_id = p_run;
    ELSIF a.waited THEN
        DELETE FROM control.waiter WHERE tenant = v_tenant AND key = p_key AND run_id = p_run;
    END IF;
    IF a.waited AND v_was = 'needs_approval' AND a.state NOT IN ('needs_approval', 'executing')
       OR a.waited AND a.state = 'denied' AND v_was <> 'denied' THEN
        -- Closed by this claim, such as a request that expired, and not by a vote or a settle: the others have not heard of it.
        INSERT INTO control.run_wake AS w (run_id, generation)
            SELECT run_id, 1 FROM control.waiter WHERE tenant = v_tenant AND key = p_key AND run_id <> p_run ORDER BY run_id
            ON CONFLICT (run_id) DO UPDATE SET generation = w.generation + 1;
    END IF;
    v_out.state := a.state;
    v_out.fence := a.fence;
    v_out.attempts := a.attempts;
    v_out.digest := v_digest;
    v_out.payload := v_payload;
    RETURN v_out;
END
$$;
