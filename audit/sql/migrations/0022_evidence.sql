-- What an approver may want to know beside the card: what the run had read when it asked, and what was asked and done lately to the
-- same record. Taken from the trail and the requests, not from the caller, in the commit that opens the request; no other write pays for
-- it. So no index on the record's name, which every write would have to feed: the newest runs are looked through instead.
CREATE TABLE control.approval_evidence (
    approval_id uuid PRIMARY KEY REFERENCES control.approval ON DELETE CASCADE,
    tenant text NOT NULL,
    tool text NOT NULL,
    system text,                  -- as the card names it; NULL where it names none
    target_hash bytea,            -- of the record's name; NULL where the card names none
    requested_at timestamptz NOT NULL,
    reads jsonb NOT NULL,
    earlier jsonb NOT NULL,
    writes jsonb NOT NULL
);
CREATE INDEX approval_evidence_by_tool ON control.approval_evidence (tenant, tool, target_hash, requested_at) WHERE target_hash IS NOT NULL;
CREATE INDEX approval_evidence_by_system ON control.approval_evidence (tenant, system, target_hash, requested_at)
    WHERE target_hash IS NOT NULL AND system IS NOT NULL;

-- What a client wrote, as JSON; NULL for what cannot be read as such: no claim fails for it.
CREATE FUNCTION control.read_json(p_bytes bytea) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN convert_from(p_bytes, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception OR program_limit_exceeded THEN
    RETURN NULL;
END
$$;

-- The newest reads of a run, newest first: looked for in its newest 500 entries.
CREATE FUNCTION control.reads_of(p_run uuid, p_limit integer) RETURNS jsonb
    LANGUAGE sql STABLE AS $$
SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('tool', r.facts ->> 'tool', 'system', left(r.body ->> 'system', 200),
        'target', left(r.body ->> 'target', 500), 'at', (extract(epoch FROM r.at) * 1000000)::bigint,
        'digest', left(r.body ->> 'result', 64), 'failed', CASE WHEN NOT r.facts -> 'events' ? 'action.succeeded' THEN true END,
        'fallback', r.facts -> 'fallback')) ORDER BY r.seq DESC), '[]'::jsonb)
FROM (SELECT e.seq, e.at, e.facts, control.read_json(e.body) AS body FROM (
        SELECT n.seq, n.at, n.facts::jsonb AS facts, n.body FROM control.entry n WHERE n.run_id = p_run ORDER BY n.seq DESC LIMIT 500) e
      WHERE e.facts ->> 'kind' = 'read' AND NOT e.facts ? 'waits' ORDER BY e.seq DESC LIMIT p_limit) r
$$;

-- Earlier requests on the same record in the last 30 days, newest first, with what came of them: by the same tool, or by another of the
-- same system. Each of the two is looked up in an index of its own, so that no more rows are read than can be shown.
CREATE FUNCTION control.earlier_requests(
    p_tenant text, p_tool text, p_system text, p_target_hash bytea, p_before timestamptz, p_but uuid, p_limit integer
) RETURNS jsonb
    LANGUAGE sql STABLE AS $$
SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('approval', a.approval_id, 'tool', a.tool, 'state', a.state,
        'action', c.state, 'at', (extract(epoch FROM a.requested_at) * 1000000)::bigint, 'intent', left(r.intent, 200),
        'asked_by', left(r.actor, 200),
        'voters', (SELECT jsonb_agg(v.person || ':' || v.decision ORDER BY v.voted_at) FROM control.vote v
                   WHERE v.approval_id = a.approval_id))) ORDER BY a.requested_at DESC, a.approval_id), '[]'::jsonb)
FROM ((SELECT e.approval_id, e.requested_at FROM control.approval_evidence e
       WHERE e.tenant = p_tenant AND e.tool = p_tool AND e.target_hash = p_target_hash AND e.approval_id <> p_but
         AND e.requested_at > p_before - interval '30 days' ORDER BY e.requested_at DESC, e.approval_id LIMIT p_limit)
      UNION
      (SELECT e.approval_id, e.requested_at FROM control.approval_evidence e
       WHERE e.tenant = p_tenant AND e.system = p_system AND e.target_hash = p_target_hash AND e.approval_id <> p_but
         AND e.requested_at > p_before - interval '30 days' ORDER BY e.requested_at DESC, e.approval_id LIMIT p_limit)
      ORDER BY requested_at DESC, approval_id LIMIT p_limit) n
    JOIN control.approval a USING (approval_id)
    JOIN control.run r ON r.run_id = a.run_id
    LEFT JOIN control.action c ON c.tenant = a.tenant AND c.key = a.key AND c.approval_id = a.approval_id
$$;

CREATE INDEX run_newest ON control.run (tenant, started_at);

-- Writes to the same record in the last 30 days that nobody was asked about, newest first, with where they stand: by the same tool, or to
-- the same system. Looked for among the newest twenty writes of each of the tenant's newest 200 runs.
CREATE FUNCTION control.earlier_writes(
    p_tenant text, p_tool text, p_system text, p_target text, p_before timestamptz, p_but bytea, p_limit integer
) RETURNS jsonb
    LANGUAGE sql STABLE SET enable_seqscan = off AS $$  -- the tables may be too young for the planner to know their size
SELECT coalesce(jsonb_agg(jsonb_strip_nulls(jsonb_build_object('tool', w.tool, 'state', w.state,
        'at', (extract(epoch FROM w.at) * 1000000)::bigint, 'run', w.run_id, 'intent', left(w.intent, 200),
        'asked_by', left(w.actor, 200))) ORDER BY w.at DESC, w.key), '[]'::jsonb)
FROM (SELECT c.key, c.tool, c.state, e.at, r.run_id, r.intent, r.actor
      FROM (SELECT n.run_id, n.intent, n.actor FROM control.run n WHERE n.tenant = p_tenant AND p_target IS NOT NULL
                AND n.started_at > p_before - interval '30 days' ORDER BY n.started_at DESC LIMIT 200) r
          CROSS JOIN LATERAL (SELECT a.key, a.tool, a.state, a.payload_run, a.payload_seq FROM control.action a
              WHERE a.run_id = r.run_id AND a.key <> p_but AND a.approval_id IS NULL AND a.attempts > 0
                AND (a.tool = p_tool OR a.system = p_system) ORDER BY a.payload_seq DESC LIMIT 20) c
          -- Few bodies hold the name at all: only those are read as JSON.
          CROSS JOIN LATERAL (SELECT n.at, n.body FROM control.entry n WHERE n.run_id = c.payload_run AND n.seq = c.payload_seq
              AND position(convert_to(to_json(p_target)::text, 'UTF8') IN n.body) > 0 LIMIT 1) e
      WHERE e.at > p_before - interval '30 days' AND control.read_json(e.body) ->> 'target' = p_target
      ORDER BY e.at DESC, c.key LIMIT p_limit) w
$$;

CREATE FUNCTION control.keep_evidence() RETURNS trigger
    LANGUAGE plpgsql AS $$
DECLARE
    v_card jsonb := control.read_json(NEW.card);
    v_where jsonb := v_card -> 'where';
    -- As long as a claim's may be: no index takes whatever an agent sends.
    v_system text := CASE WHEN length(v_where ->> 'system') <= 256 THEN v_where ->> 'system' END;
    v_target text := v_where ->> 'target';
    -- A name that some roles alone are shown is compared with what the same roles are: found beside one in clear, it would be told.
    v_for bytea := CASE WHEN v_where -> 'target_by_role' = 'true' THEN '\x00'::bytea || coalesce((
        SELECT convert_to(string_agg(part ->> 'role', ' ' ORDER BY part ->> 'role'), 'UTF8')
        FROM control.card_parts(v_card) part WHERE part ? 'target'), '') || '\x00' ELSE '' END;
    -- Under the tenant's secret: a plain hash of a short name could be guessed.
    v_hash bytea := sha256((SELECT secret FROM control.tenant WHERE tenant = NEW.tenant) || v_for || convert_to(v_target, 'UTF8'));
BEGIN
    INSERT INTO control.approval_evidence (approval_id, tenant, tool, system, target_hash, requested_at, reads, earlier, writes)
        VALUES (NEW.approval_id, NEW.tenant, NEW.tool, v_system, v_hash, NEW.requested_at, control.reads_of(NEW.run_id, 20),
            control.earlier_requests(NEW.tenant, NEW.tool, v_system, v_hash, NEW.requested_at, NEW.approval_id, 10),
            control.earlier_writes(NEW.tenant, NEW.tool, v_system, CASE WHEN v_for = '' THEN v_target END, NEW.requested_at, NEW.key, 10))
        -- A request that the floor opened gets its card with the next claim.
        ON CONFLICT (approval_id) DO UPDATE
            SET system = excluded.system, target_hash = excluded.target_hash, earlier = excluded.earlier, writes = excluded.writes;
    RETURN NULL;
END
$$;
CREATE TRIGGER keep_evidence AFTER INSERT ON control.approval
    FOR EACH ROW EXECUTE FUNCTION control.keep_evidence();
CREATE TRIGGER keep_evidence_of_card AFTER UPDATE OF card ON control.approval
    FOR EACH ROW WHEN (OLD.card IS DISTINCT FROM NEW.card) EXECUTE FUNCTION control.keep_evidence();

-- What was known when a request was opened.
CREATE FUNCTION control.evidence_v1(p_approval uuid) RETURNS TABLE (reads jsonb, earlier jsonb, writes jsonb)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT e.reads, e.earlier, e.writes FROM control.approval_evidence e
    WHERE e.approval_id = p_approval AND e.tenant = (control.caller('approver', 'admin', 'auditor', 'agent')).tenant
$$;

REVOKE ALL ON control.approval_evidence FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION control.read_json, control.reads_of, control.earlier_requests, control.earlier_writes, control.keep_evidence, control.evidence_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.evidence_v1 TO control_agent, control_approver, control_admin, control_auditor;
