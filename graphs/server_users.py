"""Whom LangGraph Server has authenticated, and what of it goes on record with a vote: its word, never a client's.

The server puts its user into a run's ``configurable`` under a name that it refuses from clients.
"""

import hashlib
from collections.abc import Mapping
from typing import Any, Final

import orjson

from langgraph_control.audit.people.identity import Identity
from langgraph_control.errors import NotAuthenticated

__all__ = ["SERVER", "ServerUsers", "credential_of", "server_user"]

SERVER: Final = "langgraph-server"
"""The issuer of identities that LangGraph Server's own authentication has found out."""

USER_KEY: Final = "langgraph_auth_user"
PERSON_CHARS_MAX: Final = 256

# The development server takes anybody who sends a header for its Studio's user.
_NOBODY: Final = "StudioUser"


def server_user(configurable: Mapping[str, Any]) -> str | None:
    """Return the person whom the server authenticated for a run; None for nobody, and for Studio's placeholder.

    Args:
        configurable: of the run's config.
    """
    user = configurable.get(USER_KEY)
    if (
        user is None
        or _NOBODY in (type(user).__name__, _read(user, "kind"))
        or _read(user, "is_authenticated") is False
    ):
        return None
    person = _read(user, "identity")
    named = isinstance(person, str) and person.strip() and person.isprintable() and len(person) <= PERSON_CHARS_MAX
    return person if named else None


def credential_of(configurable: Mapping[str, Any], *, asked_by: str) -> str | None:
    """Return what :class:`ServerUsers` recognises the authenticated user by; None for nobody.

    Args:
        configurable: of the run's config.
        asked_by: the id of the server's run that brought the vote: by it the request is found in the server's log.
    """
    person = server_user(configurable)
    if person is None:
        return None
    groups = _read(configurable.get(USER_KEY), "groups")
    listed = groups if isinstance(groups, list | tuple) else []
    named = [group for group in listed if isinstance(group, str) and group.isprintable()]
    return orjson.dumps({"person": person, "groups": named, "asked_by": asked_by}).decode()


class ServerUsers:
    """Recognises the server's users by what :func:`credential_of` made of them, in this process only."""

    def authenticate(self, credential: str) -> Identity:
        """Return who it is.

        Args:
            credential: made by :func:`credential_of`.

        Raises:
            NotAuthenticated: it is not.
        """
        try:
            known = orjson.loads(credential)
            return Identity(
                person=known["person"],
                issuer=SERVER,
                subject=known["person"],
                groups=known["groups"],
                credential=hashlib.sha256(known["asked_by"].encode()).hexdigest(),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            raise NotAuthenticated(
                "That is no user of the server.", todo="Authenticate with the server.", code="credential_unknown"
            ) from None


def _read(user: Any, name: str) -> Any:
    """A field of the server's user: a mapping, or an object with attributes."""
    if isinstance(user, Mapping):
        return user.get(name)
    try:
        return getattr(user, name, None)
    except NotImplementedError:  # what Starlette's base raises for what a user does not have
        return None
