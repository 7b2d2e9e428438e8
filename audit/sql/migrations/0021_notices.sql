-- Notices: who is told of requests. What happens to a request leaves one row for each place that is told, in the commit in which it
-- happens: nothing can be skipped, however late that commit comes, and whether the place can be reached costs the vote nothing.

-- The places that are told. Each belongs to the role whose logins serve it: an agent's login cannot touch what an approver's serves.
CREATE TABLE control.notice_sink (
    tenant text NOT NULL REFERENCES control.tenant,
    role text NOT NULL,
    sink text NOT NULL,
    events text[] NOT NULL,
    remind_at double precision NOT NULL CHECK (remind_at > 0 AND remind_at < 1),  -- of the time there is, when a reminder is due
    seen_at timestamptz NOT NULL,               -- when somebody last served it; for one nobody serves any more nothing is kept
    watched xid8,                               -- transactions before it may not have seen this row
    caught_up boolean NOT NULL DEFAULT false,   -- all of those have ended, and what they did is in the list
    PRIMARY KEY (tenant, role, sink)
);

-- What each place is told, and whether it was.
CREATE TABLE control.notice (
    tenant text NOT NULL,
    role text NOT NULL,
    sink text NOT NULL,
    approval_id uuid NOT NULL,
    event text NOT NULL CHECK (event IN ('requested', 'reminder', 'escalated', 'expired', 'decided', 'review')),
    mark text NOT NULL,                         -- tells one such event of a request from the next
    outcome text,                               -- of what was decided
    at timestamptz NOT NULL,                    -- when it happened
    due_at timestamptz NOT NULL,                -- when it is sent next; while somebody sends it, the end of their lease
    lease uuid,
    attempts integer NOT NULL DEFAULT 0,
    state text NOT NULL DEFAULT 'waiting' CHECK (state IN ('waiting', 'sent', 'dead')),
    settled_at timestamptz,
    error text,
    PRIMARY KEY (tenant, role, sink, approval_id, event, mark)
) WITH (fillfactor = 70);
CREATE INDEX notice_due ON control.notice (tenant, role, sink, due_at) WHERE state = 'waiting';
CREATE INDEX notice_settled ON control.notice (tenant, role, settled_at) WHERE state <> 'waiting';

-- A moment as a mark.
CREATE FUNCTION control.notice_mark(p_at timestamptz) RETURNS text
    LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT (extract(epoch FROM p_at) * 1000000)::bigint::text
$$;

-- What there is to tell of a request as it stands now, and what there will be if nothing else happens.
CREATE FUNCTION control.notices_of(ap control.approval, p_remind_at double precision)
    RETURNS TABLE (event text, mark text, outcome text, at timestamptz)
    LANGUAGE sql STABLE AS $$
SELECT 'requested', '', NULL, (ap).requested_at WHERE (ap).state = 'open'
UNION ALL
SELECT 'reminder', control.notice_mark((ap).expires_at), NULL, (ap).expires_at - (1 - p_remind_at) * least(
    (ap).expires_at - (ap).requested_at, make_interval(secs => ((ap).requirement ->> 'within_seconds')::double precision))
WHERE (ap).state = 'open'
UNION ALL
SELECT 'escalated', control.notice_mark((ap).expires_at), NULL, control.clock() WHERE (ap).state = 'open' AND (ap).escalated
UNION ALL
SELECT 'expired', control.notice_mark((ap).expires_at), NULL, coalesce((ap).closed_at, (ap).expires_at)
WHERE (ap).state = 'expired' OR ((ap).state = 'open' AND control.after_expiry((ap).requirement) IS NULL)
UNION ALL
SELECT 'decided', control.notice_mark((ap).closed_at), CASE (ap).state WHEN 'used' THEN 'granted' ELSE (ap).state END, (ap).closed_at
WHERE (ap).state IN ('granted', 'used', 'denied', 'withdrawn', 'superseded') AND (ap).closed_at IS NOT NULL
UNION ALL
SELECT 'review', control.notice_mark(w.opened_at), NULL, w.opened_at FROM control.review w
WHERE w.approval_id = (ap).approval_id AND w.closed_at IS NULL
$$;

-- Put on the lists what is not there yet. A place that nobody has served for a week gets nothing. What was told is kept for a week, and
-- longer only while it is open (notice_serve_v1): what is older and not there was told, and is not told again.
CREATE FUNCTION control.note(ap control.approval, p_role text DEFAULT NULL) RETURNS void
    LANGUAGE plpgsql AS $$
BEGIN
    -- An erasure closes a grant that nobody used: nobody decided anything by that, and what it was about is gone.
    IF ap.state = 'withdrawn' AND control.read_json(ap.card) -> 'erased' IS NOT NULL THEN
        RETURN;
    END IF;
    INSERT INTO control.notice (tenant, role, sink, approval_id, event, mark, outcome, at, due_at)
        SELECT s.tenant, s.role, s.sink, ap.approval_id, n.event, n.mark, n.outcome, n.at, n.at
        FROM control.notice_sink s CROSS JOIN LATERAL control.notices_of(ap, s.remind_at) n
        WHERE s.tenant = ap.tenant AND (p_role IS NULL OR s.role = p_role AND NOT s.caught_up)
          AND s.seen_at > control.clock() - interval '7 days' AND n.event = ANY (s.events)
          AND (n.at > control.clock() - interval '7 days' OR p_role IS NOT NULL AND (ap.state = 'open' OR n.event = 'review'))
        ON CONFLICT DO NOTHING;
END
$$;

CREATE FUNCTION control.note_change() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM control.note(NEW);
    RETURN NULL;
END
$$;
CREATE TRIGGER note_change AFTER INSERT OR UPDATE OF state, expires_at, requirement ON control.approval
    FOR EACH ROW EXECUTE FUNCTION control.note_change();

-- A grant that is not enough any more asks people again, who were told that it is decided.
CREATE FUNCTION control.note_asked_again() RETURNS trigger
    LANGUAGE plpgsql AS $$
DECLARE
    v_now timestamptz := control.clock();
BEGIN
    INSERT INTO control.notice (tenant, role, sink, approval_id, event, mark, at, due_at)
        SELECT s.tenant, s.role, s.sink, NEW.approval_id, 'requested', control.notice_mark(v_now), v_now, v_now
        FROM control.notice_sink s WHERE s.tenant = NEW.tenant AND s.seen_at > v_now - interval '7 days' AND 'requested' = ANY (s.events)
        ON CONFLICT DO NOTHING;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_asked_again AFTER UPDATE OF state ON control.approval
    FOR EACH ROW WHEN (OLD.state = 'granted' AND NEW.state = 'open') EXECUTE FUNCTION control.note_asked_again();

-- What one person decided alone is to be looked at.
CREATE FUNCTION control.note_review() RETURNS trigger
    LANGUAGE plpgsql AS $$
BEGIN
    PERFORM control.note(a) FROM control.approval a WHERE a.approval_id = NEW.approval_id;
    RETURN NULL;
END
$$;
CREATE TRIGGER note_review AFTER INSERT OR UPDATE OF opened_at ON control.review
    FOR EACH ROW EXECUTE FUNCTION control.note_review();

-- Say which places the caller serves; told again now and then. Answers whether all of them have caught up: a transaction that was under
-- way when a place was first named may not have seen it, so requests are looked through until all of those have ended.
CREATE FUNCTION control.notice_serve_v1(p_sinks jsonb) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('agent', 'approver');
    v_now timestamptz := control.clock();
    v_ended xid8;
    v_known text[];
    v_watched xid8;
    ap control.approval;
BEGIN
    -- Where the place has been there, as it is, since an earlier commit: from the next statement on everybody who begins sees it.
    v_known := ARRAY(SELECT k.sink FROM jsonb_array_elements(p_sinks) s JOIN control.notice_sink k ON k.sink = s ->> 'sink'
        WHERE k.tenant = l.tenant AND k.role = l.role AND k.watched IS NULL AND k.seen_at > v_now - interval '6 days'
          AND k.events @> ARRAY(SELECT jsonb_array_elements_text(s -> 'events')));
    v_watched := pg_snapshot_xmax(pg_current_snapshot());
    INSERT INTO control.notice_sink AS k (tenant, role, sink, events, remind_at, seen_at)
        SELECT l.tenant, l.role, s ->> 'sink', ARRAY(SELECT jsonb_array_elements_text(s -> 'events')),
               (s ->> 'remind_at')::double precision, v_now
        FROM jsonb_array_elements(p_sinks) s ORDER BY s ->> 'sink'
        ON CONFLICT (tenant, role, sink) DO UPDATE SET seen_at = v_now, events = excluded.events, remind_at = excluded.remind_at,
            caught_up = k.caught_up AND k.events @> excluded.events AND k.seen_at > v_now - interval '6 days',
            watched = CASE WHEN k.watched IS NULL AND k.sink = ANY (v_known) THEN v_watched
                           WHEN k.events @> excluded.events AND k.seen_at > v_now - interval '6 days' THEN k.watched END;
    v_ended := pg_snapshot_xmin(pg_current_snapshot());
    IF EXISTS (SELECT FROM control.notice_sink k WHERE k.tenant = l.tenant AND k.role = l.role AND NOT k.caught_up
               AND k.seen_at = v_now) THEN
        FOR ap IN SELECT a.* FROM control.open_approval o JOIN control.approval a USING (approval_id) WHERE o.tenant = l.tenant
            UNION SELECT a.* FROM control.review w JOIN control.approval a USING (approval_id)
                WHERE w.tenant = l.tenant AND w.closed_at IS NULL
            UNION SELECT a.* FROM control.notice n JOIN control.approval a USING (approval_id)
                WHERE n.tenant = l.tenant AND n.role = l.role AND n.event = 'requested'
        LOOP
            PERFORM control.note(ap, l.role);
        END LOOP;
        UPDATE control.notice_sink SET caught_up = true
            WHERE tenant = l.tenant AND role = l.role AND NOT caught_up AND watched <= v_ended;
    END IF;
    DELETE FROM control.notice n WHERE n.tenant = l.tenant AND n.role = l.role AND n.state <> 'waiting'
        AND n.settled_at < v_now - interval '7 days' AND (n.state = 'sent' OR n.settled_at < v_now - interval '90 days')
        -- Whoever is told of requests from before is not told of one that they know.
        AND NOT EXISTS (SELECT FROM control.approval a WHERE a.approval_id = n.approval_id AND a.state = 'open')
        AND NOT EXISTS (SELECT FROM control.review w WHERE w.approval_id = n.approval_id AND w.closed_at IS NULL);
    RETURN NOT EXISTS (SELECT FROM control.notice_sink k WHERE k.tenant = l.tenant AND k.role = l.role AND NOT k.caught_up
                       AND k.seen_at = v_now);
END
$$;

-- The next thing one place is to be told, leased to the caller; what is no longer so is left out. No row: nothing is due.
CREATE FUNCTION control.notice_take_v1(p_sink text, p_lease uuid, p_lease_ms bigint)
    RETURNS TABLE (approval_id uuid, event text, mark text, outcome text, at timestamptz, attempts integer, tool text,
                   requested_at timestamptz, expires_at timestamptz, actor text, on_behalf_of text, card bytea)
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
#variable_conflict use_column
DECLARE
    l control.login := control.caller('agent', 'approver');
    v_now timestamptz := control.clock();
    n control.notice;
    ap control.approval;
BEGIN
    LOOP
        SELECT * INTO n FROM control.notice
            WHERE tenant = l.tenant AND role = l.role AND sink = p_sink AND state = 'waiting' AND due_at <= v_now
            ORDER BY due_at LIMIT 1 FOR UPDATE SKIP LOCKED;
        IF n.sink IS NULL THEN
            RETURN;
        END IF;
        SELECT * INTO ap FROM control.approval WHERE approval_id = n.approval_id AND tenant = l.tenant;
        EXIT WHEN ap.approval_id IS NOT NULL AND CASE n.event
            WHEN 'reminder' THEN ap.state = 'open' AND n.mark = control.notice_mark(ap.expires_at) AND ap.expires_at > v_now
            WHEN 'expired' THEN n.mark = control.notice_mark(ap.expires_at) AND (ap.state = 'expired'
                OR (ap.state = 'open' AND ap.expires_at <= v_now AND control.after_expiry(ap.requirement) IS NULL))
            WHEN 'review' THEN EXISTS (SELECT FROM control.review w WHERE w.approval_id = n.approval_id AND w.closed_at IS NULL
                AND control.notice_mark(w.opened_at) = n.mark)
            ELSE true END;
        DELETE FROM control.notice WHERE tenant = n.tenant AND role = n.role AND sink = n.sink
            AND approval_id = n.approval_id AND event = n.event AND mark = n.mark;
    END LOOP;
    UPDATE control.notice o SET lease = p_lease, due_at = v_now + p_lease_ms * interval '1 ms', attempts = o.attempts + 1
        WHERE o.tenant = n.tenant AND o.role = n.role AND o.sink = n.sink AND o.approval_id = n.approval_id
          AND o.event = n.event AND o.mark = n.mark;
    RETURN QUERY SELECT n.approval_id, n.event, n.mark, n.outcome, n.at, n.attempts + 1, ap.tool, ap.requested_at, ap.expires_at,
                        r.actor, r.on_behalf_of, control.card_shown(ap.card)
        FROM control.run r WHERE r.run_id = ap.run_id;
END
$$;

-- What came of telling: sent; failed, and again after a while; or dead, until a person has it tried again. A lost lease says nothing.
CREATE FUNCTION control.notice_settle_v1(
    p_sink text, p_approval uuid, p_event text, p_mark text, p_lease uuid, p_state text, p_error text, p_wait_ms bigint
) RETURNS boolean
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    l control.login := control.caller('agent', 'approver');
    v_now timestamptz := control.clock();
BEGIN
    UPDATE control.notice SET state = p_state, error = p_error, lease = NULL, due_at = v_now + p_wait_ms * interval '1 ms',
            settled_at = CASE WHEN p_state <> 'waiting' THEN v_now END
        WHERE tenant = l.tenant AND role = l.role AND sink = p_sink AND approval_id = p_approval AND event = p_event
          AND mark = p_mark AND lease = p_lease;
    RETURN FOUND;
END
$$;

-- Have what was given up tried again, of one place or of all; answers how much that is.
CREATE FUNCTION control.notice_retry_v1(p_sink text) RETURNS bigint
    LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
WITH again AS (
    UPDATE control.notice n SET state = 'waiting', attempts = 0, due_at = control.clock(), settled_at = NULL
    FROM (SELECT (control.caller('agent', 'approver')).*) l
    WHERE n.tenant = l.tenant AND n.role = l.role AND n.state = 'dead' AND (p_sink IS NULL OR n.sink = p_sink)
    RETURNING 1
)
SELECT count(*) FROM again
$$;

-- What each place has still to be told, what it could not be told, and since when.
CREATE FUNCTION control.notice_sinks_v1()
    RETURNS TABLE (sink text, seen_at timestamptz, waiting bigint, dead bigint, oldest timestamptz, error text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT s.sink, s.seen_at, count(*) FILTER (WHERE n.state = 'waiting' AND n.at <= control.clock()),
       count(*) FILTER (WHERE n.state = 'dead'), min(n.at) FILTER (WHERE n.state <> 'sent' AND n.at <= control.clock()),
       (array_agg(n.error ORDER BY n.at DESC) FILTER (WHERE n.state <> 'sent' AND n.error IS NOT NULL))[1]
FROM (SELECT (control.caller('agent', 'approver')).*) l JOIN control.notice_sink s ON s.tenant = l.tenant AND s.role = l.role
    LEFT JOIN control.notice n ON n.tenant = s.tenant AND n.role = s.role AND n.sink = s.sink
GROUP BY s.sink, s.seen_at ORDER BY s.sink
$$;

REVOKE ALL ON control.notice_sink, control.notice FROM PUBLIC;
REVOKE EXECUTE ON FUNCTION control.notice_mark, control.notices_of, control.note, control.note_change, control.note_asked_again, control.note_review, control.notice_serve_v1,
    control.notice_take_v1, control.notice_settle_v1, control.notice_retry_v1, control.notice_sinks_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.notice_serve_v1, control.notice_take_v1, control.notice_settle_v1, control.notice_retry_v1,
    control.notice_sinks_v1 TO control_agent, control_approver;
