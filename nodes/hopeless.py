"""A lost attempt that would only fail again: what is noted of it until somebody has read back what became of it.

While an outcome is unknown nobody is told anything. The note holds what to tell once it is proven that nothing
happened: sending the same again would then end as it did before. It is bound to its attempt by number, because an
attempt after it may leave no word at all, when its worker dies, and must not be taken for this one.
"""

__all__ = ["noted", "told"]


def noted(text: str, *, attempt: int) -> str:
    """Return a note for the ledger to keep.

    Args:
        text: what the model is told if nothing happened.
        attempt: the lost attempt's number, from 1.
    """
    return f"{attempt} {text}"


def told(note: str | None, *, attempt: int) -> str | None:
    """Return the text of a note, or None if it is none of this attempt's.

    Args:
        note: what the ledger keeps beside the action; None for nothing.
        attempt: the number of the newest attempt.
    """
    number, _, text = (note or "").partition(" ")
    return text if number == str(attempt) else None
