"""Sentences for what was erased, dropped, held, and stopped after a restore."""

from collections.abc import Mapping
from typing import Any

from langgraph_control.audit.trail.entries import Entry
from langgraph_control.audit.trail.tones import Tone

__all__ = ["keeping_sentence", "places_text"]


def keeping_sentence(entry: Entry) -> tuple[str, Tone] | None:
    """Return what such an entry says, and how to read it; None for any other.

    Args:
        entry: any entry.
    """
    events = set(entry.events)
    if "payload.erased" in events:
        return f"erased: {places_text(entry.facts.get('erased'))}", Tone.PLAIN
    if "entries.dropped" in events:
        return f"the entries of {str(entry.fact('month'))[:7]} were dropped, as they were old enough", Tone.PLAIN
    if "hold.set" in events:
        return f"a legal hold was put on a {entry.fact('scope')}", Tone.PLAIN
    if "hold.lifted" in events:
        return f"a legal hold on a {entry.fact('scope')} was lifted", Tone.PLAIN
    if events & {"restore.detected", "restore.declared"}:
        return "the database was restored, so writes of the whole tenant were stopped", Tone.BAD
    if "record.reconciled" in events:
        named = entry.facts.get("differences")
        where = ", also outside" if entry.facts.get("outside") is True else ""
        return f"everything was reconciled{where}: {named} differences", Tone.BAD if named else Tone.PLAIN
    if "restore.accepted" in events and entry.facts.get("reconciled") is None:
        return "writes go on after a restore, and NOBODY RECONCILED what it took back", Tone.BAD
    if "restore.accepted" in events:
        return "what a restore took back was looked into, and writes go on", Tone.GOOD
    return None


def places_text(counts: Any) -> str:
    """Return counts by place as people read them.

    Args:
        counts: as an entry has them; anything else says nothing.
    """
    if not isinstance(counts, Mapping):
        return "nothing"
    return ", ".join(f"{count} {place}" for place, count in sorted(counts.items()) if count) or "nothing"
