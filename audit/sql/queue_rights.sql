-- procrastinate's tables know no tenants and its functions are open to everybody. Each row gets the tenant of the login that wrote
-- it, a login sees its own tenant's rows, and only agent logins come near them at all. Run after each change of its schema, since the
-- tables are procrastinate's own; it changes nothing that is there already.
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['procrastinate_jobs', 'procrastinate_events', 'procrastinate_workers'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
                       WHERE attrelid = format('control_queue.%I', v_table)::regclass AND attname = 'tenant' AND NOT attisdropped) THEN
            EXECUTE format('ALTER TABLE control_queue.%I ADD COLUMN tenant text NOT NULL DEFAULT control.tenant_v1()', v_table);
            EXECUTE format('ALTER TABLE control_queue.%I ENABLE ROW LEVEL SECURITY', v_table);
            EXECUTE format('CREATE POLICY own_tenant ON control_queue.%I '
                           'USING (tenant = (SELECT control.tenant_v1())) WITH CHECK (tenant = (SELECT control.tenant_v1()))', v_table);
        END IF;
    END LOOP;
END
$$;
REVOKE ALL ON SCHEMA control_queue FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA control_queue FROM PUBLIC;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA control_queue FROM PUBLIC;
GRANT USAGE ON SCHEMA control_queue TO control_agent;
GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA control_queue TO control_agent;
GRANT USAGE ON ALL SEQUENCES IN SCHEMA control_queue TO control_agent;
GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA control_queue TO control_agent;
REVOKE ALL ON control_queue.applied FROM control_agent;
