"""Signing in, and staying so only as long as the authenticator still recognises the credential."""

from datetime import timedelta
from typing import Final

from langgraph_control.audit.asking.waiting import RolesOf
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.people.identity import Authenticator, Identity
from langgraph_control.console.sessions import Session, Sessions
from langgraph_control.errors import NotAuthenticated

__all__ = ["CREDENTIAL_CHARS_MAX", "PASSING", "PATIENCE_SECONDS", "Door"]

RECHECK: Final = timedelta(seconds=5)
"""A page may be shown on the strength of an authentication this old; a change never is."""

PASSING: Final = frozenset({"issuer_unavailable"})
"""Nobody could be asked: nothing is shown or done for now, and the session is no worse for it."""

CREDENTIAL_CHARS_MAX: Final = 16_384
PATIENCE_SECONDS: Final = 2.0
"""How long a page waits for a ledger that is away."""


class Door:
    """Lets people in.

    Args:
        authenticator: recognises them.
        store: knows their roles.
        sessions: those who are in.
    """

    def __init__(self, authenticator: Authenticator, store: Store, sessions: Sessions) -> None:
        self._authenticator, self._store, self._sessions = authenticator, store, sessions

    def sign_in(self, credential: str) -> tuple[str, Session]:
        """Open a session for whoever presents a credential, and return its name for the browser.

        Args:
            credential: as it was typed.

        Raises:
            NotAuthenticated: it is not accepted, or the person has none of the policy's roles.
        """
        identity, roles = self._recognised(credential)
        return self._sessions.open(credential, identity, roles)

    def check(self, session: Session, *, fresh: bool) -> None:
        """Make sure that a session's person is still recognised, and as the same person.

        Args:
            session: theirs.
            fresh: ask now, however recently that was done: before every change.

        Raises:
            NotAuthenticated: they are not; the session is over.
        """
        now = self._sessions.clock()
        if not fresh and now - session.checked_at < RECHECK:
            return
        try:
            identity, roles = self._recognised(session.credential)
            _check_same(identity, session.identity)
        except NotAuthenticated as error:
            if error.code not in PASSING:
                self._sessions.close(session)
            raise
        session.identity, session.roles, session.checked_at = identity, roles, now

    def _recognised(self, credential: str) -> tuple[Identity, tuple[str, ...]]:
        if not credential or len(credential) > CREDENTIAL_CHARS_MAX or not credential.isprintable():
            raise NotAuthenticated(
                "That cannot be a token.", todo="Paste it whole, on one line.", code="credential_malformed"
            )
        identity = self._authenticator.authenticate(credential)
        roles = self._store.call(RolesOf.of(identity), patience_seconds=PATIENCE_SECONDS)
        if not roles:
            raise NotAuthenticated(
                "You are recognised, and in none of the policy's roles.",
                todo="Have somebody add you to a role of the policy and publish it.",
                code="no_role",
            )
        return identity, roles


def _check_same(now: Identity, before: Identity) -> None:
    if (now.issuer, now.subject, now.person) != (before.issuer, before.subject, before.person):
        raise NotAuthenticated(
            "The credential belongs to somebody else by now.", todo="Sign in again.", code="credential_changed"
        )
