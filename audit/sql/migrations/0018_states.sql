-- Where runs stand, as people and programs read it: state, reason, owner and next step, without the graph or the policy file.

CREATE TYPE control.run_row AS (
    run_id uuid, trigger text, intent text, graph text, thread_id text, actor text, on_behalf_of text, deadline timestamptz,
    started_at timestamptz, state text, reason text, state_since timestamptz, wake_at timestamptz, lease_until timestamptz,
    entries bigint, head bytea, owner text, next_step text, tools text[]
);

-- Is there something to do for this run, and nobody who would? For a minute it has been due, and no worker that has its graph has
-- looked for work. A run that was woken by an event is counted only where there are workers at all: where there are none, whoever
-- drives runs there comes by in their own time.
CREATE FUNCTION control.unserved(p_state control.run_state, p_graph text, p_now timestamptz) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT CASE
    WHEN (p_state).state IN ('done', 'chain') OR (p_state).state_since > p_now - interval '60 s' THEN false
    WHEN EXISTS (SELECT FROM control.graph_seen g WHERE g.tenant = (p_state).tenant AND g.graph = p_graph
                 AND g.seen_at > p_now - interval '60 s') THEN false
    WHEN (p_state).state = 'running' THEN (p_state).lease_until < p_now - interval '60 s'
    ELSE coalesce((p_state).wake_at < p_now - interval '60 s', false)
         OR control.is_due(p_state, p_now) AND EXISTS (SELECT FROM control.graph_seen g
            WHERE g.tenant = (p_state).tenant AND g.seen_at > p_now - interval '60 s') END
$$;

-- Has everybody said what this run waited for, and has nobody driven it since? Then it is for whoever drives runs.
CREATE FUNCTION control.was_heard(p_state control.run_state) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT ((p_state).state IN ('needs_human', 'needs_approval') OR (p_state).reason = 'ask') AND (p_state).owner <> 'workers'
   AND EXISTS (SELECT FROM control.run_wake w WHERE w.run_id = (p_state).run_id AND w.generation <> w.seen)
   AND NOT EXISTS (SELECT FROM control.waiter w JOIN control.action a USING (tenant, key)
                   LEFT JOIN control.approval p ON p.approval_id = a.approval_id
                   WHERE w.run_id = (p_state).run_id
                     AND (a.state = 'needs_human' OR a.state = 'needs_approval' AND p.state = 'open'))
   AND NOT EXISTS (SELECT FROM control.asker k JOIN control.question q USING (question_id)
                   WHERE k.run_id = (p_state).run_id AND q.answer IS NULL)
$$;

-- A run as it stands now.
CREATE FUNCTION control.shown(r control.run, s control.run_state, p_now timestamptz) RETURNS SETOF control.run_row
    LANGUAGE sql STABLE AS $$
SELECT r.run_id, r.trigger, r.intent, r.graph, r.thread_id, r.actor, r.on_behalf_of, r.deadline, r.started_at,
       CASE WHEN n.unserved THEN 'blocked' ELSE s.state END,
       CASE WHEN n.unserved THEN 'no worker has graph ' || r.graph ELSE s.reason END,
       s.state_since, s.wake_at, nullif(s.lease_until, '-infinity'), s.seq, s.head,
       CASE WHEN n.unserved THEN control.owner_of_all(r.tenant) WHEN s.state = 'running' OR n.heard THEN 'workers' ELSE s.owner END,
       CASE WHEN n.unserved THEN '' WHEN n.heard THEN 'langgraph-control resume run_' || replace(r.run_id::text, '-', '')
            ELSE s.next_step END,
       ARRAY(SELECT DISTINCT a.tool FROM control.waiter w JOIN control.action a USING (tenant, key)
             WHERE w.tenant = r.tenant AND w.run_id = r.run_id ORDER BY a.tool)
FROM (SELECT control.unserved(s, r.graph, p_now) AS unserved, control.was_heard(s) AS heard) n
$$;

-- A run by its id, or by its trigger.
CREATE FUNCTION control.run_v1(p_run uuid, p_trigger text) RETURNS SETOF control.run_row
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT one.* FROM control.run r JOIN control.run_state s USING (run_id) CROSS JOIN LATERAL control.shown(r, s, control.clock()) one
WHERE r.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant AND (r.run_id = p_run OR r.trigger = p_trigger)
$$;

-- The newest runs of the caller's tenant; of one state, or of one owner (alone or with others), if that is asked for. With p_longest
-- the unfinished ones, those that stand there longest first, after a place in that order (p_since, p_after).
CREATE FUNCTION control.runs_v1(
    p_limit integer, p_state text DEFAULT NULL, p_owner text DEFAULT NULL, p_longest boolean DEFAULT false,
    p_since timestamptz DEFAULT NULL, p_after uuid DEFAULT NULL
) RETURNS SETOF control.run_row
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent', 'approver', 'admin', 'auditor')).tenant;
    v_now timestamptz := control.clock();
BEGIN
    IF p_owner IS NULL AND coalesce(p_state, 'done') = 'done' AND NOT p_longest THEN
        RETURN QUERY SELECT one.* FROM (
            SELECT r, s FROM control.run r JOIN control.run_state s USING (run_id)
            WHERE r.tenant = v_tenant AND (p_state IS NULL OR s.state = p_state) ORDER BY r.started_at DESC LIMIT p_limit
        ) newest CROSS JOIN LATERAL control.shown(newest.r, newest.s, v_now) one
        ORDER BY one.started_at DESC;
    ELSE
        -- What has a state to act on, or an owner, is unfinished: however many are done, only these are looked at.
        RETURN QUERY SELECT one.* FROM control.open_run o JOIN control.run r ON r.run_id = o.run_id
            JOIN control.run_state s ON s.run_id = o.run_id CROSS JOIN LATERAL control.shown(r, s, v_now) one
        WHERE o.tenant = v_tenant AND r.tenant = v_tenant AND (p_state IS NULL OR one.state = p_state)
          AND (p_owner IS NULL OR p_owner = ANY (string_to_array(one.owner, ', ')))
          AND (p_after IS NULL OR (one.state_since, one.run_id) > (p_since, p_after))
        ORDER BY CASE WHEN p_longest THEN one.state_since END, CASE WHEN p_longest THEN one.run_id END, one.started_at DESC
        LIMIT p_limit;
    END IF;
END
$$;

CREATE TYPE control.wake_answer AS (
    answer text,     -- woken | held | finished | unknown
    served boolean   -- within the last minute a worker that has its graph has looked for work
);

-- Have a parked run driven now, whatever it waits for: whoever drives it finds out whether it can go on. Decides nothing.
CREATE FUNCTION control.run_wake_v1(p_run uuid) RETURNS control.wake_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent', 'approver', 'admin')).tenant;
    s control.run_state;
    v_now timestamptz := control.clock();
    v_out control.wake_answer;
BEGIN
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain';
    v_out.served := EXISTS (SELECT FROM control.graph_seen g JOIN control.run r ON r.tenant = g.tenant AND r.graph = g.graph
                            WHERE r.run_id = s.run_id AND g.seen_at > v_now - interval '60 s');
    v_out.answer := CASE WHEN s.run_id IS NULL THEN 'unknown' WHEN s.state = 'done' THEN 'finished'
                         WHEN s.state = 'running' AND s.lease_until > v_now THEN 'held' ELSE 'woken' END;
    IF v_out.answer = 'woken' THEN
        INSERT INTO control.run_wake AS w (run_id, generation) VALUES (p_run, 1)
            ON CONFLICT (run_id) DO UPDATE SET generation = w.generation + 1;
        PERFORM pg_notify('control_wake', p_run::text);
    END IF;
    RETURN v_out;
END
$$;

REVOKE EXECUTE ON FUNCTION control.unserved, control.was_heard, control.shown, control.run_v1, control.runs_v1, control.run_wake_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.run_wake_v1 TO control_agent, control_approver, control_admin;
GRANT EXECUTE ON FUNCTION control.run_v1, control.runs_v1 TO control_agent, control_approver, control_admin, control_auditor;
