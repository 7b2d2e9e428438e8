"""Who a person is, as a service finds out: the port that signs people in, and what of it goes on record.

The credential itself never leaves the authenticator. What is recorded is issuer, subject, groups, the strength of the
sign-in and a hash by which the token can be found in the issuer's own logs.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

import orjson

from langgraph_control.errors import ArgumentError, NotAuthenticated

__all__ = ["Authenticator", "Identity", "NotAuthenticated", "checked", "recognised"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Identity:
    """A person who has signed in.

    Args:
        person: as the policy's roles name people, for example ``ana@acme.example``.
        issuer: who vouches for it: an OpenID provider's issuer URL, or ``file:`` and a name.
        subject: the issuer's own name for the person.
        groups: the groups the issuer says the person is in, as the policy names them after ``group:``.
        acr: how strongly the person was authenticated, as the issuer says (OpenID Connect Core 1.0, section 2); None if
            it says nothing.
        credential: SHA-256 of the token's id, or of the token where it has none; 64 hexadecimal digits.
        expires_at: when the credential ends, in UTC; None if it does not.

    Raises:
        NotAuthenticated: ``person_invalid``: the policy would take such a name for a group's.
    """

    person: str
    issuer: str
    subject: str
    credential: str
    groups: Iterable[str] = ()
    acr: str | None = None
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if self.person.startswith("group:"):
            raise NotAuthenticated(
                "Nobody is called that: the policy's roles name groups so.",
                todo="Name people by a claim that they cannot choose.",
                code="person_invalid",
            )

    def canonical(self) -> str:
        """Return what goes on record, as JSON."""
        return orjson.dumps(
            {
                "person": self.person,
                "issuer": self.issuer,
                "subject": self.subject,
                "groups": sorted(set(self.groups)),
                "acr": self.acr,
                "credential": self.credential,
            },
            option=orjson.OPT_SORT_KEYS,
        ).decode()


class Authenticator(Protocol):
    """Recognises people by a credential: a bearer token, a session's token, whatever the service takes."""

    def authenticate(self, credential: str) -> Identity:
        """Return who presents it.

        May look up keys over the network, so it is called off the event loop.

        Args:
            credential: as it came; never logged, never in an error's text.

        Raises:
            NotAuthenticated: it is not accepted; the text says why, without the credential.
        """
        ...


def checked(authenticator: Authenticator | None) -> Authenticator | None:
    """Return an authenticator, or None, once it is certain that it can be asked.

    Args:
        authenticator: as whoever embeds the library gave it.

    Raises:
        ArgumentError: ``authenticator_invalid``: it has no ``authenticate``; give one that has.
    """
    if authenticator is not None and not callable(getattr(authenticator, "authenticate", None)):
        raise ArgumentError(
            f"authenticator: a value of type {type(authenticator).__name__} without authenticate(credential).",
            safe="Nothing was opened.",
            todo="Give an OpenIDConnect, a TokenFile, or an object of your own with that method (docs/identity.md).",
            code="authenticator_invalid",
        )
    return authenticator


def recognised(authenticator: Authenticator | None, credential: str | None, *, as_: str | None = None) -> str | None:
    """Return what goes on record of whoever presents a credential; None where the database login is the person.

    Args:
        authenticator: of the service; None: it leaves that to the login.
        credential: what was presented.
        as_: whom the caller names beside it.

    Raises:
        NotAuthenticated: none was given, it is not accepted, nobody is there who could look at it, or it is another
            person's than was named.
    """
    if authenticator is None:
        if credential is not None:
            raise NotAuthenticated(
                "A credential was given, and nothing that recognises people by one.",
                todo="Give authenticator= too.",
                code="no_authenticator",
            )
        return None
    if not credential:
        raise NotAuthenticated("No credential was given.", todo="Sign in, and try again.", code="no_credential")
    identity = authenticator.authenticate(credential)
    if as_ is not None and as_ != identity.person:
        raise NotAuthenticated(
            "The credential is another person's than was named.", todo="Name nobody beside it.", code="person_differs"
        )
    return identity.canonical()
