-- What people who decide look at: the requests that wait, a page at a time, and those that were decided; who voted; what is under way.

-- Requests of any state, newest first.
CREATE INDEX approval_newest ON control.approval (tenant, requested_at, approval_id);

-- The roles a person may speak in now: one's own, and those one stands in for.
CREATE FUNCTION control.roles_spoken(p_tenant text, p_person text, p_groups text[], p_now timestamptz) RETURNS text[]
    LANGUAGE sql STABLE AS $$
SELECT ARRAY(
    SELECT unnest(control.roles_of(p_tenant, p_person, p_groups))
    UNION SELECT unnest(control.roles_given(d)) FROM control.delegation d
        WHERE d.tenant = p_tenant AND d.to_person = p_person AND d.until > p_now
    ORDER BY 1)
$$;

-- The same, for a service that signs people in.
CREATE FUNCTION control.roles_v1(p_person text, p_groups text[]) RETURNS text[]
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT control.roles_spoken((control.caller('approver', 'admin', 'auditor')).tenant, p_person, p_groups, control.clock())
$$;

-- A request as a vote would find it now: where nobody answered in time and others are to be asked, it is put to them.
CREATE FUNCTION control.asked_now(p_approval control.approval, p_now timestamptz) RETURNS control.approval
    LANGUAGE plpgsql STABLE AS $$
BEGIN
    IF p_approval.state = 'open' AND p_approval.expires_at <= p_now AND control.after_expiry(p_approval.requirement) IS NOT NULL THEN
        p_approval.expires_at := p_now + make_interval(secs => (p_approval.requirement -> 'on_expiry' ->> 'within_seconds')::double precision);
        p_approval.requirement := control.after_expiry(p_approval.requirement);
    END IF;
    RETURN p_approval;
END
$$;

-- The open requests of the caller's tenant after one of them, oldest first; only those that a person may vote on now, where one is
-- named, and only those of a tool or an actor. As many rows are looked at as it takes to fill the page: closed requests never are.
CREATE FUNCTION control.waiting_v1(
    p_limit integer, p_after_at timestamptz, p_after uuid, p_person text, p_groups text[], p_tool text, p_actor text
) RETURNS SETOF control.approval_row
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('approver', 'admin', 'auditor')).tenant;
    v_now timestamptz := control.clock();
    v_roles text[] := control.roles_spoken(v_tenant, p_person, p_groups, v_now);
BEGIN
    -- Request by request in the order of the list, whatever the planner thinks of the conditions (OFFSET 0).
    RETURN QUERY SELECT shown.* FROM (
        SELECT waits.approval FROM control.open_approval o
            CROSS JOIN LATERAL (
                SELECT a AS approval, control.asked_now(a, v_now) AS now, r.actor
                FROM control.approval a JOIN control.run r ON r.run_id = a.run_id WHERE a.approval_id = o.approval_id OFFSET 0) waits
        WHERE o.tenant = v_tenant
          AND (o.requested_at, o.approval_id) > (coalesce(p_after_at, '-infinity'), coalesce(p_after, '00000000-0000-0000-0000-000000000000'))
          AND (waits.now).expires_at > v_now
          AND (p_tool IS NULL OR (waits.approval).tool = p_tool) AND (p_actor IS NULL OR waits.actor = p_actor)
          AND (p_person IS NULL OR (waits.now).requirement -> 'quorum' ?| v_roles
               AND (control.vote_refusal(v_tenant, waits.now, p_person, p_groups, 'approve', 'any', v_now)).reason IS NULL)
        ORDER BY o.requested_at, o.approval_id LIMIT p_limit) page
      CROSS JOIN LATERAL control.approval_row(page.approval) shown;
END
$$;

-- The requests that are decided, the newest first, before one of them; of one state, if that is asked for. At most p_scan requests
-- are looked at, so that a rare state among very many requests costs no more than a common one.
CREATE FUNCTION control.decided_v1(p_limit integer, p_before_at timestamptz, p_before uuid, p_state text, p_scan integer)
    RETURNS SETOF control.approval_row
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('approver', 'admin', 'auditor')).tenant;
    v_now timestamptz := control.clock();
BEGIN
    RETURN QUERY SELECT shown.* FROM (
        SELECT scanned.approval FROM (
            SELECT a AS approval, CASE WHEN a.state = 'open' AND a.expires_at <= v_now AND control.after_expiry(a.requirement) IS NULL
                                       THEN 'expired' ELSE a.state END AS state
            FROM control.approval a
            WHERE a.tenant = v_tenant AND (a.requested_at, a.approval_id)
                < (coalesce(p_before_at, 'infinity'), coalesce(p_before, 'ffffffff-ffff-ffff-ffff-ffffffffffff'))
            ORDER BY a.requested_at DESC, a.approval_id DESC LIMIT p_scan) scanned
        WHERE scanned.state <> 'open' AND (p_state IS NULL OR scanned.state = p_state) LIMIT p_limit) page
      CROSS JOIN LATERAL control.approval_row(page.approval) shown;
END
$$;

-- How many requests are open, and a mark that is another one whenever another set of them is.
CREATE FUNCTION control.pulse_v1() RETURNS TABLE (open bigint, mark bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT count(*), coalesce(sum(uuid_hash(o.approval_id)::bigint), 0)::bigint
FROM (SELECT (control.caller('approver', 'admin', 'auditor')).tenant, control.clock() AS now) l
    JOIN control.open_approval o ON o.tenant = l.tenant JOIN control.approval a ON a.approval_id = o.approval_id
WHERE a.expires_at > l.now OR control.after_expiry(a.requirement) IS NOT NULL
$$;

-- The votes on a request, in the order they were given. Of an identity the issuer and the strength are shown, never the rest.
CREATE FUNCTION control.votes_v1(p_approval uuid)
    RETURNS TABLE (person text, delegator text, decision text, comment text, voted_at timestamptz, issuer text, acr text)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT v.person, v.delegator, v.decision, v.comment, v.voted_at, v.identity ->> 'issuer', v.identity ->> 'acr'
FROM control.approval a JOIN control.vote v USING (approval_id)
WHERE a.approval_id = p_approval AND a.tenant = (control.caller('approver', 'admin', 'auditor')).tenant ORDER BY v.voted_at
$$;

-- Why this person's vote on this request would not count now, a comment being given; NULL where it would. A vote asks again.
CREATE FUNCTION control.refusal_v1(p_approval uuid, p_person text, p_groups text[]) RETURNS text
    LANGUAGE plpgsql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('approver', 'admin', 'auditor')).tenant;
    v_now timestamptz := control.clock();
    ap control.approval;
BEGIN
    SELECT * INTO ap FROM control.approval a WHERE a.approval_id = p_approval AND a.tenant = v_tenant;
    IF ap.approval_id IS NULL THEN
        RETURN 'unknown_request';
    END IF;
    RETURN (control.vote_refusal(v_tenant, control.asked_now(ap, v_now), p_person, p_groups, 'approve', 'any', v_now)).reason;
END
$$;

-- What may be having its effect at this moment: a freeze would not stop it.
CREATE FUNCTION control.in_flight_v1() RETURNS TABLE (run_id uuid, key bytea, tool text, state text, lease_until timestamptz)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT * FROM control.in_flight((control.caller('approver', 'admin', 'auditor')).tenant, 'tenant', '', control.clock())
$$;

-- How many of the yes on each of these requests count now, as a claim would find.
CREATE FUNCTION control.yes_counted_v1(p_approvals uuid[]) RETURNS TABLE (approval_id uuid, counted bigint)
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT a.approval_id, (SELECT count(*) FROM control.yes_on(a.tenant, a.tool, a.approval_id, a.requirement) yes WHERE yes.counts OR yes.alone)
FROM control.approval a
WHERE a.approval_id = ANY (p_approvals) AND a.tenant = (control.caller('approver', 'admin', 'auditor')).tenant
$$;

-- Who speaks on the caller's login by itself: its person and that person's groups; NULL where it belongs to nobody in particular.
CREATE FUNCTION control.own_person_v1() RETURNS TABLE (person text, groups text[])
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
SELECT l.person, l.groups FROM control.caller('approver', 'admin', 'auditor') l
$$;

REVOKE EXECUTE ON FUNCTION control.roles_spoken, control.roles_v1, control.asked_now, control.waiting_v1, control.decided_v1, control.pulse_v1,
    control.votes_v1, control.refusal_v1, control.in_flight_v1, control.own_person_v1, control.yes_counted_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.roles_v1, control.waiting_v1, control.decided_v1, control.pulse_v1, control.votes_v1, control.refusal_v1,
    control.in_flight_v1, control.own_person_v1, control.yes_counted_v1 TO control_approver, control_admin, control_auditor;
