-- Who owns the record, and the groups of logins that may call its functions.
-- Roles belong to the whole server and not to one database, so every migration makes sure of them again (a restored database may
-- have come to a server that never had them), and a migration of another database may be doing the same at this moment.
DO $$
DECLARE
    v_role name;
BEGIN
    FOREACH v_role IN ARRAY ARRAY['control_owner', 'control_agent', 'control_approver', 'control_admin', 'control_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = v_role) THEN
            BEGIN
                EXECUTE format('CREATE ROLE %I NOLOGIN', v_role);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- the other database's migration was faster
            END;
        END IF;
    END LOOP;
END
$$;

-- The admin login becomes the owner for as long as it migrates. Since Postgres 16 membership alone does not allow SET ROLE.
DO $$
DECLARE
    v_wanted text := CASE WHEN current_setting('server_version_num')::integer >= 160000 THEN 'SET' ELSE 'MEMBER' END;
BEGIN
    IF NOT pg_has_role(session_user, 'control_owner', v_wanted) THEN
        EXECUTE format('GRANT control_owner TO %I', session_user);
    END IF;
    IF NOT has_database_privilege('control_owner', current_database(), 'CREATE') THEN
        EXECUTE format('GRANT CREATE ON DATABASE %I TO control_owner', current_database());
    END IF;
END
$$;
