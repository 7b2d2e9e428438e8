-- The clock, the commit mode, who calls, and the one function that appends.

-- The ledger's clock. Only the simulation database's owner replaces it.
CREATE FUNCTION control.clock() RETURNS timestamptz
    LANGUAGE sql VOLATILE PARALLEL SAFE AS 'SELECT pg_catalog.clock_timestamp()';

CREATE FUNCTION control.must_read_committed() RETURNS text
    LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the ledger is written to in read committed transactions only' USING ERRCODE = 'insufficient_privilege';
END
$$;

-- The weakest synchronous_commit that an acknowledged claim, settle or vote may have. Only the simulation database's owner replaces it.
-- What changes something must see what is true now: freezes, roles and policies of the past are not to be found in an old snapshot.
CREATE FUNCTION control.commit_mode() RETURNS text
    LANGUAGE sql STABLE AS $$
SELECT CASE WHEN current_setting('transaction_isolation') <> 'read committed' THEN control.must_read_committed()
            WHEN current_setting('synchronous_commit') IN ('on', 'remote_apply')
            THEN current_setting('synchronous_commit') ELSE 'on' END
$$;

-- The calling login's row, if it may act in one of these roles.
CREATE FUNCTION control.caller(VARIADIC p_roles text[]) RETURNS control.login
    LANGUAGE plpgsql STABLE AS $$
DECLARE
    l control.login;
BEGIN
    SELECT * INTO l FROM control.login WHERE login = session_user;
    IF l.login IS NULL OR NOT l.role = ANY (p_roles) THEN
        RAISE EXCEPTION 'login % is not published as % of any tenant', session_user, array_to_string(p_roles, ' or ')
            USING ERRCODE = 'insufficient_privilege',
                  HINT = 'An admin maps it with: langgraph-control login add';
    END IF;
    RETURN l;
END
$$;

-- How large an entry's body may be, in bytes.
CREATE FUNCTION control.body_bytes_max() RETURNS integer LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT 65536';

-- A value behind its length, so that no two lists of values share bytes.
CREATE FUNCTION control.framed(p_value bytea) RETURNS bytea
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS 'SELECT pg_catalog.int4send(pg_catalog.length(p_value)) || p_value';

-- Append one entry to a run whose state row the caller has locked. Returns its place in the chain.
-- hash = sha256(tag, tenant, run, seq, previous hash, facts, commitment, body), each in fixed framing.
CREATE FUNCTION control.append(
    p_tenant text, p_run uuid, p_at timestamptz, p_events text[], p_facts jsonb, p_body bytea, p_payload bytea
) RETURNS bigint
    LANGUAGE plpgsql AS $$
DECLARE
    v_seq bigint;
    v_head bytea;
    v_salt bytea;
    v_commitment bytea;
    v_facts text;
    v_hash bytea;
BEGIN
    SELECT seq + 1, head INTO v_seq, v_head FROM control.run_state WHERE run_id = p_run;
    v_facts := (jsonb_build_object(
        'at', (extract(epoch FROM p_at) * 1000000)::bigint, 'events', p_events, 'login', session_user) || p_facts)::text;
    IF p_payload IS NOT NULL THEN
        v_salt := uuid_send(gen_random_uuid());
        v_commitment := sha256(v_salt || p_payload);
    END IF;
    v_hash := sha256(
        'langgraph-control/entry/v1'::bytea || control.framed(convert_to(p_tenant, 'UTF8')) || uuid_send(p_run)
        || int8send(v_seq) || v_head || control.framed(convert_to(v_facts, 'UTF8'))
        || control.framed(coalesce(v_commitment, ''::bytea)) || control.framed(p_body));
    INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, commitment, salt, payload, hash)
        VALUES (p_run, v_seq, p_tenant, p_at, v_facts, p_body, v_commitment, v_salt, p_payload, v_hash);
    UPDATE control.run_state SET seq = v_seq, head = v_hash WHERE run_id = p_run;
    RETURN v_seq;
END
$$;

-- The lifecycle table of guards/lifecycle.py; a test holds both equal.
CREATE FUNCTION control.next_state(p_state text, p_event text, p_kind text) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE
    WHEN p_kind NOT IN ('transaction', 'keyed', 'verified', 'blind') THEN NULL
    WHEN p_event = 'start' THEN CASE
        WHEN p_state IN ('ready', 'needs_approval', 'failed', 'denied') THEN 'executing'
        WHEN p_state = 'unknown' AND p_kind = 'keyed' THEN 'executing' END
    WHEN p_event = 'succeed' THEN CASE WHEN p_state = 'executing' THEN 'succeeded' END
    WHEN p_event = 'ask' THEN CASE WHEN p_state IN ('ready', 'needs_approval', 'failed', 'denied') THEN 'needs_approval' END
    WHEN p_event = 'deny' THEN CASE WHEN p_state IN ('ready', 'needs_approval', 'failed', 'denied') THEN 'denied' END
    WHEN p_event IN ('grant', 'withdraw') THEN CASE WHEN p_state = 'needs_approval' THEN 'ready' END
    WHEN p_event = 'not_done' THEN CASE WHEN p_state = 'executing' THEN 'ready' END
    WHEN p_event = 'fail' THEN CASE WHEN p_state = 'executing' THEN 'failed' END
    WHEN p_event = 'lose' THEN CASE WHEN p_state = 'executing' THEN CASE p_kind
        WHEN 'transaction' THEN 'ready'
        WHEN 'blind' THEN 'needs_human'
        ELSE 'unknown' END END
    WHEN p_event = 'verify' THEN CASE WHEN p_kind = 'verified' AND p_state IN ('unknown', 'verifying') THEN 'verifying' END
    WHEN p_event = 'found' THEN CASE WHEN p_kind = 'verified' AND p_state = 'verifying' THEN 'succeeded' END
    WHEN p_event = 'absent' THEN CASE WHEN p_kind = 'verified' AND p_state = 'verifying' THEN 'ready' END
    WHEN p_event = 'undetermined' THEN CASE WHEN p_kind = 'verified' AND p_state = 'verifying' THEN 'unknown' END
    WHEN p_event = 'contradict' THEN CASE WHEN p_state IN
        ('ready', 'executing', 'unknown', 'verifying', 'succeeded', 'failed', 'needs_human', 'abandoned') THEN 'needs_human' END
    WHEN p_event = 'give_up' THEN CASE WHEN p_state IN ('ready', 'unknown', 'failed', 'denied') THEN 'needs_human' END
    WHEN p_event = 'person_done' THEN CASE WHEN p_state = 'needs_human' THEN 'succeeded' END
    WHEN p_event = 'person_undone' THEN CASE WHEN p_state = 'needs_human' THEN 'ready' END
    WHEN p_event = 'abandon' THEN CASE WHEN p_state = 'needs_human' THEN 'abandoned' END
END
$$;

-- The next state, or an error: a function of the ledger never takes a step that the table does not have.
CREATE FUNCTION control.must_step(p_state text, p_event text, p_kind text) RETURNS text
    LANGUAGE plpgsql IMMUTABLE AS $$
DECLARE
    v_next text := control.next_state(p_state, p_event, p_kind);
BEGIN
    IF v_next IS NULL THEN
        RAISE EXCEPTION 'no step from % by % for a % effect', p_state, p_event, p_kind USING ERRCODE = 'LC001';
    END IF;
    RETURN v_next;
END
$$;

-- Tell every run that waits for an action that something happened to it. Locks only run_wake, always last.
CREATE FUNCTION control.wake(p_tenant text, p_key bytea) RETURNS void
    LANGUAGE sql AS $$
INSERT INTO control.run_wake AS w (run_id, generation)
    SELECT run_id, 1 FROM control.waiter WHERE tenant = p_tenant AND key = p_key ORDER BY run_id
    ON CONFLICT (run_id) DO UPDATE SET generation = w.generation + 1
$$;
