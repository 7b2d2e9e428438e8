-- Sagas: writes that belong together, so that what was done is taken back where the rest cannot be done.

CREATE TYPE control.saga_row AS (
    step integer,
    key bytea,
    name text,           -- the saga's
    run_id uuid,         -- that first asked for the action
    tool text,
    system text,
    state text,
    payload bytea,       -- arguments and before-image as they ran; NULL where nothing ran
    result bytea,
    undo_key bytea,      -- NULL: nothing was tried to take it back
    undo_tool text,
    undo_state text
);

-- The steps of sagas: of one, or of all that a run took part in.
CREATE FUNCTION control.saga_rows(p_tenant text, p_saga bytea, p_run uuid) RETURNS SETOF control.saga_row
    LANGUAGE sql STABLE AS $$
SELECT t.step, t.key, t.name, a.run_id, a.tool, a.system, a.state, e.payload, a.result, u.key, u.tool, u.state
FROM control.saga_step t JOIN control.action a ON a.tenant = t.tenant AND a.key = t.key
    LEFT JOIN control.entry e ON e.run_id = a.payload_run AND e.seq = a.payload_seq
    LEFT JOIN control.action u ON u.tenant = t.tenant AND u.undoes = t.key
WHERE t.tenant = p_tenant AND (t.saga = p_saga OR t.run_id = p_run)
ORDER BY t.name, t.saga, t.step, t.key
$$;

-- What of a run's sagas is in effect: done, and not taken back.
CREATE FUNCTION control.left_applied(p_tenant text, p_run uuid) RETURNS SETOF control.saga_row
    LANGUAGE sql STABLE AS $$
SELECT * FROM control.saga_rows(p_tenant, NULL, p_run) WHERE state = 'succeeded' AND undo_state IS DISTINCT FROM 'succeeded'
$$;

-- What a saga did, for whoever drives it.
CREATE FUNCTION control.saga_v1(p_saga bytea) RETURNS SETOF control.saga_row
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT * FROM control.saga_rows((control.caller('agent')).tenant, p_saga, NULL)
$$;

-- What is applied of the sagas of a run, for whoever looks after it. No arguments, no results.
CREATE FUNCTION control.run_sagas_v1(p_run uuid)
    RETURNS TABLE (name text, step integer, key bytea, tool text, system text, state text, undo_tool text, undo_state text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT name, step, key, tool, system, state, undo_tool, undo_state
FROM control.saga_rows((control.caller('agent', 'approver', 'admin', 'auditor')).tenant, NULL, p_run)
$$;

REVOKE EXECUTE ON FUNCTION control.saga_rows, control.left_applied, control.saga_v1, control.run_sagas_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.saga_v1 TO control_agent;
GRANT EXECUTE ON FUNCTION control.run_sagas_v1 TO control_agent, control_approver, control_admin, control_auditor;
