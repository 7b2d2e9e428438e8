-- What comes in through front ends that start and resume graphs by themselves: which run a thread has, and attempts to decide by a
-- resume, which never decides anything.

-- The unfinished run of a thread.
CREATE FUNCTION control.run_of_thread_v1(p_thread text) RETURNS uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT run_id FROM control.open_run WHERE tenant = (control.caller('agent')).tenant AND thread_id = p_thread
$$;

-- Put on record that somebody tried to decide by resuming a graph, and why that was ignored. It is the agent's word about what it
-- ignored: no approval's entry, no vote, and nothing follows from it. What has a mark is noted once a run. Returns whether there is such
-- a run.
CREATE FUNCTION control.attempt_v1(p_run uuid, p_approval uuid, p_reason text, p_body bytea, p_mark text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    ap control.approval;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_run IS NOT NULL AND p_reason ~ '^[a-z_]{1,64}$' AND length(p_body) <= control.body_bytes_max()
        AND coalesce(p_mark, '') ~ '^[0-9a-f]{0,64}$') IS NOT TRUE THEN
        RAISE EXCEPTION 'an attempt that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM 1 FROM control.run_state s WHERE s.run_id = p_run AND s.tenant = v_tenant AND s.state <> 'chain' FOR UPDATE;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    -- Few runs are ever tried, so no index: of the entries only those are read as JSON that tell of an attempt.
    IF p_mark IS NOT NULL AND EXISTS (SELECT FROM control.entry e WHERE e.run_id = p_run
            AND CASE WHEN position('"resume.ignored"' IN e.facts) > 0 THEN e.facts::jsonb ->> 'mark' = p_mark END) THEN
        RETURN true;
    END IF;
    SELECT * INTO ap FROM control.approval WHERE approval_id = p_approval AND tenant = v_tenant;
    PERFORM control.append(v_tenant, p_run, control.clock(), ARRAY['resume.ignored'],
        jsonb_strip_nulls(jsonb_build_object('approval', ap.approval_id, 'tool', ap.tool, 'key', encode(ap.key, 'hex'),
            'digest', encode(ap.digest, 'hex'), 'reason', p_reason, 'mark', p_mark)), p_body, NULL);
    RETURN true;
END
$$;

-- Put on record that somebody was not let in, or a change came from no page of ours: how often, and why, as the service says that
-- refused it. In the tenant's own chain, and nothing follows from it.
CREATE FUNCTION control.access_refused_v1(p_body bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('approver', 'admin')).tenant;
BEGIN
    IF (length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a refusal that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM control.append(v_tenant, control.tenant_chain(v_tenant), control.clock(), ARRAY['access.refused'], '{}', p_body, NULL);
END
$$;

REVOKE EXECUTE ON FUNCTION control.run_of_thread_v1, control.attempt_v1, control.access_refused_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.access_refused_v1 TO control_approver, control_admin;
GRANT EXECUTE ON FUNCTION control.run_of_thread_v1, control.attempt_v1 TO control_agent;
