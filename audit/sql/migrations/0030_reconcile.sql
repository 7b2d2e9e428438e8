-- What the ledger says of the runs of one business request, to be held against their entries. Actions are named under the request, so
-- whatever concerns one of them is in the chains of these runs. Never asked on the agent's login.

-- Business requests and their runs, a page of them: all, those with a run since a time, or that of one run.
CREATE FUNCTION control.ledger_intents_v1(p_run uuid, p_since timestamptz, p_after text, p_limit integer) RETURNS SETOF text
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT DISTINCT r.intent FROM control.run r
WHERE r.tenant = (control.caller('admin', 'auditor')).tenant AND (p_run IS NULL OR r.run_id = p_run)
  AND (p_since IS NULL OR r.started_at >= p_since) AND (p_after IS NULL OR r.intent > p_after)
ORDER BY r.intent LIMIT least(p_limit, 1000)
$$;

CREATE FUNCTION control.ledger_runs_v1(p_intent text)
    RETURNS TABLE (run_id uuid, trigger text, intent text, graph text, thread_id text, actor text, on_behalf_of text, deadline timestamptz,
                   state text, reason text, entries bigint, head bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT r.run_id, r.trigger, r.intent, r.graph, r.thread_id, r.actor, r.on_behalf_of, r.deadline, s.state, s.reason, s.seq, s.head
FROM control.run r LEFT JOIN control.run_state s ON s.run_id = r.run_id
WHERE r.tenant = (control.caller('approver', 'admin', 'auditor')).tenant AND r.intent = p_intent ORDER BY r.started_at, r.run_id
$$;

CREATE FUNCTION control.ledger_actions_v1(p_intent text)
    RETURNS TABLE (key bytea, run_id uuid, tool text, kind text, state text, attempts integer, execution_id uuid, undoes bytea)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT a.key, a.run_id, a.tool, a.kind, a.state, a.attempts, a.execution_id, a.undoes
FROM control.run r JOIN control.action a ON a.tenant = r.tenant AND a.run_id = r.run_id
WHERE r.tenant = (control.caller('approver', 'admin', 'auditor')).tenant AND r.intent = p_intent ORDER BY a.key
$$;

CREATE FUNCTION control.ledger_requests_v1(p_intent text)
    RETURNS TABLE (approval_id uuid, run_id uuid, key bytea, tool text, state text, card text, yes text[], no text[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT a.approval_id, a.run_id, a.key, a.tool, a.state,
       CASE WHEN a.card <> ''::bytea AND control.read_json(a.card) -> 'erased' IS NULL THEN encode(sha256(a.card), 'hex') END,
       ARRAY(SELECT v.person FROM control.vote v WHERE v.approval_id = a.approval_id AND v.decision <> 'reject' ORDER BY 1),
       ARRAY(SELECT v.person FROM control.vote v WHERE v.approval_id = a.approval_id AND v.decision = 'reject' ORDER BY 1)
FROM control.run r JOIN control.approval a ON a.run_id = r.run_id
WHERE r.tenant = (control.caller('approver', 'admin', 'auditor')).tenant AND a.tenant = r.tenant AND r.intent = p_intent ORDER BY a.requested_at, a.approval_id
$$;

-- Most runs have a thread of their own, which is called by them; the others are found by their thread.
CREATE INDEX run_thread ON control.run (tenant, thread_id) WHERE thread_id <> 'run_' || replace(run_id::text, '-', '');

-- The runs of one thread: the one that it is called by, if that has it, and all that were given it.
CREATE FUNCTION control.thread_runs_v1(p_thread text) RETURNS SETOF uuid
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT u.run_id FROM (
    SELECT r.run_id, r.started_at FROM control.run r
    WHERE r.tenant = (control.caller('admin', 'auditor')).tenant AND r.thread_id = p_thread
      AND r.run_id = CASE WHEN p_thread ~ '^run_[0-9a-f]{32}$' THEN right(p_thread, 32)::uuid END
    UNION SELECT r.run_id, r.started_at FROM control.run r
    WHERE r.tenant = (control.caller('admin', 'auditor')).tenant AND r.thread_id = p_thread
      AND r.thread_id <> 'run_' || replace(r.run_id::text, '-', '')) u
ORDER BY u.started_at, u.run_id
$$;

-- The tenant's threads of which LangGraph's tables have any row, in order, a page of them: from one to the next by the index, for a
-- thread has many rows. Missing: it is called by a run, and there is no such run. A run is there before the first checkpoint of its thread.
CREATE FUNCTION control.checkpoint_threads_v1(p_after text, p_limit integer) RETURNS TABLE (thread_id text, missing boolean)
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('admin', 'auditor')).tenant;
    v_thread text := coalesce(p_after, '');
BEGIN
    FOR i IN 1..least(p_limit, 1000) LOOP
        SELECT min(n.thread) INTO v_thread FROM (
            (SELECT c.thread_id AS thread FROM control_checkpoints.checkpoints c
                WHERE c.thread_id > v_thread AND c.tenant = v_tenant ORDER BY c.thread_id LIMIT 1)
            UNION ALL (SELECT b.thread_id FROM control_checkpoints.checkpoint_blobs b
                WHERE b.thread_id > v_thread AND b.tenant = v_tenant ORDER BY b.thread_id LIMIT 1)
            UNION ALL (SELECT w.thread_id FROM control_checkpoints.checkpoint_writes w
                WHERE w.thread_id > v_thread AND w.tenant = v_tenant ORDER BY w.thread_id LIMIT 1)) n;
        EXIT WHEN v_thread IS NULL;
        RETURN QUERY SELECT v_thread, CASE WHEN v_thread ~ '^run_[0-9a-f]{32}$' THEN
            NOT EXISTS (SELECT FROM control.run r WHERE r.tenant = v_tenant AND r.run_id = right(v_thread, 32)::uuid) ELSE false END;
    END LOOP;
END
$$;

-- Everything was looked through: how much that was, what of it was asked outside and what was not, and how many differences were named.
-- p_restore is the restore that waited when it began, by its entry; where that one waits still, and systems of record and threads were
-- asked, it may be accepted from here on. They were where no run's graph and no action's tool was missing and every system answered; what
-- nothing can look up (no_find, no_arguments) or its system cannot tell (unclear) is for people. Answers whether it may, or whether none waits.
CREATE FUNCTION control.reconciled_v1(
    p_restore bigint, p_outside boolean, p_requests bigint, p_runs bigint, p_actions bigint, p_entries bigint, p_asked bigint, p_unclear bigint,
    p_unanswered bigint, p_no_tool bigint, p_no_find bigint, p_no_arguments bigint, p_no_graph bigint, p_open bigint, p_differences bigint,
    p_body bytea
) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('admin', 'auditor');
    v_chain uuid;
    v_place bigint;
    v_counts bigint[] := ARRAY[p_requests, p_runs, p_actions, p_entries, p_asked, p_unclear, p_unanswered, p_no_tool, p_no_find,
                               p_no_arguments, p_no_graph, p_open, p_differences];
    v_outside boolean := p_outside AND p_unanswered = 0 AND p_no_tool = 0 AND p_no_graph = 0;
BEGIN
    PERFORM set_config('synchronous_commit', control.commit_mode(), true);
    IF (p_outside IS NOT NULL AND 0 <= ALL (v_counts) AND length(p_body) <= control.body_bytes_max()) IS NOT TRUE THEN
        RAISE EXCEPTION 'a reconciliation that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_chain := control.tenant_chain(l.tenant);
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    v_place := control.append(l.tenant, v_chain, control.clock(), ARRAY['record.reconciled'],
        jsonb_build_object('restore', p_restore, 'outside', v_outside, 'requests', p_requests, 'runs', p_runs, 'actions', p_actions,
            'entries', p_entries, 'asked', p_asked, 'unclear', p_unclear, 'unanswered', p_unanswered, 'no_tool', p_no_tool,
            'no_find', p_no_find, 'no_arguments', p_no_arguments, 'no_graph', p_no_graph, 'open', p_open, 'differences', p_differences,
            'person', coalesce(l.person, l.login::text),
            'roles', control.roles_said(l, coalesce(l.person, l.login::text), NULL)), p_body, NULL);
    UPDATE control.restored r SET reconciled = v_place WHERE r.tenant = l.tenant AND r.place = p_restore AND v_outside;
    RETURN NOT EXISTS (SELECT FROM control.restored r WHERE r.tenant = l.tenant AND r.reconciled IS NULL);
END
$$;

REVOKE EXECUTE ON FUNCTION control.ledger_intents_v1, control.ledger_runs_v1, control.ledger_actions_v1, control.ledger_requests_v1,
    control.thread_runs_v1, control.checkpoint_threads_v1, control.reconciled_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.ledger_intents_v1, control.ledger_runs_v1, control.ledger_actions_v1, control.ledger_requests_v1,
    control.thread_runs_v1, control.checkpoint_threads_v1, control.reconciled_v1 TO control_admin, control_auditor;
GRANT EXECUTE ON FUNCTION control.ledger_runs_v1, control.ledger_actions_v1, control.ledger_requests_v1 TO control_approver;
