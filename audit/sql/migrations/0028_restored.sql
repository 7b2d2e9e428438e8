-- A restore, or a failover to a copy that was behind, takes back commits that were acknowledged: effects may have happened of which
-- nothing is on record any more. The server says so itself in most cases: a restored copy has another system identifier, or goes on
-- in another timeline. Then writes of all tenants stop until people have found out what is missing.

-- The server as it was last known. One row; NULL for what it does not tell.
CREATE TABLE control.server (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    system bigint,      -- its system identifier
    timeline integer,
    since timestamptz NOT NULL
);

-- The server as it is. Some managed ones keep one or the other to themselves.
CREATE FUNCTION control.server_now() RETURNS control.server
    LANGUAGE plpgsql VOLATILE AS $$
DECLARE
    v_out control.server;
BEGIN
    v_out.one := true;
    v_out.since := control.clock();
    BEGIN
        SELECT s.system_identifier INTO v_out.system FROM pg_control_system() s;
    EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported THEN
        NULL;
    END;
    -- The timeline that is written to now; the one of the last checkpoint is behind for a moment after a promotion.
    BEGIN
        v_out.timeline := ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::integer;
    EXCEPTION WHEN insufficient_privilege OR undefined_function OR feature_not_supported OR object_not_in_prerequisite_state THEN
        NULL;
    END;
    RETURN v_out;
END
$$;

-- The restore that waits to be looked into, of each tenant: a later one takes the place of an earlier one, which is not accepted for it.
CREATE TABLE control.restored (
    tenant text PRIMARY KEY REFERENCES control.tenant,
    place bigint NOT NULL,      -- the entry of the tenant's own chain that says so
    since timestamptz NOT NULL,
    comment text NOT NULL,
    reconciled bigint           -- the entry of a reconciliation of everything since, that asked outside, too
);

-- Stop the writes of every tenant: commits may be lost. Each tenant's chains go on, with an entry that says so.
CREATE FUNCTION control.stop_after_restore(p_event text, p_comment text, p_set_by text, p_facts jsonb) RETURNS void
    LANGUAGE plpgsql AS $$
DECLARE
    v_tenant text;
    v_chain uuid;
    v_now timestamptz;
    v_place bigint;
BEGIN
    FOR v_tenant IN SELECT tenant FROM control.tenant ORDER BY tenant LOOP
        v_chain := control.tenant_chain(v_tenant);
        PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
        v_now := control.clock();
        INSERT INTO control.brake AS b (tenant, scope, name, cause, until, since, set_by, comment)
            VALUES (v_tenant, 'tenant', '', 'restored', '9999-01-01 00:00:00+00', v_now, p_set_by, p_comment)
            ON CONFLICT (tenant, scope, name, cause) DO UPDATE SET set_by = excluded.set_by, comment = excluded.comment;
        v_place := control.append(v_tenant, v_chain, v_now, ARRAY[p_event, 'freeze.set'],
            p_facts || jsonb_build_object('scope', 'tenant', 'name', '', 'person', p_set_by, 'roles', control.roles_of(v_tenant, p_set_by, '{}'),
                'comment', p_comment), '{}'::bytea, NULL);
        INSERT INTO control.restored (tenant, place, since, comment) VALUES (v_tenant, v_place, v_now, p_comment)
            ON CONFLICT (tenant) DO UPDATE SET place = excluded.place, since = excluded.since, comment = excluded.comment, reconciled = NULL;
    END LOOP;
END
$$;

-- Is this the server that it was? Asked wherever a run is opened or taken, before anything is locked; on a standby, which cannot tell
-- its timeline, it is. Returns whether it still is.
CREATE FUNCTION control.same_server() RETURNS boolean
    LANGUAGE plpgsql AS $$
DECLARE
    v_now control.server := control.server_now();
    k control.server;
BEGIN
    SELECT * INTO k FROM control.server;
    IF k.one AND coalesce(k.system = v_now.system, true) AND coalesce(k.timeline = v_now.timeline, true)
       AND (k.system IS NOT NULL OR v_now.system IS NULL) AND (k.timeline IS NOT NULL OR v_now.timeline IS NULL) THEN
        RETURN true;
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('langgraph-control/server', 0));
    SELECT * INTO k FROM control.server FOR UPDATE;
    IF k.one IS NULL THEN
        INSERT INTO control.server SELECT (v_now).* ON CONFLICT DO NOTHING;
        RETURN true;
    END IF;
    UPDATE control.server SET system = coalesce(v_now.system, system), timeline = coalesce(v_now.timeline, timeline), since = v_now.since;
    IF coalesce(k.system = v_now.system, true) AND coalesce(k.timeline = v_now.timeline, true) THEN
        RETURN true;  -- somebody else was faster, or it tells more than it did
    END IF;
    PERFORM control.stop_after_restore('restore.detected',
        CASE WHEN k.system <> v_now.system
             THEN format('The database is on another server: its system identifier was %s and is %s.', k.system, v_now.system)
             ELSE format('The server was restored, or a standby was promoted: its timeline was %s and is %s.', k.timeline, v_now.timeline) END,
        'the ledger', jsonb_build_object('system', jsonb_build_array(k.system::text, v_now.system::text),
            'timeline', jsonb_build_array(k.timeline, v_now.timeline)));
    RETURN false;
END
$$;

-- The same for whoever begins to work, and for whoever lost a connection: another server may answer now. True: it is the server that it was, and no restore waits to be looked into.
CREATE FUNCTION control.server_v1() RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent', 'approver', 'admin', 'auditor')).tenant;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    PERFORM control.same_server();
    RETURN NOT EXISTS (SELECT FROM control.brake b WHERE b.tenant = v_tenant AND b.cause = 'restored');
END
$$;

-- Say that the database was restored, where the server does not show it. Not for any login of a tenant: it stops the writes of all.
CREATE FUNCTION control.declare_restored(p_comment text) RETURNS void
    LANGUAGE plpgsql SET search_path = pg_catalog, control, pg_temp AS $$
BEGIN
    IF (p_comment ~ '\S' AND length(p_comment) <= 10000) IS NOT TRUE THEN
        RAISE EXCEPTION 'a restore that cannot be declared so' USING ERRCODE = 'LC002';
    END IF;
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    PERFORM control.stop_after_restore('restore.declared', p_comment, session_user::text, '{}');
END
$$;

-- The restore that waits to be looked into; no row: none does.
CREATE FUNCTION control.restore_v1() RETURNS TABLE (place bigint, since timestamptz, comment text, reconciled bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT r.place, r.since, r.comment, r.reconciled FROM control.restored r
    WHERE r.tenant = (control.caller('approver', 'admin', 'auditor')).tenant
$$;

CREATE TYPE control.accept_answer AS (
    reason text,    -- NULL: done; else not_restored | not_reconciled | restored_again | not_yourself | unknown_person
    woken bigint,   -- runs that stood still for it
    restore bigint  -- the entry of the restore that waits
);

-- Let the tenant's writes go on: what was lost has been found out, and dealt with. That a reconciliation named it is held against the
-- record; who goes on without one names the restore that is meant, by its entry. Wakes the runs that stood still for it.
CREATE FUNCTION control.restore_accept_v1(p_person text, p_identity jsonb, p_unreconciled bigint, p_comment text, p_body bytea)
    RETURNS control.accept_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('approver', 'admin');
    v_person text := control.operator(l, p_person, p_identity);
    v_chain uuid;
    r control.restored;
    v_out control.accept_answer;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_comment ~ '\S' AND length(p_comment) <= 10000 AND length(p_body) <= control.body_bytes_max()
        AND (p_identity IS NULL OR control.is_identity(p_identity))) IS NOT TRUE THEN
        RAISE EXCEPTION 'a restore that cannot be accepted so' USING ERRCODE = 'LC002';
    END IF;
    v_chain := control.tenant_chain(l.tenant);
    PERFORM 1 FROM control.run_state s WHERE s.run_id = v_chain FOR UPDATE;
    v_out.reason := control.operator_refusal(l, v_person, p_identity);
    IF v_out.reason IS NOT NULL THEN
        PERFORM control.append(l.tenant, v_chain, control.clock(), ARRAY['freeze.refused'],
            jsonb_build_object('scope', 'tenant', 'name', '',
                'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity, 'reason', v_out.reason), p_body, NULL);
        RETURN v_out;
    END IF;
    SELECT * INTO r FROM control.restored x WHERE x.tenant = l.tenant;
    v_out.restore := r.place;
    v_out.reason := CASE WHEN r.tenant IS NULL THEN 'not_restored'
                         WHEN p_unreconciled <> r.place THEN 'restored_again'
                         WHEN p_unreconciled IS NULL AND r.reconciled IS NULL THEN 'not_reconciled' END;
    IF v_out.reason IS NOT NULL THEN
        RETURN v_out;
    END IF;
    DELETE FROM control.brake b WHERE b.tenant = l.tenant AND b.cause = 'restored';
    DELETE FROM control.restored x WHERE x.tenant = l.tenant;
    PERFORM control.append(l.tenant, v_chain, control.clock(), ARRAY['restore.accepted', 'freeze.lifted'],
        jsonb_build_object('scope', 'tenant', 'name', '',
            'person', v_person, 'roles', control.roles_said(l, v_person, p_identity), 'identity', p_identity, 'comment', p_comment,
            'restore', r.place, 'reconciled', r.reconciled), p_body, NULL);
    v_out.woken := control.wake_frozen(l.tenant);
    RETURN v_out;
END
$$;

REVOKE ALL ON control.server, control.restored FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION control.server_now, control.stop_after_restore, control.same_server, control.server_v1, control.declare_restored,
    control.restore_v1, control.restore_accept_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.server_v1 TO control_agent, control_approver, control_admin, control_auditor;
GRANT EXECUTE ON FUNCTION control.restore_v1 TO control_approver, control_admin, control_auditor;
GRANT EXECUTE ON FUNCTION control.restore_accept_v1 TO control_approver, control_admin;
