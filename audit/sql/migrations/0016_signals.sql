-- What a decision may look at beside the call itself. Asked only where the policy asks for it: an ordinary write asks nothing of this.

-- How far a run and one of its actions have come. The claim looks at the same under its lock; this is for rules' conditions.
CREATE FUNCTION control.progress_v1(p_run uuid, p_key bytea)
    RETURNS TABLE (state text, started boolean, attempts integer, same_failures integer, first_at timestamptz, calls integer, retrying_ms bigint,
                   deadline timestamptz, call_id text, now timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT a.state, a.started, a.attempts, a.same_failures, coalesce(a.first_at, a.first_sent), s.calls, s.retrying_ms, s.deadline, a.call_id,
       control.clock()
FROM control.run_state s LEFT JOIN control.action a ON a.tenant = s.tenant AND a.key = p_key
WHERE s.run_id = p_run AND s.tenant = (control.caller('agent')).tenant
$$;

-- Which run looked at which record for which write, where the policy's context: asks for it. An equal action of another request has
-- the same twin: the tool and its arguments under the tenant's secret, without the intent.
CREATE TABLE control.look (
    tenant text NOT NULL,
    key bytea NOT NULL,
    run_id uuid NOT NULL,
    twin bytea NOT NULL,
    seen bytea,              -- the record as the run saw it last, under the tenant's secret; NULL where nothing was read
    at timestamptz NOT NULL, -- when this run first asked for this
    PRIMARY KEY (tenant, key, run_id)
);
CREATE INDEX look_twin ON control.look (tenant, twin, at);

CREATE TYPE control.look_answer AS (
    equal text,      -- none | under_way | done
    changed boolean  -- the record is not as this run last saw it
);

-- Note that a run asks for a write, and say whether another request asked for the same, and whether the record has changed since
-- this run looked at it. Of two that ask at one moment the first goes on; nothing is said about an action that has begun.
CREATE FUNCTION control.look_v1(p_run uuid, p_token bigint, p_key bytea, p_twin bytea, p_within_ms bigint, p_seen bytea)
    RETURNS control.look_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    v_now timestamptz;
    v_intent text;
    v_own control.look;
    v_out control.look_answer;
BEGIN
    IF (p_token IS NOT NULL AND length(p_key) = 32 AND length(p_twin) = 32 AND coalesce(length(p_seen), 32) = 32
        AND coalesce(p_within_ms, 1) BETWEEN 1 AND 31622400000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a look that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_out.equal := 'none';
    v_out.changed := false;
    SELECT r.intent INTO v_intent FROM control.run r JOIN control.run_state s USING (run_id)
        WHERE r.run_id = p_run AND r.tenant = v_tenant AND s.token = p_token AND s.state = 'running';
    IF v_intent IS NULL OR EXISTS (
        SELECT FROM control.action a WHERE a.tenant = v_tenant AND a.key = p_key
            AND (a.started OR a.attempts > 0 OR a.state IN ('succeeded', 'needs_human', 'abandoned'))) THEN
        RETURN v_out;
    END IF;
    -- One at a time for each twin, so that two requests of one moment do not both find nobody.
    PERFORM pg_advisory_xact_lock(hashtextextended('langgraph-control/look/' || v_tenant || encode(p_twin, 'hex'), 0));
    v_now := control.clock();
    SELECT * INTO v_own FROM control.look WHERE tenant = v_tenant AND key = p_key AND run_id = p_run;
    v_out.changed := v_own.twin = p_twin AND v_own.seen <> p_seen;
    v_out.changed := coalesce(v_out.changed, false);
    IF v_own.twin IS DISTINCT FROM p_twin THEN
        v_own.at := v_now;
    END IF;
    INSERT INTO control.look AS l (tenant, key, run_id, twin, seen, at) VALUES (v_tenant, p_key, p_run, p_twin, p_seen, v_own.at)
        ON CONFLICT (tenant, key, run_id) DO UPDATE SET twin = excluded.twin, seen = excluded.seen, at = excluded.at
        WHERE (l.twin, l.seen, l.at) IS DISTINCT FROM (excluded.twin, excluded.seen, excluded.at);
    IF p_within_ms IS NOT NULL THEN
        -- What may be in effect counts whoever asked first; what has not begun only if it was asked for before.
        SELECT CASE WHEN bool_or(a.state IN ('succeeded', 'abandoned')) THEN 'done'
                    WHEN count(*) > 0 THEN 'under_way' ELSE 'none' END INTO v_out.equal
            FROM control.look o JOIN control.run r ON r.run_id = o.run_id JOIN control.run_state s ON s.run_id = o.run_id
                LEFT JOIN control.action a ON a.tenant = o.tenant AND a.key = o.key
            WHERE o.tenant = v_tenant AND o.twin = p_twin AND o.key <> p_key AND r.intent <> v_intent
              AND o.at > v_now - p_within_ms * interval '1 ms'
              AND (a.state IN ('succeeded', 'abandoned', 'executing', 'unknown', 'verifying', 'needs_human')
                   OR coalesce(a.state, 'ready') IN ('ready', 'needs_approval') AND s.state <> 'done' AND (o.at, o.key) < (v_own.at, p_key));
    END IF;
    RETURN v_out;
END
$$;

REVOKE EXECUTE ON FUNCTION control.progress_v1, control.look_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.progress_v1, control.look_v1 TO control_agent;
