-- Who may call what. Nobody but the owner touches a table; functions run as the owner, tell tenants apart by the login,
-- and are closed to everyone first.
REVOKE ALL ON SCHEMA control FROM PUBLIC;
REVOKE ALL ON ALL TABLES IN SCHEMA control FROM PUBLIC;
REVOKE EXECUTE ON ALL FUNCTIONS IN SCHEMA control FROM PUBLIC;
GRANT USAGE ON SCHEMA control TO control_agent, control_approver, control_admin, control_auditor;

GRANT EXECUTE ON FUNCTION
    control.session_v1,
    control.tenant_v1,
    control.run_open_v1,
    control.run_acquire_v1,
    control.run_base_v1,
    control.run_renew_v1,
    control.run_release_v1,
    control.last_error_v1
    TO control_agent;
GRANT EXECUTE ON FUNCTION control.vote_v1 TO control_approver;
GRANT EXECUTE ON FUNCTION control.parts_v1 TO control_approver, control_admin, control_auditor;
GRANT EXECUTE ON FUNCTION control.policy_publish_v1 TO control_admin;
GRANT EXECUTE ON FUNCTION
    control.actions_v1,
    control.entries_v1,
    control.tenant_chain_v1,
    control.chains_v1,
    control.inbox_v1,
    control.approval_v1
    TO control_agent, control_approver, control_admin, control_auditor;
