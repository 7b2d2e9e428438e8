"""Sagas as the ledger knows them: which action was claimed for which step, and whether it was taken back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from langgraph_control.guards.lifecycle import State
from langgraph_control.guards.sagas import Part

__all__ = ["ReadSaga", "RunSagas", "SagaPart", "SagaRow"]


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaRow:
    """One action of a saga, with what taking it back needs.

    Args:
        part: where it stands.
        payload: arguments and before-image as they ran, canonical bytes; None where nothing ran.
        result: the stored result, encoded; None where there is none.
    """

    part: Part
    payload: bytes | None
    result: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadSaga:
    """Ask what a saga did. Answered with its actions in the order of their steps.

    Args:
        saga: its id, 32 bytes.
    """

    statement: ClassVar[str] = "saga"

    saga: bytes

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        return {"saga": self.saga}

    def read(self, rows: Sequence[Mapping[str, Any]]) -> tuple[SagaRow, ...]:
        """Return the answer as a value."""
        return tuple(SagaRow(part=_part(row), payload=row["payload"], result=row["result"]) for row in rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class SagaPart:
    """One action of a saga of some run, for people.

    Args:
        saga: the saga's name.
        part: where it stands.
        system: the system of record.
        undo_tool: what takes it back; None: nothing was tried.
    """

    saga: str
    part: Part
    system: str | None
    undo_tool: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSagas:
    """Ask what is applied of a run's sagas. Answered with their actions, saga by saga.

    Args:
        run_id: the run.
    """

    statement: ClassVar[str] = "run_sagas"

    run_id: UUID

    def parameters(self) -> Mapping[str, Any]:
        """Return the statement's parameters by name."""
        return {"run_id": self.run_id}

    def read(self, rows: Sequence[Mapping[str, Any]]) -> tuple[SagaPart, ...]:
        """Return the answer as a value."""
        return tuple(
            SagaPart(saga=row["name"], part=_part(row), system=row["system"], undo_tool=row["undo_tool"])
            for row in rows
        )


def _part(row: Mapping[str, Any]) -> Part:
    undo = row["undo_state"]
    return Part(
        step=row["step"],
        key=row["key"],
        tool=row["tool"],
        state=State(row["state"]),
        undo=None if undo is None else State(undo),
    )
