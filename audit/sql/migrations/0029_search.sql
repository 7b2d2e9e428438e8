-- Looking things up in the record: writes by who, what and when; the chains of a period; policies by their hash.
-- Never on the agent's login. No claim or settle touches an index but the last, a range of blocks that costs an append
-- nothing until its blocks are summarised.

CREATE INDEX vote_person ON control.vote (lower(person));
-- Entries are written about in the order of their times: a few words for each stretch of the table say which times are in it.
CREATE INDEX entry_at ON control.entry USING brin (at) WITH (pages_per_range = 32, autosummarize = on);

-- A body as JSON. It is the client's own word: one that is none finds nothing, and stops no search.
CREATE FUNCTION control.said_in(p_body bytea) RETURNS jsonb
    LANGUAGE plpgsql IMMUTABLE AS $$
BEGIN
    RETURN convert_from(p_body, 'UTF8')::jsonb;
EXCEPTION WHEN data_exception OR character_not_in_repertoire OR untranslatable_character THEN
    RETURN '{}';
END
$$;

CREATE TYPE control.found_row AS (
    run_id uuid, key bytea, started_at timestamptz, trigger text, intent text, actor text, on_behalf_of text, graph text,
    tool text, system text, impact text, kind text, state text, attempts integer, undoes bytea,
    at timestamptz, verb text, target text, policy text,
    approval_id uuid, approval_state text, voters text[], rejected_for text, in_review boolean
);

-- Writes of the caller's tenant, newest runs first: a page of them, from a place on. What is not asked about is NULL, and not in the
-- query either, so that each question has a plan of its own. A write is found at the run that first asked for it, and at the time of
-- its first entry there. A period is looked up by the entries' times; a record's name by the bytes of the bodies, before any is read.
CREATE FUNCTION control.search_v1(
    p_actor text, p_record text, p_tool text, p_approver text, p_state text, p_since timestamptz, p_until timestamptz,
    p_before timestamptz, p_before_key bytea, p_limit integer
) RETURNS SETOF control.found_row
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('approver', 'admin', 'auditor')).tenant;
    -- What of the name stands in a body as it is: a quote, a backslash and a control character are written otherwise there.
    v_word bytea := (SELECT convert_to(part, 'UTF8') FROM regexp_split_to_table(p_record, '["\\[:cntrl:]]') part
                     ORDER BY length(part) DESC LIMIT 1);
    v_period text := CASE WHEN p_since IS NOT NULL THEN ' AND w.at >= $5' ELSE '' END || CASE WHEN p_until IS NOT NULL THEN ' AND w.at < $6' ELSE '' END;
BEGIN
    IF (p_limit BETWEEN 1 AND 1000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a search that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    RETURN QUERY EXECUTE $query$
        SELECT r.run_id, a.key, r.started_at, r.trigger, r.intent, r.actor, r.on_behalf_of, r.graph,
               a.tool, a.system, a.impact, a.kind, a.state, a.attempts, a.undoes,
               e.at, e.facts ->> 'verb', e.body ->> 'target', e.body ->> 'policy',
               ap.approval_id, ap.state,
               ARRAY(SELECT v.person || coalesce(' for ' || v.delegator, '') || ':' || v.decision
                     FROM control.vote v WHERE v.approval_id = ap.approval_id ORDER BY v.voted_at),
               ap.code, EXISTS (SELECT FROM control.review w WHERE w.approval_id = ap.approval_id AND w.closed_at IS NULL)
        FROM control.run r
            JOIN control.action a ON a.tenant = r.tenant AND a.run_id = r.run_id
            CROSS JOIN LATERAL (
                SELECT x.at, x.facts::jsonb AS facts, control.said_in(x.body) AS body
                FROM control.entry x
                WHERE x.run_id = a.run_id AND x.tenant = r.tenant
                  AND x.facts LIKE '%"' || encode(a.key, 'hex') || '"%' AND x.facts::jsonb ? 'verb'
                ORDER BY x.seq LIMIT 1) e
            LEFT JOIN control.approval ap ON ap.approval_id = a.approval_id
        WHERE r.tenant = $1 $query$
        || CASE WHEN p_actor IS NOT NULL THEN ' AND (r.actor = $2 OR r.on_behalf_of = $2)' ELSE '' END
        || CASE WHEN p_tool IS NOT NULL THEN ' AND a.tool = $3' ELSE '' END
        || CASE WHEN p_state IS NOT NULL THEN ' AND a.state = $4' ELSE '' END
        || CASE WHEN p_since IS NOT NULL THEN ' AND e.at >= $5' ELSE '' END
        || CASE WHEN p_until IS NOT NULL THEN ' AND r.started_at < $6 AND e.at < $6' ELSE '' END
        || CASE WHEN p_before IS NOT NULL THEN ' AND (r.started_at, a.key) < ($7, $8)' ELSE '' END
        || CASE WHEN p_approver IS NOT NULL THEN $query$ AND a.key IN (
            SELECT k.key FROM control.vote v JOIN control.approval k USING (approval_id)
            WHERE k.tenant = $1 AND lower(v.person) = lower($9)) $query$ ELSE '' END
        || CASE WHEN p_record IS NOT NULL THEN $query$ AND e.body ->> 'target' = $10
            AND r.run_id IN (SELECT w.run_id FROM control.entry w WHERE w.tenant = $1 AND position($11 IN w.body) > 0 $query$ || v_period || ')'
            WHEN p_since IS NOT NULL THEN ' AND r.run_id IN (SELECT w.run_id FROM control.entry w WHERE w.tenant = $1' || v_period || ')'
            ELSE '' END
        || ' ORDER BY r.started_at DESC, a.key DESC LIMIT $12'
        USING v_tenant, p_actor, p_tool, p_state, p_since, p_until, p_before, p_before_key, p_approver, p_record, v_word, p_limit;
END
$$;

-- The chains of the caller's tenant that have an entry in a period, or a run that began in it, in the order of their ids: a page of them,
-- after one of them, each with its business request; NULL for one that has no run.
CREATE FUNCTION control.chains_between_v1(p_since timestamptz, p_until timestamptz, p_after uuid, p_limit integer)
    RETURNS TABLE (run_id uuid, intent text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('approver', 'admin', 'auditor')).tenant;
    v_from uuid := coalesce(p_after, '00000000-0000-0000-0000-000000000000');
BEGIN
    IF (p_limit BETWEEN 1 AND 10000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a page that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    RETURN QUERY SELECT c.chain, known.intent FROM (
        (SELECT DISTINCT e.run_id AS chain FROM control.entry e
            WHERE e.tenant = v_tenant AND e.at >= p_since AND e.at < p_until AND e.run_id > v_from ORDER BY 1 LIMIT p_limit)
        UNION (SELECT r.run_id FROM control.run r
            WHERE r.tenant = v_tenant AND r.started_at >= p_since AND r.started_at < p_until AND r.run_id > v_from ORDER BY 1 LIMIT p_limit)) c
            LEFT JOIN control.run known ON known.run_id = c.chain AND known.tenant = v_tenant
        ORDER BY 1 LIMIT p_limit;
END
$$;

-- The texts of policies by their hashes; a hash that names none has no row.
CREATE FUNCTION control.policies_v1(p_hashes text[]) RETURNS TABLE (hash text, body text, published_by name, published_at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT p.hash, p.body, p.published_by, p.published_at FROM control.policy p
WHERE p.tenant = (control.caller('approver', 'admin', 'auditor', 'agent')).tenant AND EXISTS (
    SELECT FROM unnest(p_hashes) h WHERE length(h) >= 12 AND starts_with(p.hash, h)) ORDER BY p.published_at
$$;

REVOKE EXECUTE ON FUNCTION control.said_in, control.search_v1, control.chains_between_v1, control.policies_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.search_v1, control.chains_between_v1 TO control_approver, control_admin, control_auditor;
GRANT EXECUTE ON FUNCTION control.policies_v1 TO control_agent, control_approver, control_admin, control_auditor;
