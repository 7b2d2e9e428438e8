-- LangGraph's checkpoint tables know no tenants: one tenant's thread could read, or write over, another's thread of the same name.
-- Each row gets the tenant of the login that wrote it, and a login sees the rows of its own tenant only. Run after each migration,
-- since the tables are LangGraph's own; it changes nothing that is there already.
DO $$
DECLARE
    v_table text;
BEGIN
    FOREACH v_table IN ARRAY ARRAY['checkpoints', 'checkpoint_blobs', 'checkpoint_writes'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_attribute
                       WHERE attrelid = format('control_checkpoints.%I', v_table)::regclass AND attname = 'tenant' AND NOT attisdropped) THEN
            EXECUTE format('ALTER TABLE control_checkpoints.%I ADD COLUMN tenant text NOT NULL DEFAULT control.tenant_v1()', v_table);
            EXECUTE format('ALTER TABLE control_checkpoints.%I ENABLE ROW LEVEL SECURITY', v_table);
            EXECUTE format('CREATE POLICY own_tenant ON control_checkpoints.%I '
                           'USING (tenant = (SELECT control.tenant_v1())) WITH CHECK (tenant = (SELECT control.tenant_v1()))', v_table);
        END IF;
    END LOOP;
END
$$;
