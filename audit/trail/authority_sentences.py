"""What entries about people's authority say: votes taken back, edits, emergencies, standing in for each other."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.tones import Tone

__all__ = ["authority_sentence"]

_SAID: Final[Mapping[str, tuple[str, Tone]]] = MappingProxyType(
    {
        "approval.vote_withdrawn": ("a yes was taken back", Tone.WAITING),
        "approval.edited": ("a person asked for other arguments", Tone.WAITING),
        "approval.edit_refused": ("what a person changed about it does not fit", Tone.BAD),
        "approval.broke_glass": ("approved by one person alone in an emergency; to be reviewed", Tone.BAD),
        "review.refused": ("a word on the emergency that does not count", Tone.BAD),
        "delegation.given": ("somebody may vote for somebody else for a while", Tone.PLAIN),
        "delegation.refused": ("a delegation that does not hold", Tone.BAD),
        "delegation.revoked": ("a delegation was ended", Tone.PLAIN),
    }
)


def authority_sentence(entry: Entry) -> tuple[str, Tone] | None:
    """Return what an entry about people's authority says, and how to read it; None for any other entry.

    Args:
        entry: any entry.
    """
    tool = entry.fact("tool")
    if "access.refused" in entry.events:
        counts = entry.body.get("refused")
        told = ", ".join(f"{reason} {count}" for reason, count in counts.items()) if isinstance(counts, Mapping) else ""
        return f"somebody was not let in: {told}", Tone.BAD
    if "review.closed" in entry.events:
        objected = entry.fact("verdict") == "objected"
        said = "somebody objects to the emergency afterwards" if objected else "the emergency was reviewed and accepted"
        return f"{tool}: {said}", Tone.BAD if objected else Tone.GOOD
    if "delegation.refused" in entry.events and entry.fact("to") is None:
        return f"somebody may not end a delegation: {entry.fact('reason')}", Tone.BAD
    for event in ("approval.broke_glass", *entry.events):
        if event in entry.events and event in _SAID:
            said, tone = _SAID[event]
            reason = entry.fact("reason")
            said = f"{said}: {reason}" if reason else said
            return f"{tool}: {said}" if tool else said, tone
    return None
