"""Making a policy the one that holds: its text by hash, who is in which role, and the floor nothing may fall below."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict

import orjson

from langgraph_control.audit.asking.requests import PublishPolicy
from langgraph_control.audit.connecting.store import Store
from langgraph_control.guards.floors import ceilings, floors
from langgraph_control.guards.policy import Policy
from langgraph_control.guards.policy_parts import Owners

__all__ = ["publish_policy"]


def publish_policy(admin_dsn: str, policy: Policy) -> int:
    """Publish a policy for the admin login's tenant. It replaces who is in which role and the floors at once.

    Runs that use an earlier policy go on with it: its hash stays known. What people must approve is from now on the
    stricter of what their runs ask for and the new floors. Open requests that have votes enough under the new policy
    are granted, and runs that wait for a request with votes are woken.

    Args:
        admin_dsn: the admin login's DSN.
        policy: a policy whose file was read and found correct.

    Returns:
        The entry's place in the tenant's chain.

    Raises:
        DatabaseRefused: this login may not publish.
        TrailUnavailable: the server cannot be reached; nothing was published.
        SchemaMismatch: the database was not migrated.
    """
    most = {tool: requirement.canonical() for tool, requirement in ceilings(policy).items()}
    request = PublishPolicy(
        hash=policy.hash,
        text=policy.text,
        members=[{"role": role, "member": member} for role, people in policy.roles.items() for member in people],
        floors=[{**asdict(floor), "most": most.get(floor.tool)} for floor in floors(policy)],
        owners=[*_owners(policy.owners)],
        open_per_run=policy.approve.open_per_run,
        open_per_tenant=policy.approve.open_per_tenant,
        on_new_message=policy.approve.on_new_message,
        body=orjson.dumps({"policy": policy.hash, "source": policy.source}, option=orjson.OPT_SORT_KEYS),
    )
    store = Store(admin_dsn)
    try:
        return store.call(request)
    finally:
        store.close()


def _owners(owners: Owners) -> Iterator[dict[str, str]]:
    named: dict[str, Mapping[str, str]] = {
        "tool": owners.tools,
        "system": owners.systems,
        "impact": {impact.value: role for impact, role in owners.impacts.items()},
        "default": {"": owners.default} if owners.default is not None else {},
    }
    for scope, roles in named.items():
        for name, role in roles.items():
            yield {"scope": scope, "name": name, "role": role}
