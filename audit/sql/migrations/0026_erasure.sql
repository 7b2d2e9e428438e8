-- Erasure: what people said and did not want kept goes; that something was done, by whom and by whose leave, stays and stays provable.
-- Payload and salt lie beside the hash and can go without a trace in it. The other places that hold the same in clear are listed in
-- docs/privacy.md, one by one. Only what is over is erased: a run that is done, an action that is settled. On the admin's login.

-- What may not be erased or dropped, whatever its age.
CREATE TABLE control.hold (
    hold_id uuid PRIMARY KEY,
    tenant text NOT NULL REFERENCES control.tenant,
    scope text NOT NULL CHECK (scope IN ('run', 'intent', 'target')),
    run_id uuid,             -- of a run
    name text NOT NULL,      -- of an intent or target; '' for a run
    comment text NOT NULL,
    set_by text NOT NULL,
    since timestamptz NOT NULL,
    lifted_by text,
    lifted_at timestamptz
);
CREATE INDEX hold_standing ON control.hold (tenant) WHERE lifted_at IS NULL;
-- An action has one intent, so that all runs which touched it are found by it.
CREATE INDEX run_intent ON control.run (tenant, intent);
CREATE INDEX question_key ON control.question (tenant, key);
CREATE INDEX approval_key ON control.approval (tenant, key);

-- Does this entry's body name the target? Looked at as bytes first: most do not.
CREATE FUNCTION control.names_target(p_body bytea, p_target text) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
SELECT position(convert_to(left(p_target, 64), 'UTF8') IN p_body) > 0 AND control.read_json(p_body) ->> 'target' = p_target
    OR p_target ~ '[\x01-\x1f"\\\x7f]' AND control.read_json(p_body) ->> 'target' = p_target
$$;

-- Does a legal hold stand on a run?
CREATE FUNCTION control.held(p_tenant text, p_run uuid) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT EXISTS (
    SELECT FROM control.hold h WHERE h.tenant = p_tenant AND h.lifted_at IS NULL AND CASE h.scope
        WHEN 'run' THEN h.run_id = p_run
        WHEN 'intent' THEN h.name = (SELECT r.intent FROM control.run r WHERE r.run_id = p_run AND r.tenant = p_tenant)
        ELSE EXISTS (SELECT FROM control.entry e WHERE e.run_id = p_run AND e.tenant = p_tenant AND control.names_target(e.body, h.name)) END)
$$;

-- The keys of the actions that a run's entries are about.
CREATE FUNCTION control.keys_of(p_tenant text, p_run uuid) RETURNS bytea[]
    LANGUAGE sql STABLE AS $$
SELECT ARRAY(
    SELECT DISTINCT decode(e.facts::jsonb ->> 'key', 'hex') FROM control.entry e
        WHERE e.run_id = p_run AND e.tenant = p_tenant AND e.facts::jsonb ->> 'key' ~ '^[0-9a-f]{64}$'
    UNION SELECT a.key FROM control.action a WHERE a.run_id = p_run AND a.tenant = p_tenant
    ORDER BY 1)
$$;

-- Why nothing of this run may be erased or dropped yet; NULL where it may, for these of its actions. Runs of one intent share actions
-- and their results: while one of them goes on, it may come back for what another one did.
CREATE FUNCTION control.still_needed(p_tenant text, p_run uuid, p_keys bytea[]) RETURNS text
    LANGUAGE sql STABLE AS $$
SELECT CASE
    WHEN (SELECT s.state FROM control.run_state s WHERE s.run_id = p_run AND s.tenant = p_tenant) IS DISTINCT FROM 'done' THEN 'open_run'
    WHEN EXISTS (SELECT FROM control.run r JOIN control.run o ON o.tenant = r.tenant AND o.intent = r.intent
                 JOIN control.open_run u ON u.run_id = o.run_id WHERE r.run_id = p_run AND r.tenant = p_tenant) THEN 'open_run'
    WHEN EXISTS (SELECT FROM control.action a WHERE a.tenant = p_tenant AND a.key = ANY (p_keys)
                 AND (a.run_id = p_run OR a.payload_run = p_run)
                 AND (a.state IN ('executing', 'unknown', 'verifying', 'needs_approval', 'needs_human')
                      OR EXISTS (SELECT FROM control.waiter w WHERE w.tenant = a.tenant AND w.key = a.key))) THEN 'unsettled'
    WHEN control.held(p_tenant, p_run) THEN 'held' END
$$;

-- Erase what lies beside the trail of these actions, and of one run's requests: returns how much, by place. Their rows are locked here,
-- in the order of everywhere. What the repeat of a done action is told instead is p_told; it is never done anew.
CREATE FUNCTION control.erase_rows(p_tenant text, p_run uuid, p_keys bytea[], p_whole boolean, p_told bytea, p_now timestamptz)
    RETURNS jsonb
    LANGUAGE plpgsql AS $$
DECLARE
    v_card bytea := convert_to(json_build_object('what', json_build_object('arguments', '{}'::json),
        'erased', to_char(p_now AT TIME ZONE 'UTC', 'YYYY-MM-DD'))::text, 'UTF8');
    v_own bytea[];
    v_requests uuid[];
    v_count bigint;
    v_out jsonb := '{}';
BEGIN
    PERFORM 1 FROM control.action WHERE tenant = p_tenant AND key = ANY (p_keys) ORDER BY key FOR UPDATE;
    v_own := ARRAY(SELECT key FROM control.action WHERE tenant = p_tenant AND key = ANY (p_keys) AND (run_id = p_run OR payload_run = p_run));
    v_requests := ARRAY(SELECT approval_id FROM control.approval WHERE tenant = p_tenant AND (key = ANY (v_own) OR p_whole AND run_id = p_run)
                        ORDER BY approval_id FOR UPDATE);

    UPDATE control.action SET result = CASE WHEN state = 'succeeded' THEN p_told END, error = CASE WHEN error IS NOT NULL THEN '(erased)' END,
            erased_at = p_now
        WHERE tenant = p_tenant AND key = ANY (v_own) AND erased_at IS NULL AND (result IS NOT NULL OR error IS NOT NULL OR state = 'succeeded');
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_out := v_out || jsonb_build_object('results', v_count);

    UPDATE control.approval SET card = v_card WHERE approval_id = ANY (v_requests) AND (card <> ''::bytea OR state IN ('open', 'granted'))
        AND control.read_json(card) -> 'erased' IS NULL;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    -- A grant whose arguments are gone lets nothing run; who wants the change again, asks again. Nobody is told (note): by now the card
    -- says that it was erased.
    PERFORM control.close_approval(approval_id, 'withdrawn', p_now) FROM control.approval
        WHERE approval_id = ANY (v_requests) AND state IN ('open', 'granted');
    UPDATE control.approval SET execute_by = p_now WHERE approval_id = ANY (v_requests) AND execute_by > p_now;
    v_out := v_out || jsonb_build_object('cards', v_count);
    UPDATE control.approval_evidence SET target_hash = NULL, reads = '[]', earlier = '[]', writes = '[]'
        WHERE approval_id = ANY (v_requests) AND (target_hash IS NOT NULL OR reads <> '[]' OR earlier <> '[]' OR writes <> '[]');
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_out := v_out || jsonb_build_object('evidence', v_count);
    UPDATE control.notice SET error = NULL WHERE tenant = p_tenant AND approval_id = ANY (v_requests) AND error IS NOT NULL;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_out := v_out || jsonb_build_object('notices', v_count);
    UPDATE control.span_dead SET error = '(erased)' WHERE p_whole AND tenant = p_tenant AND run_id = p_run AND error <> '(erased)';
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_out := v_out || jsonb_build_object('spans', v_count);

    -- What the model had asked for is known by its hash, so that a repeat of it finds what people made of it.
    UPDATE control.edit e SET changes = '{}', void = e.void OR EXISTS (
            SELECT FROM control.action a WHERE a.tenant = e.tenant AND a.key = e.key AND a.state <> 'succeeded')
        WHERE e.tenant = p_tenant AND e.key = ANY (v_own) AND e.changes <> '{}';
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_out := v_out || jsonb_build_object('edits', v_count);

    DELETE FROM control.asker q USING control.question x
        WHERE x.question_id = q.question_id AND x.tenant = p_tenant AND (x.key = ANY (v_own) OR p_whole AND x.run_id = p_run);
    DELETE FROM control.question x WHERE x.tenant = p_tenant AND (x.key = ANY (v_own) OR p_whole AND x.run_id = p_run);
    GET DIAGNOSTICS v_count = ROW_COUNT;
    v_out := v_out || jsonb_build_object('questions', v_count);

    UPDATE control.run SET input = NULL WHERE p_whole AND run_id = p_run AND tenant = p_tenant AND input IS NOT NULL;
    GET DIAGNOSTICS v_count = ROW_COUNT;
    RETURN v_out || jsonb_build_object('inputs', v_count);
END
$$;

-- One count by place and another one, added.
CREATE FUNCTION control.added(p_one jsonb, p_other jsonb) RETURNS jsonb
    LANGUAGE sql IMMUTABLE AS $$
SELECT coalesce(jsonb_object_agg(place, n), '{}') FROM (
    SELECT key AS place, sum(value::bigint) AS n FROM (SELECT * FROM jsonb_each_text(p_one) UNION ALL SELECT * FROM jsonb_each_text(p_other)) b
    GROUP BY key) s
$$;

CREATE TYPE control.erase_answer AS (
    refused text,     -- unknown_run | unknown_action | open_run | unsettled | held; NULL: nothing stands against it
    run_id uuid,      -- that stands against it
    runs integer,     -- that something was erased of
    left_out integer, -- by age only: over for long enough, but open in part or held
    threads text[],   -- of these runs, where no other run's conversation is in them
    shared integer,   -- threads that other runs share, which are left as they are
    counts jsonb,     -- what was erased, by place
    last uuid         -- there may be more after this run; NULL: that was all
);

-- Erase. Of one run, one action of it (by its key), an intent, a target, or of all that has been over for so long by the ledger's clock. A part at a time,
-- run by run in the order of their ids; by age each part is a commit, else the caller
-- has all of them in one; it rolls back where it only wants to know.
CREATE FUNCTION control.erase_v1(
    p_erasure uuid, p_scope text, p_run uuid, p_key bytea, p_name text, p_older interval, p_after uuid, p_limit integer,
    p_checkpoints boolean, p_told bytea, p_comment text, p_body bytea
) RETURNS control.erase_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('admin');
    v_person text := coalesce(l.person, l.login::text);
    v_roles text[];
    v_chain uuid;
    v_now timestamptz;
    v_runs uuid[];
    v_run uuid;
    v_keys bytea[];
    v_reason text;
    v_found bigint;
    v_payloads bigint;
    v_counts jsonb;
    v_out control.erase_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_erasure IS NOT NULL AND p_scope IN ('run', 'action', 'intent', 'target', 'age') AND p_comment ~ '\S' AND length(p_comment) <= 10000
        AND (p_scope IN ('run', 'action')) = (p_run IS NOT NULL) AND (p_scope = 'action') = (p_key IS NOT NULL)
        AND (p_scope IN ('intent', 'target')) = (p_name IS NOT NULL) AND coalesce(length(p_name), 1) BETWEEN 1 AND 1024
        AND (p_scope = 'age') = (p_older IS NOT NULL)
        AND coalesce(p_older BETWEEN interval '0' AND interval '400000 days', true) AND p_limit BETWEEN 1 AND 1000 AND p_checkpoints IS NOT NULL
        AND length(p_told) BETWEEN 1 AND 65536 AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'an erasure that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_out.counts := '{}';
    v_out.runs := 0;
    v_out.left_out := 0;
    v_out.shared := 0;
    v_out.threads := '{}';
    -- The tenant's chain before any run, as where a policy is published.
    v_chain := control.tenant_chain(l.tenant);
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    v_now := control.clock();
    v_roles := control.roles_said(l, v_person, NULL);

    IF p_scope IN ('run', 'action') AND NOT EXISTS (SELECT FROM control.run r WHERE r.run_id = p_run AND r.tenant = l.tenant) THEN
        v_out.refused := 'unknown_run';
        RETURN v_out;
    ELSIF p_scope = 'action' AND NOT p_key = ANY (control.keys_of(l.tenant, p_run)) THEN
        v_out.refused := 'unknown_action';
        RETURN v_out;
    END IF;
    v_runs := CASE p_scope
        WHEN 'run' THEN ARRAY[p_run]
        WHEN 'action' THEN ARRAY(SELECT o.run_id FROM control.run r JOIN control.run o ON o.tenant = r.tenant AND o.intent = r.intent
            WHERE r.run_id = p_run AND r.tenant = l.tenant AND p_key = ANY (control.keys_of(l.tenant, o.run_id)) ORDER BY 1)
        WHEN 'intent' THEN ARRAY(SELECT r.run_id FROM control.run r WHERE r.tenant = l.tenant AND r.intent = p_name ORDER BY 1)
        WHEN 'target' THEN ARRAY(SELECT DISTINCT e.run_id FROM control.entry e
            WHERE e.tenant = l.tenant AND control.names_target(e.body, p_name) ORDER BY 1)
        ELSE ARRAY(SELECT r.run_id FROM control.run r JOIN control.run_state s USING (run_id)
            WHERE r.tenant = l.tenant AND s.state = 'done' AND s.state_since < v_now - p_older AND r.run_id > coalesce(p_after, '00000000-0000-0000-0000-000000000000')
              AND (r.input IS NOT NULL OR EXISTS (SELECT FROM control.entry e WHERE e.run_id = r.run_id AND e.payload IS NOT NULL))
            ORDER BY 1 LIMIT p_limit) END;

    -- All of them before the actions of any: whoever has a run's row may be waiting for one of those.
    PERFORM 1 FROM control.run_state WHERE run_id = ANY (v_runs) AND tenant = l.tenant ORDER BY run_id FOR UPDATE;
    IF p_scope <> 'age' THEN
        -- All or nothing, so that nobody takes half of it for the whole: looked at before anything is touched.
        FOREACH v_run IN ARRAY v_runs LOOP
            v_keys := control.keys_of(l.tenant, v_run);
            v_reason := control.still_needed(l.tenant, v_run, CASE p_scope WHEN 'action' THEN ARRAY[p_key] ELSE v_keys END);
            IF v_reason IS NOT NULL THEN
                v_out.refused := v_reason;
                v_out.run_id := v_run;
                RETURN v_out;
            END IF;
        END LOOP;
        v_runs := (SELECT coalesce(array_agg(r ORDER BY r), '{}') FROM (
            SELECT r FROM unnest(v_runs) r WHERE r > coalesce(p_after, '00000000-0000-0000-0000-000000000000') ORDER BY r LIMIT p_limit) x);
    END IF;

    FOREACH v_run IN ARRAY v_runs LOOP
        v_out.last := v_run;
        v_keys := control.keys_of(l.tenant, v_run);
        IF p_scope = 'action' THEN
            v_keys := ARRAY[p_key];
        ELSIF p_scope = 'target' THEN
            v_keys := ARRAY(SELECT DISTINCT decode(e.facts::jsonb ->> 'key', 'hex') FROM control.entry e
                WHERE e.run_id = v_run AND e.facts::jsonb ->> 'key' ~ '^[0-9a-f]{64}$' AND control.names_target(e.body, p_name));
        END IF;
        IF p_scope = 'age' AND control.still_needed(l.tenant, v_run, v_keys) IS NOT NULL THEN
            v_out.left_out := v_out.left_out + 1;
            CONTINUE;
        END IF;
        v_counts := control.erase_rows(l.tenant, v_run, v_keys, p_scope IN ('run', 'intent', 'age'), p_told, v_now);
        UPDATE control.entry e SET payload = NULL, salt = NULL
            WHERE e.run_id = v_run AND e.tenant = l.tenant AND e.payload IS NOT NULL
              AND (p_scope IN ('run', 'intent', 'age') OR decode(e.facts::jsonb ->> 'key', 'hex') = ANY (v_keys)
                   OR p_scope = 'target' AND control.names_target(e.body, p_name));
        GET DIAGNOSTICS v_payloads = ROW_COUNT;
        v_counts := v_counts || jsonb_build_object('payloads', v_payloads);
        SELECT sum(value::bigint) INTO v_found FROM jsonb_each_text(v_counts);
        IF v_found > 0 THEN
            v_out.runs := v_out.runs + 1;
            v_out.counts := control.added(v_out.counts, v_counts);
            PERFORM control.append(l.tenant, v_run, v_now, ARRAY['payload.erased'],
                jsonb_build_object('erasure', p_erasure, 'scope', p_scope, 'person', v_person, 'roles', v_roles, 'comment', p_comment, 'erased', v_counts,
                    'checkpoints', p_checkpoints), p_body, NULL);
        END IF;
    END LOOP;

    IF p_checkpoints THEN
        -- A thread's checkpoints are one conversation: they go with the last of its runs.
        SELECT coalesce(array_agg(t.thread_id) FILTER (WHERE NOT t.shared), '{}'), count(*) FILTER (WHERE t.shared)
            INTO v_out.threads, v_out.shared
            FROM (SELECT DISTINCT r.thread_id, EXISTS (SELECT FROM control.open_run o WHERE o.tenant = l.tenant AND o.thread_id = r.thread_id)
                      OR EXISTS (SELECT FROM control.run o WHERE o.tenant = l.tenant AND o.thread_id = r.thread_id AND o.input IS NOT NULL)
                      OR EXISTS (SELECT FROM control.run o WHERE o.tenant = l.tenant AND o.thread_id = r.thread_id
                                 AND control.held(l.tenant, o.run_id)) AS shared
                  FROM control.run r WHERE r.run_id = ANY (v_runs) AND r.tenant = l.tenant AND p_scope IN ('run', 'intent', 'age')) t;
    END IF;
    IF v_out.runs > 0 OR cardinality(v_out.threads) > 0 THEN
        PERFORM control.append(l.tenant, v_chain, v_now, ARRAY['payload.erased'],
            jsonb_build_object('erasure', p_erasure, 'scope', p_scope, 'person', v_person, 'roles', v_roles, 'comment', p_comment, 'erased', v_out.counts,
                'runs', v_out.runs, 'threads', cardinality(v_out.threads)), p_body, NULL);
    END IF;
    IF cardinality(v_runs) < p_limit THEN
        v_out.last := NULL;
    END IF;
    RETURN v_out;
END
$$;

CREATE TYPE control.hold_answer AS (
    refused text,   -- unknown_run | unknown_hold | lifted; NULL: done
    hold_id uuid
);

-- Put a legal hold on a run, an intent or a target.
CREATE FUNCTION control.hold_v1(p_hold uuid, p_scope text, p_run uuid, p_name text, p_comment text, p_body bytea) RETURNS control.hold_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('admin');
    v_person text := coalesce(l.person, l.login::text);
    v_chain uuid;
    v_now timestamptz;
    v_out control.hold_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_hold IS NOT NULL AND p_scope IN ('run', 'intent', 'target') AND (p_scope = 'run') = (p_run IS NOT NULL)
        AND (p_scope = 'run') = (p_name = '') AND length(p_name) <= 1024 AND p_comment ~ '\S' AND length(p_comment) <= 10000
        AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a hold that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_chain := control.tenant_chain(l.tenant);
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    v_now := control.clock();
    v_out.hold_id := p_hold;
    IF p_scope = 'run' AND NOT EXISTS (SELECT FROM control.run r WHERE r.run_id = p_run AND r.tenant = l.tenant) THEN
        v_out.refused := 'unknown_run';
        RETURN v_out;
    END IF;
    INSERT INTO control.hold (hold_id, tenant, scope, run_id, name, comment, set_by, since)
        VALUES (p_hold, l.tenant, p_scope, p_run, p_name, p_comment, v_person, v_now) ON CONFLICT DO NOTHING;
    IF FOUND THEN  -- else it was sent again
        PERFORM control.append(l.tenant, v_chain, v_now, ARRAY['hold.set'],
            jsonb_build_object('hold', p_hold, 'scope', p_scope, 'run', p_run, 'person', v_person, 'roles', control.roles_said(l, v_person, NULL),
                'comment', p_comment), p_body, NULL);
    END IF;
    RETURN v_out;
END
$$;

-- Lift a legal hold.
CREATE FUNCTION control.hold_lift_v1(p_hold uuid, p_comment text, p_body bytea) RETURNS control.hold_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('admin');
    v_person text := coalesce(l.person, l.login::text);
    v_chain uuid;
    h control.hold;
    v_out control.hold_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_hold IS NOT NULL AND p_comment ~ '\S' AND length(p_comment) <= 10000 AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a hold that cannot be lifted so' USING ERRCODE = 'LC002';
    END IF;
    v_chain := control.tenant_chain(l.tenant);
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    SELECT * INTO h FROM control.hold WHERE hold_id = p_hold AND tenant = l.tenant FOR UPDATE;
    v_out.refused := CASE WHEN h.hold_id IS NULL THEN 'unknown_hold' WHEN h.lifted_at IS NOT NULL THEN 'lifted' END;
    IF v_out.refused IS NULL THEN
        UPDATE control.hold SET lifted_at = control.clock(), lifted_by = v_person WHERE hold_id = p_hold;
        PERFORM control.append(l.tenant, v_chain, control.clock(), ARRAY['hold.lifted'],
            jsonb_build_object('hold', p_hold, 'scope', h.scope, 'run', h.run_id, 'person', v_person, 'roles', control.roles_said(l, v_person, NULL),
                'comment', p_comment), p_body, NULL);
    END IF;
    v_out.hold_id := p_hold;
    RETURN v_out;
END
$$;

-- The holds that stand.
CREATE FUNCTION control.holds_v1() RETURNS SETOF control.hold
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT h.* FROM control.hold h WHERE h.tenant = (control.caller('admin', 'auditor')).tenant AND h.lifted_at IS NULL ORDER BY h.since
$$;

REVOKE ALL ON control.hold FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION control.names_target, control.held, control.keys_of, control.still_needed, control.erase_rows, control.added,
    control.erase_v1, control.hold_v1, control.hold_lift_v1, control.holds_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.erase_v1, control.hold_v1, control.hold_lift_v1 TO control_admin;
GRANT EXECUTE ON FUNCTION control.holds_v1 TO control_admin, control_auditor;
