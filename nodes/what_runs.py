"""What really runs where a digest is kept from an earlier claim: this call's own arguments, held against that digest.

What is kept was written on the agent's login, and code that holds this login can write anything there. So of what is
kept only the words are taken, which may differ from call to call, and an earlier attempt's record. All other arguments
are this call's own: the ledger kept the digest because they are equal.
"""

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from langgraph_control.audit.asking.ledger import Answer, Claimed
from langgraph_control.guards.canonical import identified
from langgraph_control.guards.redaction import paths_inside
from langgraph_control.nodes.action import ABSENT
from langgraph_control.nodes.call import GovernedCall, View

__all__ = ["NOT_AS_KEPT", "Runs", "what_runs"]

NOT_AS_KEPT: Final = (
    "what is on record for it is not what this call would do, so nothing was done. Another release, or code that used "
    "the agent's login, put it there: find out which before the write is settled or given up"
)
"""Why a person is asked where nothing can run, for the record."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """What the tool and the hooks get.

    Args:
        args: the arguments.
        before: the record as it was when it was decided.
    """

    args: dict[str, Any]
    before: Any


def what_runs(call: GovernedCall, view: View, claimed: Claimed) -> Runs | None:
    """Return what really runs, or None where that is not what the kept digest is of.

    Args:
        call: the write.
        view: the target as it is now.
        claimed: the claim that said go or verify.
    """
    if claimed.payload is None:
        return Runs(args=dict(call.args), before=view.before)
    args, before = call.stored(claimed.payload)
    again = replace(call, args=args)
    if claimed.answer is Answer.GO and claimed.attempts == 1:
        # Nothing was sent that could have changed the record: it is as it was asked with, or the ledger asks anew.
        return Runs(args=args, before=view.before) if again.is_of(claimed.digest, view) else None
    if _is_whole(call, before):
        fits = again.is_of(claimed.digest, View(before=before))
    else:
        fits = again.is_of(claimed.digest, view) or _is_asked(call, claimed.payload)
    return Runs(args=args, before=before) if fits else None


def _is_whole(call: GovernedCall, before: object) -> bool:
    """Whether the digest can be made of a record as it is kept: not of one that is redacted, too large or irregular."""
    redact, watch = call.contract.redact, call.contract.watch
    all_count = not watch or bool(call.contract.not_in(before))
    hidden = bool(redact) and (all_count or any(paths_inside(name, redact) for name in watch))
    renamed = not all(unicodedata.is_normalized("NFC", name) for name in watch)  # fields are kept under their NFC names
    regular = before is ABSENT or isinstance(before, Mapping)
    return before is None or (regular and not hidden and not renamed)


def _is_asked(call: GovernedCall, payload: bytes) -> bool:
    """Whether the arguments that are kept are this call's own, but for words and for what is not written down."""
    kept = call.kept(payload)
    hidden = {name for name in (*kept, *call.args) if paths_inside(name, call.contract.redact)}
    aside = {*call.contract.explain, *hidden}
    own, _ = call.stored(payload)
    one, other = ({name: value for name, value in args.items() if name not in aside} for args in (kept, own))
    return dict(identified(one)) == dict(identified(other))
