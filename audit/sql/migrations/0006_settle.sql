-- settle: what came of an attempt. Never refused and never lost: too late, it is kept as evidence.
-- One exception: the settle of a transaction raises unless its attempt is current, so that effect and record roll back together.

CREATE TYPE control.settle_answer AS (
    answer text,     -- settled | late | contradiction
    state text,
    seq bigint,
    woke boolean     -- runs wait for this action: a notification has to be sent, in a statement of its own
);

-- Does a late word that the effect happened contradict what was concluded without it?
CREATE FUNCTION control.contradicts(p_action control.action, p_attempt uuid) RETURNS boolean
    LANGUAGE sql IMMUTABLE AS $$
SELECT CASE
    WHEN (p_action).state IN ('needs_human', 'needs_approval', 'denied') AND (p_action).execution_id = p_attempt THEN false
    WHEN (p_action).state IN ('ready', 'failed', 'needs_approval', 'denied', 'abandoned') THEN true
    WHEN (p_action).kind IN ('keyed', 'transaction') THEN false
    ELSE (p_action).execution_id <> p_attempt
END
$$;

-- Every case of a settle. The ordinary one has a shorter way, and comes here whenever it is not quite that.
CREATE FUNCTION control.settle_any(
    p_run uuid, p_attempt uuid, p_key bytea, p_outcome text, p_events text[], p_result bytea, p_error text, p_failure text, p_call text,
    p_xid text, p_ended boolean, p_pause_ms bigint,
    p_body bytea, p_payload bytea
) RETURNS control.settle_answer
    LANGUAGE plpgsql AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    a control.action;
    v_now timestamptz;
    v_outcome text := p_outcome;
    v_kind text;
    v_late boolean;
    v_events text[];
    v_out control.settle_answer;
BEGIN
    IF (p_outcome IN ('succeed', 'not_done', 'fail', 'lose', 'found', 'absent', 'undetermined', 'contradict')
        AND p_events <@ ARRAY['effect.verified', 'effect.mismatch'] AND p_attempt IS NOT NULL AND p_ended IS NOT NULL
        AND coalesce(length(p_failure), 0) <= 256 AND p_pause_ms BETWEEN 0 AND 31622400000 AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'an outcome that is none' USING ERRCODE = 'LC002';
    END IF;
    PERFORM 1 FROM control.run_state WHERE run_id = p_run AND tenant = v_tenant AND state <> 'chain' FOR UPDATE;
    IF NOT FOUND THEN
        RAISE EXCEPTION 'unknown run' USING ERRCODE = 'LC002';
    END IF;
    SELECT * INTO a FROM control.action WHERE tenant = v_tenant AND key = p_key FOR UPDATE;
    v_now := control.clock();
    IF a.key IS NULL THEN
        RAISE EXCEPTION 'no such action' USING ERRCODE = 'LC002';
    END IF;
    IF a.settled_attempt = p_attempt THEN
        v_out.answer := 'settled';  -- a re-sent settle
        v_out.state := a.state;
        RETURN v_out;
    END IF;
    IF p_xid IS NOT NULL AND p_xid <> pg_current_xact_id()::text THEN
        RAISE EXCEPTION 'the tool ended the transaction that was to hold its effect' USING ERRCODE = 'LC003';
    END IF;
    v_late := a.attempt_id IS DISTINCT FROM p_attempt OR a.state NOT IN ('executing', 'verifying')
        OR (a.state = 'verifying') <> (p_outcome IN ('found', 'absent', 'undetermined'));
    IF v_late AND p_xid IS NOT NULL THEN
        RAISE EXCEPTION 'this attempt is no longer the current one' USING ERRCODE = 'LC004';
    END IF;
    IF v_late THEN
        IF p_attempt = ANY (a.late) THEN
            v_out.answer := 'late';
            v_out.state := a.state;
            RETURN v_out;
        END IF;
        v_out.answer := 'late';
        IF p_outcome = 'succeed' AND control.contradicts(a, p_attempt)
           OR p_outcome = 'contradict' AND a.state <> 'needs_human' THEN
            v_out.answer := 'contradiction';
            IF a.state IN ('needs_approval', 'denied') THEN
                a.state := 'ready';  -- what was asked or refused afresh rests on "it was not done", which is now in doubt
            END IF;
            a.state := control.must_step(a.state, 'contradict', a.kind);
            a.started := true;
        END IF;
        UPDATE control.action SET late = array_append(late, p_attempt), state = a.state, started = a.started
            WHERE tenant = v_tenant AND key = p_key;
        v_events := ARRAY['effect.late'];
    ELSE
        v_kind := CASE WHEN a.state = 'verifying' THEN 'verified' ELSE a.kind END;
        IF v_outcome = 'absent' AND NOT a.absence_counts THEN
            v_outcome := 'undetermined';  -- read too early to believe "not there"
        END IF;
        IF v_outcome IN ('not_done', 'fail') AND a.in_doubt THEN
            v_outcome := 'lose';  -- this attempt is proven undone; the one before it is not
        END IF;
        a.state := control.must_step(a.state, v_outcome, v_kind);
        a.started := CASE WHEN v_outcome IN ('not_done', 'fail', 'absent') OR a.state = 'ready' THEN false ELSE a.started END;
        UPDATE control.action SET state = a.state, started = a.started, settled_attempt = p_attempt, lease_until = v_now,
                -- A call that was only broken off may still send until its time is over.
                sent_by = CASE WHEN v_outcome = 'lose' AND p_ended THEN v_now ELSE sent_by END,
                result = coalesce(p_result, result), error = p_error,
                call_id = CASE WHEN a.state = 'failed' THEN p_call END, last_answer = '',
                not_before = CASE WHEN p_pause_ms > 0 AND v_outcome IN ('not_done', 'lose') THEN v_now + p_pause_ms * interval '1 ms' END,
                -- The same failure again and again is not worth another try. Reading back says nothing of it.
                last_failure = CASE WHEN p_outcome IN ('absent', 'undetermined') THEN last_failure ELSE p_failure END,
                same_failures = CASE WHEN p_outcome IN ('absent', 'undetermined') THEN same_failures
                                     WHEN p_failure IS NULL THEN 0 WHEN p_failure = last_failure THEN same_failures + 1 ELSE 1 END,
                charged = charged AND v_outcome NOT IN ('not_done', 'fail', 'absent')
            WHERE tenant = v_tenant AND key = p_key;
        IF a.charged AND v_outcome IN ('not_done', 'fail', 'absent') THEN
            DELETE FROM control.charge WHERE tenant = v_tenant AND key = p_key;  -- what was not done takes nothing of any budget
        END IF;
        v_events := ARRAY[CASE
            WHEN v_outcome IN ('succeed', 'found') THEN 'action.succeeded'
            WHEN v_outcome IN ('not_done', 'fail', 'absent') THEN 'action.failed'
            ELSE 'action.unknown' END] || p_events;
        IF a.undoes IS NOT NULL AND a.state IN ('succeeded', 'failed', 'needs_human') THEN
            v_events := v_events || ARRAY[CASE a.state WHEN 'succeeded' THEN 'compensation.succeeded' ELSE 'compensation.failed' END];
        END IF;
        v_out.answer := 'settled';
    END IF;
    v_out.state := a.state;
    v_out.seq := control.append(v_tenant, p_run, v_now, v_events,
        jsonb_build_object('tool', a.tool, 'key', encode(p_key, 'hex'), 'attempt', p_attempt,
            'outcome', v_outcome, 'answer', v_out.answer, 'state', a.state, 'fence', a.fence)
            || CASE WHEN p_pause_ms > 0 AND v_out.answer = 'settled' AND v_outcome IN ('not_done', 'lose')
                    THEN jsonb_build_object('pause_ms', p_pause_ms) ELSE '{}' END, p_body, p_payload);
    -- Not knowing more than before is no news to anyone.
    IF a.waited AND v_outcome <> 'undetermined' THEN
        PERFORM control.wake(v_tenant, p_key);
        v_out.woke := true;
        IF v_outcome IN ('succeed', 'found', 'fail') THEN
            -- The run that settles it was told; should another run try again, that is not this run's wait.
            DELETE FROM control.waiter WHERE tenant = v_tenant AND key = p_key AND run_id = p_run;
        END IF;
    END IF;
    RETURN v_out;
END
$$;
