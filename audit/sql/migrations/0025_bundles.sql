-- What a bundle for offline verification takes beside entries and the tree.

-- Whose record it is: the tenant, its own chain, and its log's origin, which is NULL as long as nothing was sealed.
CREATE FUNCTION control.bundle_v1() RETURNS TABLE (tenant text, own_chain uuid, origin text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT c.tenant, control.tenant_chain_id(c.tenant), t.origin
FROM (SELECT (control.caller('agent', 'approver', 'admin', 'auditor')).tenant) c LEFT JOIN control.tree t USING (tenant)
$$;

-- All chains as chains_v1 finds them, with the time of each one's newest entry.
CREATE FUNCTION control.chains_moved_v1(p_after uuid, p_limit integer) RETURNS TABLE (chain uuid, newest timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT c.chain, (SELECT e.at FROM control.entry e WHERE e.run_id = c.chain ORDER BY e.seq DESC LIMIT 1)
FROM control.chains_v1(p_after, p_limit) AS c (chain) ORDER BY c.chain
$$;

-- The texts of policies, by hash; those that were never published are left out.
CREATE FUNCTION control.policy_texts_v1(p_hashes text[]) RETURNS TABLE (hash text, body text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT p.hash, p.body FROM control.policy p
    WHERE p.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant AND p.hash = ANY (p_hashes) ORDER BY p.hash
$$;

-- The first and the last entry about a request for approval; no row for one that the caller's tenant does not have.
CREATE FUNCTION control.approval_entries_v1(p_approval uuid) RETURNS TABLE (run_id uuid, first bigint, last bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT e.run_id, min(e.seq), max(e.seq) FROM control.approval a JOIN control.entry e USING (run_id)
    WHERE a.approval_id = p_approval AND a.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant
      AND e.facts LIKE '%' || p_approval || '%' AND e.facts::jsonb ->> 'approval' = p_approval::text
    GROUP BY e.run_id
$$;

REVOKE EXECUTE ON FUNCTION control.bundle_v1, control.chains_moved_v1, control.policy_texts_v1, control.approval_entries_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.bundle_v1, control.chains_moved_v1, control.policy_texts_v1, control.approval_entries_v1
    TO control_agent, control_approver, control_admin, control_auditor;
