-- Retention: whole months of entries go at once, and what is left says where each chain was cut and by whom.

-- Where the chains of one month ended when it was dropped. A chain goes on from there: the next entry's hash follows from this head.
CREATE TABLE control.dropped (
    tenant text NOT NULL REFERENCES control.tenant,
    run_id uuid NOT NULL,
    month date NOT NULL,
    seq bigint NOT NULL,      -- the last entry that was dropped
    head bytea NOT NULL,      -- its hash
    place bigint NOT NULL,    -- the entry of the tenant's own chain that says so
    dropped_at timestamptz NOT NULL,
    PRIMARY KEY (tenant, run_id, month)
);
CREATE INDEX dropped_place ON control.dropped (tenant, place, run_id);

-- Make the partitions of this month and of the months after it, where they are missing. What had come into the default partition
-- meanwhile moves. Waits for nobody: whoever comes next tries again.
CREATE FUNCTION control.months_ahead(p_now timestamptz, p_months integer) RETURNS integer
    LANGUAGE plpgsql AS $$
DECLARE
    v_made integer := 0;
    v_from timestamptz;
    v_to timestamptz;
    v_name text;
    v_patience text := current_setting('lock_timeout');
BEGIN
    FOR i IN 0 .. p_months LOOP
        v_from := (date_trunc('month', p_now AT TIME ZONE 'UTC') + i * interval '1 month') AT TIME ZONE 'UTC';
        v_to := (date_trunc('month', p_now AT TIME ZONE 'UTC') + (i + 1) * interval '1 month') AT TIME ZONE 'UTC';
        v_name := 'entry_' || to_char(v_from AT TIME ZONE 'UTC', 'YYYY_MM');
        CONTINUE WHEN to_regclass('control.' || v_name) IS NOT NULL;
        BEGIN
            PERFORM set_config('lock_timeout', '200ms', true);
            EXECUTE format('CREATE TABLE control.%I (LIKE control.entry INCLUDING CONSTRAINTS, PRIMARY KEY (run_id, seq))', v_name);
            EXECUTE format('ALTER TABLE control.%I ENABLE ROW LEVEL SECURITY', v_name);
            EXECUTE format('WITH moved AS (DELETE FROM control.entry_default WHERE at >= %L AND at < %L RETURNING *) '
                           'INSERT INTO control.%I SELECT * FROM moved', v_from, v_to, v_name);
            EXECUTE format('ALTER TABLE control.entry ATTACH PARTITION control.%I FOR VALUES FROM (%L) TO (%L)', v_name, v_from, v_to);
            v_made := v_made + 1;
        EXCEPTION WHEN lock_not_available OR duplicate_table OR check_violation THEN
            EXIT;
        END;
    END LOOP;
    PERFORM set_config('lock_timeout', v_patience, true);
    RETURN v_made;
END
$$;

-- The same, by whoever works: called now and then. It concerns no tenant's rows.
CREATE FUNCTION control.months_v1() RETURNS integer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
BEGIN
    PERFORM control.caller('agent', 'admin');
    RETURN control.months_ahead(control.clock(), 2);
END
$$;

-- The oldest month after one of them that has entries of the tenant's runs.
CREATE FUNCTION control.oldest_month(p_tenant text, p_chain uuid, p_after date) RETURNS date
    LANGUAGE sql STABLE AS $$
SELECT min(m.month) FROM (
    SELECT to_date(right(c.relname, 7), 'YYYY_MM') AS month FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
        WHERE i.inhparent = 'control.entry'::regclass AND c.relname ~ '^entry_[0-9]{4}_[0-9]{2}$'
    UNION SELECT date_trunc('month', min(e.at) AT TIME ZONE 'UTC')::date FROM control.entry_default e
        WHERE e.tenant = p_tenant AND e.run_id <> p_chain AND (p_after IS NULL OR e.at >= (p_after + interval '1 month') AT TIME ZONE 'UTC')) m
WHERE (p_after IS NULL OR m.month > p_after)
  AND EXISTS (SELECT FROM control.entry e WHERE e.tenant = p_tenant AND e.run_id <> p_chain
              AND e.at >= m.month::timestamp AT TIME ZONE 'UTC' AND e.at < (m.month + interval '1 month') AT TIME ZONE 'UTC')
$$;

CREATE TYPE control.retain_answer AS (
    month date,          -- the oldest one before the moment that has entries of the tenant's runs; NULL: there is none
    kept_for text,       -- why it stays: open_run | unsettled | held | order; NULL: it was dropped
    run_id uuid,         -- the run it stays for
    entries bigint,      -- that were dropped
    runs bigint,
    whole_runs bigint,   -- of these, runs of which no entry is left: what lay beside their trail was erased, too
    erased jsonb         -- by place
);

-- Drop the oldest whole month, after p_after, that ended so long ago by the ledger's clock, which dated the entries; never the one that
-- is. All or nothing: a month in which one run goes on, or on which a legal hold stands, stays. One month a call, so that nobody waits
-- long. The rows of other tenants and every tenant's own chain stay.
CREATE FUNCTION control.retain_v1(p_older interval, p_after date, p_told bytea, p_comment text, p_body bytea) RETURNS control.retain_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('admin');
    v_person text := coalesce(l.person, l.login::text);
    v_chain uuid := control.tenant_chain(l.tenant);
    v_now timestamptz;
    v_from timestamptz;
    v_to timestamptz;
    v_name text;
    v_digest bytea;
    v_place bigint;
    v_run uuid;
    v_rest boolean;
    v_gone bigint;
    v_out control.retain_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_older BETWEEN interval '0' AND interval '400000 days' AND p_comment ~ '\S' AND length(p_comment) <= 10000 AND length(p_told) BETWEEN 1 AND 65536
        AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a retention that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    v_now := control.clock();
    v_out.month := control.oldest_month(l.tenant, v_chain, p_after);
    v_from := v_out.month::timestamp AT TIME ZONE 'UTC';
    v_to := (v_out.month + interval '1 month') AT TIME ZONE 'UTC';
    IF v_out.month IS NULL OR v_to > v_now - p_older THEN
        v_out.month := NULL;
        RETURN v_out;
    END IF;

    -- Nothing is appended any more to the runs that may go, so that what is counted is what goes. In the order of everywhere: the tenant's
    -- chain, runs, and their actions below. A run that goes on keeps its month and is not held up.
    PERFORM 1 FROM control.run_state s WHERE s.tenant = l.tenant AND s.state = 'done' AND s.run_id IN (SELECT e.run_id FROM control.entry e
            WHERE e.tenant = l.tenant AND e.run_id <> v_chain AND e.at >= v_from AND e.at < v_to) ORDER BY s.run_id FOR UPDATE;
    SELECT seq + 1 INTO v_place FROM control.run_state WHERE run_id = v_chain;
    INSERT INTO control.dropped (tenant, run_id, month, seq, head, place, dropped_at)
        SELECT DISTINCT ON (e.run_id) l.tenant, e.run_id, v_out.month, e.seq, e.hash, v_place, v_now FROM control.entry e
        WHERE e.tenant = l.tenant AND e.run_id <> v_chain AND e.at >= v_from AND e.at < v_to ORDER BY e.run_id, e.seq DESC;
    SELECT d.run_id, n.reason INTO v_out.run_id, v_out.kept_for FROM control.dropped d CROSS JOIN LATERAL (
            SELECT coalesce(control.still_needed(l.tenant, d.run_id, control.keys_of(l.tenant, d.run_id)),
                CASE WHEN EXISTS (SELECT FROM control.entry e WHERE e.run_id = d.run_id AND e.seq < d.seq AND NOT (e.at >= v_from AND e.at < v_to))
                     THEN 'order' END) AS reason) n
        WHERE d.tenant = l.tenant AND d.place = v_place AND n.reason IS NOT NULL ORDER BY d.run_id LIMIT 1;
    IF v_out.kept_for IS NOT NULL THEN
        DELETE FROM control.dropped WHERE tenant = l.tenant AND place = v_place;
        RETURN v_out;
    END IF;

    SELECT count(*) INTO v_out.entries FROM control.entry e
        WHERE e.tenant = l.tenant AND e.run_id <> v_chain AND e.at >= v_from AND e.at < v_to;
    SELECT count(*), sha256(string_agg(uuid_send(d.run_id) || int8send(d.seq) || d.head, ''::bytea ORDER BY d.run_id))
        INTO v_out.runs, v_digest FROM control.dropped d WHERE d.tenant = l.tenant AND d.place = v_place;
    v_out.whole_runs := 0;
    v_out.erased := '{}';
    FOR v_run IN SELECT d.run_id FROM control.dropped d JOIN control.run_state s ON s.run_id = d.run_id AND s.seq = d.seq
                 WHERE d.tenant = l.tenant AND d.place = v_place ORDER BY d.run_id LOOP
        v_out.whole_runs := v_out.whole_runs + 1;
        v_out.erased := control.added(v_out.erased, control.erase_rows(l.tenant, v_run, control.keys_of(l.tenant, v_run), true, p_told, v_now));
    END LOOP;

    v_name := 'entry_' || to_char(v_out.month, 'YYYY_MM');
    v_rest := EXISTS (SELECT FROM control.entry e WHERE e.at >= v_from AND e.at < v_to AND e.tenant <> l.tenant
                      AND e.run_id <> control.tenant_chain_id(e.tenant));
    IF v_rest OR to_regclass('control.' || v_name) IS NULL THEN
        DELETE FROM control.entry e WHERE e.tenant = l.tenant AND e.run_id <> v_chain AND e.at >= v_from AND e.at < v_to;
        GET DIAGNOSTICS v_gone = ROW_COUNT;
    ELSE
        -- What belongs to no run stays, in the default partition.
        PERFORM set_config('lock_timeout', '5s', true);
        EXECUTE format('ALTER TABLE control.entry DETACH PARTITION control.%I', v_name);
        -- Whoever was still writing to it has ended by now, also a run of which nothing was there to be locked.
        EXECUTE format('SELECT count(*) FROM control.%I e WHERE e.run_id <> control.tenant_chain_id(e.tenant)', v_name) INTO v_gone;
        EXECUTE format('INSERT INTO control.entry SELECT * FROM control.%I e WHERE e.run_id = control.tenant_chain_id(e.tenant)', v_name);
        EXECUTE format('DROP TABLE control.%I', v_name);
    END IF;
    IF v_gone <> v_out.entries THEN
        RAISE EXCEPTION 'entries of % came while it was dropped', v_out.month USING ERRCODE = 'lock_not_available';
    END IF;
    PERFORM control.append(l.tenant, v_chain, v_now, ARRAY['entries.dropped'],
        jsonb_build_object('month', v_out.month, 'entries', v_out.entries, 'runs', v_out.runs, 'heads', encode(v_digest, 'hex'),
            'erased', v_out.erased, 'person', v_person, 'roles', control.roles_said(l, v_person, NULL), 'comment', p_comment), p_body, NULL);
    RETURN v_out;
END
$$;

-- Where a chain was cut last; no row for one that is whole.
CREATE FUNCTION control.dropped_v1(p_run uuid) RETURNS TABLE (seq bigint, head bytea, dropped_at timestamptz, month date)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT d.seq, d.head, d.dropped_at, d.month FROM control.dropped d
    WHERE d.run_id = p_run AND d.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant ORDER BY d.seq DESC LIMIT 1
$$;

-- The heads that one entry of the tenant's own chain stands for, in the order in which they are hashed there, after one of them.
CREATE FUNCTION control.dropped_heads_v1(p_place bigint, p_after uuid, p_limit integer) RETURNS TABLE (run_id uuid, seq bigint, head bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT d.run_id, d.seq, d.head FROM control.dropped d
    WHERE d.place = p_place AND d.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant
      AND d.run_id > coalesce(p_after, '00000000-0000-0000-0000-000000000000') ORDER BY d.run_id LIMIT p_limit
$$;

-- The places of the tenant's own chain that dropped heads name, of some chains or of all; an entry has to stand at each.
CREATE FUNCTION control.dropped_places_v1(p_runs uuid[]) RETURNS SETOF bigint
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT DISTINCT d.place FROM control.dropped d WHERE d.tenant = (control.caller('agent', 'approver', 'admin', 'auditor')).tenant
    AND (p_runs IS NULL OR d.run_id = ANY (p_runs)) ORDER BY 1
$$;

REVOKE ALL ON control.dropped FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION control.months_ahead, control.months_v1, control.oldest_month, control.retain_v1, control.dropped_v1, control.dropped_heads_v1,
    control.dropped_places_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.months_v1 TO control_agent, control_admin;
GRANT EXECUTE ON FUNCTION control.retain_v1 TO control_admin;
GRANT EXECUTE ON FUNCTION control.dropped_v1, control.dropped_heads_v1, control.dropped_places_v1
    TO control_agent, control_approver, control_admin, control_auditor;
