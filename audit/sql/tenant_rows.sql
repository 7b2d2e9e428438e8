-- Rows of schema control by tenant. Nobody but the owner has a right to any table, and the functions, which run as the owner, take the
-- tenant from the login. This is for whoever is given a right to read one: only the rows of the login's tenant, and of tables that tell
-- no tenant nothing. Run after each migration, so that no table is forgotten; it changes nothing that is there already.
DO $$
DECLARE
    v_table record;
BEGIN
    FOR v_table IN SELECT c.oid, c.relname, c.relrowsecurity FROM pg_catalog.pg_class c
                   WHERE c.relnamespace = 'control'::regnamespace AND c.relkind IN ('r', 'p') LOOP
        IF NOT v_table.relrowsecurity THEN
            EXECUTE format('ALTER TABLE control.%I ENABLE ROW LEVEL SECURITY', v_table.relname);
        END IF;
        -- The tenant's secret is for nobody but the agent's functions.
        IF v_table.relname <> 'tenant' AND EXISTS (SELECT FROM pg_catalog.pg_attribute WHERE attrelid = v_table.oid AND attname = 'tenant' AND NOT attisdropped)
           AND NOT EXISTS (SELECT FROM pg_catalog.pg_policy WHERE polrelid = v_table.oid AND polname = 'own_tenant') THEN
            EXECUTE format('CREATE POLICY own_tenant ON control.%I USING (tenant = (SELECT control.tenant_v1())) '
                           'WITH CHECK (tenant = (SELECT control.tenant_v1()))', v_table.relname);
        END IF;
    END LOOP;
END
$$;
GRANT EXECUTE ON FUNCTION control.tenant_v1 TO control_agent, control_approver, control_admin, control_auditor;
