"""Who is signed in: sessions in this process's memory alone. What a browser holds of one is a random name.

A session keeps the credential that opened it, in memory, because each vote and each act has to pass an authentication
that still holds: a token that was revoked, or a person who left, must stop at once and not when a session ends.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from threading import Lock
from typing import Final

from langgraph_control.audit.people.identity import Identity

__all__ = ["SESSION_HOURS", "Session", "Sessions"]

SESSION_HOURS: Final = 8
SESSIONS_MAX: Final = 1000
SESSIONS_EACH_MAX: Final = 20


@dataclass(slots=True, kw_only=True)
class Session:
    """Somebody who is signed in.

    Args:
        key: by what it is kept; not the name that the browser has.
        credential: what the authenticator recognises the person by.
        identity: whom it recognised last.
        roles: the roles this person had then.
        csrf: the secret that each form of the session carries.
        until: when it is over.
        checked_at: when the authenticator was asked last.
    """

    key: str
    credential: str = field(repr=False)
    identity: Identity
    roles: tuple[str, ...]
    csrf: str = field(repr=False)
    until: datetime
    checked_at: datetime


class Sessions:
    """All of them. Nothing is written anywhere; when the process ends, everybody is signed out.

    Args:
        clock: the time in UTC.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.clock = clock
        self._sessions: dict[str, Session] = {}  # the oldest first
        self._lock = Lock()
        self._secret = secrets.token_bytes(32)

    def open(self, credential: str, identity: Identity, roles: tuple[str, ...]) -> tuple[str, Session]:
        """Open a session, and return the name for the browser with it.

        Args:
            credential: what was presented.
            identity: who presented it.
            roles: that person's.
        """
        name, now = secrets.token_urlsafe(32), self.clock()
        longest = now + timedelta(hours=SESSION_HOURS)
        session = Session(
            key=_key(name),
            credential=credential,
            identity=identity,
            roles=roles,
            csrf=secrets.token_urlsafe(32),
            until=longest if identity.expires_at is None else min(longest, identity.expires_at),
            checked_at=now,
        )
        with self._lock:
            self._sessions = {key: one for key, one in self._sessions.items() if one.until > now}
            self._make_room(identity)
            self._sessions[session.key] = session
        return name, session

    def _make_room(self, identity: Identity) -> None:
        """The oldest give way, of one person before those of all."""
        who = (identity.issuer, identity.subject)
        mine = [key for key, one in self._sessions.items() if (one.identity.issuer, one.identity.subject) == who]
        for key in mine[: max(0, len(mine) - SESSIONS_EACH_MAX + 1)]:
            del self._sessions[key]
        for key in list(self._sessions)[: max(0, len(self._sessions) - SESSIONS_MAX + 1)]:
            del self._sessions[key]

    def find(self, name: str | None) -> Session | None:
        """Return a session that is not over.

        Args:
            name: as the browser sent it.
        """
        if not name:
            return None
        with self._lock:
            session = self._sessions.get(_key(name))
            if session is not None and session.until <= self.clock():
                del self._sessions[session.key]
                return None
            return session

    def holds(self, session: Session) -> bool:
        """Return whether a session is still open.

        Args:
            session: one of ours.
        """
        with self._lock:
            return self._sessions.get(session.key) is session and session.until > self.clock()

    def close(self, session: Session) -> None:
        """End a session and forget its credential. Safe to repeat.

        Args:
            session: one of ours.
        """
        with self._lock:
            self._sessions.pop(session.key, None)
        session.credential = ""

    def stranger_token(self, nonce: str) -> str:
        """Return the secret for the sign-in form of somebody who has no session yet.

        Args:
            nonce: the browser's, from its cookie.
        """
        return hmac.new(self._secret, nonce.encode(), hashlib.sha256).hexdigest()


def _key(name: str) -> str:
    """Looked up by a hash, so that how long it takes says nothing about the names there are."""
    return hashlib.sha256(name.encode(errors="replace")).hexdigest()
