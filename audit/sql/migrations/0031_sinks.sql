-- Where spans go, and how far each place is: up to which entry of which run it has them.
-- Nothing that runs write to knows of it. What a place lacks is found by holding the ends of chains against what it has, so that an
-- entry whose commit came late is found like any other; entries of the last moments are looked for first, so that nobody waits for that.

CREATE TABLE control.span_sink (
    tenant text NOT NULL REFERENCES control.tenant,
    role text NOT NULL,                                       -- of the logins that serve it
    sink text NOT NULL,
    lease uuid,                                               -- of the process that sends to it now
    lease_until timestamptz NOT NULL DEFAULT '-infinity',
    seen_at timestamptz NOT NULL,
    sent bigint NOT NULL DEFAULT 0,                           -- spans it has taken
    failures integer NOT NULL DEFAULT 0,                      -- since it last took something
    failing_since timestamptz,
    error text,
    -- What it lacks is of the chains in lacking, or came from transactions that were not over when that was noted: over were those before
    -- seen_before that are not in seen_open. NULL: it was not noted yet.
    lacking uuid[] NOT NULL DEFAULT '{}',
    seen_before bigint,
    seen_open bigint[] NOT NULL DEFAULT '{}',
    system bigint,                                            -- of the server that numbered them, as in control.tree
    PRIMARY KEY (tenant, role, sink)
) WITH (fillfactor = 50);

CREATE TABLE control.span_cursor (
    tenant text NOT NULL,
    role text NOT NULL,
    sink text NOT NULL,
    run_id uuid NOT NULL,
    seq bigint NOT NULL,
    PRIMARY KEY (tenant, role, sink, run_id)
) WITH (fillfactor = 70);

-- Spans that a place refuses by themselves: the entry that begins each, and the one that ends it.
CREATE TABLE control.span_dead (
    tenant text NOT NULL,
    role text NOT NULL,
    sink text NOT NULL,
    run_id uuid NOT NULL,
    seq bigint NOT NULL,
    closed_seq bigint NOT NULL,
    name text NOT NULL,
    error text NOT NULL,
    at timestamptz NOT NULL,
    PRIMARY KEY (tenant, role, sink, run_id, seq, closed_seq, name)
);

-- Take a place's lease, or keep it. Answers for how long another process has it, in milliseconds; 0: it is the caller's.
CREATE FUNCTION control.span_lease_v1(p_sink text, p_lease uuid, p_lease_ms bigint) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('agent', 'auditor');
    v_now timestamptz := control.clock();
    v_until timestamptz;
BEGIN
    IF (length(p_sink) BETWEEN 1 AND 128 AND p_lease IS NOT NULL AND p_lease_ms BETWEEN 1 AND 86400000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a lease that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    INSERT INTO control.span_sink AS s (tenant, role, sink, lease, lease_until, seen_at)
        VALUES (l.tenant, l.role, p_sink, p_lease, v_now + p_lease_ms * interval '1 ms', v_now)
        ON CONFLICT (tenant, role, sink) DO UPDATE SET lease = p_lease, lease_until = excluded.lease_until, seen_at = v_now
            WHERE s.lease_until <= v_now OR s.lease = p_lease;
    IF FOUND THEN
        RETURN 0;
    END IF;
    SELECT lease_until INTO v_until FROM control.span_sink WHERE tenant = l.tenant AND role = l.role AND sink = p_sink;
    RETURN greatest(1, ceil(extract(epoch FROM v_until - v_now) * 1000)::bigint);
END
$$;

-- Give a place's lease back.
CREATE FUNCTION control.span_leave_v1(p_sink text, p_lease uuid) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('agent', 'auditor');
BEGIN
    UPDATE control.span_sink SET lease = NULL, lease_until = '-infinity'
        WHERE tenant = l.tenant AND role = l.role AND sink = p_sink AND lease = p_lease;
    RETURN FOUND;
END
$$;

-- Up to which entry a place has a chain, or cannot have it any more: what retention dropped is sent to nobody.
CREATE FUNCTION control.span_has(p_tenant text, p_run uuid, p_cursor bigint) RETURNS bigint
    LANGUAGE sql STABLE AS $$
SELECT greatest(coalesce(p_cursor, 0), coalesce(max(d.seq), 0)) FROM control.dropped d WHERE d.tenant = p_tenant AND d.run_id = p_run
$$;

-- Chains with entries of the last moments that a place lacks, and up to where it has them.
CREATE FUNCTION control.span_recent_v1(p_sink text, p_back_ms bigint, p_limit integer) RETURNS TABLE (run_id uuid, has bigint)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, control, pg_temp SET plan_cache_mode = force_custom_plan AS $$
#variable_conflict use_column
DECLARE
    l control.login := control.caller('agent', 'auditor');
    v_since timestamptz := control.clock() - p_back_ms * interval '1 ms';
BEGIN
    RETURN QUERY SELECT s.run_id, control.span_has(l.tenant, s.run_id, c.seq)
        FROM (SELECT DISTINCT e.run_id FROM control.entry e WHERE e.at >= v_since AND e.tenant = l.tenant) e
            JOIN control.run_state s ON s.run_id = e.run_id AND s.tenant = l.tenant
            LEFT JOIN control.span_cursor c ON c.tenant = l.tenant AND c.role = l.role AND c.sink = p_sink AND c.run_id = s.run_id
        WHERE CASE WHEN s.seq > coalesce(c.seq, 0) THEN s.seq > control.span_has(l.tenant, s.run_id, c.seq) END LIMIT p_limit;
END
$$;

-- Of the next so many chains after one of them, those with entries that a place lacks; and the last that was looked at, in each row.
-- One row without a chain: none of them. No row: there are no more. The settings and the same range for both tables have the planner read
-- that range of either, once, however many chains it believes there are.
CREATE FUNCTION control.span_behind_v1(p_sink text, p_after uuid, p_chains integer) RETURNS TABLE (run_id uuid, has bigint, last uuid)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, control, pg_temp SET plan_cache_mode = force_custom_plan
    SET enable_seqscan = off SET enable_bitmapscan = off SET enable_nestloop = off AS $$
#variable_conflict use_column
DECLARE
    l control.login := control.caller('agent', 'auditor');
    v_from uuid := coalesce(p_after, '00000000-0000-0000-0000-000000000000');
    v_last uuid;
BEGIN
    SELECT s.run_id INTO v_last FROM (SELECT s.run_id FROM control.run_state s WHERE s.run_id > v_from AND s.tenant = l.tenant
            ORDER BY s.run_id LIMIT p_chains) s ORDER BY s.run_id DESC LIMIT 1;
    IF v_last IS NULL THEN
        RETURN;
    END IF;
    RETURN QUERY SELECT m.run_id, m.has, v_last FROM (VALUES (1)) one LEFT JOIN LATERAL (
        SELECT s.run_id, control.span_has(l.tenant, s.run_id, c.seq) AS has FROM control.run_state s
            LEFT JOIN control.span_cursor c ON c.tenant = l.tenant AND c.role = l.role AND c.sink = p_sink AND c.run_id = s.run_id
                AND c.run_id > v_from AND c.run_id <= v_last
            WHERE s.run_id > v_from AND s.run_id <= v_last AND s.tenant = l.tenant
              AND CASE WHEN s.seq > coalesce(c.seq, 0) THEN s.seq > control.span_has(l.tenant, s.run_id, c.seq) END) m ON true;
END
$$;

-- Entries of several chains, of each those after a place and at most so many; without their payloads, which are nothing for telemetry.
CREATE FUNCTION control.span_entries_v1(p_runs uuid[], p_after bigint[], p_each integer)
    RETURNS TABLE (run_id uuid, seq bigint, tenant text, at timestamptz, facts text, body bytea)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
#variable_conflict use_column
DECLARE
    v_tenant text := (control.caller('agent', 'auditor')).tenant;
BEGIN
    RETURN QUERY SELECT asked.run_id, e.seq, e.tenant, e.at, e.facts, e.body
        FROM unnest(p_runs, p_after) WITH ORDINALITY AS asked (run_id, after, place)
            CROSS JOIN LATERAL (SELECT n.* FROM control.entry n WHERE n.run_id = asked.run_id AND n.seq > asked.after
                                ORDER BY n.seq LIMIT p_each) e
        WHERE e.tenant = v_tenant ORDER BY asked.place, e.seq;
END
$$;

-- A place has taken spans: up to where it has each of these chains now, and which spans it refused by themselves. All in one commit.
-- Answers false where the lease is another process's by now; then nothing is noted.
CREATE FUNCTION control.span_sent_v1(
    p_sink text, p_lease uuid, p_lease_ms bigint, p_runs uuid[], p_seqs bigint[], p_sent bigint, p_dead jsonb
) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('agent', 'auditor');
    v_now timestamptz := control.clock();
BEGIN
    UPDATE control.span_sink SET lease_until = v_now + p_lease_ms * interval '1 ms', seen_at = v_now, sent = sent + p_sent,
            failures = 0, failing_since = NULL, error = NULL
        WHERE tenant = l.tenant AND role = l.role AND sink = p_sink AND lease = p_lease;
    IF NOT FOUND THEN
        RETURN false;
    END IF;
    INSERT INTO control.span_cursor AS c (tenant, role, sink, run_id, seq)
        SELECT l.tenant, l.role, p_sink, s.run_id, moved.seq
        FROM unnest(p_runs, p_seqs) AS moved (run_id, seq) JOIN control.run_state s ON s.run_id = moved.run_id AND s.tenant = l.tenant
        WHERE moved.seq <= s.seq
        ORDER BY s.run_id
        ON CONFLICT (tenant, role, sink, run_id) DO UPDATE SET seq = greatest(c.seq, excluded.seq);
    INSERT INTO control.span_dead (tenant, role, sink, run_id, seq, closed_seq, name, error, at)
        SELECT l.tenant, l.role, p_sink, (d ->> 'run_id')::uuid, (d ->> 'seq')::bigint, (d ->> 'closed_seq')::bigint,
               left(d ->> 'name', 256), left(d ->> 'error', 500), v_now
        FROM jsonb_array_elements(p_dead) d
        ON CONFLICT DO NOTHING;
    RETURN true;
END
$$;

-- A place did not take what it was sent.
CREATE FUNCTION control.span_failed_v1(p_sink text, p_lease uuid, p_lease_ms bigint, p_error text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('agent', 'auditor');
    v_now timestamptz := control.clock();
BEGIN
    UPDATE control.span_sink SET lease_until = v_now + p_lease_ms * interval '1 ms', seen_at = v_now, failures = failures + 1,
            failing_since = coalesce(failing_since, v_now), error = left(p_error, 500)
        WHERE tenant = l.tenant AND role = l.role AND sink = p_sink AND lease = p_lease;
    RETURN FOUND;
END
$$;

-- Have what was given up sent again, of one place or of all; answers how many spans that is. What began with an entry that retention has
-- dropped cannot be made again: it stays among what was given up, where it can be seen. Their chains are gone back in to just
-- before it, so that what came after it is sent again, too, under the ids it has.
CREATE FUNCTION control.span_retry_v1(p_sink text) RETURNS bigint
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('agent', 'auditor');
    v_count bigint;
BEGIN
    -- Before anything else: what is lacking is noted after this, and then knows of it, or before, and is added to.
    PERFORM 1 FROM control.span_sink k WHERE k.tenant = l.tenant AND k.role = l.role AND (p_sink IS NULL OR k.sink = p_sink)
        ORDER BY k.sink FOR UPDATE;
    WITH again AS (
        DELETE FROM control.span_dead d WHERE d.tenant = l.tenant AND d.role = l.role AND (p_sink IS NULL OR d.sink = p_sink)
            AND d.seq > control.span_has(l.tenant, d.run_id, 0)
        RETURNING d.sink, d.run_id, d.closed_seq
    ), back AS (
        UPDATE control.span_cursor c SET seq = least(c.seq, f.seq)
        FROM (SELECT sink, run_id, min(closed_seq) - 1 AS seq FROM again GROUP BY sink, run_id) f
        WHERE c.tenant = l.tenant AND c.role = l.role AND c.sink = f.sink AND c.run_id = f.run_id
    ), told AS (
        -- Whoever sends to it now must not write over that what it had read before.
        UPDATE control.span_sink k SET lease = NULL, lease_until = '-infinity', lacking = k.lacking || f.runs
        FROM (SELECT sink, array_agg(DISTINCT run_id) AS runs FROM again GROUP BY sink) f
        WHERE k.tenant = l.tenant AND k.role = l.role AND k.sink = f.sink
    )
    SELECT count(*) INTO v_count FROM again;
    RETURN v_count;
END
$$;

-- Those of some chains of which a place lacks entries. The fences and the setting have one row looked up for each, as in control.unsealed.
CREATE FUNCTION control.span_lacks_of(k control.span_sink, p_runs uuid[]) RETURNS TABLE (run_id uuid, seq bigint, has bigint)
    LANGUAGE plpgsql STABLE SET enable_seqscan = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT s.run_id, s.seq, control.span_has(k.tenant, s.run_id, c.seq)
        FROM (SELECT DISTINCT unnest(p_runs) AS run_id) m CROSS JOIN LATERAL (
            SELECT r.run_id, r.seq FROM control.run_state r WHERE r.run_id = m.run_id AND r.tenant = k.tenant OFFSET 0) s
            LEFT JOIN LATERAL (SELECT n.seq FROM control.span_cursor n
                WHERE n.tenant = k.tenant AND n.role = k.role AND n.sink = k.sink AND n.run_id = s.run_id OFFSET 0) c ON true
        WHERE CASE WHEN s.seq > coalesce(c.seq, 0) THEN s.seq > control.span_has(k.tenant, s.run_id, c.seq) END;
END
$$;

-- The same of all chains. The settings have the planner read either table once, whatever it believes of them.
CREATE FUNCTION control.span_lacks_any(k control.span_sink) RETURNS TABLE (run_id uuid, seq bigint, has bigint)
    LANGUAGE plpgsql STABLE SET enable_seqscan = on SET enable_nestloop = off AS $$
#variable_conflict use_column
BEGIN
    RETURN QUERY SELECT s.run_id, s.seq, control.span_has(k.tenant, s.run_id, c.seq) FROM control.run_state s
        LEFT JOIN control.span_cursor c ON c.tenant = k.tenant AND c.role = k.role AND c.sink = k.sink AND c.run_id = s.run_id
        WHERE s.tenant = k.tenant
          AND CASE WHEN s.seq > coalesce(c.seq, 0) THEN s.seq > control.span_has(k.tenant, s.run_id, c.seq) END;
END
$$;

-- The chains of which a place lacks entries: of those that were noted, and those that moved since. Where nothing was noted, or another
-- server numbered the transactions, or so much was written since that to go through the chains is less work, all of them are gone through.
CREATE FUNCTION control.span_lacks(k control.span_sink) RETURNS TABLE (run_id uuid, seq bigint, has bigint)
    LANGUAGE plpgsql STABLE AS $$
#variable_conflict use_column
DECLARE
    v_entries_max constant integer := 100000;
    v_entries bigint;
    v_runs uuid[];
BEGIN
    IF k.seen_before <= txid_snapshot_xmax(txid_current_snapshot()) AND (k.system <> (control.server_now()).system) IS NOT TRUE THEN
        SELECT count(*), array_agg(DISTINCT m) INTO v_entries, v_runs
            FROM control.moved(k.tenant, k.seen_before, k.seen_open, v_entries_max) m;
        IF v_entries < v_entries_max THEN
            RETURN QUERY SELECT m.run_id, m.seq, m.has FROM control.span_lacks_of(k, k.lacking || v_runs) m;
            RETURN;
        END IF;
    END IF;
    RETURN QUERY SELECT m.run_id, m.seq, m.has FROM control.span_lacks_any(k) m;
END
$$;

-- Note which chains a place lacks something of, so that whoever asks looks at them and at what moved since, and at no others. It decides
-- nothing about what is sent. Answers false where too many are lacking: what was noted before stays, and is as right.
CREATE FUNCTION control.span_note_v1(p_sink text) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, control, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    l control.login := control.caller('agent', 'auditor');
    v_chains_max constant integer := 10000;
    k control.span_sink;
    v_now txid_snapshot;
    v_runs uuid[];
BEGIN
    SELECT * INTO k FROM control.span_sink s WHERE s.tenant = l.tenant AND s.role = l.role AND s.sink = p_sink FOR UPDATE SKIP LOCKED;
    IF k.tenant IS NULL THEN
        RETURN false;
    END IF;
    -- Taken before anything is looked for: what is not over by now is looked for again.
    v_now := txid_current_snapshot();
    v_runs := ARRAY(SELECT m.run_id FROM control.span_lacks(k) m LIMIT v_chains_max + 1);
    IF cardinality(v_runs) <= v_chains_max THEN
        UPDATE control.span_sink s SET lacking = v_runs, seen_before = txid_snapshot_xmax(v_now),
                seen_open = ARRAY(SELECT txid_snapshot_xip(v_now)), system = (control.server_now()).system
            WHERE s.tenant = l.tenant AND s.role = l.role AND s.sink = p_sink;
    END IF;
    PERFORM control.summarize();  -- what moved is found by that index also where nobody seals
    RETURN cardinality(v_runs) <= v_chains_max;
END
$$;

-- How far each place is: what it has taken and refused, how many entries it lacks, and when the oldest of those was written. First the
-- chains, then of each the one entry: no entry is read for a chain that the place has.
CREATE FUNCTION control.span_sinks_v1()
    RETURNS TABLE (sink text, seen_at timestamptz, served boolean, sent bigint, dead bigint, behind bigint, oldest timestamptz,
                   behind_ms bigint, failing_since timestamptz, error text)
    LANGUAGE plpgsql STABLE SECURITY DEFINER
    SET search_path = pg_catalog, control, pg_temp SET plan_cache_mode = force_custom_plan SET enable_seqscan = off AS $$
#variable_conflict use_column
DECLARE
    l control.login := control.caller('agent', 'auditor');
    v_now timestamptz := control.clock();
BEGIN
    RETURN QUERY SELECT k.sink, k.seen_at, k.lease_until > v_now, k.sent,
            (SELECT count(*) FROM control.span_dead d WHERE d.tenant = l.tenant AND d.role = l.role AND d.sink = k.sink),
            coalesce(m.behind, 0), m.oldest, greatest(0, (extract(epoch FROM v_now - m.oldest) * 1000)::bigint), k.failing_since, k.error
        FROM control.span_sink k CROSS JOIN LATERAL (
            SELECT sum(h.seq - h.has)::bigint AS behind, min(e.at) AS oldest
            FROM control.span_lacks(k) h
                CROSS JOIN LATERAL (SELECT n.at FROM control.entry n WHERE n.run_id = h.run_id AND n.seq = h.has + 1 OFFSET 0) e) m
        WHERE k.tenant = l.tenant AND k.role = l.role ORDER BY k.sink;
END
$$;

-- Spans that a place refused by themselves, newest first.
CREATE FUNCTION control.span_dead_v1(p_sink text, p_limit integer)
    RETURNS TABLE (sink text, run_id uuid, seq bigint, closed_seq bigint, name text, error text, at timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT d.sink, d.run_id, d.seq, d.closed_seq, d.name, d.error, d.at
FROM (SELECT (control.caller('agent', 'auditor')).*) l JOIN control.span_dead d ON d.tenant = l.tenant AND d.role = l.role
WHERE p_sink IS NULL OR d.sink = p_sink ORDER BY d.at DESC, d.run_id, d.seq LIMIT p_limit
$$;

-- What dashboards show of the ledger itself: unfinished runs by state with the age of the oldest, and actions nobody can tell the outcome of.
CREATE FUNCTION control.gauges_v1() RETURNS TABLE (state text, runs bigint, oldest_ms bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT s.state, count(*), greatest(0, (extract(epoch FROM control.clock() - min(s.state_since)) * 1000)::bigint)
FROM (SELECT (control.caller('agent', 'auditor')).tenant) l JOIN control.open_run o ON o.tenant = l.tenant
    JOIN control.run_state s ON s.run_id = o.run_id
GROUP BY s.state
$$;

-- When the oldest of a tenant's entries was written that came from transactions not seen before. Of many, the first thousand are looked
-- at as they lie in the table, which is how they were written: so it takes no longer where nobody sealed for long. The settings and the
-- upper bound are those of control.moved.
CREATE FUNCTION control.oldest_moved(p_tenant text, p_seen_before bigint, p_seen_open bigint[]) RETURNS timestamptz
    LANGUAGE plpgsql STABLE SET enable_seqscan = off SET enable_indexscan = off AS $$
DECLARE
    v_oldest timestamptz;
    v_below bigint := txid_snapshot_xmax(txid_current_snapshot());
BEGIN
    SELECT min(m.at) INTO v_oldest FROM (SELECT e.at FROM control.entry e
        WHERE e.xact >= p_seen_before AND e.xact < v_below AND e.tenant = p_tenant LIMIT 1000) m;
    IF cardinality(p_seen_open) > 0 THEN
        SELECT least(v_oldest, min(m.at)) INTO v_oldest FROM (SELECT e.at FROM control.entry e
            WHERE e.xact = ANY (p_seen_open) AND e.tenant = p_tenant LIMIT 1000) m;
    END IF;
    RETURN v_oldest;
END
$$;

-- How old the oldest entry is that a checkpoint of a size does not cover, in milliseconds; NULL where there is no tree to seal in.
-- Whether there is such a checkpoint is for the caller to know, who can verify signatures; size 0: there is none.
CREATE FUNCTION control.seal_lag_v1(p_covered bigint) RETURNS bigint
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent', 'auditor')).tenant;
    s control.tree_seen;
    v_oldest timestamptz;
BEGIN
    IF NOT EXISTS (SELECT FROM control.tree WHERE tenant = v_tenant) THEN
        RETURN NULL;
    END IF;
    SELECT * INTO s FROM control.tree_seen WHERE tenant = v_tenant AND size <= p_covered ORDER BY size DESC LIMIT 1;
    IF s.tenant IS NULL OR s.seen_before > txid_snapshot_xmax(txid_current_snapshot()) OR s.system <> (control.server_now()).system THEN
        -- Nothing is covered, or by the numbers of another server's transactions, which say nothing here: as old as the oldest there is.
        SELECT least((SELECT r.started_at FROM control.run r WHERE r.tenant = v_tenant ORDER BY r.started_at LIMIT 1),
                     (SELECT e.at FROM control.entry e WHERE e.run_id = control.tenant_chain_id(v_tenant) AND e.seq = 1)) INTO v_oldest;
    ELSE
        v_oldest := control.oldest_moved(v_tenant, s.seen_before, s.seen_open);
    END IF;
    RETURN coalesce(greatest(0, (extract(epoch FROM control.clock() - v_oldest) * 1000)::bigint), 0);
END
$$;

-- What was found when chains were verified, for those who watch. It is no evidence, and nothing is decided by it.
CREATE TABLE control.verified (
    tenant text PRIMARY KEY REFERENCES control.tenant,
    every_at timestamptz,                -- when all chains had been gone through last; NULL: they never were
    tampered bigint NOT NULL DEFAULT 0,  -- how many of them were tampered with
    found_at timestamptz                 -- when a chain was found tampered with since; NULL: none was
);

-- Note what a verification found. Not on an agent's or an approver's login: who was to be found out would report that all is well.
-- That all chains are whole takes back what was found of single ones before they were begun with; that one is says nothing of others.
CREATE FUNCTION control.verified_add_v1(p_every boolean, p_chains bigint, p_tampered bigint, p_took_ms bigint) RETURNS void
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('admin', 'auditor');
    v_now timestamptz := control.clock();
BEGIN
    IF (p_every IS NOT NULL AND p_chains > 0 AND p_tampered BETWEEN 0 AND p_chains AND p_took_ms BETWEEN 0 AND 31536000000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a report that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    IF p_every THEN
        INSERT INTO control.verified AS v (tenant, every_at, tampered) VALUES (l.tenant, v_now, p_tampered)
            ON CONFLICT (tenant) DO UPDATE SET every_at = v_now, tampered = p_tampered,
                found_at = CASE WHEN v.found_at >= v_now - p_took_ms * interval '1 ms' THEN v.found_at END;
    ELSIF p_tampered > 0 THEN
        INSERT INTO control.verified (tenant, found_at) VALUES (l.tenant, v_now) ON CONFLICT (tenant) DO UPDATE SET found_at = v_now;
    END IF;
END
$$;

-- How many chains were found tampered with, and for how long all of them have not been gone through; no row: nothing was noted.
CREATE FUNCTION control.verified_v1() RETURNS TABLE (tampered bigint, age_ms bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT CASE WHEN v.found_at IS NULL THEN v.tampered ELSE greatest(v.tampered, 1) END,
       CASE WHEN v.every_at IS NOT NULL THEN greatest(0, (extract(epoch FROM control.clock() - v.every_at) * 1000)::bigint) END
FROM (SELECT (control.caller('agent', 'auditor')).tenant) l JOIN control.verified v ON v.tenant = l.tenant
$$;

REVOKE ALL ON control.span_sink, control.span_cursor, control.span_dead, control.verified FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION control.span_lease_v1, control.span_leave_v1, control.span_has, control.span_recent_v1, control.span_behind_v1,
    control.span_entries_v1, control.span_sent_v1, control.span_failed_v1, control.span_retry_v1, control.span_lacks_of, control.span_lacks_any,
    control.span_lacks, control.span_note_v1, control.span_sinks_v1, control.span_dead_v1, control.gauges_v1, control.oldest_moved, control.seal_lag_v1, control.verified_add_v1,
    control.verified_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.span_lease_v1, control.span_leave_v1, control.span_recent_v1, control.span_behind_v1,
    control.span_entries_v1, control.span_sent_v1, control.span_failed_v1, control.span_retry_v1, control.span_note_v1,
    control.span_sinks_v1, control.span_dead_v1, control.gauges_v1, control.seal_lag_v1, control.verified_v1 TO control_agent, control_auditor;
GRANT EXECUTE ON FUNCTION control.verified_add_v1 TO control_admin, control_auditor;
