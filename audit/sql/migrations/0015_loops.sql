-- Reads: on record before anyone sees what they gave. And what a run does again and again, kept for as long as the run is open, so
-- that a worker that takes it over knows what its predecessor knew.

-- Reads among the tool calls of a run, and repeats of writes that were done. What is left of its calls were begun writes: after one of
-- them nothing counts as repeated.
ALTER TABLE control.run_state ADD COLUMN reads integer NOT NULL DEFAULT 0;

-- The newest steps of an open run that changed nothing: reads, and writes that were refused or had been done before. What they mean is
-- decided in guards/loops.py; here they are only kept.
CREATE TABLE control.step (
    run_id uuid NOT NULL,
    origin bytea NOT NULL,       -- which call of which task: the same when that task runs again
    place bigint NOT NULL,       -- among the run's steps
    scope bytea NOT NULL,        -- the conversation
    turn bytea NOT NULL,         -- the model's message
    call bytea NOT NULL,
    result bytea NOT NULL,
    at timestamptz NOT NULL,     -- by the worker's clock
    writes integer NOT NULL,     -- begun by then
    PRIMARY KEY (run_id, origin)
);

-- Reads of an open run that the system itself has not answered: tried until then, or answered by a fallback.
CREATE TABLE control.failed_read (
    run_id uuid NOT NULL,
    origin bytea NOT NULL,
    tool text NOT NULL,
    system text,
    attempts integer NOT NULL,
    since timestamptz NOT NULL,
    fallback_at timestamptz,
    PRIMARY KEY (run_id, origin)
);

-- Which tools' reads were answered by a fallback in this run, and when last: the newest twenty; NULL for none.
CREATE FUNCTION control.fallbacks(p_run uuid) RETURNS jsonb
    LANGUAGE sql STABLE AS $$
SELECT jsonb_agg(jsonb_build_object('tool', f.tool, 'system', f.system, 'at', (extract(epoch FROM f.at) * 1000000)::bigint)
                 ORDER BY f.at DESC, f.tool)
FROM (SELECT tool, max(system) AS system, max(fallback_at) AS at FROM control.failed_read
      WHERE run_id = p_run AND fallback_at IS NOT NULL GROUP BY tool ORDER BY max(fallback_at) DESC, tool LIMIT 20) f
$$;

-- How long it is until a run's deadline: negative after it, NULL without one. No worker's clock says when that is.
CREATE FUNCTION control.left_ms(p_deadline timestamptz, p_now timestamptz) RETURNS bigint LANGUAGE sql IMMUTABLE PARALLEL SAFE AS
'SELECT floor(extract(epoch FROM p_deadline - p_now) * 1000)::bigint';

-- Does a run still have to come to something that it began, however late it is? What waits, for people or for its outcome, is to be told
-- that its run is over, and what a saga did may have to be taken back. A read may lie on the way there.
CREATE FUNCTION control.has_begun(p_tenant text, p_run uuid) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT EXISTS (SELECT FROM control.waiter WHERE run_id = p_run)
    OR EXISTS (SELECT FROM control.unsettled(p_tenant, p_run))
    OR EXISTS (SELECT FROM control.saga_step WHERE tenant = p_tenant AND run_id = p_run)
$$;

-- What whoever takes a run over is told of all this.
CREATE FUNCTION control.recall(p_run uuid) RETURNS jsonb
    LANGUAGE sql AS $$
SELECT jsonb_build_object('writes', s.calls - s.reads, 'left_ms', control.left_ms(s.deadline, control.clock()), 'fallbacks', control.fallbacks(p_run), 'steps',
    (SELECT jsonb_agg(jsonb_build_array(encode(t.origin, 'hex'), encode(t.scope, 'hex'), encode(t.turn, 'hex'), encode(t.call, 'hex'), encode(t.result, 'hex'),
                                        (extract(epoch FROM t.at) * 1000000)::bigint, t.writes) ORDER BY t.place)
     FROM control.step t WHERE t.run_id = p_run))
FROM control.run_state s WHERE s.run_id = p_run
$$;

-- A run that is over goes in no circles.
CREATE FUNCTION control.forget(p_run uuid) RETURNS void
    LANGUAGE sql AS $$
DELETE FROM control.step WHERE run_id = p_run;
DELETE FROM control.failed_read WHERE run_id = p_run;
$$;

-- Keep one step of a run whose state row is locked; the same call's earlier one gives way to it.
CREATE FUNCTION control.keep_step(
    p_run uuid, p_origin bytea, p_scope bytea, p_turn bytea, p_call bytea, p_result bytea, p_at timestamptz, p_writes integer
) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    v_place bigint;
BEGIN
    IF (length(p_origin) = 32 AND length(p_scope) = 32 AND length(p_turn) = 32 AND length(p_call) = 32 AND length(p_result) = 32 AND p_at IS NOT NULL) IS NOT TRUE THEN
        RAISE EXCEPTION 'a step that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    SELECT coalesce(max(place), 0) + 1 INTO v_place FROM control.step WHERE run_id = p_run;
    INSERT INTO control.step AS t (run_id, origin, place, scope, turn, call, result, at, writes)
        VALUES (p_run, p_origin, v_place, p_scope, p_turn, p_call, p_result, p_at, p_writes)
        ON CONFLICT (run_id, origin) DO UPDATE SET place = excluded.place, scope = excluded.scope, turn = excluded.turn, call = excluded.call,
            result = excluded.result, at = excluded.at, writes = excluded.writes;
    DELETE FROM control.step WHERE run_id = p_run AND place <= v_place - control.steps_max();
END
$$;

-- How many steps of a run are kept; a test holds it equal to guards/loops.py.
CREATE FUNCTION control.steps_max() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 64';

CREATE TYPE control.observe_answer AS (
    answer text,       -- observed | waits | in_time | deadline_passed | calls_used_up | stale
    writes integer,    -- begun so far
    fallbacks jsonb,
    left_ms bigint     -- until the run's deadline; NULL without one
);

-- One entry for a read: free to repeat, but what the model saw is on record before it sees it. It counts among the run's tool calls,
-- once however often its task runs again. One that would rather wait for its system than fail may do so a bounded number of times.
-- Asked before the call ('due'), which is only done where the worker thinks that the run's deadline is over: whether it may be made. What
-- this run was shown before is not new: its task runs again.
CREATE FUNCTION control.observe_v1(
    p_run uuid, p_token bigint, p_tool text, p_system text, p_outcome text, p_loop text, p_origin bytea, p_scope bytea, p_turn bytea, p_call bytea,
    p_result bytea, p_at timestamptz, p_calls_max integer, p_attempts_max integer, p_give_up_ms bigint, p_retry_ms_max bigint,
    p_wait_ms bigint, p_body bytea, p_payload bytea
) RETURNS control.observe_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    s control.run_state;
    f control.failed_read;
    v_now timestamptz;
    v_again boolean;
    v_outcome text := p_outcome;
    v_out control.observe_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (length(p_tool) BETWEEN 1 AND 256 AND coalesce(length(p_system), 0) <= 256 AND p_token IS NOT NULL
        AND p_outcome IN ('succeeded', 'failed', 'fallback', 'waits', 'stopped', 'due')
        AND coalesce(p_loop, 'same') IN ('same', 'bouncing', 'stopped', 'parked') AND length(p_origin) = 32
        AND p_calls_max BETWEEN 1 AND 1000000 AND p_attempts_max BETWEEN 1 AND 1000 AND p_give_up_ms BETWEEN 1 AND 31622400000
        AND p_retry_ms_max BETWEEN 1 AND 31622400000 AND p_wait_ms BETWEEN 0 AND 31622400000
        AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a read that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain' FOR UPDATE;
    IF s.run_id IS NULL OR s.token IS DISTINCT FROM p_token OR s.state <> 'running' THEN
        v_out.answer := 'stale';
        RETURN v_out;
    END IF;
    v_now := control.clock();
    v_out.left_ms := control.left_ms(s.deadline, v_now);
    v_again := EXISTS (SELECT 1 FROM control.step WHERE run_id = p_run AND origin = p_origin);
    IF p_outcome = 'due' THEN
        v_out.answer := 'in_time';
        IF s.deadline <= v_now AND NOT v_again AND NOT control.has_begun(v_tenant, p_run) THEN
            v_out.answer := 'deadline_passed';
            PERFORM control.append(v_tenant, p_run, v_now, ARRAY['action.decided'],
                jsonb_build_object('tool', p_tool, 'kind', 'read', 'answer', 'park', 'reason', v_out.answer), p_body, p_payload);
        END IF;
        RETURN v_out;
    END IF;
    SELECT * INTO f FROM control.failed_read WHERE run_id = p_run AND origin = p_origin;
    v_again := v_again OR f.run_id IS NOT NULL;
    IF s.calls >= p_calls_max AND NOT v_again THEN
        v_out.answer := 'calls_used_up';
        RETURN v_out;
    END IF;
    v_out.answer := 'observed';
    v_out.writes := s.calls - s.reads;
    IF p_outcome = 'waits' THEN
        IF coalesce(f.attempts, 0) + 1 >= p_attempts_max OR f.since + p_give_up_ms * interval '1 ms' <= v_now
           OR s.retrying_ms >= p_retry_ms_max OR s.deadline <= v_now + p_wait_ms * interval '1 ms' THEN
            v_outcome := 'failed';
        ELSE
            v_out.answer := 'waits';
        END IF;
    END IF;
    IF p_outcome IN ('waits', 'fallback') THEN
        INSERT INTO control.failed_read AS r (run_id, origin, tool, system, attempts, since, fallback_at)
            VALUES (p_run, p_origin, p_tool, p_system, 1, v_now, CASE WHEN p_outcome = 'fallback' THEN v_now END)
            ON CONFLICT (run_id, origin) DO UPDATE SET attempts = r.attempts + 1, fallback_at = coalesce(excluded.fallback_at, r.fallback_at);
    ELSIF p_outcome = 'succeeded' AND f.run_id IS NOT NULL THEN
        -- The task runs again: what stood in for the answer before has reached nobody.
        DELETE FROM control.failed_read WHERE run_id = p_run AND origin = p_origin;
    END IF;
    PERFORM control.append(v_tenant, p_run, v_now,
        CASE WHEN v_outcome = 'stopped' THEN '{}' ELSE ARRAY[CASE WHEN v_outcome = 'succeeded' THEN 'action.succeeded' ELSE 'action.failed' END] END
            || CASE WHEN p_loop IS NULL THEN '{}' ELSE ARRAY['loop.' || CASE WHEN p_loop IN ('same', 'bouncing') THEN 'noticed' ELSE p_loop END] END,
        jsonb_strip_nulls(jsonb_build_object('tool', p_tool, 'kind', 'read', 'fallback', CASE WHEN v_outcome = 'fallback' THEN true END,
            'waits', CASE WHEN v_outcome = 'waits' THEN true END, 'loop', p_loop)), p_body, p_payload);
    IF NOT v_again THEN
        UPDATE control.run_state SET calls = calls + 1, reads = reads + 1 WHERE run_id = p_run;
    END IF;
    IF p_result IS NOT NULL AND v_outcome <> 'waits' THEN
        PERFORM control.keep_step(p_run, p_origin, p_scope, p_turn, p_call, p_result, p_at, v_out.writes);
    END IF;
    v_out.fallbacks := control.fallbacks(p_run);
    RETURN v_out;
END
$$;

-- Did this very call of a run do the write that it is now told of? Its task runs again then.
CREATE FUNCTION control.did_it(p_tenant text, p_run uuid, p_key bytea, p_body bytea) RETURNS boolean
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    v_again jsonb := control.read_json(p_body);
    v_began jsonb;
BEGIN
    SELECT control.read_json(e.body) INTO v_began FROM control.action a JOIN control.entry e ON e.run_id = a.payload_run AND e.seq = a.payload_seq
        WHERE a.tenant = p_tenant AND a.key = p_key AND a.payload_run = p_run;
    RETURN coalesce(v_began ->> 'call_id' = v_again ->> 'call_id'
                    AND v_began #>> '{where,task_id}' IS NOT DISTINCT FROM v_again #>> '{where,task_id}', false);
END
$$;

CREATE TYPE control.step_answer AS (
    answer text,       -- kept | calls_used_up | stale
    writes integer     -- begun so far
);

-- Keep a write that changed nothing among the run's steps: it was refused, or had been done before (p_repeats) and is told from what is
-- stored. Such a repeat counts among the run's tool calls, once however often its task runs again. An entry only where the run goes in
-- circles.
CREATE FUNCTION control.step_v1(
    p_run uuid, p_token bigint, p_tool text, p_loop text, p_origin bytea, p_scope bytea, p_turn bytea, p_call bytea, p_result bytea, p_at timestamptz,
    p_repeats bytea, p_calls_max integer, p_body bytea
) RETURNS control.step_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    s control.run_state;
    v_counts boolean;
    v_out control.step_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (length(p_tool) BETWEEN 1 AND 256 AND p_token IS NOT NULL AND coalesce(p_loop, 'same') IN ('same', 'bouncing', 'parked')
        AND coalesce(length(p_repeats), 32) = 32 AND p_calls_max BETWEEN 1 AND 1000000 AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a step that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain' FOR UPDATE;
    IF s.run_id IS NULL OR s.token IS DISTINCT FROM p_token OR s.state <> 'running' THEN
        v_out.answer := 'stale';
        RETURN v_out;
    END IF;
    v_counts := p_repeats IS NOT NULL AND NOT EXISTS (SELECT 1 FROM control.step WHERE run_id = p_run AND origin = p_origin)
        AND NOT control.did_it(v_tenant, p_run, p_repeats, p_body);
    IF v_counts AND s.calls >= p_calls_max THEN
        v_out.answer := 'calls_used_up';
        RETURN v_out;
    END IF;
    v_out.answer := 'kept';
    v_out.writes := s.calls - s.reads;
    PERFORM control.keep_step(p_run, p_origin, p_scope, p_turn, p_call, p_result, p_at, v_out.writes);
    IF v_counts THEN
        UPDATE control.run_state SET calls = calls + 1, reads = reads + 1 WHERE run_id = p_run;
    END IF;
    IF p_loop IS NOT NULL THEN
        PERFORM control.append(v_tenant, p_run, control.clock(),
            ARRAY['loop.' || CASE WHEN p_loop = 'parked' THEN p_loop ELSE 'noticed' END],
            jsonb_strip_nulls(jsonb_build_object('tool', p_tool, 'kind', 'write', 'loop', p_loop,
                'done', CASE WHEN p_repeats IS NOT NULL THEN true END)), p_body, NULL);
    END IF;
    RETURN v_out;
END
$$;

REVOKE EXECUTE ON FUNCTION control.left_ms, control.has_begun, control.fallbacks, control.recall, control.forget, control.keep_step, control.steps_max, control.observe_v1,
    control.did_it, control.step_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.observe_v1, control.step_v1 TO control_agent;
