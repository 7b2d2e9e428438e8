"""What verifying found, left for those who watch. It is no evidence: see ``sql/migrations/0031_sinks.sql``."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from langgraph_control.audit.asking.requests import FieldsAreParameters

__all__ = ["AddVerification", "FindVerified", "Verified"]

Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True, kw_only=True)
class AddVerification(FieldsAreParameters):
    """Note what a verification found, on the auditor's or the admin's login.

    Args:
        every: all chains were gone through.
        chains: how many were verified.
        tampered: how many of these were tampered with.
        took_ms: for how long they were gone through.
    """

    statement: ClassVar[str] = "add_verification"

    every: bool
    chains: int
    tampered: int
    took_ms: int

    def read(self, rows: Rows) -> None:
        """Nothing is answered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What is known of verifications.

    Args:
        tampered: how many chains were found tampered with.
        age_ms: for how long all chains have not been gone through; None: they never were.
    """

    tampered: int
    age_ms: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FindVerified(FieldsAreParameters):
    """Ask what is known of verifications; None where nothing was noted."""

    statement: ClassVar[str] = "find_verified"

    def read(self, rows: Rows) -> Verified | None:
        """Return the answer as a value."""
        return Verified(**rows[0]) if rows else None
