-- What may be read, by whom; what the admin publishes.

-- What an agent process needs once: its tenant, the secret that names actions, and which policies are published.
CREATE FUNCTION control.session_v1() RETURNS TABLE (tenant text, secret bytea, policies text[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT t.tenant, t.secret, ARRAY(SELECT p.hash FROM control.policy p WHERE p.tenant = t.tenant)
FROM control.tenant t WHERE t.tenant = (control.caller('agent')).tenant
$$;

-- Make a policy the current one: its text by hash, who is in which role, and the floor nothing may fall below. Each floor may also
-- say what can be asked for at most; open requests that have votes enough by that are granted.
CREATE FUNCTION control.policy_publish_v1(
    p_hash text, p_text text, p_members jsonb, p_floors jsonb, p_owners jsonb, p_open_per_run integer, p_open_per_tenant integer,
    p_on_new_message text, p_body bytea
) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('admin')).tenant;
    v_chain uuid;
    v_now timestamptz;
    v_seq bigint;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    v_chain := control.tenant_chain(v_tenant);
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    v_now := control.clock();
    INSERT INTO control.policy (tenant, hash, body, published_by, published_at)
        VALUES (v_tenant, p_hash, p_text, session_user, v_now)
        ON CONFLICT (tenant, hash) DO UPDATE SET published_at = excluded.published_at, published_by = excluded.published_by;
    UPDATE control.tenant SET open_per_run = p_open_per_run, open_per_tenant = p_open_per_tenant, on_new_message = p_on_new_message
        WHERE tenant = v_tenant;
    DELETE FROM control.membership WHERE tenant = v_tenant;
    INSERT INTO control.membership (tenant, role, member)
        SELECT DISTINCT v_tenant, m ->> 'role', m ->> 'member' FROM jsonb_array_elements(p_members) m;
    DELETE FROM control.floor WHERE tenant = v_tenant;
    INSERT INTO control.floor (tenant, tool, must, roles, quorum, not_by, break_glass, always)
        SELECT v_tenant, f ->> 'tool', (f ->> 'must')::boolean, ARRAY(SELECT jsonb_array_elements_text(f -> 'roles')),
               (f ->> 'quorum')::integer, ARRAY(SELECT jsonb_array_elements_text(f -> 'not_by')),
               ARRAY(SELECT jsonb_array_elements_text(f -> 'break_glass')), nullif(f -> 'always', 'null')
        FROM jsonb_array_elements(p_floors) f;
    DELETE FROM control.owner WHERE tenant = v_tenant;
    INSERT INTO control.owner (tenant, scope, name, role)
        SELECT v_tenant, o ->> 'scope', o ->> 'name', o ->> 'role' FROM jsonb_array_elements(p_owners) o;
    v_seq := control.append(v_tenant, v_chain, v_now, ARRAY['policy.loaded'], jsonb_build_object('policy', p_hash), p_body, NULL);
    PERFORM control.count_again(v_tenant,
        (SELECT jsonb_object_agg(f ->> 'tool', f -> 'most') FROM jsonb_array_elements(p_floors) f), p_body);
    RETURN v_seq;
END
$$;

-- The id of the chain for what belongs to no run: derived from the tenant, so that nobody has to find it. It is of version 8, which no
-- run's may be, so that nobody takes another tenant's.
CREATE FUNCTION control.tenant_chain_id(p_tenant text) RETURNS uuid
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT overlay(encode(substr(sha256(convert_to('langgraph-control/tenant/' || p_tenant, 'UTF8')), 1, 16), 'hex')
    PLACING '8' FROM 13 FOR 1)::uuid
$$;

-- The chain for what belongs to no run, made where it is not there yet.
CREATE FUNCTION control.tenant_chain(p_tenant text) RETURNS uuid
    LANGUAGE plpgsql AS $$
DECLARE
    v_chain uuid := control.tenant_chain_id(p_tenant);
BEGIN
    INSERT INTO control.run_state (run_id, tenant, state, state_since) VALUES (v_chain, p_tenant, 'chain', control.clock())
        ON CONFLICT DO NOTHING;
    IF NOT EXISTS (SELECT 1 FROM control.run_state WHERE run_id = v_chain AND tenant = p_tenant AND state = 'chain') THEN
        RAISE EXCEPTION 'the chain of tenant % is not its own', p_tenant USING ERRCODE = 'LC001';
    END IF;
    RETURN v_chain;
END
$$;

-- Where the caller's tenant's own chain ends; length and head are NULL where its row is gone.
CREATE FUNCTION control.tenant_chain_v1() RETURNS TABLE (run_id uuid, entries bigint, head bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT c.chain, s.seq, s.head
FROM (SELECT control.tenant_chain_id((control.caller('agent', 'approver', 'admin', 'auditor')).tenant) AS chain) c
    LEFT JOIN control.run_state s ON s.run_id = c.chain
$$;

-- The ids of all chains of which the caller's tenant has any trace, in order, after one of them: whatever row of a chain was
-- deleted, the others still name it.
CREATE FUNCTION control.chains_v1(p_after uuid, p_limit integer) RETURNS SETOF uuid
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent', 'approver', 'admin', 'auditor')).tenant;
    v_from uuid := coalesce(p_after, '00000000-0000-0000-0000-000000000000');
BEGIN
    RETURN QUERY SELECT c.chain FROM (
        (SELECT s.run_id AS chain FROM control.run_state s
            WHERE s.run_id >= v_from AND s.tenant = v_tenant ORDER BY 1 LIMIT p_limit + 1)
        UNION (SELECT r.run_id FROM control.run r
            WHERE r.run_id >= v_from AND r.tenant = v_tenant ORDER BY 1 LIMIT p_limit + 1)
        UNION (SELECT DISTINCT e.run_id FROM control.entry e
            WHERE e.run_id >= v_from AND e.tenant = v_tenant ORDER BY 1 LIMIT p_limit + 1)) c
        WHERE c.chain IS DISTINCT FROM p_after ORDER BY 1 LIMIT p_limit;
END
$$;

-- The actions a run asked for, or waits for; or only those that are not decided yet.
CREATE FUNCTION control.actions_v1(p_run uuid, p_only_open boolean)
    RETURNS TABLE (key bytea, tool text, impact text, kind text, state text, attempts integer, approval_id uuid, open boolean,
                   reason text, wait_ms bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
WITH caller AS (
    SELECT (control.caller('agent', 'approver', 'admin', 'auditor')).tenant
), known AS (
    SELECT a.*, a.state IN ('executing', 'unknown', 'verifying', 'needs_approval', 'needs_human') AS undecided
    FROM caller JOIN control.action a USING (tenant) WHERE a.run_id = p_run
), awaited AS (
    SELECT w.tenant, w.key FROM caller JOIN control.waiter w USING (tenant) WHERE w.run_id = p_run
)
SELECT a.key, a.tool, a.impact, a.kind, a.state, a.attempts, a.approval_id, a.undecided OR EXISTS (SELECT FROM awaited w WHERE w.key = a.key),
       split_part(a.last_answer, '|', 3), greatest(0, extract(epoch FROM a.lease_until - control.clock()) * 1000)::bigint
FROM known a WHERE NOT p_only_open OR a.undecided OR EXISTS (SELECT FROM awaited w WHERE w.key = a.key)
UNION ALL
SELECT a.key, a.tool, a.impact, a.kind, a.state, a.attempts, a.approval_id, true,
       split_part(a.last_answer, '|', 3), greatest(0, extract(epoch FROM a.lease_until - control.clock()) * 1000)::bigint
FROM awaited JOIN control.action a USING (tenant, key) WHERE a.run_id <> p_run
$$;

-- The text that the newest settle of an action left: for repeats of a failure, or for whoever reads a lost attempt back.
CREATE FUNCTION control.last_error_v1(p_key bytea) RETURNS text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT error FROM control.action WHERE tenant = (control.caller('agent')).tenant AND key = p_key
$$;

-- The entries of a run after a place in its chain, in order.
CREATE FUNCTION control.entries_v1(p_run uuid, p_after bigint, p_limit integer)
    RETURNS TABLE (seq bigint, at timestamptz, tenant text, facts text, body bytea, commitment bytea, salt bytea, payload bytea, hash bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT e.seq, e.at, e.tenant, e.facts, e.body, e.commitment, e.salt, e.payload, e.hash FROM control.entry e
    WHERE e.run_id = p_run AND e.seq > p_after
      AND e.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant
    ORDER BY e.seq LIMIT p_limit
$$;
