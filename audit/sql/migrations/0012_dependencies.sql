-- How the systems written to are doing, as all workers together know it: rate limits, error rates, breakers.

-- Tell how calls to a system came out. Opens and closes its breaker, and slows everybody down where the system asked for it.
-- A probe that succeeds counts towards closing; one that fails opens the breaker again for its whole time. Other calls that succeed while it
-- is open say nothing of now, for they may have begun before; nor does anything until its time is over and a probe has had its turn.
CREATE FUNCTION control.report_v1(
    p_system text, p_calls integer, p_failed integer, p_took_ms bigint, p_rate_limited_ms bigint, p_error_rate numeric, p_window_ms bigint,
    p_calls_min integer, p_open_ms bigint, p_probes integer, p_probe boolean
) RETURNS text
    LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
DECLARE
    v_tenant text := (control.caller('agent')).tenant;
    v_now timestamptz;
    v_bucket_ms bigint := greatest(1, p_window_ms / 10);
    v_bucket bigint;
    v_event text;
    v_chain uuid;
    b control.brake;
    v_calls bigint;
    v_failed bigint;
BEGIN
    IF (length(p_system) BETWEEN 1 AND 256 AND p_calls BETWEEN 0 AND 1000000 AND p_failed BETWEEN 0 AND p_calls AND p_took_ms >= 0
        AND coalesce(p_rate_limited_ms, 0) BETWEEN 0 AND 86400000 AND p_error_rate > 0 AND p_error_rate <= 1
        AND p_window_ms BETWEEN 1000 AND 86400000 AND p_calls_min >= 1 AND p_open_ms BETWEEN 1 AND 86400000 AND p_probes BETWEEN 1 AND 1000
        AND p_probe IS NOT NULL
       ) IS NOT TRUE THEN
        RAISE EXCEPTION 'a report that cannot be one' USING ERRCODE = 'LC002';
    END IF;
    v_chain := control.tenant_chain(v_tenant);
    PERFORM 1 FROM control.run_state WHERE run_id = v_chain FOR UPDATE;
    v_now := control.clock();
    v_bucket := floor(extract(epoch FROM v_now) * 1000 / v_bucket_ms);
    DELETE FROM control.brake WHERE tenant = v_tenant AND scope = 'system' AND name = p_system AND cause = 'rate_limit' AND until <= v_now;
    IF p_rate_limited_ms > 0 THEN
        INSERT INTO control.brake AS r (tenant, scope, name, cause, until, since, set_by)
            VALUES (v_tenant, 'system', p_system, 'rate_limit', v_now + p_rate_limited_ms * interval '1 ms', v_now, session_user)
            ON CONFLICT (tenant, scope, name, cause) DO UPDATE SET until = greatest(r.until, excluded.until);
    END IF;
    DELETE FROM control.health WHERE tenant = v_tenant AND system = p_system AND bucket < v_bucket - 100;
    INSERT INTO control.health AS x (tenant, system, bucket, calls, failed, took_ms)
        VALUES (v_tenant, p_system, v_bucket, p_calls, p_failed, p_took_ms)
        ON CONFLICT (tenant, system, bucket) DO UPDATE
            SET calls = x.calls + excluded.calls, failed = x.failed + excluded.failed, took_ms = x.took_ms + excluded.took_ms;
    SELECT * INTO b FROM control.brake WHERE tenant = v_tenant AND scope = 'system' AND name = p_system AND cause = 'breaker';
    IF b.cause IS NULL THEN
        SELECT sum(calls), sum(failed) INTO v_calls, v_failed FROM control.health
            WHERE tenant = v_tenant AND system = p_system AND bucket > v_bucket - 10;
        IF p_failed > 0 AND v_calls >= p_calls_min AND v_failed >= p_error_rate * v_calls THEN
            INSERT INTO control.brake (tenant, scope, name, cause, until, since, set_by, open_ms, probes_left)
                VALUES (v_tenant, 'system', p_system, 'breaker', v_now + p_open_ms * interval '1 ms', v_now, session_user, p_open_ms, p_probes);
            v_event := 'breaker.opened';
        END IF;
    ELSIF p_failed > 0 THEN
        UPDATE control.brake SET until = v_now + p_open_ms * interval '1 ms', since = v_now, open_ms = p_open_ms, probes_left = p_probes
            WHERE tenant = v_tenant AND scope = 'system' AND name = p_system AND cause = 'breaker';
    ELSIF NOT p_probe OR p_calls = 0 OR (b.until > v_now AND b.until = b.since + b.open_ms * interval '1 ms') THEN
        NULL;  -- no probe, or none that the breaker let through: a probe's turn moves its end
    ELSIF b.probes_left > 1 THEN
        UPDATE control.brake SET until = v_now, probes_left = probes_left - 1
            WHERE tenant = v_tenant AND scope = 'system' AND name = p_system AND cause = 'breaker';
    ELSE
        DELETE FROM control.brake WHERE tenant = v_tenant AND scope = 'system' AND name = p_system AND cause = 'breaker';
        DELETE FROM control.health WHERE tenant = v_tenant AND system = p_system;
        v_event := 'breaker.closed';
    END IF;
    IF v_event IS NOT NULL THEN
        PERFORM control.append(v_tenant, v_chain, v_now, ARRAY[v_event],
            jsonb_strip_nulls(jsonb_build_object('system', p_system, 'calls', v_calls, 'failed', v_failed)), ''::bytea, NULL);
    END IF;
    RETURN v_event;
END
$$;

CREATE TYPE control.system_row AS (
    system text,
    rate_limited_until timestamptz,
    open_until timestamptz,     -- NULL: its breaker is closed; past: half open
    calls bigint,               -- of the last buckets
    failed bigint,
    took_ms bigint
);

-- Every system that anything is known of now.
CREATE FUNCTION control.systems_v1(p_window_ms bigint) RETURNS SETOF control.system_row
    LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, control, pg_temp AS $$
WITH caller AS (
    SELECT (control.caller('agent', 'approver', 'admin', 'auditor')).tenant
), brakes AS (
    SELECT b.name AS system, max(b.until) FILTER (WHERE b.cause = 'rate_limit' AND b.until > control.clock()) AS rate_limited_until,
           max(b.until) FILTER (WHERE b.cause = 'breaker') AS open_until
    FROM caller JOIN control.brake b USING (tenant) WHERE b.scope = 'system' AND b.cause <> 'freeze' GROUP BY b.name
), healths AS (
    SELECT h.system, sum(h.calls) AS calls, sum(h.failed) AS failed, sum(h.took_ms)::bigint AS took_ms
    FROM caller JOIN control.health h USING (tenant)
    WHERE h.bucket > floor(extract(epoch FROM control.clock()) * 1000 / greatest(1, p_window_ms / 10)) - 10 GROUP BY h.system
)
SELECT coalesce(b.system, h.system), b.rate_limited_until, b.open_until, coalesce(h.calls, 0), coalesce(h.failed, 0), coalesce(h.took_ms, 0)
FROM brakes b FULL JOIN healths h USING (system) ORDER BY 1
$$;

REVOKE EXECUTE ON FUNCTION control.report_v1, control.systems_v1 FROM PUBLIC;
GRANT EXECUTE ON FUNCTION control.report_v1 TO control_agent;
GRANT EXECUTE ON FUNCTION control.systems_v1 TO control_agent, control_approver, control_admin, control_auditor;
