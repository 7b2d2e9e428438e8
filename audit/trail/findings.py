"""What a verification may find."""

from dataclasses import dataclass

__all__ = ["Broken"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Broken:
    """The first place where the record contradicts itself.

    Args:
        seq: the entry; None where it is the chain as a whole.
        what: what is wrong, for people.
    """

    seq: int | None
    what: str

    def __str__(self) -> str:
        return self.what if self.seq is None else f"entry {self.seq}: {self.what}"
