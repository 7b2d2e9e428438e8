-- Claim and settle as the client calls them: the ordinary case on a short way, everything else on the whole one.
-- Ordinary is: the policy allows, nobody asked for this change before, and then the attempt succeeds and nobody waits for it.
-- Few statements, because PL/pgSQL sets up each expression anew in every transaction; no row is locked before it is changed,
-- because a lock is a record in the log of its own. Locks as everywhere: run, then action. Where somebody else changes the action
-- between the look and the change, nothing is kept and the client sends the same again: it is then no ordinary case any more.

-- The hash of an entry that follows the given head. The same bytes as control.append hashes; a test holds both equal.
CREATE FUNCTION control.linked(
    p_tenant text, p_run uuid, p_seq bigint, p_head bytea, p_facts text, p_commitment bytea, p_body bytea
) RETURNS bytea
    LANGUAGE sql STABLE PARALLEL SAFE AS $$
SELECT pg_catalog.sha256(
    'langgraph-control/entry/v1'::bytea || pg_catalog.int4send(pg_catalog.octet_length(p_tenant)) || pg_catalog.convert_to(p_tenant, 'UTF8')
    || pg_catalog.uuid_send(p_run) || pg_catalog.int8send(p_seq) || p_head
    || pg_catalog.int4send(pg_catalog.octet_length(p_facts)) || pg_catalog.convert_to(p_facts, 'UTF8')
    || pg_catalog.int4send(pg_catalog.length(p_commitment)) || p_commitment
    || pg_catalog.int4send(pg_catalog.length(p_body)) || p_body)
$$;

CREATE FUNCTION control.claim_v1(
    p_run uuid, p_token bigint, p_attempt uuid, p_key bytea, p_args_hash bytea, p_scope bytea, p_digest bytea,
    p_verb text,
    p_requirement jsonb, p_tool text, p_system text, p_impact text, p_kind text, p_fallback_kind text, p_lease_ms integer, p_keyed_ms bigint,
    p_visible_ms bigint, p_attempts_max integer, p_same_max integer, p_give_up_ms bigint, p_calls_max integer, p_retry_ms_max bigint,
    p_charges jsonb, p_saga jsonb, p_call text, p_body bytea, p_payload bytea, p_card bytea, p_edit bigint
) RETURNS control.claim_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_mode text := set_config('synchronous_commit', control.commit_mode(), true);
    v_tenant text;
    v_now timestamptz;
    v_facts text;
    v_salt bytea;
    v_commitment bytea;
    v_seq bigint;
    v_hash bytea;
BEGIN
    SELECT l.tenant, control.clock() INTO v_tenant, v_now FROM control.login l
        WHERE l.login = session_user AND l.role = 'agent'
          AND NOT EXISTS (SELECT FROM control.action a WHERE a.tenant = l.tenant AND a.key = p_key)
          AND NOT EXISTS (SELECT FROM control.brake b WHERE b.tenant = l.tenant)
          AND NOT coalesce((SELECT f.must FROM control.floor f WHERE f.tenant = l.tenant AND f.tool = p_tool),
                           (SELECT f.must FROM control.floor f WHERE f.tenant = l.tenant AND f.tool = '*'), false)
          AND p_verb = 'allow' AND p_requirement IS NULL AND p_token IS NOT NULL AND p_attempt IS NOT NULL
          AND length(p_key) = 32 AND length(p_args_hash) = 32 AND length(p_digest) = 32 AND length(p_scope) = 32
          AND length(p_tool) BETWEEN 1 AND 256 AND coalesce(length(p_system), 0) <= 256 AND length(p_impact) BETWEEN 1 AND 64
          AND p_kind IN ('transaction', 'keyed', 'verified', 'blind') AND p_fallback_kind IN ('verified', 'blind')
          AND p_lease_ms BETWEEN 1 AND 86400000 AND p_keyed_ms BETWEEN 0 AND 31622400000 AND p_visible_ms BETWEEN 0 AND 31622400000
          AND p_attempts_max BETWEEN 1 AND 1000 AND p_same_max BETWEEN 1 AND 1000 AND p_give_up_ms BETWEEN 1 AND 31622400000
          AND p_calls_max BETWEEN 1 AND 1000000 AND p_retry_ms_max BETWEEN 1 AND 31622400000 AND p_charges IS NULL AND p_saga IS NULL
          AND coalesce(length(p_call), 0) <= 1024
          AND length(p_body) <= control.body_bytes_max() AND length(p_payload) <= 4194304 AND coalesce(length(p_card), 0) <= 2097152;
    IF FOUND THEN
        v_facts := format('{"at":%s,"events":["action.proposed","action.decided","action.attempt_started"],"login":%s,"tool":%s,"key":"%s",'
                '"digest":"%s","attempt":"%s","answer":"go","kind":"%s","attempts":1,"verb":"allow"}',
            (extract(epoch FROM v_now) * 1000000)::bigint, to_json(session_user), to_json(p_tool), encode(p_key, 'hex'),
            encode(p_digest, 'hex'), p_attempt, p_kind);
        v_salt := uuid_send(gen_random_uuid());
        v_commitment := sha256(v_salt || p_payload);
        UPDATE control.run_state SET seq = seq + 1, calls = calls + 1,
                head = control.linked(v_tenant, p_run, seq + 1, head, v_facts, v_commitment, p_body)
            WHERE run_id = p_run AND tenant = v_tenant AND token = p_token AND state = 'running'
              AND (deadline IS NULL OR deadline > v_now) AND calls < p_calls_max AND retrying_ms < p_retry_ms_max
            RETURNING seq, head INTO v_seq, v_hash;
        IF FOUND THEN
            -- Where another claim of this key was faster, this fails by action_pkey, which the client takes for a lost race.
            WITH claimed AS (
                INSERT INTO control.action (tenant, key, run_id, tool, system, impact, kind, fallback_kind, args_hash, digest, attempts,
                        in_doubt, execution_id, attempt_id, fence, first_sent, absence_counts, waited, payload_run, payload_seq,
                        sent_by, lease_until, state, started, last_answer)
                    SELECT v_tenant, p_key, p_run, p_tool, p_system, p_impact, p_kind, p_fallback_kind, p_args_hash, p_digest, 1,
                        false, p_attempt, p_attempt, 1, v_now, false, false, p_run, v_seq,
                        v_now + p_lease_ms * interval '1 ms', v_now + p_lease_ms * interval '1 ms', 'executing', true, ''
                    -- The run's row may have been waited for: a freeze, or a policy, of meanwhile counts.
                    WHERE NOT EXISTS (SELECT FROM control.brake b WHERE b.tenant = v_tenant)
                      AND NOT coalesce((SELECT f.must FROM control.floor f WHERE f.tenant = v_tenant AND f.tool = p_tool),
                                       (SELECT f.must FROM control.floor f WHERE f.tenant = v_tenant AND f.tool = '*'), false)
                    RETURNING 1
            )
            INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, commitment, salt, payload, hash)
                SELECT p_run, v_seq, v_tenant, v_now, v_facts, p_body, v_commitment, v_salt, p_payload, v_hash FROM claimed;
            IF NOT FOUND THEN
                RAISE EXCEPTION 'it is no ordinary case any more' USING ERRCODE = 'serialization_failure';
            END IF;
            RETURN ROW('go', 'allow', 'executing', 1, v_seq, 1, p_digest,
                NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL)::control.claim_answer;
        END IF;
    END IF;
    RETURN control.claim_any(p_run, p_token, p_attempt, p_key, p_args_hash, p_scope, p_digest, p_verb, p_requirement, p_tool, p_system,
        p_impact, p_kind, p_fallback_kind, p_lease_ms, p_keyed_ms, p_visible_ms, p_attempts_max, p_same_max, p_give_up_ms,
        p_calls_max, p_retry_ms_max, p_charges, p_saga, p_call, p_body, p_payload, p_card, p_edit);
END
$$;

CREATE FUNCTION control.settle_v1(
    p_run uuid, p_attempt uuid, p_key bytea, p_outcome text, p_events text[], p_result bytea, p_error text, p_failure text, p_call text,
    p_xid text, p_ended boolean, p_pause_ms bigint,
    p_body bytea, p_payload bytea
) RETURNS control.settle_answer
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_mode text := set_config('synchronous_commit', control.commit_mode(), true);
    v_tenant text;
    v_tool text;
    v_now timestamptz;
    v_facts text;
    v_seq bigint;
    v_hash bytea;
BEGIN
    SELECT l.tenant, a.tool, control.clock() INTO v_tenant, v_tool, v_now
        FROM control.login l JOIN control.action a ON a.tenant = l.tenant AND a.key = p_key
        WHERE l.login = session_user AND l.role = 'agent'
          AND a.attempt_id = p_attempt AND a.state = 'executing' AND NOT a.waited AND a.undoes IS NULL
          AND p_outcome = 'succeed' AND p_xid IS NULL AND p_payload IS NULL AND p_ended IS NOT NULL AND p_pause_ms = 0
          AND p_events <@ ARRAY['effect.verified', 'effect.mismatch'] AND length(p_body) <= control.body_bytes_max();
    IF FOUND THEN
        v_facts := format('{"at":%s,"events":%s,"login":%s,"tool":%s,"key":"%s","attempt":"%s","outcome":"succeed","answer":"settled",'
                '"state":"succeeded"}',
            (extract(epoch FROM v_now) * 1000000)::bigint, array_to_json(array_prepend('action.succeeded', p_events)),
            to_json(session_user), to_json(v_tool), encode(p_key, 'hex'), p_attempt);
        UPDATE control.run_state SET seq = seq + 1, head = control.linked(v_tenant, p_run, seq + 1, head, v_facts, '', p_body)
            WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain'
            RETURNING seq, head INTO v_seq, v_hash;
        IF FOUND THEN
            WITH settled AS (
                UPDATE control.action SET state = 'succeeded', settled_attempt = p_attempt, result = p_result,
                        error = NULL, call_id = NULL, last_answer = ''
                    WHERE tenant = v_tenant AND key = p_key AND attempt_id = p_attempt AND state = 'executing' AND NOT waited
                    RETURNING 1
            )
            INSERT INTO control.entry (run_id, seq, tenant, at, facts, body, hash)
                SELECT p_run, v_seq, v_tenant, v_now, v_facts, p_body, v_hash FROM settled;
            IF FOUND THEN
                RETURN ROW('settled', 'succeeded', v_seq, false)::control.settle_answer;
            END IF;
            RAISE EXCEPTION 'this action has changed meanwhile' USING ERRCODE = 'serialization_failure';
        END IF;
    END IF;
    RETURN control.settle_any(p_run, p_attempt, p_key, p_outcome, p_events, p_result, p_error, p_failure, p_call, p_xid, p_ended, p_pause_ms,
        p_body, p_payload);
END
$$;

REVOKE EXECUTE ON FUNCTION control.linked, control.claim_v1, control.settle_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.claim_v1, control.settle_v1 TO control_agent;
