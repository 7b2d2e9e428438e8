-- Questions that a write waits for, and the answers to them. An answer is information for the model: it lets no write run.

-- One question for one call, however often it is made and however the question is worded anew: whoever asks again gets the answer.
CREATE TABLE control.question (
    question_id uuid PRIMARY KEY,  -- made by the client from action key and arguments, under the tenant's secret
    tenant text NOT NULL REFERENCES control.tenant,
    key bytea NOT NULL,
    run_id uuid NOT NULL,          -- the run that asked first
    tool text NOT NULL,
    question text NOT NULL,
    asked_at timestamptz NOT NULL,
    answer text,
    answered_at timestamptz
);
CREATE INDEX question_open ON control.question (tenant, asked_at) WHERE answer IS NULL;

-- Which runs want to know.
CREATE TABLE control.asker (
    question_id uuid NOT NULL REFERENCES control.question,
    run_id uuid NOT NULL,
    PRIMARY KEY (question_id, run_id)
);
CREATE INDEX asker_run ON control.asker (run_id);

-- Put a question to the user, or find out what was answered. The entry that records it is the claim's, which carries the question.
CREATE FUNCTION control.ask_v1(p_run uuid, p_token bigint, p_question uuid, p_key bytea, p_tool text, p_text text)
    RETURNS TABLE (question text, answer text)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    q control.question;
BEGIN
    IF (p_token IS NOT NULL AND p_question IS NOT NULL AND length(p_key) = 32 AND length(p_tool) BETWEEN 1 AND 256
        AND p_text ~ '\S' AND length(p_text) <= 4000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a question that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM 1 FROM control.run_state s
        WHERE s.run_id = p_run AND s.tenant = v_tenant AND s.token = p_token AND s.state = 'running' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN;  -- the claim says so
    END IF;
    INSERT INTO control.question AS x (question_id, tenant, key, run_id, tool, question, asked_at)
        VALUES (p_question, v_tenant, p_key, p_run, p_tool, p_text, control.clock())
        ON CONFLICT (question_id) DO UPDATE SET question = excluded.question
            WHERE x.tenant = v_tenant AND x.answer IS NULL AND x.question <> excluded.question;
    SELECT * INTO q FROM control.question x WHERE x.question_id = p_question AND x.tenant = v_tenant;
    IF q.question_id IS NULL THEN
        RAISE EXCEPTION 'a question that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    INSERT INTO control.asker (question_id, run_id) VALUES (p_question, p_run) ON CONFLICT DO NOTHING;
    RETURN QUERY SELECT q.question, q.answer;
END
$$;

CREATE TYPE control.answer_answer AS (
    refused text,  -- NULL: taken; else a stable word
    tool text
);

-- Answer a question, once. The runs that wait for it are woken. On the agent's login too: it authorises nothing.
CREATE FUNCTION control.answer_v1(
    p_run uuid, p_question uuid, p_answer text, p_person text, p_identity jsonb, p_body bytea, p_payload bytea
)
    RETURNS control.answer_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('agent', 'approver', 'admin');
    v_person text := CASE WHEN l.role <> 'agent' THEN control.operator(l, p_person, p_identity) END;
    v_roles text[];
    v_state text;
    v_asking text[];
    v_runs uuid[];
    q control.question;
    v_out control.answer_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_run IS NOT NULL AND p_question IS NOT NULL AND p_answer ~ '\S' AND length(p_answer) <= 10000
        AND length(p_payload) <= 131072 AND length(p_body) <= control.body_bytes_max()
        AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'an answer that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    SELECT s.state INTO v_state FROM control.run_state s
        WHERE s.run_id = p_run AND s.tenant = l.tenant AND s.state <> 'chain' FOR UPDATE;
    IF NOT FOUND THEN
        v_out.refused := 'unknown_run';
        IF l.role <> 'agent' THEN
            v_out.refused := control.note_unknown(l, 'question.answer_refused', 'unknown_run',
                jsonb_build_object('run', p_run, 'question', p_question), v_person, p_identity, p_body);
        END IF;
        RETURN v_out;
    END IF;
    SELECT x.* INTO q FROM control.question x JOIN control.asker a USING (question_id)
        WHERE x.question_id = p_question AND x.tenant = l.tenant AND a.run_id = p_run FOR UPDATE OF x;
    v_out.tool := q.tool;
    IF q.answer = p_answer THEN
        RETURN v_out;  -- sent again
    END IF;
    v_roles := CASE WHEN v_person IS NOT NULL THEN control.roles_said(l, v_person, p_identity) END;
    SELECT ARRAY[r.actor, r.on_behalf_of] INTO v_asking FROM control.run r WHERE r.run_id = p_run;
    v_out.refused := CASE
        WHEN q.question_id IS NULL THEN 'unknown_question'
        WHEN q.answer IS NOT NULL THEN 'answered'
        WHEN v_state = 'done' THEN 'finished'
        WHEN l.role <> 'agent' AND v_person = ANY (v_asking) THEN NULL  -- the user themselves, whatever their roles
        WHEN l.role <> 'agent' THEN control.operator_refusal(l, v_person, p_identity)
        WHEN p_identity IS NOT NULL THEN 'not_yourself' END;
    IF v_out.refused = 'not_yourself' OR v_out.refused IS NOT NULL AND l.role <> 'agent' THEN
        PERFORM control.append(l.tenant, p_run, control.clock(), ARRAY['question.answer_refused'],
            jsonb_strip_nulls(jsonb_build_object('tool', q.tool, 'key', encode(q.key, 'hex'), 'question', p_question,
                'person', v_person, 'roles', v_roles, 'identity', p_identity, 'reason', v_out.refused)), p_body, NULL);
    END IF;
    IF v_out.refused IS NOT NULL THEN
        RETURN v_out;
    END IF;
    UPDATE control.question SET answer = p_answer, answered_at = control.clock() WHERE question_id = p_question;
    PERFORM control.append(l.tenant, p_run, control.clock(), ARRAY['question.answered'],
        jsonb_strip_nulls(jsonb_build_object('tool', q.tool, 'key', encode(q.key, 'hex'), 'question', p_question,
            'person', v_person, 'roles', v_roles, 'identity', p_identity)), p_body, p_payload);
    v_runs := ARRAY(SELECT a.run_id FROM control.asker a JOIN control.open_run o ON o.run_id = a.run_id AND o.tenant = l.tenant
                    WHERE a.question_id = p_question ORDER BY a.run_id LIMIT 201);
    INSERT INTO control.run_wake AS w (run_id, generation) SELECT r, 1 FROM unnest(v_runs) r ORDER BY r
        ON CONFLICT (run_id) DO UPDATE SET generation = w.generation + 1;
    IF cardinality(v_runs) > 0 THEN
        PERFORM pg_notify('control_wake', CASE WHEN cardinality(v_runs) <= 200 THEN array_to_string(v_runs, ',') ELSE '' END);
    END IF;
    RETURN v_out;
END
$$;

-- What runs wait to be told now: of one run, or of all of the tenant's, oldest first.
CREATE FUNCTION control.questions_v1(p_run uuid, p_limit integer)
    RETURNS TABLE (question_id uuid, run_id uuid, tool text, question text, asked_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT q.question_id, a.run_id, q.tool, q.question, q.asked_at
FROM control.question q JOIN control.asker a USING (question_id)
    JOIN control.waiter w ON w.tenant = q.tenant AND w.key = q.key AND w.run_id = a.run_id AND split_part(w.note, '|', 3) = 'ask'
WHERE q.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant AND q.answer IS NULL
  AND (p_run IS NULL OR a.run_id = p_run)
ORDER BY q.asked_at, q.question_id LIMIT p_limit
$$;

REVOKE EXECUTE ON FUNCTION control.ask_v1, control.answer_v1, control.questions_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.ask_v1 TO control_agent;
GRANT EXECUTE ON FUNCTION control.answer_v1 TO control_agent, control_approver, control_admin;
GRANT EXECUTE ON FUNCTION control.questions_v1 TO control_agent, control_approver, control_admin, control_auditor;
