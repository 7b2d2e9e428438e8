"""That somebody was not let in, on record: how often and why, never with what."""

import logging
from collections.abc import Mapping
from typing import Final

import orjson

from langgraph_control.audit.asking.attempts import NoteRefusedAccess
from langgraph_control.audit.connecting.store import Store
from langgraph_control.audit.people.identity import Authenticator, recognised
from langgraph_control.errors import ControlError, NotAuthenticated

__all__ = ["known_or_noted", "noted"]

PATIENCE_SECONDS: Final = 2.0

_OURS: Final = frozenset({"no_authenticator", "no_credential", "issuer_unavailable"})
"""Nobody tried anything: the service is not set up, or nobody could be asked."""

logger = logging.getLogger(__name__)


def known_or_noted(
    store: Store, authenticator: Authenticator | None, credential: str | None, *, as_: str | None = None
) -> str | None:
    """Return what goes on record of whoever presents a credential, and put on record where it is not accepted.

    Args:
        store: the ledger, on the login that people's words go over.
        authenticator: of the service; None: it leaves that to the login.
        credential: what was presented.
        as_: whom the caller names beside it.

    Raises:
        NotAuthenticated: as :func:`~langgraph_control.audit.people.identity.recognised`.
    """
    try:
        return recognised(authenticator, credential, as_=as_)
    except NotAuthenticated as error:
        if error.code not in _OURS:
            noted(store, where="service", refused={error.code: 1})
        raise


def noted(store: Store, *, where: str, refused: Mapping[str, int]) -> bool:
    """Put on record what was refused, and return whether it is. That it cannot be now keeps nobody from being refused.

    Args:
        store: the ledger.
        where: what refused it: ``console`` or ``service``.
        refused: reason → how often.
    """
    body = orjson.dumps({"where": where, "refused": dict(refused)}, option=orjson.OPT_SORT_KEYS)
    try:
        store.call(NoteRefusedAccess(body=body), patience_seconds=PATIENCE_SECONDS)
    except ControlError as error:
        logger.warning("Refused access could not be put on record (%s): %s", error.code, dict(refused))
        return False
    return True
