"""How a service finds out who a person is: what ``Approvals(dsn, authenticator=…)`` and the console take."""

from langgraph_control.audit.people.identity import Authenticator, Identity, NotAuthenticated
from langgraph_control.audit.people.oidc import OpenIDConnect
from langgraph_control.audit.people.sign_in import authenticator_from
from langgraph_control.audit.people.token_file import TokenFile

__all__ = [
    "Authenticator",
    "Identity",
    "NotAuthenticated",
    "OpenIDConnect",
    "TokenFile",
    "authenticator_from",
]
