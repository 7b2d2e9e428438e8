-- What workers ask: which runs are due, give me one of them, register one for later. The rows of the run are the truth; a queue, a
-- notification and the marks in here only say when to look.

-- The unfinished runs are what a sweep goes through. A driven run is due at -infinity: its lease says when it is really over.
ALTER TABLE control.open_run
    ADD COLUMN graph text,
    ADD COLUMN due_at timestamptz,                                     -- NULL: when something happens
    ADD COLUMN offered_until timestamptz NOT NULL DEFAULT '-infinity'; -- some worker was told; look again after this
CREATE UNIQUE INDEX open_run_id ON control.open_run (run_id);
CREATE INDEX open_run_due ON control.open_run (tenant, due_at) WHERE due_at IS NOT NULL;

-- A run whose generation is not the one it had seen when it was parked has something to be driven for.
ALTER TABLE control.run_wake
    ADD COLUMN seen bigint NOT NULL DEFAULT 0,
    ADD COLUMN offered bigint NOT NULL DEFAULT 0,                      -- the generation some worker was told of
    ADD COLUMN offered_until timestamptz NOT NULL DEFAULT '-infinity';
CREATE INDEX run_wake_moved ON control.run_wake (run_id) WHERE generation <> seen;

-- The graphs that workers had when they last looked for what is due. A due run of a graph that is not here waits for nobody.
CREATE TABLE control.graph_seen (
    tenant text NOT NULL,
    graph text NOT NULL,
    seen_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, graph)
) WITH (fillfactor = 50);

-- The expiry that the waiting runs were woken for. What follows from it is decided by the claim they come back with.
ALTER TABLE control.open_approval ADD COLUMN told timestamptz;

-- Is there anything to do for this run now?
CREATE FUNCTION control.is_due(p_state control.run_state, p_now timestamptz) RETURNS boolean
    LANGUAGE sql STABLE AS $$
SELECT CASE
    WHEN (p_state).state IN ('done', 'chain') THEN false
    WHEN (p_state).state = 'running' THEN (p_state).lease_until <= p_now
    ELSE coalesce((p_state).wake_at <= p_now, false)
         OR EXISTS (SELECT 1 FROM control.run_wake w WHERE w.run_id = (p_state).run_id AND w.generation <> w.seen) END
$$;

-- Take the lease of a run that is due and whose graph this worker has. Decided under the run's lock: of many workers that were woken
-- for it one gets it, and whoever comes when it has been driven already gets nothing.
CREATE FUNCTION control.run_take_v1(p_run uuid, p_graphs text[], p_holder text, p_lease_ms integer, p_body bytea)
    RETURNS control.run_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    s control.run_state;
    v_now timestamptz;
    v_out control.run_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (length(p_holder) BETWEEN 1 AND 512 AND p_lease_ms BETWEEN 1 AND 86400000 AND p_graphs IS NOT NULL
        AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a lease that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM control.same_server();
    SELECT * INTO s FROM control.run_state WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain' FOR UPDATE;
    SELECT graph INTO v_out.graph FROM control.run WHERE run_id = p_run AND tenant = v_tenant;
    v_now := control.clock();
    IF v_out.graph <> ALL (p_graphs) THEN
        v_out.answer := 'unknown';
        v_out.run_id := p_run;
        RETURN v_out;
    END IF;
    IF s.state NOT IN ('running', 'done') AND NOT control.is_due(s, v_now) THEN
        v_out.answer := 'not_due';
        v_out.run_id := p_run;
        v_out.state := s.state;
        v_out.reason := s.reason;
        v_out.lease_ms_left := least(ceil(extract(epoch FROM s.wake_at - v_now) * 1000), 2000000000);
        RETURN v_out;
    END IF;
    RETURN control.take_lease(v_tenant, p_run, p_holder, p_lease_ms, false, p_body);
END
$$;

-- Register a run for a worker to drive. A trigger that has a run already keeps it as it stands.
CREATE FUNCTION control.run_submit_v1(
    p_run uuid, p_trigger text, p_intent text, p_graph text, p_thread text, p_own_thread boolean, p_actor text,
    p_on_behalf_of text, p_deadline timestamptz, p_input bytea, p_holder text, p_body bytea
) RETURNS control.run_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    r control.run;
    v_out control.run_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    SELECT * INTO r FROM control.run WHERE tenant = (control.caller('agent')).tenant AND trigger = p_trigger;
    IF r.run_id IS NOT NULL THEN
        v_out.answer := CASE WHEN r.intent <> p_intent OR r.graph <> p_graph THEN 'mismatch' ELSE 'queued' END;
        v_out.run_id := r.run_id;
        v_out.intent := r.intent;
        v_out.graph := r.graph;
        RETURN v_out;
    END IF;
    v_out := control.run_open_v1(p_run, p_trigger, p_intent, p_graph, p_thread, p_own_thread, p_actor, p_on_behalf_of, p_deadline,
                                 p_input, p_holder, 1000, p_body);
    IF v_out.answer = 'acquired' AND v_out.run_id <> p_run THEN
        -- Another delivery was registered since we looked, and we have its run: give it back as it was, and be sent again.
        RAISE EXCEPTION 'another delivery of this trigger was first' USING ERRCODE = 'serialization_failure';
    END IF;
    IF v_out.answer = 'acquired' THEN
        PERFORM control.run_release_v1(p_run, v_out.token, v_out.generation, 'waiting', 'queued', 'workers', 'langgraph-control worker', 0,
            p_body);
        PERFORM pg_notify('control_wake', p_run::text);
    END IF;
    IF v_out.answer IN ('acquired', 'held', 'finished') THEN
        v_out.answer := 'queued';
        v_out.token := NULL;
    END IF;
    RETURN v_out;
END
$$;

CREATE TYPE control.wake_row AS (
    run_id uuid,
    graph text,
    why text,        -- woken | timer | lease | graph
    in_ms bigint,    -- until it is due; 0 or less: now
    offered boolean  -- it is yours to put on the queue; else only to be known
);

-- Which runs are due, or will be within p_ahead_ms. What is given is marked for p_hold_ms, so that no two workers are given the same;
-- if nothing comes of it, it is given again. With p_runs, only those are looked at; with p_others, graphs that the caller lacks are
-- spoken of. Waits for nobody.
CREATE FUNCTION control.wakes_v1(
    p_graphs text[], p_runs uuid[], p_ahead_ms integer, p_hold_ms integer, p_limit integer, p_others boolean
) RETURNS SETOF control.wake_row
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    v_now timestamptz := control.clock();
    v_until timestamptz;
    v_hold timestamptz;
    v_moved uuid[] := p_runs;
    v_due uuid[] := p_runs;
BEGIN
    IF (p_graphs IS NOT NULL AND p_ahead_ms BETWEEN 0 AND 3600000 AND p_hold_ms BETWEEN 0 AND 3600000 AND p_others IS NOT NULL
        AND p_limit BETWEEN 0 AND 10000 AND coalesce(cardinality(p_runs), 0) <= 10000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a sweep that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    -- A mark that is lost costs a second look.
    PERFORM set_config('synchronous_commit', 'off', true);
    v_until := v_now + make_interval(secs => p_ahead_ms / 1000.0);
    v_hold := v_now + make_interval(secs => p_hold_ms / 1000.0);

    IF p_runs IS NULL THEN
        -- Requests that nobody answered in time: their runs go on, once for each expiry. In the order in which wake() locks.
        WITH told AS (
            UPDATE control.open_approval o SET told = x.expires_at
            FROM (SELECT o.requested_at, o.approval_id, a.key, a.expires_at
                  FROM control.open_approval o JOIN control.approval a USING (approval_id)
                  WHERE o.tenant = v_tenant AND a.expires_at <= v_now AND o.told IS DISTINCT FROM a.expires_at
                  ORDER BY o.requested_at LIMIT p_limit FOR UPDATE OF o SKIP LOCKED) x
            WHERE o.tenant = v_tenant AND o.requested_at = x.requested_at AND o.approval_id = x.approval_id
            RETURNING x.key
        )
        INSERT INTO control.run_wake AS w (run_id, generation)
            SELECT DISTINCT n.run_id, 1 FROM told JOIN control.waiter n ON n.tenant = v_tenant AND n.key = told.key ORDER BY n.run_id
            ON CONFLICT (run_id) DO UPDATE SET generation = w.generation + 1;

        v_moved := ARRAY(
            SELECT w.run_id FROM control.run_wake w JOIN control.open_run o USING (run_id)
            WHERE w.generation <> w.seen AND (w.generation <> w.offered OR w.offered_until <= v_now)
              AND o.tenant = v_tenant AND o.graph = ANY (p_graphs) AND o.due_at IS DISTINCT FROM '-infinity'
            LIMIT p_limit);
        v_due := ARRAY(
            SELECT o.run_id FROM control.open_run o
            WHERE o.tenant = v_tenant AND o.due_at > '-infinity' AND o.due_at <= v_until AND o.offered_until <= v_now
              AND o.graph = ANY (p_graphs)
            ORDER BY o.due_at LIMIT p_limit)
        || ARRAY(
            SELECT o.run_id FROM control.open_run o JOIN control.run_state s USING (run_id)
            WHERE o.tenant = v_tenant AND o.due_at = '-infinity' AND o.offered_until <= v_now
              AND o.graph = ANY (p_graphs) AND s.lease_until <= v_until
            LIMIT p_limit);
    END IF;
    IF p_others THEN
        -- Whose graph this worker does not have is another's to drive; where there is none, somebody should know.
        RETURN QUERY
            SELECT DISTINCT ON (o.graph) o.run_id, o.graph, 'graph', 0::bigint, false FROM control.open_run o
            WHERE o.tenant = v_tenant AND o.graph <> ALL (p_graphs)
              AND (o.due_at > '-infinity' AND o.due_at <= v_now
                   OR o.due_at = '-infinity'
                      AND EXISTS (SELECT 1 FROM control.run_state s WHERE s.run_id = o.run_id AND s.lease_until <= v_now)
                   OR o.due_at IS DISTINCT FROM '-infinity'
                      AND EXISTS (SELECT 1 FROM control.run_wake w WHERE w.run_id = o.run_id AND w.generation <> w.seen));
    END IF;

    RETURN QUERY
        WITH given AS (
            SELECT w.run_id, o.graph FROM control.run_wake w JOIN control.open_run o USING (run_id)
            WHERE w.run_id = ANY (v_moved) AND w.generation <> w.seen AND (w.generation <> w.offered OR w.offered_until <= v_now)
              AND o.tenant = v_tenant AND o.graph = ANY (p_graphs) AND o.due_at IS DISTINCT FROM '-infinity'
            FOR UPDATE OF w SKIP LOCKED
        )
        UPDATE control.run_wake w SET offered = w.generation, offered_until = v_hold
            FROM given g WHERE w.run_id = g.run_id
            RETURNING w.run_id, g.graph, 'woken', 0::bigint, true;
    RETURN QUERY
        WITH given AS (
            SELECT o.run_id, o.graph, s.state, CASE WHEN s.state = 'running' THEN s.lease_until ELSE s.wake_at END AS at
            FROM control.open_run o JOIN control.run_state s USING (run_id)
            WHERE o.run_id = ANY (v_due) AND o.tenant = v_tenant AND o.due_at <= v_until AND o.offered_until <= v_now
              AND o.graph = ANY (p_graphs) AND CASE WHEN s.state = 'running' THEN s.lease_until ELSE s.wake_at END <= v_until
            FOR UPDATE OF o SKIP LOCKED
        ), marked AS (
            -- A lease that is not over yet may still be renewed: it is only to be looked at again.
            UPDATE control.open_run o SET offered_until = v_hold
            FROM given g WHERE o.run_id = g.run_id AND (g.state <> 'running' OR g.at <= v_now)
            RETURNING o.run_id
        )
        SELECT g.run_id, g.graph, CASE WHEN g.state = 'running' THEN 'lease' ELSE 'timer' END,
               ceil(extract(epoch FROM g.at - v_now) * 1000)::bigint, m.run_id IS NOT NULL
        FROM given g LEFT JOIN marked m USING (run_id)
        ORDER BY g.at;
    IF p_others THEN
        -- Last, and in one order: whoever waits for this row holds nothing that its holder still wants.
        INSERT INTO control.graph_seen AS k (tenant, graph, seen_at)
            SELECT DISTINCT v_tenant, g, v_now FROM unnest(p_graphs) g WHERE length(g) BETWEEN 1 AND 256 ORDER BY g
            ON CONFLICT (tenant, graph) DO UPDATE SET seen_at = excluded.seen_at
            WHERE k.seen_at < excluded.seen_at - interval '5 s' OR k.seen_at > excluded.seen_at;
    END IF;
END
$$;

-- Tell the workers that listen which runs wait for an action that something happened to: sent after a settle of an action that had
-- waiters, as a statement of its own.
CREATE FUNCTION control.notify_waiters_v1(p_key bytea) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
BEGIN
    PERFORM control.notify_waiters((control.caller('agent')).tenant, p_key);
END
$$;

REVOKE EXECUTE ON FUNCTION control.is_due, control.run_take_v1, control.run_submit_v1, control.wakes_v1, control.notify_waiters_v1
    FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.run_take_v1, control.run_submit_v1, control.wakes_v1, control.notify_waiters_v1 TO control_agent;
